"""What differs inside rows that both runs have: values read from the datasets, or from their archives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lineage.errors import LineageError
from lineage.lookup.diff_objects import Encoded, ObjectColumns, compare_columns, compare_objects, object_columns
from lineage.model.dataset import InputRecord
from lineage.model.difference import RowChange, ValueChange
from lineage.ports import Ports, Progress, no_progress
from lineage.record.opening import open_recorded
from lineage.record.recorded_view import RecordedView

_SAMPLE_ID = "sample_id"
_BATCH_ROWS = 32

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Described:
    """Changed rows with what changed in them.

    Attributes:
        has_corners: Whether boxes are left, top, right, bottom.
        not_compared: Why values could not be had.
    """

    rows: tuple[RowChange, ...]
    has_corners: bool = False
    not_compared: tuple[str, ...] = ()


def describe_rows(
    ports: Ports, a: InputRecord, b: InputRecord, changes: Sequence[RowChange], progress: Progress = no_progress
) -> Described:
    """The same changes with objects and columns that differ; every row is checked against its digest when it is read.

    Args:
        ports: Where datasets and archives are.
        a: The first input.
        b: The second.
        changes: Rows with a position in both views.
        progress: Told of rows read.
    """
    if not changes:
        return Described(())
    left, reason_a = _read(ports, a, [change.position_a for change in changes if change.position_a is not None], progress)
    right, reason_b = _read(ports, b, [change.position_b for change in changes if change.position_b is not None], progress)
    reasons = tuple(f"{side}: only digests could be compared: {reason}" for side, reason in (("a", reason_a), ("b", reason_b)) if reason)
    if reasons:
        return Described(tuple(change.model_copy(update={"not_compared": "; ".join(reasons)}) for change in changes), not_compared=reasons)
    columns = object_columns([*left, *right], a.class_names)
    described = (_with_values(change, ours, theirs, columns, a, b) for change, ours, theirs in zip(changes, left, right, strict=True))
    return Described(tuple(described), columns is not None and columns.has_corners)


def open_input(ports: Ports, item: InputRecord) -> RecordedView:
    """The rows of a recorded input, after a quick check.

    Raises:
        IntegrityError: Nothing holds them any more.
    """
    return open_recorded(ports.datasets, ports.objects, ports.rows, item, level="quick")[0]


def _read(ports: Ports, item: InputRecord, positions: Sequence[int], progress: Progress) -> tuple[list[Values], str | None]:
    """Whole rows, or why they cannot be had. Of pictures only digests stay in memory."""
    rows: list[Values] = []
    try:
        view = open_input(ports, item)
        for start in range(0, len(positions), _BATCH_ROWS):
            part = positions[start : start + _BATCH_ROWS]
            values = view.read_quietly(part)
            rows += [{name: Encoded.of(column[i]) for name, column in values.items()} for i in range(len(part))]
            progress(f"reading changed {item.role} rows", len(rows), len(positions))
    except LineageError as error:
        return [], error.message
    return rows, None


def _with_values(
    change: RowChange, ours: Values, theirs: Values, columns: ObjectColumns | None, a: InputRecord, b: InputRecord
) -> RowChange:
    names_a, names_b = a.class_names, b.class_names
    left_out = () if columns is None else tuple(filter(None, (columns.boxes, columns.labels, *columns.others)))
    objects = () if columns is None else compare_objects(ours, theirs, columns, names_a, names_b)
    other = compare_columns(ours, theirs, left_out, names_a, names_b)
    if columns is not None and not objects and not other:
        other = _hidden_change(ours, theirs, columns, left_out)
    if change.new_sample_id is not None:
        other = tuple(item for item in other if item.name != _SAMPLE_ID)
    return change.model_copy(update={"objects": objects, "columns": other})


def _hidden_change(ours: Values, theirs: Values, columns: ObjectColumns, names: Sequence[str]) -> tuple[ValueChange, ...]:
    """Why two rows differ whose objects say the same: types, class indices of equal names, or the order."""
    changed = compare_columns(ours, theirs, (), {}, {})
    if any(ours[name].dtype != theirs[name].dtype for name in names):
        return changed
    if compare_objects(ours, theirs, columns, {}, {}):
        return tuple(ValueChange(name=item.name, a=f"{item.a} (the same class names)", b=item.b) for item in changed)
    return (ValueChange(name=columns.boxes, a="objects in one order", b="the same objects in another order"),)
