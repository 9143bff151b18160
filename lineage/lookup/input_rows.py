"""The rows of a recorded input as arrays, with what is known of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineage.lookup.graph import Hop
from lineage.model.dataset import InputRecord
from lineage.model.findings import ModelStep, RowName, Span
from lineage.model.run import Run, RunState
from lineage.ports import ObjectStore
from lineage.record.identity import recorded_digests, recorded_names, recorded_rows
from lineage.record.ledger import RowDigests, RowNames
from lineage.record.reads import unpack_positions

if TYPE_CHECKING:
    import numpy as np

    from lineage.model.dataset import Rows

    Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class InputRows:
    """A recorded input, row by row, in view order.

    Attributes:
        ordinal: Number of the input in the run's record.
        rows: Source positions, int64, shape (n,).
        read: Which rows were really read, bool, shape (n,); ``None`` when nobody watched to the end.
        path: How the model that is looked at inherits it, in the direction of time.
    """

    run: Run
    ordinal: int
    item: InputRecord
    rows: Rows
    digests: RowDigests
    names: RowNames
    read: Mask | None
    path: tuple[ModelStep, ...] = ()

    def name(self, position: int) -> RowName:
        """What to call the row at a position of the view."""
        ids, sequences = self.names.sample_ids, self.names.sequences
        return RowName(
            run_id=self.run.id,
            input=self.ordinal,
            role=self.item.role,
            uri=self.item.uri,
            position=position,
            row=int(self.rows[position]),
            sample_id=None if ids is None else ids[position],
            sequence=None if sequences is None else sequences[position],
        )


def load_input(objects: ObjectStore, run: Run, ordinal: int, path: Sequence[Hop] = ()) -> InputRows:
    """Everything that is recorded of an input's rows.

    Raises:
        NotFound: An object is gone.
        IntegrityError: An object is not what the record says.
    """
    item = run.inputs[ordinal]
    rows = recorded_rows(objects, item)
    return InputRows(
        run=run,
        ordinal=ordinal,
        item=item,
        rows=rows,
        digests=recorded_digests(objects, item, rows),
        names=recorded_names(objects, item, rows),
        read=rows_read(objects, run, ordinal),
        path=steps(path),
    )


def rows_read(objects: ObjectStore, run: Run, ordinal: int) -> Mask | None:
    """Which rows of an input were really read: bool, shape (n,).

    ``None`` when that is not known: no epoch was observed, or the run did not end by itself, so that its last epoch may be missing.

    Raises:
        NotFound: An object is gone.
    """
    import numpy as np

    noted = [item for item in run.reads if item.ordinal == ordinal]
    # Reads outside an epoch alone prove little: a look at the first picture is one, too.
    if run.state is not RunState.finished or all(item.first_epoch is None for item in noted):
        return None
    read = np.zeros(run.inputs[ordinal].rows, bool)
    for item in noted:
        if item.positions_object is None:
            read[:] = True
        else:
            read[unpack_positions(objects.get_bytes(item.positions_object), len(read))] = True
    return read


def epochs_with(objects: ObjectStore, run: Run, ordinal: int, positions: Rows) -> tuple[Span, ...] | None:
    """Epochs in which any row at ``positions`` of an input's view was read, as ranges; ``None`` when no epoch was observed.

    Raises:
        NotFound: An object is gone.
    """
    import numpy as np

    noted = [item for item in run.reads if item.ordinal == ordinal and item.first_epoch is not None]
    if not noted:
        return None
    spans: list[Span] = []
    for item in sorted(noted, key=lambda item: item.first_epoch or 0):
        if item.positions_object is not None:
            among = unpack_positions(objects.get_bytes(item.positions_object), run.inputs[ordinal].rows)
            if not np.isin(positions, among).any():
                continue
        first, last = item.first_epoch or 0, item.last_epoch or 0
        if spans and spans[-1][1] + 1 >= first:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return tuple(spans)


def steps(path: Iterable[Hop]) -> tuple[ModelStep, ...]:
    """A way through the graph of runs, as a value."""
    return tuple(
        ModelStep(
            from_run_id=hop.from_run_id,
            from_run_name=hop.from_run_name,
            model=hop.name,
            digest=hop.digest,
            to_run_id=hop.to_run_id,
            to_run_name=hop.to_run_name,
        )
        for hop in path
    )
