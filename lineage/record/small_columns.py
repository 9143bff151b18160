"""Small columns of a view, read a block at a time and kept: rows in any order then cost a look-up, and pictures alone are read again.

A row in a slice of a Deep Lake column costs 2 µs, a row in a list 40 µs (measured); with eight columns of annotations that is a tenth of
decoding the picture.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lineage.errors import LineageError
from lineage.ports import DatasetReader

if TYPE_CHECKING:
    from lineage.model.dataset import Rows

LIMIT_BYTES = 64 << 20
_BLOCK_ROWS = 256
_SMALL_BYTES = 8 << 10
_OBJECT_BYTES = 160  # what Python and NumPy need beside the content of a short array (measured)

_Block = Mapping[str, Sequence[Any]]


class SmallColumns:
    """Values of the columns that are small and cannot be changed by whoever gets them.

    Args:
        reader: Reads them.
        rows: Where the reader has the rows of the view; int64, shape (n,).
        names: The columns.
        limit_bytes: How much is kept at most; rows beyond that are not found here.
    """

    def __init__(self, reader: DatasetReader, rows: Rows, names: Sequence[str], limit_bytes: int = LIMIT_BYTES) -> None:
        import numpy as np  # see Rows in lineage.model.dataset

        self.names = tuple(names)
        self._reader = reader
        self._rows = rows
        self._left_bytes = limit_bytes
        self._blocks: dict[int, _Block | None] = {}
        self._lock = threading.Lock()
        is_ascending = bool((rows[1:] > rows[:-1]).all())
        # Blocks follow the order of storage, whatever the order of the view.
        self._order = None if is_ascending else np.argsort(rows, kind="stable")
        self._place = None if self._order is None else np.argsort(self._order, kind="stable")

    def read(self, positions: Sequence[int]) -> dict[str, list[Any]] | None:
        """Values of each column at positions of the view; ``None`` when some are not kept."""
        if not self.names:
            return None
        places = list(positions) if self._place is None else self._place[list(positions)].tolist()
        found = [(self._block(place // _BLOCK_ROWS), place % _BLOCK_ROWS) for place in places]
        if any(block is None for block, _ in found):
            return None
        return {name: [block[name][row] for block, row in found if block is not None] for name in self.names}

    def _block(self, number: int) -> _Block | None:
        with self._lock:  # two loaders of one process may read at once
            if number not in self._blocks:
                self._blocks[number] = self._read(number) if self._left_bytes > 0 else None
            return self._blocks[number]

    def _read(self, number: int) -> _Block | None:
        chosen = slice(number * _BLOCK_ROWS, (number + 1) * _BLOCK_ROWS)
        rows = self._rows[chosen] if self._order is None else self._rows[self._order[chosen]]
        try:
            values = self._reader.read(rows.tolist(), self.names)
        except LineageError:  # perhaps of a row that nobody asks for
            return None
        if not all(_fix(value) for column in values.values() for value in column):
            return None
        self._left_bytes -= sum(_size(value) for column in values.values() for value in column)
        return values


def small_columns(values: Mapping[str, Sequence[Any]], pictures: Iterable[str]) -> list[str]:
    """Columns that are worth keeping, judged by the values of some rows.

    Args:
        values: Column to values.
        pictures: Columns that hold pictures.
    """
    known = set(pictures)
    return [
        name
        for name, column in values.items()
        if name not in known and all(_fix(value) for value in column) and sum(map(_size, column)) <= _SMALL_BYTES * len(column)
    ]


def _fix(value: Any) -> bool:
    """Whether the value cannot be changed in place, after arrays were made so."""
    if value is None or isinstance(value, str | bytes | int | float):
        return True
    dtype = getattr(value, "dtype", None)
    if dtype is None or dtype.hasobject:
        return False
    if hasattr(value, "setflags"):
        value.setflags(write=False)
    return True


def _size(value: Any) -> int:
    return _OBJECT_BYTES + int(getattr(value, "nbytes", 0) or (len(value) if isinstance(value, str | bytes) else 0))
