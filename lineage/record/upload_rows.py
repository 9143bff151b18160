"""Rows of a source folder, read ahead in threads and digested as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lineage.errors import InvalidSource
from lineage.model.ahead import in_order
from lineage.model.source import SourceSample, SourceScan
from lineage.ports import Importer, Progress
from lineage.record.digesting import RowDigester

_UNREAD = b""


class SourceRows:
    """The rows that an importer makes of a source.

    Args:
        importer: Knows the layout.
        scan: What it found.

    Attributes:
        columns: Names of a row's columns.
        digests: SHA-256 of each row as ``lineage.model.rows`` writes it, 32 bytes; empty for a row that was not read yet.
    """

    def __init__(self, importer: Importer, scan: SourceScan) -> None:
        self._importer, self._scan = importer, scan
        self.columns = tuple(column.name for column in scan.columns)
        self.digests: list[bytes] = [_UNREAD] * len(scan.samples)
        pictures = [column.name for column in scan.columns if column.kind == "image"]
        self._digester = RowDigester(pictures, [name for name in self.columns if name not in pictures])
        self._arrays = {column.name: column for column in scan.columns if column.kind in ("array", "class_labels")}

    def __len__(self) -> int:
        return len(self.digests)

    def read(self, first: int, last: int) -> Iterator[dict[str, Any]]:
        """Rows ``first`` to before ``last``, in order.

        Raises:
            InvalidSource: A file is gone or was changed since it was checked, or a row has other columns than the importer named, or an
            array of another type.
        """
        for number, (row, digest) in enumerate(in_order(self._read, self._scan.samples[first:last]), first):
            self.digests[number] = digest
            yield row

    def digest_up_to(self, last: int, progress: Progress) -> None:
        """Read the rows before ``last`` that earlier attempts stored: nothing is taken on trust."""
        for number, _ in enumerate(self.read(0, last), 1):
            progress("reading source again", number, last)

    def _read(self, sample: SourceSample) -> tuple[dict[str, Any], bytes]:
        row = self._importer.read(sample)
        if row.keys() != set(self.columns):
            raise InvalidSource(
                f"sample '{sample.sample_id}': expected the columns {', '.join(sorted(self.columns))}, found {', '.join(sorted(row))}",
                hint=f"a fault of the importer '{self._importer.name}': its rows and its columns must have the same names",
            )
        for name, column in self._arrays.items():
            # The store would turn numbers into the column's type without a word: 1.7 into 1, -1 into 4294967295.
            found = (str(getattr(row[name], "dtype", type(row[name]).__name__)), getattr(row[name], "ndim", 0))
            if found != (column.dtype, column.ndim):
                raise InvalidSource(
                    f"sample '{sample.sample_id}', column '{name}': expected an array of {column.dtype} with {column.ndim} dimensions, "
                    f"found {found[0]} with {found[1]}",
                    hint=f"a fault of the importer '{self._importer.name}'",
                )
        return row, self._digester(row)[1]
