"""Where a picture occurs, who read it and in which epochs, and which models come from it. No dataset is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineage.errors import LineageError
from lineage.lookup.input_rows import epochs_with, rows_read
from lineage.lookup.models import ModelUse, models_of, occurrences_of
from lineage.lookup.rows import Exposure, Occurrence, exposures
from lineage.model.findings import Span
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.identity import recorded_rows

if TYPE_CHECKING:
    from lineage.model.dataset import Rows


@dataclass(frozen=True, slots=True)
class PictureRead:
    """A run's input that holds the picture.

    Attributes:
        run: Its record.
        ordinal: Number of the input.
        occurrences: The rows that are the picture.
        positions: Where they stand in the view, from 0, ascending; empty when that cannot be told.
        read: Whether a training loop really took any of them; ``None`` when nobody watched.
        epochs: In which epochs, as ranges; ``None`` when no epoch was observed.
        problem: Why something cannot be told.
    """

    run: Run
    ordinal: int
    occurrences: tuple[Occurrence, ...]
    positions: tuple[int, ...]
    read: bool | None
    epochs: tuple[Span, ...] | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class PictureReport:
    """What is recorded of a picture.

    Attributes:
        occurrences: Rows that are it, in every numbering of rows.
        inputs: How many inputs of runs hold it.
        reads: Some of them, newest run first.
        models: Models that were made by runs that read it, newest first, then those that inherit it, with the way.
    """

    digest: str
    occurrences: tuple[Occurrence, ...]
    inputs: int
    reads: tuple[PictureRead, ...]
    models: tuple[ModelUse, ...]


def picture_report(ports: Ports, digest: str, *, most: int = 20, skip: int = 0) -> PictureReport:
    """Where the picture with this digest occurs and went.

    Args:
        ports: Index, records and objects.
        digest: SHA-256 of its encoded bytes.
        most: Tell details of so many inputs at most.
        skip: Without the first ones.

    Raises:
        NotFound: No recorded dataset holds it.
    """
    found = occurrences_of(ports.rows, ports.objects, image=digest)
    seen = exposures(ports.rows, found)
    views: dict[str, Rows] = {}  # runs share views, and a view may have a million rows
    reads = tuple(_read(ports, item, views) for item in seen[skip : skip + most])
    return PictureReport(digest, tuple(found), len(seen), reads, tuple(models_of(ports.rows, seen)))


def reads_of_picture(ports: Ports, digest: str) -> Iterator[PictureRead]:
    """Inputs of runs that hold the picture, newest run first, each looked at when it is asked for.

    Raises:
        NotFound: No recorded dataset holds it.
    """
    views: dict[str, Rows] = {}
    for item in exposures(ports.rows, occurrences_of(ports.rows, ports.objects, image=digest)):
        yield _read(ports, item, views)


def _read(ports: Ports, exposure: Exposure, views: dict[str, Rows]) -> PictureRead:
    import numpy as np

    run = ports.runs.get(exposure.sighting.run_id)
    ordinal = exposure.sighting.ordinal
    item = run.inputs[ordinal]
    told: dict[str, Any] = {"run": run, "ordinal": ordinal, "occurrences": exposure.occurrences}
    positions: tuple[int, ...] = ()
    try:
        if item.rows_object not in views:
            views[item.rows_object] = recorded_rows(ports.objects, item)
        places = np.flatnonzero(np.isin(views[item.rows_object], np.asarray([row.row for row in exposure.occurrences], np.int64)))
        positions = tuple(places.tolist())
        noted = rows_read(ports.objects, run, ordinal)
        read = None if noted is None else bool(noted[places].any())
        return PictureRead(**told, positions=positions, read=read, epochs=epochs_with(ports.objects, run, ordinal, places))
    except LineageError as error:  # an object of one record is gone: the others can still be told
        return PictureRead(**told, positions=positions, read=None, epochs=None, problem=error.message)


def digests_of_sample(occurrences: Sequence[Occurrence]) -> list[str]:
    """Digests of the pictures of these rows, each once, in their order."""
    return list(dict.fromkeys(item.picture_digest for item in occurrences if item.picture_digest is not None))
