"""A recorded input, open for reading: exactly its rows, in its order, in any process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lineage.errors import IntegrityError
from lineage.model.dataset import InputRecord
from lineage.ports import DatasetBackend, DatasetReader, ObjectStore
from lineage.record.archive import ArchiveReader
from lineage.record.digesting import RowDigester
from lineage.record.ledger import DIGEST_BYTES, RowDigests
from lineage.record.reads import ReadLog
from lineage.record.sharing import Shelf, shared
from lineage.record.small_columns import SmallColumns, small_columns

if TYPE_CHECKING:
    from lineage.model.dataset import Rows

Origin = Literal["dataset", "archive"]


class Place(Protocol):
    """Where rows are read, in a form that can go to another process."""

    @property
    def origin(self) -> Origin: ...

    def open(self) -> DatasetReader:
        """Open it in this process."""

    def positions(self, rows: Rows) -> Rows:
        """Where the reader has the rows with these source positions, in view order; int64, shape (n,)."""


@dataclass(frozen=True, slots=True)
class DatasetPlace:
    """A version of a dataset."""

    backend: DatasetBackend
    uri: str
    branch: str
    commit_id: str
    origin: Origin = "dataset"

    def open(self) -> DatasetReader:
        """Open it in this process."""
        return self.backend.open(self.uri, self.branch, self.commit_id)

    def positions(self, rows: Rows) -> Rows:
        """The source positions themselves."""
        return rows


@dataclass(frozen=True, slots=True)
class ArchivePlace:
    """A kept copy in the object store."""

    objects: ObjectStore
    listing: str
    item: InputRecord
    origin: Origin = "archive"

    def open(self) -> DatasetReader:
        """Open it in this process."""
        return ArchiveReader(self.objects, self.listing, self.item)

    def positions(self, rows: Rows) -> Rows:
        """An archive holds the view alone, in its order."""
        import numpy as np

        return np.arange(len(rows), dtype=np.int64)


@dataclass(slots=True)
class _Opened:
    """What one process has open."""

    pid: int
    reader: DatasetReader
    digester: RowDigester
    small: SmallColumns | None = None


class RecordedView:
    """Rows of a dataset version as a record holds them.

    It opens address, branch and commit in every process that reads (no handle is pickled or carried over a fork) and reads by recorded
    positions, so later commits, deletions or renamed views change nothing. Every row that is read whole is compared with its recorded
    digest, and so is every picture: what a training step gets is what the record says, or it stops.

    Attributes:
        record: The recorded input.
        rows: Source positions in view order, int64, shape (n,).
        seed: Seed of the run that uses it.
        reads: Notes what is read, in the process that made the run; ``None`` elsewhere.
    """

    def __init__(
        self, record: InputRecord, rows: Rows, digests: RowDigests, place: Place, *, seed: int | None = None, reads: ReadLog | None = None
    ) -> None:
        self.record = record
        self.rows = rows
        self.seed = seed
        self.reads = reads
        self._digests = digests
        self._place = place
        self._positions = place.positions(rows)
        self._opened: _Opened | None = None
        self._shelf = Shelf()

    def __getstate__(self) -> dict[str, Any]:
        share = self._shelf.share
        digests = (share("pictures", self._digests.pictures), share("row digests", self._digests.rows))
        own = {"rows": share("rows", self.rows), "_positions": share("positions", self._positions), "_digests": digests}
        return self.__dict__ | own | {"_opened": None, "reads": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        pictures, rows = state["_digests"]
        own = {"rows": shared(state["rows"]), "_positions": shared(state["_positions"])}
        self.__dict__.update(state | own | {"_digests": RowDigests(shared(pictures), shared(rows))})

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return (
            f"<RecordedView {self.record.role}: {len(self)} rows of {self.record.uri} at {self.record.commit_id}, from the {self.origin}>"
        )

    @property
    def origin(self) -> Origin:
        """Whether rows come from the ``dataset`` or from a kept copy (``archive``)."""
        return self._place.origin

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """Names by class index, for each column of class labels."""
        return self.record.class_names

    @property
    def digests(self) -> RowDigests:
        """Recorded digests of the rows, in view order."""
        return self._digests

    def _open(self) -> _Opened:
        if self._opened is None or self._opened.pid != os.getpid():
            reader = self._place.open()
            if reader.version.rows_total <= int(self._positions.max(initial=-1)):
                raise IntegrityError(
                    f"dataset {self.record.uri} at {reader.version.commit_id}",
                    expected=f"at least {int(self._positions.max()) + 1} rows",
                    found=f"{reader.version.rows_total} rows",
                )
            self._opened = _Opened(os.getpid(), reader, RowDigester.of(reader))
        return self._opened

    def columns(self) -> Mapping[str, Any]:
        """Columns by name, as :class:`lineage.model.source.Column`."""
        return self._open().reader.columns

    def read(self, positions: Sequence[int], columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """Column values at positions of the view: encoded bytes for pictures, arrays, texts.

        Raises:
            IntegrityError: A row, or a picture when some columns are left out, is not what was recorded.
        """
        values = self.read_quietly(positions, columns)
        if self.reads is not None:
            self.reads.handed(None, positions)
        return values

    def read_quietly(self, positions: Sequence[int], columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """As :meth:`read`, for callers that say themselves what was used, and in which epoch."""
        opened = self._open()
        values = opened.reader.read([int(self._positions[position]) for position in positions], columns)
        self._check(opened.digester, positions, values)
        return values

    def _check(self, digester: RowDigester, positions: Sequence[int], values: dict[str, list[Any]]) -> None:
        is_whole = digester.columns <= values.keys()
        if is_whole:
            expected, what = self._digests.rows, "row"
            found = digester.batch(values).rows.tobytes()
        elif digester.encode.pictures and set(digester.encode.pictures) <= values.keys():
            expected, what = self._digests.pictures, "picture of row"
            found = digester.pictures(values)
        else:
            return  # annotations alone have no digest of their own
        if found == expected[list(positions)].tobytes():
            return
        for offset, position in enumerate(positions):
            wanted, seen = expected[position].tobytes(), found[offset * DIGEST_BYTES : (offset + 1) * DIGEST_BYTES]
            if seen != wanted:
                sample_id = values["sample_id"][offset] if "sample_id" in values else None
                name = f" ({sample_id})" if isinstance(sample_id, str) else ""
                raise IntegrityError(
                    f"{what} {int(self.rows[position])}{name} of {self.record.uri}",
                    expected=f"sha256:{wanted.hex()}",
                    found=f"sha256:{seen.hex()}",
                    hint="the stored files were damaged or edited since they were recorded; `lineage verify` lists every such row",
                )

    def __getitem__(self, position: int) -> dict[str, Any]:
        """One sample: column to value, and ``row`` (source position) and ``index`` (position in the view)."""
        sample = self.sample(position)
        if self.reads is not None:
            self.reads.handed(None, (sample["index"],))
        return sample

    def sample(self, position: int) -> dict[str, Any]:
        """As ``view[position]``, without noting that it was read."""
        if not -len(self) <= position < len(self):
            raise IndexError(f"position {position} of a view with {len(self)} rows")
        position %= len(self)
        values = {name: column[0] for name, column in self.read_quietly([position]).items()}
        return values | {"row": int(self.rows[position]), "index": position}

    def samples(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Several samples, read together, in the order asked for, without noting that they were read.

        Columns that are small are kept in memory once they were read, up to 64 MiB in each process that reads. Every row is compared with
        its digest all the same.

        Raises:
            IntegrityError: A row is not what was recorded.
        """
        opened = self._open()
        ascending = sorted(set(positions), key=self._positions.__getitem__)  # storage is read fastest in its own order
        rows = self._positions[ascending].tolist()
        kept = None if opened.small is None else opened.small.read(ascending)
        if kept is None:
            values = opened.reader.read(rows)
        else:
            rest = opened.reader.read(rows, [name for name in opened.reader.columns if name not in kept])
            values = {name: kept[name] if name in kept else rest[name] for name in opened.reader.columns}
        if opened.small is None:
            opened.small = SmallColumns(opened.reader, self._positions, small_columns(values, opened.digester.encode.pictures))
        self._check(opened.digester, ascending, values)
        found = {
            position: {name: column[place] for name, column in values.items()} | {"row": int(self.rows[position]), "index": position}
            for place, position in enumerate(ascending)
        }
        return [found[position] for position in positions]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[position] for position in range(len(self)))
