"""Opening, verifying, writing and keeping what past runs read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lineage.api.process import ports_of_process
from lineage.errors import NotFound
from lineage.lookup import runs as lookup
from lineage.model.dataset import normalise_uri
from lineage.model.verification import Verification
from lineage.ports import Progress, no_progress
from lineage.record.opening import open_recorded as _open_recorded
from lineage.record.recorded_view import RecordedView
from lineage.reproduce.archive import Archived, archive_run
from lineage.reproduce.materialise import DEEPLAKE, Materialised
from lineage.reproduce.materialise import materialise as _materialise
from lineage.reproduce.verify import Verifier
from lineage.wiring import exporter, require_own_objects


def open_recorded(
    run: str,
    role: str = "train",
    *,
    number: int = 0,
    uri: str | None = None,
    level: Literal["quick", "full"] = "full",
    progress: Progress = no_progress,
) -> RecordedView:
    """Open an input of a past run: exactly its rows in its order, whatever happened to the dataset since.

    Rows come from the dataset, or from an archive when the dataset no longer holds them; ``origin`` of what is returned says which.

    Args:
        run: Id or unique prefix.
        role: Which input.
        number: Which of several inputs of that role, in the order of use.
        uri: Read from this address instead: a moved or copied dataset.
        level: ``full`` compares every byte before the first row is handed out; ``quick`` compares names, log files and counts. Rows are
            compared as they are read in any case.
        progress: Told of rows checked.

    Raises:
        NotFound: There is no such run or input.
        IntegrityError: Nothing holds the recorded rows; the message names the rows or names that differ.
    """
    ports = ports_of_process()
    found = lookup.get_run(ports.runs, ports.liveness, run)
    items = found.inputs_by_role().get(role, [])
    if number >= len(items):
        raise NotFound("input", role, detail=f"run {found.id[:12]} has {', '.join(sorted(found.inputs_by_role())) or 'none'}")
    address = None if uri is None else normalise_uri(uri)
    view, _ = _open_recorded(ports.datasets, ports.objects, ports.rows, items[number], address, progress, seed=found.seed, level=level)
    return view


def verify(run: str, *, level: Literal["quick", "full"] = "full", progress: Progress = no_progress) -> Verification:
    """Whether everything that a run's record relies on is still there and the same. Nothing is executed.

    Args:
        run: Id or unique prefix.
        level: ``full``: every byte of data and objects. ``quick``: names, log files, counts, presence.
        progress: Told of rows read.

    Raises:
        NotFound: There is no such run.
    """
    ports = ports_of_process()
    return Verifier(ports, level, progress).verify(lookup.get_run(ports.runs, ports.liveness, run))


def materialise(
    run: str, folder: str | Path, layout: str = DEEPLAKE, *, role: str | None = None, progress: Progress = no_progress
) -> list[Materialised]:
    """Write the rows a run read into a new folder, one folder for each input; pictures byte for byte.

    Args:
        run: Id or unique prefix.
        folder: A folder that does not exist, or is empty.
        layout: ``deeplake``, ``visdrone``, ``coco``, ``yolo``, or another exporter's name.
        role: Only inputs of this role.
        progress: Told of rows written.

    Raises:
        Conflict: The folder holds something.
        IntegrityError: Nothing holds the recorded rows.
        InvalidSource: A row cannot be said in this layout.
    """
    ports = ports_of_process()
    found = lookup.get_run(ports.runs, ports.liveness, run)
    return _materialise(ports, found, Path(folder), layout, exporter=exporter, role=role, progress=progress)


def archive(run: str, *, progress: Progress = no_progress) -> list[Archived]:
    """Keep the rows a run read in the object store, so that it outlives its datasets.

    Args:
        run: Id or unique prefix.
        progress: Told of rows kept.

    Raises:
        IntegrityError: An input is no longer what was recorded.
        UsageError: The store is a service's.
    """
    ports = ports_of_process()
    require_own_objects(ports)
    return archive_run(ports, lookup.get_run(ports.runs, ports.liveness, run), progress)
