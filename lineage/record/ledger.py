"""The ledger of a row space: digests and names of every row that was ever read, in blocks that later ledgers share.

A *space* is a numbering of rows: dataset versions that only appended to one another share it, and position 7 is the same row in each.
A ledger is immutable and content-addressed. It is a listing (JSON) of blocks of 16,384 rows; each block is two objects: digests, and names.
An append makes new objects for the last block only; a view of a few rows makes blocks that hold those rows and leave the others out.

Sizes: 64 bytes a row for the digests, 2 KiB a block for the map of rows it holds, and the names compressed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineage.errors import IntegrityError
from lineage.model.deflated import inflate
from lineage.model.digest import canonical_json
from lineage.ports import ObjectStore

if TYPE_CHECKING:
    import numpy as np

    from lineage.model.dataset import Rows

    Digests = np.ndarray[Any, np.dtype[np.uint8]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]

BLOCK_ROWS = 16_384
DIGEST_BYTES = 32
_MAGIC = b"lineage row digests 1\n"


@dataclass(frozen=True, slots=True)
class RowDigests:
    """Digests of rows.

    Attributes:
        pictures: SHA-256 of each row's encoded picture (of all its pictures' digests when it has several, of nothing when it has none),
            uint8, shape (n, 32).
        rows: SHA-256 of each whole row, uint8, shape (n, 32).
    """

    pictures: Digests
    rows: Digests

    @classmethod
    def of(cls, pictures: bytes | bytearray, rows: bytes | bytearray) -> RowDigests:
        """From 32 bytes a row, one after the other."""
        import numpy as np  # see Rows in lineage.model.dataset

        shape = (-1, DIGEST_BYTES)
        return cls(np.frombuffer(bytes(pictures), np.uint8).reshape(shape), np.frombuffer(bytes(rows), np.uint8).reshape(shape))

    @classmethod
    def from_bytes(cls, content: bytes) -> RowDigests:
        """As records of the first release kept them: all pictures, then all rows."""
        half = len(content) // 2
        return cls.of(content[:half], content[half:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Any) -> RowDigests:
        return RowDigests(self.pictures[chosen], self.rows[chosen])

    def differing(self, other: RowDigests) -> tuple[list[int], list[int]]:
        """Positions whose pictures differ, and positions whose rows differ, in two sequences of equal length."""
        import numpy as np

        pictures = np.flatnonzero((self.pictures != other.pictures).any(axis=1))
        rows = np.flatnonzero((self.rows != other.rows).any(axis=1))
        return [int(i) for i in pictures], [int(i) for i in rows]


@dataclass(frozen=True, slots=True)
class RowNames:
    """What people call rows, as far as the dataset says: ``sample_id`` and ``sequence`` of each, or ``None`` without such a column."""

    sample_ids: tuple[str, ...] | None = None
    sequences: tuple[str, ...] | None = None

    def take(self, positions: Sequence[int]) -> RowNames:
        """The names at these positions."""
        ids, sequences = self.sample_ids, self.sequences
        return RowNames(
            None if ids is None else tuple(ids[position] for position in positions),
            None if sequences is None else tuple(sequences[position] for position in positions),
        )


@dataclass(slots=True)
class _Block:
    known: Mask
    """Which rows of the block it holds, bool, shape (16384,)."""
    digests: RowDigests
    """Of those rows, ascending."""


class Ledger:
    """Digests and names of rows of one space; immutable.

    Args:
        objects: Holds the blocks.
        blocks: Object names (digests, names) of each block; ``None`` for a block without known rows.
    """

    def __init__(self, objects: ObjectStore, blocks: Sequence[tuple[str, str] | None] = ()) -> None:
        self._objects = objects
        self.blocks = tuple(blocks)
        self._masks: dict[int, Mask] = {}

    @classmethod
    def load(cls, objects: ObjectStore, digest: str) -> Ledger:
        """The ledger with this digest.

        Raises:
            NotFound: It is gone.
            IntegrityError: It was changed, or is none.
        """
        content = objects.get_bytes(digest)
        try:
            listing = json.loads(content)
            if listing["kind"] != "ledger" or listing["block_rows"] != BLOCK_ROWS:
                raise ValueError(listing["kind"])
            return cls(objects, [None if item is None else (item[0], item[1]) for item in listing["blocks"]])
        except (ValueError, LookupError, TypeError) as error:
            raise IntegrityError(f"object {digest[:19]}…", expected="a ledger of rows", found=str(error)) from error

    def save(self) -> str:
        """Keep it and return its digest."""
        listing = {"kind": "ledger", "block_rows": BLOCK_ROWS, "blocks": [None if item is None else list(item) for item in self.blocks]}
        return self._objects.put_bytes(canonical_json(listing))

    def objects(self) -> Iterator[str]:
        """Every object that it consists of, without the listing itself."""
        for item in self.blocks:
            yield from item or ()

    # --- reading ---------------------------------------------------------------------------------------------------------

    def known(self, rows: Rows) -> Mask:
        """Which of ``rows`` (int64, shape (n,)) it holds: bool, shape (n,)."""
        import numpy as np

        found = np.zeros(len(rows), bool)
        for number, positions in _by_block(rows):
            if (mask := self._mask(number)) is not None:
                found[positions] = mask[rows[positions] % BLOCK_ROWS]
        return found

    def holds_from(self, row: int) -> bool:
        """Whether it holds this row, or any behind it."""
        first = row // BLOCK_ROWS
        if any(item is not None for item in self.blocks[first + 1 :]):
            return True
        mask = self._mask(first)
        return mask is not None and bool(mask[row % BLOCK_ROWS :].any())

    def take(self, rows: Rows) -> RowDigests:
        """Digests of ``rows`` (int64, shape (n,)) in their order.

        Raises:
            IntegrityError: It does not hold one of them.
        """
        import numpy as np

        pictures, whole = np.zeros((len(rows), DIGEST_BYTES), np.uint8), np.zeros((len(rows), DIGEST_BYTES), np.uint8)
        for number, positions in _by_block(rows):
            block = self._block(number)
            offsets = rows[positions] % BLOCK_ROWS
            if block is None or not block.known[offsets].all():
                raise IntegrityError("ledger of rows", expected=f"{len(offsets)} rows in block {number}", found="fewer")
            index = (np.cumsum(block.known) - 1)[offsets]
            pictures[positions], whole[positions] = block.digests.pictures[index], block.digests.rows[index]
        return RowDigests(pictures, whole)

    def names(self, rows: Rows) -> RowNames:
        """Names of ``rows`` in their order; they must be known."""
        import numpy as np

        ids: list[str | None] = [None] * len(rows)
        sequences: list[str | None] = [None] * len(rows)
        for number, positions in _by_block(rows):
            mask = self._mask(number)
            if mask is None:
                continue
            names = self._names(number, int(mask.sum()))
            index = (np.cumsum(mask) - 1)[rows[positions] % BLOCK_ROWS].tolist()
            for kept, found in ((ids, names.sample_ids), (sequences, names.sequences)):
                if found is not None:
                    for position, place in zip(positions.tolist(), index, strict=True):
                        kept[position] = found[place]
        return RowNames(_if_all(ids), _if_all(sequences))

    def all_known(self) -> Rows:
        """Every row it holds, ascending, int64."""
        import numpy as np

        parts = [
            np.flatnonzero(mask) + number * BLOCK_ROWS for number in range(len(self.blocks)) if (mask := self._mask(number)) is not None
        ]
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)

    def _mask(self, number: int) -> Mask | None:
        # Masks of blocks that were read stay, 16 KiB each: what is known is asked before and after digests, which are 64 times as large.
        if number not in self._masks:
            self._block(number)
        return self._masks.get(number)

    def _block(self, number: int) -> _Block | None:
        import numpy as np

        if number >= len(self.blocks) or (item := self.blocks[number]) is None:
            return None
        content = self._objects.get_bytes(item[0])
        start = len(_MAGIC) + BLOCK_ROWS // 8
        if not content.startswith(_MAGIC) or len(content) < start:
            raise IntegrityError(f"object {item[0][:19]}…", expected="digests of rows", found=f"{content[:16]!r}, {len(content)} bytes")
        known = np.unpackbits(np.frombuffer(content, np.uint8, BLOCK_ROWS // 8, len(_MAGIC)), bitorder="little").view(bool)
        count = int(known.sum())
        if len(content) != start + 2 * DIGEST_BYTES * count:
            raise IntegrityError(f"object {item[0][:19]}…", expected=f"digests of {count} rows", found=f"{len(content)} bytes")
        digests = np.frombuffer(content, np.uint8, offset=start).reshape(2, count, DIGEST_BYTES)
        self._masks[number] = known
        return _Block(known, RowDigests(digests[0], digests[1]))

    def _names(self, number: int, count: int) -> RowNames:
        item = self.blocks[number] if number < len(self.blocks) else None
        if item is None:
            return RowNames()
        content = self._objects.get_bytes(item[1])
        try:
            kept = json.loads(inflate(content, f"object {item[1][:19]}…"))
            found = RowNames(*(None if kept[key] is None else tuple(kept[key]) for key in ("sample_ids", "sequences")))
        except (ValueError, LookupError, TypeError) as error:
            raise IntegrityError(f"object {item[1][:19]}…", expected="names of rows", found=f"{content[:16]!r} ({error})") from error
        for names in (found.sample_ids, found.sequences):
            if names is not None and len(names) != count:
                raise IntegrityError(f"object {item[1][:19]}…", expected=f"names of {count} rows", found=f"{len(names)}")
        return found

    # --- growing -----------------------------------------------------------------------------------------------------------

    def extended(self, rows: Rows, digests: RowDigests, names: RowNames) -> Ledger:
        """A ledger with further rows; those it holds already stay as they are.

        Args:
            rows: int64, shape (n,), each once.
            digests: Of those rows.
            names: Of those rows.
        """
        blocks = list(self.blocks)
        for number, positions in _by_block(rows):
            blocks += [None] * (number + 1 - len(blocks))
            blocks[number] = self._grown(number, rows[positions] % BLOCK_ROWS, digests[positions], names.take(positions.tolist()))
        return Ledger(self._objects, blocks)

    def _grown(self, number: int, offsets: Rows, digests: RowDigests, names: RowNames) -> tuple[str, str]:
        import numpy as np

        known = np.zeros(BLOCK_ROWS, bool)
        pictures, whole = np.zeros((BLOCK_ROWS, DIGEST_BYTES), np.uint8), np.zeros((BLOCK_ROWS, DIGEST_BYTES), np.uint8)
        ids, sequences = np.full(BLOCK_ROWS, None, object), np.full(BLOCK_ROWS, None, object)
        known[offsets] = True
        pictures[offsets], whole[offsets] = digests.pictures, digests.rows
        for column, found in ((ids, names.sample_ids), (sequences, names.sequences)):
            if found is not None:
                column[offsets] = found
        if (before := self._block(number)) is not None:
            own, told = np.flatnonzero(before.known), self._names(number, len(before.digests))
            pictures[own], whole[own] = before.digests.pictures, before.digests.rows
            ids[own] = told.sample_ids if told.sample_ids is not None else None
            sequences[own] = told.sequences if told.sequences is not None else None
            known |= before.known
        content = _MAGIC + np.packbits(known, bitorder="little").tobytes() + pictures[known].tobytes() + whole[known].tobytes()
        kept = {"sample_ids": _if_all(ids[known].tolist()), "sequences": _if_all(sequences[known].tolist())}
        return self._objects.put_bytes(content), self._objects.put_bytes(zlib.compress(canonical_json(kept), 1))


def _if_all(texts: Sequence[str | None]) -> tuple[str, ...] | None:
    return None if any(text is None for text in texts) else tuple(text for text in texts if text is not None)


def _by_block(rows: Rows) -> Iterator[tuple[int, Rows]]:
    """(block number, positions in ``rows`` of its rows) for every block that is touched, ascending."""
    import numpy as np

    if len(rows) == 0:
        return
    numbers = rows // BLOCK_ROWS
    if (numbers[0] == numbers).all():  # the usual case of small views
        yield int(numbers[0]), np.arange(len(rows))
        return
    order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order], append=-1)) + 1
    start = 0
    for end in ends.tolist():
        yield int(numbers[order[start]]), order[start:end]
        start = end
