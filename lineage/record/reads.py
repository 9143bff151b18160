"""Which rows were really read, and in which epoch: noted as batches are handed to the training loop."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lineage.model.deflated import inflate
from lineage.model.run import RowsRead
from lineage.model.steps import LoaderRecord
from lineage.ports import ObjectStore

if TYPE_CHECKING:
    from lineage.model.dataset import Rows


class ReadListener(Protocol):
    """Told of what happens to an input while it is read."""

    @property
    def root(self) -> str | None:
        """Top folder of the run's code; ``None`` when it is not known."""

    def rows_read(self, reads: RowsRead) -> None:
        """An epoch is over, or the reading outside one."""

    def loader_made(self, loader: LoaderRecord) -> None:
        """Batches are about to be made."""

    def handed(self, ordinal: int, epoch: int | None, positions: Sequence[int], batch: Any) -> None:
        """Rows were handed to the training loop, as ``batch`` where a loader made one."""

    def note(self, text: str) -> None:
        """A sentence for the record."""


class ReadLog:
    """Positions of one input that were read, by epoch.

    Args:
        objects: Where positions go when not every row was read.
        ordinal: Number of the input in the run's record.
        rows: Number of rows of the input.
        listener: Told of what is to be recorded.
    """

    def __init__(self, objects: ObjectStore, ordinal: int, rows: int, listener: ReadListener) -> None:
        self.ordinal = ordinal
        self.listener = listener
        self._objects = objects
        self._rows = rows
        self._seen: dict[int | None, bytearray] = {}
        self._left_out: set[int] = set()
        self._is_over = False

    def handed(self, epoch: int | None, positions: Sequence[int], batch: Any = None) -> None:
        """Rows at these positions of the view were handed to the training loop, as ``batch`` where a loader made one."""
        if self._is_over:
            return
        self.note(epoch, positions)
        self.listener.handed(self.ordinal, epoch, positions, batch)

    def describe_loader(self, loader: LoaderRecord, code: bytes | None) -> None:
        """Batches are about to be made; ``code`` is the pickled transform and collate function."""
        if not self._is_over:
            kept = None if code is None else self._objects.put_bytes(code)
            self.listener.loader_made(loader.model_copy(update={"code_object": kept}))

    def left_out(self, position: int, reason: str) -> None:
        """A row was left out of its batch; said once for each row."""
        if not self._is_over and position not in self._left_out:
            self._left_out.add(position)
            self.listener.note(reason)

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
        self.listener.rows_read(RowsRead(ordinal=self.ordinal, first_epoch=epoch, last_epoch=epoch, rows=count, positions_object=kept))

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

    bits = np.unpackbits(
        np.frombuffer(inflate(content, "positions that were read", (rows + 7) // 8), np.uint8), count=rows, bitorder="little"
    )
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
