"""A recorded input, open for reading: exactly its rows, in its order, in any process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lineage.errors import IntegrityError
from lineage.model.dataset import InputRecord, RowIndex
from lineage.ports import DatasetBackend, DatasetReader


class RecordedView:
    """Rows of a dataset version as a record holds them.

    It reopens address, branch and commit in every process that reads (no handle is pickled or carried over a fork) and reads by recorded
    positions, so later commits, deletions or renamed views change nothing.

    Attributes:
        record: The recorded input.
        rows: Source positions in view order, int64, shape (n,).
        seed: Seed of the run that uses it.
    """

    def __init__(
        self, backend: DatasetBackend, record: InputRecord, rows: RowIndex, *, uri: str, branch: str, commit_id: str, seed: int | None
    ) -> None:
        self.record = record
        self.rows = rows
        self.seed = seed
        self._backend = backend
        self._address = (uri, branch, commit_id)
        self._reader: DatasetReader | None = None
        self._reader_pid: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_reader": None, "_reader_pid": None}

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<RecordedView {self.record.role}: {len(self)} rows of {self.record.uri} at {self.record.commit_id}>"

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """Names by class index, for each column of class labels."""
        return self.record.class_names

    def _open(self) -> DatasetReader:
        if self._reader is None or self._reader_pid != os.getpid():
            reader = self._backend.open(*self._address)
            if reader.version.rows_total <= int(self.rows.max(initial=-1)):
                raise IntegrityError(
                    f"dataset {self._address[0]} at {self._address[2]}",
                    expected=f"at least {int(self.rows.max()) + 1} rows",
                    found=f"{reader.version.rows_total} rows",
                )
            self._reader, self._reader_pid = reader, os.getpid()
        return self._reader

    def read(self, positions: Sequence[int], columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """Column values at positions of the view: encoded bytes for pictures, arrays, texts."""
        return self._open().read([int(self.rows[position]) for position in positions], columns)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """One sample: column to value, and ``row`` (source position) and ``index`` (position in the view)."""
        if not -len(self) <= position < len(self):
            raise IndexError(f"position {position} of a view with {len(self)} rows")
        position %= len(self)
        values = {name: column[0] for name, column in self.read([position]).items()}
        return values | {"row": int(self.rows[position]), "index": position}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[position] for position in range(len(self)))
