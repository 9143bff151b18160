"""Which rows were really read, and in which epoch: noted as batches are handed to the training loop."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from lineage.model.run import RowsRead
from lineage.ports import ObjectStore

if TYPE_CHECKING:
    from lineage.model.dataset import Rows


class ReadLog:
    """Positions of one input that were read, by epoch.

    Args:
        objects: Where positions go when not every row was read.
        ordinal: Number of the input in the run's record.
        rows: Number of rows of the input.
        tell: Called with what is to be recorded.
    """

    def __init__(self, objects: ObjectStore, ordinal: int, rows: int, tell: Callable[[RowsRead], None]) -> None:
        self._objects = objects
        self._ordinal = ordinal
        self._rows = rows
        self._tell = tell
        self._seen: dict[int | None, bytearray] = {}
        self._is_over = False

    def note(self, epoch: int | None, positions: Iterable[int]) -> None:
        """Positions of the view were read, in an epoch or outside one (``None``)."""
        if self._is_over:
            return
        seen = self._seen.get(epoch)
        if seen is None:
            seen = self._seen[epoch] = bytearray(self._rows)
        for position in positions:
            seen[position] = 1

    def close(self, epoch: int | None) -> None:
        """Record an epoch; further reads in it are recorded beside what was."""
        seen = self._seen.pop(epoch, None)
        if seen is None:
            return
        count = sum(seen)
        kept = None if count == self._rows else self._objects.put_bytes(pack_positions(seen))
        self._tell(RowsRead(ordinal=self._ordinal, first_epoch=epoch, last_epoch=epoch, rows=count, positions_object=kept))

    def close_all(self) -> None:
        """Record every epoch that is still open. What is read later is not the run's any more."""
        self._is_over = True
        for epoch in sorted(self._seen, key=lambda item: -1 if item is None else item):
            self.close(epoch)


def pack_positions(seen: bytes | bytearray) -> bytes:
    """One byte a row, 0 or 1, as compressed bits."""
    import numpy as np

    return zlib.compress(np.packbits(np.frombuffer(bytes(seen), np.uint8), bitorder="little").tobytes(), 6)


def unpack_positions(content: bytes, rows: int) -> Rows:
    """Positions that were read, ascending, int64; the inverse of :func:`pack_positions`."""
    import numpy as np

    bits = np.unpackbits(np.frombuffer(zlib.decompress(content), np.uint8), count=rows, bitorder="little")
    return np.flatnonzero(bits).astype(np.int64)


def epochs_of(objects: ObjectStore, reads: Iterable[RowsRead], rows: int) -> list[list[tuple[int, int]]] | None:
    """Epochs in which each row of an input was read, as ranges (first, last), in view order.

    Args:
        objects: Holds the positions.
        reads: What a record holds of that input.
        rows: Number of rows of the input.

    Returns:
        ``None`` when no epoch was observed.
    """
    known = [item for item in reads if item.first_epoch is not None]
    if not known:
        return None
    found: list[list[tuple[int, int]]] = [[] for _ in range(rows)]
    for item in sorted(known, key=lambda item: item.first_epoch or 0):
        span = (item.first_epoch or 0, item.last_epoch or 0)
        places: Iterable[int] = range(rows)
        if item.positions_object is not None:
            places = unpack_positions(objects.get_bytes(item.positions_object), rows).tolist()
        for position in places:
            ranges = found[position]
            if ranges and span[0] <= ranges[-1][1] + 1:  # the next epoch, or one that was read in two goes
                ranges[-1] = (ranges[-1][0], max(ranges[-1][1], span[1]))
            else:
                ranges.append(span)
    return found
