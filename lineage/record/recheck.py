"""Is the data still what a record says? Checked by names, or row by row, before anything uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from lineage.errors import LineageError, NotFound
from lineage.model.dataset import DatasetVersion, InputRecord, LogManifest
from lineage.model.digest import digest_of_view
from lineage.ports import DatasetBackend, DatasetReader, ObjectStore, Progress, RowIndex, no_progress
from lineage.record.digesting import RowDigester, digest_rows
from lineage.record.identity import class_names_of, recorded_digests, recorded_names, recorded_rows
from lineage.record.ledger import RowDigests, RowNames

if TYPE_CHECKING:
    from lineage.model.dataset import Rows

Level = Literal["quick", "full"]
"""``quick``: names, counts, columns and log files. ``full``: every byte of every recorded row, too."""

_SHOWN = 3
_NAME = "sample_id"


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
    backend: DatasetBackend,
    objects: ObjectStore,
    item: InputRecord,
    uri: str | None = None,
    progress: Progress = no_progress,
    *,
    level: Level = "full",
    index: RowIndex | None = None,
) -> DataCheck:
    """Compare a recorded input with what is stored now.

    Args:
        backend: Where the data are.
        objects: Holds the recorded rows and digests.
        item: The recorded input.
        uri: Read from this address instead: a moved or copied dataset. Its newest commit is used when it lacks the recorded one.
        progress: Told of rows read.
        level: How thorough.
        index: Knows what the files looked like when they were digested; a quick check then tells when they were touched since.
    """
    address = uri or item.uri
    reader: DatasetReader | None = None
    try:
        rows = recorded_rows(objects, item)
        recorded = recorded_digests(objects, item, rows)
        reader = _open(backend, item, address, is_moved=uri is not None)
        manifest = backend.manifest(reader.version)  # first: it finds files that must not be read
        if level == "quick":
            return _names(item, reader, manifest, rows, _touched(backend, reader, index))
        found = digest_rows(reader, rows, progress, f"checking {item.role} rows")
    except LineageError as error:
        return DataCheck("missing", "cannot be read", (error.message, *([] if reader is None else _other_dataset(item, reader.version))))
    check = compare_rows(item, recorded, found, rows, reader, lambda: recorded_names(objects, item, rows))
    if check.status == "changed":
        check = replace(check, detail=(*check.detail, *_other_dataset(item, reader.version)))
    if check.status == "changed" and item.manifest is not None and manifest is not None and manifest != item.manifest:
        check = replace(check, detail=(*check.detail, *_manifests(item.manifest, manifest)))
    return check


def compare_rows(
    item: InputRecord,
    recorded: RowDigests,
    found: RowDigests,
    places: Rows,
    reader: DatasetReader,
    before: Callable[[], RowNames] = RowNames,
) -> DataCheck:
    """The outcome for rows that were read from ``places`` of ``reader``; ``before`` gives their recorded names."""
    version, names = reader.version, class_names_of(reader)
    if digest_of_view(found.rows.tobytes(), names) == item.content_digest:
        notes: list[str] = []
        if version.dataset_id != item.dataset_id:
            notes.append(f"dataset id {version.dataset_id[:8]} instead of {item.dataset_id[:8]}: another dataset with the same rows")
        return DataCheck("ready", "every row equal", tuple(notes), version.branch, version.commit_id)
    detail = _differences(recorded, found, places, reader, before)
    if names != item.class_names:
        detail.append(f"class names differ, so that the same indices mean other things: {_first_renamed(item.class_names, names)}")
    return DataCheck("changed", f"commit {version.commit_id} of {version.uri}", tuple(detail), version.branch, version.commit_id)


def _other_dataset(item: InputRecord, version: DatasetVersion) -> list[str]:
    if version.dataset_id == item.dataset_id:
        return []
    return [f"another dataset is at {version.uri}: id {version.dataset_id[:8]} instead of {item.dataset_id[:8]}"]


def _open(backend: DatasetBackend, item: InputRecord, address: str, *, is_moved: bool) -> DatasetReader:
    try:
        return backend.open(address, item.branch, item.commit_id)
    except NotFound as error:
        if not is_moved or error.kind != "dataset commit":
            raise
        version = backend.resolve(address).version
        return backend.open(address, version.branch, version.commit_id)


def _names(item: InputRecord, reader: DatasetReader, manifest: LogManifest | None, rows: Rows, notes: tuple[str, ...]) -> DataCheck:
    version, detail = reader.version, []
    for what, recorded, found in (
        ("dataset id", item.dataset_id, version.dataset_id),
        ("branch id", item.branch_id, version.branch_id),
        ("rows of the version", item.rows_total, version.rows_total),
    ):
        if recorded != found:
            detail.append(f"{what}: {recorded} recorded, {found} now")
    if len(rows) and int(rows.max()) >= version.rows_total:
        detail.append(f"row {int(rows.max())} was recorded, the version has {version.rows_total}")
    types = dict(reader.column_types)
    for name in sorted(set(types) | set(item.columns)):
        if types.get(name) != item.columns.get(name):
            detail.append(f"column '{name}': {item.columns.get(name, 'absent')} recorded, {types.get(name, 'absent')} now")
    names = class_names_of(reader)
    if names != item.class_names:
        detail.append(f"class names differ: {_first_renamed(item.class_names, names)}")
    if item.manifest is not None and manifest is not None and manifest != item.manifest:
        detail += _manifests(item.manifest, manifest)
    if detail:
        return DataCheck("changed", f"commit {version.commit_id} of {version.uri}", tuple(detail), version.branch, version.commit_id)
    return DataCheck("ready", "names, counts, columns and log equal", notes, version.branch, version.commit_id)


def _touched(backend: DatasetBackend, reader: DatasetReader, index: RowIndex | None) -> tuple[str, ...]:
    version = reader.version
    known = [] if index is None else index.versions(version.uri, version.dataset_id, version.branch_id)
    signatures = {item.signature for item in known if item.commit_id == version.commit_id} - {None}
    if signatures and backend.signature(version) not in signatures:
        return ("files were touched since their rows were digested: only a full check can tell whether their content changed",)
    return ()


def _manifests(recorded: LogManifest, found: LogManifest) -> list[str]:
    lines = [f"the log behind the commit is another one: {recorded.files} files recorded, {found.files} now"]
    lines += [f"log entry {gap} is missing or torn" for gap in found.gaps if gap not in recorded.gaps][:_SHOWN]
    lines += [f"log entry {gap} arrived after it was recorded" for gap in recorded.gaps if gap not in found.gaps][:_SHOWN]
    return lines


def _first_renamed(recorded: dict[str, tuple[str, ...]], found: dict[str, tuple[str, ...]]) -> str:
    for column in sorted(set(recorded) | set(found)):
        before, now = recorded.get(column, ()), found.get(column, ())
        for number in range(max(len(before), len(now))):
            left = before[number] if number < len(before) else "nothing"
            right = now[number] if number < len(now) else "nothing"
            if left != right:
                return f"class {number} of '{column}' was '{left}', is '{right}'"
    return "columns of class labels"


def _differences(recorded: RowDigests, found: RowDigests, places: Rows, reader: DatasetReader, before: Callable[[], RowNames]) -> list[str]:
    pictures, whole = recorded.differing(found)
    if not whole:
        return []
    first = whole[:_SHOWN]
    rows = [int(places[position]) for position in first]
    names = reader.read(rows, [_NAME])[_NAME] if _NAME in reader.columns else [str(row) for row in rows]
    in_picture = set(pictures)
    known: Sequence[str] = names
    with suppress(LineageError):  # of names that are lost no more can be told
        known = before().take(first).sample_ids or names
    shown = []
    for position, row, name, was in zip(first, rows, names, known, strict=True):
        what = "picture" if position in in_picture else "annotations"
        if what == "annotations" and isinstance(name, str) and was != name:
            is_all = _digest_with_name(reader, row, was) == recorded.rows[position].tobytes()
            what = f"its {_NAME} was '{was}'" if is_all else f"its {_NAME} was '{was}', and other annotations"
        shown.append(f"row {row} ({name}: {what})")
    more = f" and {len(whole) - len(first)} more" if len(whole) > len(first) else ""
    return [f"data differ in {len(whole)} of {len(recorded)} rows: {', '.join(shown)}{more}"]


def _digest_with_name(reader: DatasetReader, row: int, name: str) -> bytes:
    """The digest that a row would have under another name."""
    values = {column: value[0] for column, value in reader.read([row]).items()}
    return RowDigester.of(reader)(values | {_NAME: name})[1]
