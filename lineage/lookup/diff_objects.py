"""What differs between two rows: which boxes, which of their classes and attributes, which other columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineage.model.difference import ObjectChange, ValueChange
from lineage.model.digest import digest_of_bytes

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

ClassNames = Mapping[str, Sequence[str]]

_BOXES = re.compile(r"(?:^|[_./-])(?:bounding_?)?b?box(?:es)?(?:[_./-]|$)", re.IGNORECASE)
_CORNERS = re.compile(r"ltrb|xyxy|corners", re.IGNORECASE)
_LEAST_IOU = 0.1
_TEXT_LENGTH = 60
_CELLS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class ObjectColumns:
    """Which columns describe the annotated objects of a row.

    Attributes:
        boxes: Column of boxes: one row of four numbers for each object.
        labels: Column of their classes, when there is one.
        others: Further columns with one value for each object.
    """

    boxes: str
    labels: str | None
    others: tuple[str, ...]

    @property
    def has_corners(self) -> bool:
        """Whether boxes are left, top, right, bottom, as the column's name tells; else left, top, width, height."""
        return _CORNERS.search(self.boxes) is not None


@dataclass(frozen=True, slots=True)
class Encoded:
    """Stands for encoded bytes: enough to compare them."""

    size_bytes: int
    digest: str

    @classmethod
    def of(cls, value: Any) -> Any:
        """``value``, or what stands for it when it is bytes."""
        return cls(len(value), digest_of_bytes(bytes(value))) if isinstance(value, bytes | bytearray | memoryview) else value

    def __str__(self) -> str:
        return f"{self.size_bytes} bytes, {self.digest[:19]}…"


def object_columns(rows: Sequence[Mapping[str, Any]], class_names: ClassNames) -> ObjectColumns | None:
    """Find the columns that belong to objects in every one of ``rows``; ``None`` when no column holds boxes."""
    arrays = [{name: array for name, value in row.items() if (array := _array(value)) is not None and array.ndim} for row in rows]
    names = sorted(set.intersection(*(set(row) for row in arrays))) if arrays else []
    boxes = [name for name in names if all(row[name].ndim == 2 and (row[name].shape[1] == 4 or len(row[name]) == 0) for row in arrays)]
    chosen = next((name for name in boxes if _BOXES.search(name)), None)
    if chosen is None:
        return None
    beside = [name for name in names if name != chosen and all(len(row[name]) == len(row[chosen]) for row in arrays)]
    labels = next((name for name in beside if name in class_names and all(row[name].ndim == 1 for row in arrays)), None)
    return ObjectColumns(chosen, labels, tuple(name for name in beside if name != labels))


def compare_objects(
    a: Mapping[str, Any], b: Mapping[str, Any], columns: ObjectColumns, names_a: ClassNames, names_b: ClassNames
) -> tuple[ObjectChange, ...]:
    """Objects that differ between two rows, in the order of the first, then those that were added.

    Equal objects are paired first, then those with the same box, then the others by their overlap, the largest first.

    Args:
        a: Column to value.
        b: Likewise.
        columns: Which columns describe objects.
        names_a: Class names by index, for each column of class labels of ``a``.
        names_b: Likewise of ``b``.
    """
    ours, theirs = _objects(a, columns, names_a), _objects(b, columns, names_b)
    left, right = list(range(len(ours))), list(range(len(theirs)))
    changes: dict[int, ObjectChange] = {}
    for key in (repr, _box_key):
        for i, j in _paired([key(ours[i]) for i in left], [key(theirs[j]) for j in right], left, right):
            left.remove(i)
            right.remove(j)
            if key is _box_key:
                changes[i] = _change(ours[i], theirs[j], None)
    for i, j, overlap in _by_overlap(ours, theirs, left, right, corners=columns.has_corners):
        left.remove(i)
        right.remove(j)
        changes[i] = _change(ours[i], theirs[j], overlap)
    for i in left:
        changes[i] = ObjectChange(kind="removed", box_a=ours[i].box, class_a=ours[i].label)
    added = tuple(ObjectChange(kind="added", box_b=theirs[j].box, class_b=theirs[j].label) for j in right)
    return (*(changes[i] for i in sorted(changes)), *added)


def compare_columns(
    a: Mapping[str, Any], b: Mapping[str, Any], left_out: Sequence[str], names_a: ClassNames, names_b: ClassNames
) -> tuple[ValueChange, ...]:
    """Columns whose values differ, each as a short text; ``left_out`` are not looked at."""
    changes: list[ValueChange] = []
    for name in sorted((a.keys() | b.keys()) - set(left_out)):
        if name not in a or name not in b:
            changes.append(ValueChange(name=name, a=_short(a.get(name)), b=_short(b.get(name))))
        elif not _same(left := _named(a[name], names_a.get(name)), right := _named(b[name], names_b.get(name))):
            changes.append(_column_change(name, left, right))
    return tuple(changes)


@dataclass(frozen=True, slots=True)
class _Object:
    box: tuple[float, ...]
    label: str | None
    values: tuple[tuple[str, Any], ...]


def _box_key(item: _Object) -> str:
    return repr(item.box)  # as text, in which not-a-number equals itself


def _objects(row: Mapping[str, Any], columns: ObjectColumns, names: ClassNames) -> list[_Object]:
    boxes = _array(row[columns.boxes])
    beside = [name for name in (columns.labels, *columns.others) if name is not None]
    values = {name: _named(row[name], names.get(name)) for name in beside}
    found = []
    for i, box in enumerate([] if boxes is None else boxes.tolist()):
        cells = tuple((name, _plain(values[name][i])) for name in beside)
        found.append(_Object(tuple(float(side) for side in box), None if columns.labels is None else str(cells[0][1]), cells))
    return found


def _paired(ours: Sequence[Any], theirs: Sequence[Any], left: Sequence[int], right: Sequence[int]) -> list[tuple[int, int]]:
    waiting: dict[Any, list[int]] = {}
    for place, key in zip(reversed(right), reversed(theirs), strict=True):
        waiting.setdefault(key, []).append(place)
    return [(place, found.pop()) for place, key in zip(left, ours, strict=True) if (found := waiting.get(key))]


def _by_overlap(
    ours: Sequence[_Object], theirs: Sequence[_Object], left: Sequence[int], right: Sequence[int], *, corners: bool
) -> list[tuple[int, int, float]]:
    import numpy as np

    if not left or not right:
        return []
    overlaps = _iou(np.array([ours[i].box for i in left]), np.array([theirs[j].box for j in right]), corners=corners)
    pairs: list[tuple[int, int, float]] = []
    while (best := float(overlaps.max(initial=0.0))) >= _LEAST_IOU:
        i, j = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        pairs.append((left[int(i)], right[int(j)], best))
        overlaps[i, :], overlaps[:, j] = -1, -1
    return pairs


def _iou(a: Array, b: Array, *, corners: bool) -> Array:
    """Overlaps of boxes, float64, shape (n, m); boxes are (left, top, width, height), or corners."""
    import numpy as np

    start_a, start_b = a[:, None, :2], b[None, :, :2]
    end_a, end_b = (a[:, None, 2:], b[None, :, 2:]) if corners else (start_a + a[:, None, 2:], start_b + b[None, :, 2:])
    common = np.clip(np.minimum(end_a, end_b) - np.maximum(start_a, start_b), 0, None).prod(axis=2)
    union = np.abs((end_a - start_a).prod(axis=2)) + np.abs((end_b - start_b).prod(axis=2)) - common
    overlaps = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return np.asarray(np.nan_to_num(overlaps))


def _change(a: _Object, b: _Object, overlap: float | None) -> ObjectChange:
    values = tuple(
        ValueChange(name=name, a=left, b=right)
        for (name, left), (_, right) in zip(a.values, b.values, strict=True)
        if repr(left) != repr(right)
    )
    return ObjectChange(
        kind="changed" if overlap is None else "moved",
        box_a=a.box,
        box_b=b.box,
        class_a=a.label,
        class_b=b.label,
        iou=None if overlap is None else round(overlap, 4),
        values=values,
    )


def _column_change(name: str, a: Any, b: Any) -> ValueChange:
    import numpy as np

    left, right = _array(a), _array(b)
    if left is not None and right is not None and left.ndim == right.ndim == 0 and left.dtype != right.dtype:
        return ValueChange(name=name, a=f"{left.dtype} {left}", b=f"{right.dtype} {right}")
    if left is None or right is None or left.shape != right.shape or left.ndim == 0:
        return ValueChange(name=name, a=_short(a), b=_short(b))
    places = np.argwhere(~_equal_cells(left, right))
    if len(places) == 0:  # equal values of two types
        return ValueChange(name=name, a=f"{left.dtype} {left.shape}", b=f"{right.dtype} {right.shape}")
    shown = [tuple(int(i) for i in place) for place in places[:_CELLS_SHOWN]]
    more = f" and {len(places) - len(shown)} more" if len(places) > len(shown) else ""

    def cells(values: Array) -> str:
        return ", ".join(f"[{', '.join(map(str, place))}] {_plain(values[place])}" for place in shown) + more

    return ValueChange(name=name, a=cells(left), b=cells(right))


def _equal_cells(left: Array, right: Array) -> Array:
    import numpy as np

    equal = left == right
    if left.dtype.kind == right.dtype.kind == "f":
        # By their bits, as digests see them: not-a-number equals itself, 0.0 and -0.0 differ.
        return np.asarray((equal & (np.signbit(left) == np.signbit(right))) | (np.isnan(left) & np.isnan(right)))
    return np.asarray(equal)


def _same(a: Any, b: Any) -> bool:
    left, right = _array(a), _array(b)
    if left is None or right is None:
        return type(a) is type(b) and bool(a == b)
    return left.dtype == right.dtype and left.shape == right.shape and bool(_equal_cells(left, right).all())


def _array(value: Any) -> Array | None:
    import numpy as np

    return np.asarray(value) if isinstance(value, np.ndarray | np.generic) else None


def _named(value: Any, names: Sequence[str] | None) -> Any:
    """Class indices as names; an index without a name keeps its number."""
    import numpy as np

    array = _array(value)
    if names is None or array is None or array.dtype.kind not in "iu":
        return value
    table = [names[i] if 0 <= i < len(names) else f"class {i}" for i in array.reshape(-1).tolist()]
    return np.array(table, object).reshape(array.shape)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _short(value: Any) -> str | None:
    if value is None:
        return None
    array = _array(value)
    if array is not None and array.ndim:
        return f"{'names' if array.dtype == object else array.dtype} {array.shape}"
    text = str(_plain(value))
    return text if len(text) <= _TEXT_LENGTH else f"{text[:_TEXT_LENGTH]}…"
