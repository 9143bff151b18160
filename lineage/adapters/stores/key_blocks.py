"""Where keys occur, as sorted blocks of bytes: 12 bytes an occurrence.

A *segment* is what one call added, sorted by key and cut into *blocks* by the keys' first ``bits`` bits. ``bits`` grows in steps of
four with the number of entries, so that a block holds about 500 to 8,000 of them and a look-up has few sizes to ask for. Segments of
one size are merged when there are too many.

Measured with 10 million keys, against a table with a row for each (inserted in order, its primary key the only index): 12.2 bytes an
entry in SQLite and 12.7 in PostgreSQL, against 21.9 and 110; noted in 2.9 and 5.1 s, against 15 and 32 s; one found in 0.04 and 0.15 ms
(median), against 0.01 and 0.21 ms.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[Any]]

BITS = (0, 4, 8, 12, 16, 20)
"""Bits that segments may be cut by."""
_ENTRIES_A_BLOCK = 8192
_HEADER = struct.Struct("<BBHI")  # form of a block, flags, nothing, number of its space when it has only one
_FORM, _MANY_SPACES, _LONG_ROWS = 1, 1, 2


def bits_for(entries: int) -> int:
    """How many bits a segment is cut by."""
    return next((bits for bits in BITS if entries <= _ENTRIES_A_BLOCK << bits), BITS[-1])


def bucket_of(key: int, bits: int) -> int:
    """The block of a key: its first ``bits`` bits."""
    return key >> (64 - bits)


def cut(keys: Numbers, spaces: Numbers | int, rows: Numbers, bits: int) -> Iterator[tuple[int, bytes]]:
    """Sort entries and cut them: (bucket, block) of every bucket that holds any.

    Args:
        keys: uint64, shape (n,), in any order.
        spaces: Number of the space of each, uint32, shape (n,), or of all.
        rows: int64, shape (n,).
        bits: How many bits of the key make the bucket.
    """
    import numpy as np

    order = np.argsort(keys)
    keys, rows = keys[order], rows[order]
    spaces = spaces if isinstance(spaces, int) else spaces[order]
    if bits == 0:
        borders, buckets = np.array([0, len(keys)]), np.zeros(min(1, len(keys)), np.uint64)
    else:
        of = keys >> np.uint64(64 - bits)
        starts = np.flatnonzero(np.diff(of)) + 1
        borders = np.concatenate(([0], starts, [len(keys)]))
        buckets = of[borders[:-1]] if len(keys) else of
    for bucket, first, end in zip(buckets.tolist(), borders[:-1].tolist(), borders[1:].tolist(), strict=False):
        yield bucket, _pack(keys[first:end], spaces if isinstance(spaces, int) else spaces[first:end], rows[first:end])


def _pack(keys: Numbers, spaces: Numbers | int, rows: Numbers) -> bytes:
    many = not isinstance(spaces, int) and bool((spaces != spaces[0]).any())
    long = bool(rows.max() >> 32)
    only = 0 if many else spaces if isinstance(spaces, int) else int(spaces[0])
    parts = [_HEADER.pack(_FORM, many * _MANY_SPACES | long * _LONG_ROWS, 0, only), keys.astype("<u8").tobytes()]
    if many and not isinstance(spaces, int):
        parts.append(spaces.astype("<u4").tobytes())
    parts.append(rows.astype("<u8" if long else "<u4").tobytes())
    return b"".join(parts)


def unpack(block: bytes) -> tuple[Numbers, Numbers | int, Numbers]:
    """The sorted keys (uint64), spaces (uint32, or the only one) and rows (uint32 or uint64) of a block, each of shape (n,).

    Raises:
        ValueError: It is no such block.
    """
    import numpy as np

    if len(block) < _HEADER.size or block[0] != _FORM:
        raise ValueError("these bytes are no block of keys")
    _, flags, _, space = _HEADER.unpack_from(block)
    many, long = bool(flags & _MANY_SPACES), bool(flags & _LONG_ROWS)
    count, rest = divmod(len(block) - _HEADER.size, 8 + 4 * many + (8 if long else 4))
    if rest:
        raise ValueError("a block of keys was cut short")
    at = _HEADER.size
    keys = np.frombuffer(block, "<u8", count, at)
    at += 8 * count
    spaces: Numbers | int = space
    if many:
        spaces = np.frombuffer(block, "<u4", count, at)
        at += 4 * count
    return keys, spaces, np.frombuffer(block, "<u8" if long else "<u4", count, at)


def occurrences(block: bytes, key: int) -> Iterator[tuple[int, int]]:
    """(number of space, row) of every occurrence of ``key`` in a block."""
    import numpy as np

    keys, spaces, rows = unpack(block)
    first, end = (int(np.searchsorted(keys, np.uint64(key), side)) for side in ("left", "right"))
    for at in range(first, end):
        yield spaces if isinstance(spaces, int) else int(spaces[at]), int(rows[at])


def merged(blocks: Sequence[bytes]) -> tuple[Numbers, Numbers, Numbers]:
    """Everything the blocks hold, each once: keys (uint64), spaces (uint32) and rows (int64), shape (n,)."""
    import numpy as np

    parts = [unpack(block) for block in blocks]
    keys = np.concatenate([part[0] for part in parts])
    spaces = np.concatenate([np.full(len(part[0]), part[1], np.uint32) if isinstance(part[1], int) else part[1] for part in parts])
    rows = np.concatenate([part[2].astype(np.int64) for part in parts])
    order = np.lexsort((rows, spaces, keys))
    keys, spaces, rows = keys[order], spaces[order], rows[order]
    fresh = np.ones(len(keys), bool)
    fresh[1:] = (np.diff(keys) != 0) | (np.diff(spaces) != 0) | (np.diff(rows) != 0)
    return keys[fresh], spaces[fresh], rows[fresh]
