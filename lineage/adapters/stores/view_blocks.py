"""Rows of views as compressed bitmaps (Roaring), one for each block of 65,536 rows that a view holds any of.

Measured with 200 views of 10 million rows in SQLite (a quarter each: whole, a third, clustered 10 %, random 10 %): blocks of 65,536 rows
take 68 MB, of 16,384 rows 129 MB, of 4,096 rows 136 MB, and all answer which views hold a row in less than a millisecond.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Rows = np.ndarray[Any, np.dtype[np.int64]]

_ROWS_A_BLOCK = 65_536


def block_of(row: int) -> int:
    """The block that a row is in."""
    return row // _ROWS_A_BLOCK


def cut(rows: Rows) -> tuple[int, Iterator[tuple[int, bytes]]]:
    """How many different rows these are, and (block, bitmap) of each block that holds any, in order.

    Args:
        rows: int64, shape (n,), in any order.
    """
    import numpy as np

    if len(rows) > 1 and not bool((rows[1:] > rows[:-1]).all()):
        rows = np.unique(rows)
    return len(rows), _blocks(rows)


def _blocks(rows: Rows) -> Iterator[tuple[int, bytes]]:
    import numpy as np

    if len(rows) == 0:
        return
    first, last = block_of(int(rows[0])), block_of(int(rows[-1]))
    borders = np.searchsorted(rows, np.arange(first, last + 2) * _ROWS_A_BLOCK).tolist()
    for block, start, end in zip(range(first, last + 1), borders, borders[1:], strict=False):
        if end - start == _ROWS_A_BLOCK:
            yield block, _whole_block()
        elif end > start:
            # An array, because BitMap takes eight times as long to read NumPy's.
            yield block, _bitmap(array("I", (rows[start:end] % _ROWS_A_BLOCK).astype(np.uint32).tobytes()))


@functools.cache
def _whole_block() -> bytes:
    return _bitmap(range(_ROWS_A_BLOCK))


def _bitmap(numbers: Any) -> bytes:
    from pyroaring import BitMap

    bitmap = BitMap(numbers)
    bitmap.run_optimize()
    return bitmap.serialize()


def held(payload: bytes, rows: Sequence[int]) -> list[int]:
    """Those of ``rows``, all in one block, that its bitmap holds."""
    from pyroaring import BitMap

    bitmap = BitMap.deserialize(payload)
    return [row for row in rows if row % _ROWS_A_BLOCK in bitmap]
