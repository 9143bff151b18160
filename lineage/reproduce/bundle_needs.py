"""Which objects the record of a run leads to: what a bundle must hold, and what it may hold."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lineage.errors import IntegrityError, LineageError
from lineage.model.dataset import InputRecord
from lineage.model.event import ArtifactMade, parse_event
from lineage.model.media import objects_of
from lineage.model.run import MetricPoint, Run
from lineage.ports import ObjectStore, Ports
from lineage.record.archive import ArchiveReader
from lineage.record.ledger import Ledger
from lineage.record.resuming import CHECKPOINT

if TYPE_CHECKING:
    from lineage.reproduce.bundle_file import BundleFile

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Record:
    """A record as a bundle holds it.

    Attributes:
        run: What its events add up to.
        events: (payload text, chain digest), in order.
        environments: Texts by digest.
        points: Its metric points.
    """

    run: Run
    events: tuple[tuple[str, str], ...]
    environments: Mapping[str, str]
    points: Sequence[MetricPoint]

    def mentioned(self) -> Iterator[str]:
        """Every digest that it mentions, wherever it does: not all are of objects."""
        for text in (*(payload for payload, _ in self.events), *self.environments.values()):
            yield from _DIGEST.findall(text)

    def made(self) -> dict[str, bool]:
        """Digest of every file that the run made, also one it replaced later, to whether it is a checkpoint."""
        found: dict[str, bool] = {}
        for payload, _ in self.events:
            if '"artifact_made"' in payload and isinstance(event := parse_event.validate_json(payload), ArtifactMade):
                is_checkpoint = event.artifact.kind == CHECKPOINT
                found |= dict.fromkeys((event.artifact.digest, *objects_of(event.artifact)), is_checkpoint)
        return found


def environment_of(payload: str) -> str | None:
    """Digest of the environment that an event names; ``None`` when it names none."""
    run = json.loads(payload).get("run")
    named = run.get("environment") if isinstance(run, dict) else None
    return named if isinstance(named, str) else None


def expected_outputs(ports: Ports, run: Run) -> set[str]:
    """Digests of the files that a run made and that must be in the store. A bundle may leave them out: then those that are there."""
    made = {digest for item in run.outputs if item.kind != "dataset" for digest in (item.digest, *objects_of(item))}
    return made if ports.runs.origin(run.id) is None else {digest for digest in made if ports.objects.has(digest)}


def needed_objects(objects: ObjectStore | BundleFile, run: Run, archives: Mapping[str, str], lost: list[str]) -> set[str]:
    """Digests of all objects that reproducing a run takes, its data included.

    Args:
        objects: Where lists of objects are read.
        run: Its record.
        archives: Content digest of an input to the list of its kept rows.
        lost: Gets a sentence for each list that cannot be read: what it leads to is not among the answer.
    """
    store = cast("ObjectStore", objects)  # reading is all that is done
    needed = {item.positions_object for item in run.reads if item.positions_object is not None}
    needed |= {log.object for log in run.step_logs} | run.code_objects()
    needed |= {loader.code_object for loader in run.loaders if loader.code_object is not None}
    needed |= {used.digest for used in run.uses} | {item.envelope for item in run.signatures}
    if run.resumes is not None:
        needed.add(run.resumes.checkpoint)
    for item in run.inputs:
        needed |= {digest for digest in (item.rows_object, item.ledger_object, item.digests_object) if digest is not None}
        try:
            needed |= _led_to(store, item, archives.get(item.content_digest))
        except LineageError as error:
            lost.append(f"rows of '{item.role}': {error.message}")
    return needed


def _led_to(objects: ObjectStore, item: InputRecord, listing: str | None) -> set[str]:
    found: set[str] = set()
    try:
        if item.ledger_object is not None:
            found.update(Ledger.load(objects, item.ledger_object).objects())
        if listing is not None:
            found.add(listing)
            found.update(ArchiveReader(objects, listing, item).objects())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, MemoryError, struct.error, zlib.error) as error:
        # These lists may come from anybody; what they hold is what their maker liked to put in.
        raise IntegrityError(
            f"rows of input '{item.role}'", expected="lists of kept rows", found=f"something else ({type(error).__name__}: {error})"
        ) from error
    return found
