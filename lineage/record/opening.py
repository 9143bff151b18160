"""Opening by record: exactly the recorded rows, from the dataset or from a kept copy, or an error before the first one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lineage.errors import IntegrityError, LineageError
from lineage.model.dataset import InputRecord
from lineage.ports import DatasetBackend, ObjectStore, Progress, RowIndex, no_progress
from lineage.record.archive import ArchiveReader
from lineage.record.identity import recorded_digests, recorded_rows
from lineage.record.recheck import DataCheck, Level, check_input, compare_rows
from lineage.record.recorded_view import ArchivePlace, DatasetPlace, Place, RecordedView

if TYPE_CHECKING:
    from lineage.model.dataset import Rows


def locate(
    datasets: Callable[[], DatasetBackend],
    objects: ObjectStore,
    index: RowIndex,
    item: InputRecord,
    uri: str | None = None,
    progress: Progress = no_progress,
    *,
    level: Level = "full",
) -> tuple[DataCheck, Place | None]:
    """Where a recorded input can be read now, after a check of every row (or of its names, with ``quick``).

    Args:
        datasets: Makes the backend.
        objects: Holds rows, digests and archives.
        index: Knows archives.
        item: The input.
        uri: Look at this address instead of the recorded one, and nowhere else: no archive stands in for it.
        progress: Told of rows read.
        level: How thorough.

    Returns:
        (outcome, place to read from). Without a place nothing holds the recorded rows, and the outcome says why. When it is a kept copy,
        the outcome's detail says so, and what is wrong with the dataset.
    """
    try:
        backend = datasets()
        check = check_input(backend, objects, item, uri, progress, level=level, index=index)
    except LineageError as error:  # the backend's package is missing
        check = DataCheck("missing", "cannot be read", (error.message,))
    else:
        if check.status == "ready":
            return check, DatasetPlace(backend, uri or item.uri, check.branch, check.commit_id)
    # Who names an address means that place: nothing else stands in for it.
    listing = index.archive(item.content_digest) if uri is None else None
    if listing is None:
        return check, None
    try:
        place = ArchivePlace(objects, listing, item)
        kept = _check_archive(objects, item, listing, level, progress)
    except LineageError as error:
        return DataCheck(check.status, check.found, (*check.detail, f"its archive cannot be used: {error.message}")), None
    if kept.status != "ready":
        return DataCheck(check.status, check.found, (*check.detail, *(f"archive: {line}" for line in kept.detail))), None
    reasons = tuple(f"dataset: {line}" for line in check.detail)
    return DataCheck("ready", "every row equal, from the archive", ("read from the archive", *reasons), item.branch, item.commit_id), place


def _check_archive(objects: ObjectStore, item: InputRecord, listing: str, level: Level, progress: Progress) -> DataCheck:
    import numpy as np

    rows = recorded_rows(objects, item)
    recorded = recorded_digests(objects, item, rows)
    reader = ArchiveReader(objects, listing, item)
    if reader.version.rows_total != len(rows):
        return DataCheck("changed", "other rows", (f"{reader.version.rows_total} rows are kept, {len(rows)} were recorded",))
    if level == "quick":
        missing = [digest for digest in reader.objects() if not objects.has(digest)]
        if missing:
            return DataCheck("missing", "incomplete", (f"{len(missing)} of its objects are missing, first {missing[0][:19]}…",))
        return DataCheck("ready", "complete")
    return compare_rows(item, recorded, reader.digests(progress), np.arange(len(rows)), reader)


def open_recorded(
    datasets: Callable[[], DatasetBackend],
    objects: ObjectStore,
    index: RowIndex,
    item: InputRecord,
    uri: str | None = None,
    progress: Progress = no_progress,
    *,
    seed: int | None = None,
    level: Level = "full",
) -> tuple[RecordedView, DataCheck]:
    """The recorded rows, open; and how they were found.

    Raises:
        IntegrityError: Nothing holds them; the first row or name that differs is named.
    """
    check, place = locate(datasets, objects, index, item, uri, progress, level=level)
    if place is None:
        raise IntegrityError(
            f"input '{item.role}'",
            expected=f"{item.rows} rows with content {item.content_digest[:19]}…",
            found="; ".join(check.detail) or check.found,
            hint="restore the dataset, name a copy of it, or archive runs while their data exist (`lineage archive`)",
        )
    rows: Rows = recorded_rows(objects, item)
    return RecordedView(item, rows, recorded_digests(objects, item, rows), place, seed=seed), check
