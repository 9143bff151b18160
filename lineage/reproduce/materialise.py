"""``materialise``: write a run's rows as a dataset or as folders: aside, read back and compared, then renamed."""

from __future__ import annotations

import glob
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineage.errors import Conflict, IntegrityError, InvalidSource, NotFound, Unavailable
from lineage.model.dataset import InputRecord, normalise_uri
from lineage.model.digest import digest_of_file
from lineage.model.processes import is_running
from lineage.model.run import Run
from lineage.model.source import Column
from lineage.ports import Exporter, Ports, Progress, no_progress
from lineage.record.digesting import digest_rows
from lineage.record.identity import recorded_digests, recorded_rows
from lineage.record.opening import open_recorded
from lineage.record.recheck import Level
from lineage.record.recorded_view import ArchivePlace, RecordedView
from lineage.reproduce.archive import is_complete

if TYPE_CHECKING:
    from lineage.model.dataset import Rows

DEEPLAKE = "deeplake"
"""The layout that needs no exporter: a Deep Lake dataset."""

_BATCH_ROWS = 64
_NOTE = "lineage.json"


@dataclass(frozen=True, slots=True)
class Materialised:
    """One input of a run, written.

    Attributes:
        path: Folder, relative to the target.
        origin: Whether rows came from the ``dataset`` or the ``archive``.
        content_digest: Root over the rows, as recorded.
    """

    role: str
    path: str
    layout: str
    rows: int
    origin: str
    content_digest: str


def materialise(
    ports: Ports,
    run: Run,
    target: Path,
    layout: str = DEEPLAKE,
    *,
    exporter: Callable[[str], Exporter],
    role: str | None = None,
    data: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> list[Materialised]:
    """Write a run's inputs into ``target``, a folder for each.

    Every row is checked before and after: pictures are byte for byte what was recorded, and a Deep Lake dataset has every row's digest.

    Args:
        ports: The outside world.
        run: Whose inputs.
        target: A folder that does not exist, or is empty.
        layout: ``deeplake``, or the name of an exporter (``visdrone``, ``coco``, ``yolo``).
        exporter: Gives an exporter by name.
        role: Only inputs of this role.
        data: Role to address, for data that moved.
        progress: Told of rows checked, written and read back.

    Raises:
        Conflict: ``target`` holds something.
        Unavailable: It cannot be written.
        UsageError: It is a path that Deep Lake takes for something else.
        NotFound: The run has no such input.
        IntegrityError: The recorded rows cannot be had, or read back otherwise.
        InvalidSource: A row cannot be said in this layout.
    """
    chosen = [(ordinal, item) for ordinal, item in enumerate(run.inputs) if role in (None, item.role)]
    if not chosen:
        raise NotFound("input", role or "any", detail=f"run {run.id[:12]} has {', '.join(sorted({i.role for i in run.inputs})) or 'none'}")
    writer = None if layout == DEEPLAKE else exporter(layout)
    final = target.absolute()
    if final.is_symlink() or (final.exists() and (not final.is_dir() or any(final.iterdir()))):
        raise Conflict(f"{final} exists and is not an empty folder", hint="choose another folder, or move it away")
    if writer is None:
        normalise_uri(str(final))  # Deep Lake cannot write to every path
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = _aside(final)
    except OSError as error:
        raise Unavailable(f"{final} cannot be written: {error.strerror}", hint="choose a folder that can be made here") from error
    done: list[Materialised] = []
    try:
        for _, item in chosen:
            name = _name(item.role, {made.path for made in done}, {other.role for _, other in chosen})
            view = _open(ports, run, item, (data or {}).get(item.role), progress)
            folder = aside / name
            if writer is None:
                _write_dataset(ports, view, folder, progress)
            else:
                _export(writer, view, folder, progress)
            done.append(Materialised(item.role, name, layout, item.rows, view.origin, item.content_digest))
        note = {"run_id": run.id, "run_name": run.name, "inputs": [asdict(made) for made in done]}
        (aside / _NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
        if final.exists():
            final.rmdir()
        aside.rename(final)
    except OSError as error:
        raise Unavailable(f"{final} cannot be written: {error.strerror or error}", hint="is the disk full?") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return done


def _open(ports: Ports, run: Run, item: InputRecord, uri: str | None, progress: Progress) -> RecordedView:
    """The recorded rows, from wherever they are whole."""
    listing = ports.rows.archive(item.content_digest) if uri is None else None
    if listing is not None and ports.runs.origin(run.id) is not None and is_complete(ports, listing, item):
        # An address in a record from elsewhere leads where its maker liked; what came with it is enough.
        rows = recorded_rows(ports.objects, item)
        return RecordedView(item, rows, recorded_digests(ports.objects, item, rows), ArchivePlace(ports.objects, listing, item))
    # Every row is compared as it is read. Where a copy could stand in, they are all compared before the first one is written.
    level: Level = "quick" if listing is None else "full"
    return open_recorded(ports.datasets, ports.objects, ports.rows, item, uri, progress, level=level)[0]


def _name(role: str, taken: set[str], roles: set[str]) -> str:
    """The role, with a number when it has several inputs; never the name of another role, which may end in a number, too."""
    if role not in taken:
        return role
    return next(name for number in itertools.count(2) if (name := f"{role}-{number}") not in taken | roles)


def _aside(final: Path) -> Path:
    """A new folder beside the final one; those of killed processes are removed."""
    prefix = f".{final.name}.writing-"
    for leftover in final.parent.glob(f"{glob.escape(prefix)}*"):
        process = leftover.name.removeprefix(prefix)
        if process.isdecimal() and (int(process) == os.getpid() or not is_running(int(process))):
            shutil.rmtree(leftover, ignore_errors=True)
    aside = final.parent / f"{prefix}{os.getpid()}"
    aside.mkdir()
    return aside


def _export(writer: Exporter, view: RecordedView, folder: Path, progress: Progress) -> None:
    folder.mkdir()
    total, role = len(view), view.record.role
    samples = (view.sample(position) for position in range(total))
    written = writer.write(folder, samples, view.columns(), total=total, progress=lambda done, of: progress(f"writing {role}", done, of))
    if len(written) != total:
        raise IntegrityError(f"{role} as {writer.name}", expected=f"{total} pictures", found=str(len(written)))
    for position, path in enumerate(written):
        expected = f"sha256:{view.digests.pictures[position].tobytes().hex()}"
        found = digest_of_file(path)
        if found != expected:
            raise IntegrityError(f"picture {path.name}", expected=expected, found=found, hint="the disk wrote something else; try another")
        progress(f"reading {role} back", position + 1, total)


def _write_dataset(ports: Ports, view: RecordedView, folder: Path, progress: Progress) -> None:
    import numpy as np

    backend, total, role = ports.datasets(), len(view), view.record.role
    uri = f"file://{folder}"
    first = view.sample(0)
    columns = [_column(column, first[name]) for name, column in view.columns().items()]
    writer = backend.write(uri, columns, source={"materialised": view.record.content_digest})
    for start, batch in _batches(view):
        writer.append(batch)
        progress(f"writing {role}", min(start + _BATCH_ROWS, total), total)
    version = writer.complete(f"materialised from {view.record.uri} at {view.record.commit_id}")
    reader = backend.open(uri, version.branch, version.commit_id)
    places: Rows = np.arange(total)
    differing = view.digests.differing(digest_rows(reader, places, progress, f"reading {role} back"))[1]
    if differing:
        raise IntegrityError(
            f"row {differing[0]} of {role}",
            expected="what was recorded",
            found=f"other content in {len(differing)} rows",
            hint="a column's type cannot be kept; choose another layout",
        )


def _batches(view: RecordedView) -> Iterator[tuple[int, dict[str, list[Any]]]]:
    for start in range(0, len(view), _BATCH_ROWS):
        yield start, view.read_quietly(range(start, min(start + _BATCH_ROWS, len(view))))


def _column(column: Column, value: Any) -> Column:
    """The column with the type of its values."""
    if column.kind == "image":
        return replace(column, compression="png" if bytes(value[:4]) == b"\x89PNG" else "jpeg")
    if column.kind == "text":
        return column
    dtype = getattr(value, "dtype", None)
    if dtype is None and isinstance(value, bool | int | float):
        import numpy as np

        value = np.asarray(value)
        dtype = value.dtype
    if dtype is None or dtype.kind not in "biuf":
        raise InvalidSource(
            f"column '{column.name}' cannot be written: expected numbers, texts or pictures, found {type(value).__name__}", problems=[]
        )
    return replace(column, dtype=dtype.name, ndim=value.ndim)
