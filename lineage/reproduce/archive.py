"""``archive``: keep a run's rows in the object store, so that it outlives its sources."""

from __future__ import annotations

from dataclasses import dataclass

from lineage.errors import IntegrityError, LineageError
from lineage.model.dataset import InputRecord
from lineage.model.run import Run
from lineage.ports import Ports, Progress, no_progress
from lineage.record.archive import ArchiveReader, write_archive
from lineage.record.identity import recorded_digests, recorded_rows
from lineage.record.opening import locate


@dataclass(frozen=True, slots=True)
class Archived:
    """One input of a run that is kept now.

    Attributes:
        listing: Object that lists what is kept.
        was_kept: Whether it was kept before already, by this run or another with the same rows.
    """

    role: str
    rows: int
    content_digest: str
    listing: str
    was_kept: bool


def archive_run(ports: Ports, run: Run, progress: Progress = no_progress) -> list[Archived]:
    """Keep every input of a run. Interrupted, it goes on where it was: what is kept is not written again.

    Raises:
        IntegrityError: An input is no longer what was recorded; nothing is noted for it.
    """
    done: list[Archived] = []
    for item in run.inputs:
        known = ports.rows.archive(item.content_digest)
        if known is not None and is_complete(ports, known, item):
            done.append(Archived(item.role, item.rows, item.content_digest, known, was_kept=True))
            continue
        check, place = locate(ports.datasets, ports.objects, ports.rows, item, None, progress, level="quick")
        if place is None or place.origin == "archive":
            raise IntegrityError(
                f"input '{item.role}' of run {run.id[:12]}",
                expected=f"{item.rows} rows of {item.uri} at {item.commit_id}",
                found="; ".join(check.detail) or check.found,
                hint="it can be archived only while its data exist",
            )
        rows = recorded_rows(ports.objects, item)
        reader = place.open()
        listing = write_archive(
            reader, place.positions(rows), ports.objects, ports.rows, item, recorded_digests(ports.objects, item, rows), progress
        )
        done.append(Archived(item.role, item.rows, item.content_digest, listing, was_kept=False))
    return done


def is_complete(ports: Ports, listing: str, item: InputRecord) -> bool:
    """Whether every object of an archive is there; blocks of rows are read, pictures are not."""
    try:
        return all(ports.objects.has(digest) for digest in ArchiveReader(ports.objects, listing, item).objects())
    except LineageError:
        return False
