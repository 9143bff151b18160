"""Is the data still what a record says? Checked row by row, before anything uses it."""

from __future__ import annotations

from dataclasses import dataclass

from lineage.errors import LineageError, NotFound
from lineage.model.dataset import InputRecord, RowIndex
from lineage.model.digest import digest_of_view
from lineage.ports import DatasetBackend, DatasetReader, ObjectStore, Progress, no_progress
from lineage.record.identity import RowDigests, class_names_of, digest_rows, recorded_rows

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class DataCheck:
    """The outcome.

    Attributes:
        status: ``ready``; ``missing`` (cannot be opened); ``changed`` (opens, but holds something else).
        found: What is there now, in short.
        detail: Why, one line each; the first names how many rows differ and the first of them.
        branch: Branch to read from.
        commit_id: Commit to read from.
    """

    status: str
    found: str
    detail: tuple[str, ...] = ()
    branch: str = "main"
    commit_id: str = ""


def check_input(
    backend: DatasetBackend, objects: ObjectStore, item: InputRecord, uri: str | None = None, progress: Progress = no_progress
) -> DataCheck:
    """Compare every recorded row of ``item`` with what is stored now.

    Args:
        backend: Where the data are.
        objects: Holds the recorded rows and digests.
        item: The recorded input.
        uri: Read from this address instead: a moved or copied dataset. Its newest commit is used when it lacks the recorded one.
        progress: Told of rows read.
    """
    address = uri or item.uri
    try:
        rows = recorded_rows(objects, item)
        recorded = RowDigests.from_bytes(objects.get_bytes(item.digests_object))
        try:
            reader = backend.open(address, item.branch, item.commit_id)
        except NotFound as error:
            if uri is None or error.kind != "dataset commit":
                raise
            version = backend.resolve(address).version
            reader = backend.open(address, version.branch, version.commit_id)
        version = reader.version
        manifest = backend.manifest(version)  # first: it finds files that must not be read
        digests = digest_rows(reader, rows, progress, f"checking {item.role} rows")
    except LineageError as error:
        return DataCheck(status="missing", found="cannot be read", detail=(error.message,))
    detail = _differences(recorded, digests, rows, reader)
    names = class_names_of(reader)
    if digest_of_view(digests.rows, names) == item.content_digest:
        notes: list[str] = []
        if version.dataset_id != item.dataset_id:
            notes.append(f"dataset id {version.dataset_id[:8]} instead of {item.dataset_id[:8]}: another dataset with the same rows")
        return DataCheck("ready", "every row equal", tuple(notes), version.branch, version.commit_id)
    if names != item.class_names:
        detail.append("class names differ, so that the same indices mean other things")
    if item.manifest is not None and manifest is not None and manifest != item.manifest:
        detail.append(f"the log behind the commit is another one: {item.manifest.files} files recorded, {manifest.files} now")
        detail += [f"log entry {gap} is missing or torn" for gap in manifest.gaps if gap not in item.manifest.gaps][:_SHOWN]
    return DataCheck("changed", f"commit {version.commit_id} of {address}", tuple(detail), version.branch, version.commit_id)


def _differences(recorded: RowDigests, found: RowDigests, rows: RowIndex, reader: DatasetReader) -> list[str]:
    pictures, whole = recorded.differing(found)
    if not whole:
        return []
    first = whole[:_SHOWN]
    source = [int(rows[position]) for position in first]
    names = reader.read(source, ["sample_id"])["sample_id"] if "sample_id" in reader.columns else [str(row) for row in source]
    in_picture = set(pictures)
    shown = ", ".join(
        f"row {row} ({name}: {'picture' if position in in_picture else 'annotations'})"
        for position, row, name in zip(first, source, names, strict=True)
    )
    more = f" and {len(whole) - len(first)} more" if len(whole) > len(first) else ""
    return [f"data differ in {len(whole)} of {len(rows)} rows: {shown}{more}"]
