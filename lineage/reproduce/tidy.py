"""What the store keeps and no record needs: left by interrupted work, or replaced by something newer."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lineage.errors import LineageError
from lineage.model.run import Run
from lineage.ports import Ports, Progress, RunQuery, no_progress
from lineage.record.archive import ArchiveReader
from lineage.record.identity import objects_of
from lineage.record.ledger import Ledger
from lineage.reproduce.bundle_needs import expected_outputs

GRACE_S = 3600.0
"""Younger objects are left alone: a run that is being recorded puts objects first and its record after."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Tidying:
    """What can go.

    Attributes:
        needed: Objects that records, archives or the row index rely on.
        needed_bytes: Their size, as far as they are there.
        unneeded: (digest, size in bytes) of objects that nothing relies on.
        young: Objects that nothing relies on yet, but too young to judge.
        workspaces: Folders of reproductions that were kept to be looked at.
        environments: (folder, size in bytes) of rebuilt environments, the longest unused first.
    """

    needed: int
    needed_bytes: int
    unneeded: tuple[tuple[str, int], ...]
    young: int
    workspaces: tuple[str, ...]
    environments: tuple[tuple[str, int], ...] = ()

    @property
    def unneeded_bytes(self) -> int:
        """How much would be freed."""
        return sum(size for _, size in self.unneeded)


def plan_tidying(ports: Ports, progress: Progress = no_progress, *, now: float | None = None) -> Tidying:
    """Find out what can go. Whatever any event of any record mentions stays, and all it leads to.

    Raises:
        LineageError: Something that records rely on cannot be read: what it leads to is not known, and nothing may go.
    """
    needed = _needed(ports, progress)
    limit = (time.time() if now is None else now) - GRACE_S
    unneeded, young, count, size_bytes = [], 0, 0, 0
    for digest, size, changed_at in ports.objects.all():
        if digest in needed:
            count, size_bytes = count + 1, size_bytes + size
        elif changed_at > limit:
            young += 1
        else:
            unneeded.append((digest, size))
    folder = ports.folder / "workspaces"
    workspaces = tuple(sorted(str(path) for path in folder.iterdir())) if folder.is_dir() else ()
    environments = tuple((str(item.folder), item.size_bytes) for item in ports.environments().all())
    return Tidying(count, size_bytes, tuple(unneeded), young, workspaces, environments)


def tidy(ports: Ports, plan: Tidying) -> int:
    """Delete what ``plan`` found, unless a record began to rely on it meanwhile; return the bytes freed."""
    still = {digest for digest, _ in plan_tidying(ports).unneeded}
    freed = ports.objects.delete_leftovers(GRACE_S)
    return freed + sum(ports.objects.delete(digest, GRACE_S) for digest, _ in plan.unneeded if digest in still)


def _needed(ports: Ports, progress: Progress) -> set[str]:
    needed: set[str] = set()
    ledgers, contents = {ledger for _, ledger in ports.rows.ledgers()}, dict(ports.rows.archives())
    runs = ports.runs.find(RunQuery())
    for number, run in enumerate(runs, 1):
        needed.update(_mentioned(ports, run))
        ledgers.update(item.ledger_object for item in run.inputs if item.ledger_object is not None)
        for item in run.inputs:
            if item.content_digest in contents:
                listing = contents.pop(item.content_digest)
                needed.add(listing)
                needed.update(ArchiveReader(ports.objects, listing, item).objects())
        progress("reading records", number, len(runs))
    for number, digest in enumerate(sorted(ledgers), 1):
        needed.add(digest)
        needed.update(Ledger.load(ports.objects, digest).objects())
        progress("reading ledgers", number, len(ledgers))
    return needed


def _mentioned(ports: Ports, run: Run) -> Iterator[str]:
    # Any digest, in whatever place an event has it: better a needless object kept than a needed one lost.
    for payload, _ in ports.runs.events(run.id):
        yield from _DIGEST.findall(payload)


def lost_needs(ports: Ports, runs: Sequence[Run]) -> tuple[int, list[str]]:
    """(number of objects that runs need, those that are missing)."""
    needed: set[str] = set()
    for run in runs:
        for item in run.inputs:
            try:
                needed |= objects_of(ports.objects, item)
            except LineageError:
                needed |= {digest for digest in (item.rows_object, item.ledger_object, item.digests_object) if digest is not None}
        needed |= expected_outputs(ports, run)
        needed |= {item.positions_object for item in run.reads if item.positions_object is not None}
        needed |= {item.envelope for item in run.signatures}
        needed |= {log.object for log in run.step_logs} | run.code_objects()
    return len(needed), sorted(digest for digest in needed if not ports.objects.has(digest))
