"""Digesting rows from stored bytes: nothing is decoded, each byte is read once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lineage.model.digest import digest_of_picture
from lineage.model.rows import RowEncoder
from lineage.ports import DatasetReader, Progress, no_progress
from lineage.record.ledger import BLOCK_ROWS, RowDigests, RowNames

if TYPE_CHECKING:
    from lineage.model.dataset import Rows

_FIRST_BATCH_ROWS = 32
_LARGEST_BATCH_ROWS = BLOCK_ROWS
_BATCH_BYTES = 4 << 20  # above about 8 MiB Deep Lake hands pictures over at half the speed (measured)
_THREADS = 2
_SAMPLE_ID, _SEQUENCE = "sample_id", "sequence"

Batch = tuple["Rows", RowDigests, RowNames]


class RowDigester:
    """Digests of single rows of one dataset, given as columns.

    Args:
        pictures: Names of the columns that hold encoded pictures.
        annotations: Names of all other columns.
    """

    def __init__(self, pictures: Sequence[str], annotations: Sequence[str]) -> None:
        self.encode = RowEncoder(annotations, pictures)

    @classmethod
    def of(cls, reader: DatasetReader) -> RowDigester:
        """For what a reader gives."""
        pictures = [name for name, column in reader.columns.items() if column.kind == "image"]
        return cls(pictures, [name for name in reader.columns if name not in pictures])

    @property
    def columns(self) -> frozenset[str]:
        """Every column that a row must have."""
        return frozenset((*self.encode.pictures, *self.encode.names))

    def __call__(self, row: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """(picture digest, row digest) of a mapping of columns, 32 bytes each; further keys are passed over."""
        own = [digest_of_picture(row[name]) for name in self.encode.pictures]
        return picture_of(own), hashlib.sha256(self.encode([row[name] for name in self.encode.names], own)).digest()

    def pictures(self, values: Mapping[str, Sequence[Any]]) -> bytes:
        """The picture digests alone, 32 bytes a row, one after the other; annotations may be absent."""
        return _of_rows([[digest_of_picture(item) for item in values[name]] for name in self.encode.pictures])

    def encoded(self, row: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
        """(the byte string that the row's digest covers, contents of its pictures)."""
        contents = [bytes(row[name]) for name in self.encode.pictures]
        return self.encode([row[name] for name in self.encode.names], [digest_of_picture(content) for content in contents]), contents

    def batch(self, values: dict[str, list[Any]]) -> RowDigests:
        """Digests of several rows, column to values."""
        own = [[digest_of_picture(item) for item in values[name]] for name in self.encode.pictures]
        encoded = self.encode.rows([values[name] for name in self.encode.names], own)
        sha256 = hashlib.sha256
        rows = b"".join([sha256(row).digest() for row in encoded])
        return RowDigests.of(_of_rows(own) if own else picture_of(()) * len(encoded), rows)


def _of_rows(own: Sequence[Sequence[bytes]]) -> bytes:
    """Picture digests of rows from those of each picture column, one column or more."""
    return b"".join(own[0] if len(own) == 1 else [picture_of(digests) for digests in zip(*own, strict=True)])


def picture_of(digests: Sequence[bytes]) -> bytes:
    """One picture digest of a row: its picture's, or one over those of all its pictures (in the order of the columns' names)."""
    return digests[0] if len(digests) == 1 else digest_of_picture(b"".join(digests))


def digest_rows(reader: DatasetReader, rows: Rows, progress: Progress = no_progress, what: str = "digesting rows") -> RowDigests:
    """Read ``rows`` (int64, shape (n,)) in their order and digest each.

    Raises:
        NotFound: A row or a file behind it is missing.
        TypeError: A column holds values that have no fixed bytes.
    """
    import numpy as np

    parts: list[RowDigests] = []

    def keep(batch: Batch) -> None:
        parts.append(batch[1])

    digest_batches(reader, rows, keep, progress, what)
    if not parts:
        return RowDigests.of(b"", b"")
    return RowDigests(np.concatenate([part.pictures for part in parts]), np.concatenate([part.rows for part in parts]))


def digest_batches(
    reader: DatasetReader, rows: Rows, keep: Callable[[Batch], None], progress: Progress = no_progress, what: str = "digesting rows"
) -> None:
    """Read ``rows`` in their order and hand digests and names over, batch by batch, in order.

    One batch is digested in threads while the next is read. Only this thread reads: Deep Lake must not have a read in flight elsewhere when
    the program forks.

    Raises:
        NotFound: A row or a file behind it is missing.
        TypeError: A column holds values that have no fixed bytes.
    """
    digester = RowDigester.of(reader)
    done = 0

    def settle(waiting: tuple[Rows, RowNames, Future[RowDigests]]) -> None:
        nonlocal done
        part, names, digests = waiting
        keep((part, digests.result(), names))
        done += len(part)
        progress(what, done, len(rows))

    with ThreadPoolExecutor(_THREADS, "lineage-digest") as threads:
        waiting: list[tuple[Rows, RowNames, Future[RowDigests]]] = []
        start, size = 0, _FIRST_BATCH_ROWS
        while start < len(rows):
            part = rows[start : start + size]
            values = reader.read(part.tolist())
            waiting.append((part, _names(values), threads.submit(digester.batch, values)))
            if len(waiting) > _THREADS:
                settle(waiting.pop(0))
            start += len(part)
            size = _next_size(values, len(part))
        for item in waiting:
            settle(item)


def _next_size(values: Mapping[str, Sequence[Any]], count: int) -> int:
    """Number of rows that come to a batch of a convenient size, judged by the first rows of the last one; at most four times as many."""
    looked_at = min(count, _FIRST_BATCH_ROWS)
    size = sum(_bytes_of(value) for column in values.values() for value in column[:looked_at])
    return max(_FIRST_BATCH_ROWS, min(_LARGEST_BATCH_ROWS, 4 * count, _BATCH_BYTES * looked_at // max(size, 1)))


def _bytes_of(value: Any) -> int:
    # What has no size of its own is a number, or small beside pictures and arrays.
    return int(value.nbytes) if hasattr(value, "nbytes") else len(value) if hasattr(value, "__len__") else 8


def _names(values: dict[str, list[Any]]) -> RowNames:
    def texts(name: str) -> tuple[str, ...] | None:
        column = values.get(name)
        return tuple(column) if column is not None and all(isinstance(value, str) for value in column) else None

    return RowNames(texts(_SAMPLE_ID), texts(_SEQUENCE))
