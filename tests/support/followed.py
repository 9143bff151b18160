"""What plain code that was followed left in the store."""

from __future__ import annotations

import lineage
from lineage.api.process import ports_of_process
from lineage.model.run import Run
from lineage.record.identity import recorded_rows
from lineage.record.reads import unpack_positions


def rows_read(run: Run, ordinal: int) -> list[int]:
    """Source rows of an input that were read."""
    objects = ports_of_process().objects
    item = run.inputs[ordinal]
    rows = recorded_rows(objects, item)
    (reads,) = [reads for reads in run.reads if reads.ordinal == ordinal]
    if reads.positions_object is None:
        return list(rows.tolist())
    return list(rows[unpack_positions(objects.get_bytes(reads.positions_object), item.rows)].tolist())


def only() -> Run:
    """The one run of the store."""
    (run,) = lineage.runs()
    return run


def named(run: Run) -> list[tuple[str, str, int]]:
    """Role, last part of the address, and number of rows of each input."""
    return [(item.role, item.uri.rpartition("/")[2], item.rows) for item in run.inputs]
