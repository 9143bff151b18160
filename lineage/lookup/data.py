"""What a run read, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lineage.lookup.graph import Hop, ancestors
from lineage.model.dataset import InputRecord
from lineage.model.run import RowsRead, Run
from lineage.ports import ObjectStore, RowIndex, RunStore
from lineage.record.identity import digests_at, recorded_names, recorded_rows
from lineage.record.reads import epochs_of
from lineage.record.row_keys import digests_of_nothing


@dataclass(frozen=True, slots=True)
class Inherited:
    """Inputs of a run that another run started from.

    Attributes:
        path: How they came, in the direction of time.
    """

    run_id: str
    run_name: str
    path: tuple[Hop, ...]
    inputs: tuple[InputRecord, ...]


def inherited_by(runs: RunStore, index: RowIndex, run: Run) -> list[Inherited]:
    """What a run's model has from the models it was fine-tuned from, nearest first."""
    return [
        Inherited(relative.run_id, relative.run_name, relative.path, runs.get(relative.run_id).inputs)
        for relative in ancestors(index, run.id)
    ]


_PART_ROWS = 16_384


def rows_of(
    objects: ObjectStore, run: Run, role: str | None = None, *, start: int = 0, stop: int | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of a run's inputs, in view order, one input after the other, as plain values.

    Each has ``role``, ``input`` (number of the input), ``position`` (in the view), ``row`` (in the dataset version), ``sample_id``,
    ``sequence``, ``picture_digest`` (``None`` without a picture), ``row_digest``, and ``epochs``: ranges ``[first, last]`` in which it was
    read, or ``None`` when nobody watched.

    Args:
        objects: Holds rows and digests.
        run: The run.
        role: Only inputs of this role.
        start: Pass over so many rows, counted over all chosen inputs.
        stop: End before this one.

    Raises:
        NotFound: An object is gone.
        IntegrityError: An object is not what the record says.
    """
    before = 0
    for ordinal, item in enumerate(run.inputs):
        if role is None or item.role == role:
            first, last = max(0, start - before), item.rows if stop is None else min(item.rows, stop - before)
            if first < last:
                reads = [read for read in run.reads if read.ordinal == ordinal]
                yield from _rows(objects, ordinal, item, reads, first, last)
            before += item.rows


def _rows(objects: ObjectStore, ordinal: int, item: InputRecord, reads: list[RowsRead], first: int, last: int) -> Iterator[dict[str, Any]]:
    rows = recorded_rows(objects, item)
    epochs = epochs_of(objects, reads, item.rows)
    nothing = digests_of_nothing().tobytes()
    for start in range(first, last, _PART_ROWS):
        part = slice(start, min(start + _PART_ROWS, last))
        digests, names = digests_at(objects, item, rows, part), recorded_names(objects, item, rows[part])
        for offset, position in enumerate(range(part.start, part.stop)):
            picture = digests.pictures[offset].tobytes()
            yield {
                "role": item.role,
                "input": ordinal,
                "position": position,
                "row": int(rows[position]),
                "sample_id": None if names.sample_ids is None else names.sample_ids[offset],
                "sequence": None if names.sequences is None else names.sequences[offset],
                "picture_digest": None if picture == nothing else f"sha256:{picture.hex()}",
                "row_digest": f"sha256:{digests.rows[offset].tobytes().hex()}",
                "epochs": None if epochs is None else [list(span) for span in epochs[position]],
            }
