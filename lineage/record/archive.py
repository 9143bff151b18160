"""A kept copy of a view's rows in the object store, so that a run outlives its source.

Pictures are objects of their own, under the digest of their bytes: a picture that many views share is kept once. The rest of each row is
kept as the byte string its digest covers (``lineage.model.rows``), 256 rows to an object. A listing names them; the row index says
which listing belongs to which content.
"""

from __future__ import annotations

import functools
import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lineage.errors import IntegrityError, NotFound
from lineage.model.dataset import DatasetVersion, InputRecord
from lineage.model.deflated import inflate
from lineage.model.digest import canonical_json
from lineage.model.rows import decode_row
from lineage.model.source import Column
from lineage.ports import DatasetReader, ObjectStore, Progress, RowIndex, no_progress
from lineage.record.digesting import RowDigester, picture_of
from lineage.record.ledger import RowDigests

if TYPE_CHECKING:
    from lineage.model.dataset import Rows

_BLOCK_ROWS = 256
_BATCH_ROWS = 32
_BLOCKS_CACHED = 256
_MAGIC = b"lineage rows 1\n"


def write_archive(
    reader: DatasetReader,
    places: Rows,
    objects: ObjectStore,
    index: RowIndex,
    item: InputRecord,
    recorded: RowDigests,
    progress: Progress = no_progress,
) -> str:
    """Keep every row of a recorded input and return the listing's digest. Pictures that are kept already are not written again.

    Args:
        reader: Where the rows are read, at ``places`` (int64, shape (n,)), in view order.
        objects: Where they go.
        index: Told where they are, last of all.
        item: The input.
        recorded: Its digests; each row is compared before it is kept.
        progress: Told of rows kept.

    Raises:
        IntegrityError: A row is not what was recorded.
    """
    digester = RowDigester.of(reader)
    blocks: list[str] = []
    waiting: list[bytes] = []
    for start in range(0, len(places), _BATCH_ROWS):
        values = reader.read(places[start : start + _BATCH_ROWS].tolist())
        for offset in range(len(places[start : start + _BATCH_ROWS])):
            row = {name: column[offset] for name, column in values.items()}
            encoded, pictures = digester.encoded(row)
            if hashlib.sha256(encoded).digest() != recorded.rows[start + offset].tobytes():
                raise IntegrityError(
                    f"row {int(places[start + offset])} of {item.uri}",
                    expected="what was recorded",
                    found="other content",
                    hint="`lineage verify` tells what differs",
                )
            for content in pictures:
                objects.put_bytes(content)
            waiting.append(encoded)
            if len(waiting) == _BLOCK_ROWS:
                blocks.append(_put_block(objects, waiting))
                waiting = []
        progress(f"archiving {item.role} rows", min(start + _BATCH_ROWS, len(places)), len(places))
    if waiting:
        blocks.append(_put_block(objects, waiting))
    listing = objects.put_bytes(
        canonical_json(
            {
                "kind": "archive",
                "rows": len(places),
                "block_rows": _BLOCK_ROWS,
                "blocks": blocks,
                "columns": [asdict(column) for column in reader.columns.values()],
                "column_types": dict(reader.column_types),
            }
        )
    )
    index.put_archive(item.content_digest, listing)
    return listing


def _put_block(objects: ObjectStore, rows: Sequence[bytes]) -> str:
    lengths = struct.pack(f"<{len(rows) + 1}I", len(rows), *(len(row) for row in rows))
    return objects.put_bytes(_MAGIC + zlib.compress(lengths + b"".join(rows), 6))


class ArchiveReader:
    """An archive as an open dataset version. Its rows are numbered in view order, from 0.

    Args:
        objects: Holds it.
        listing: Digest of its listing.
        item: The recorded input that it is a copy of.

    Raises:
        NotFound: The listing is gone.
    """

    def __init__(self, objects: ObjectStore, listing: str, item: InputRecord) -> None:
        self._objects = objects
        self._listing = json.loads(objects.get_bytes(listing))
        self._item = item
        self._columns = {
            column["name"]: Column(**column | {"class_names": tuple(column["class_names"])}) for column in self._listing["columns"]
        }
        self._block = functools.lru_cache(_BLOCKS_CACHED)(self._read_block)

    @property
    def version(self) -> DatasetVersion:
        """The names of the version that it was taken from."""
        item = self._item
        return DatasetVersion(item.uri, item.dataset_id, item.branch, item.branch_id, item.commit_id, self._listing["rows"])

    @property
    def columns(self) -> Mapping[str, Column]:
        """Columns by name."""
        return self._columns

    @property
    def column_types(self) -> Mapping[str, str]:
        """Column name to type, as the dataset spelled it."""
        types: dict[str, str] = self._listing["column_types"]
        return types

    def objects(self) -> Iterator[str]:
        """Every object that it consists of, pictures included, without the listing itself."""
        for block in self._listing["blocks"]:
            yield block
            for row in self._read_block(block):
                for digest in decode_row(row)[1].values():
                    yield f"sha256:{digest.hex()}"

    def read(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """Values of the rows in the order asked for; see :class:`lineage.ports.DatasetReader`."""
        wanted = list(self._columns) if columns is None else list(columns)
        values: dict[str, list[Any]] = {name: [] for name in wanted}
        for row in rows:
            if not 0 <= row < self._listing["rows"]:
                raise NotFound("row", str(row), detail=f"the archive has {self._listing['rows']} rows")
            annotations, pictures = decode_row(self._block(self._listing["blocks"][row // _BLOCK_ROWS])[row % _BLOCK_ROWS])
            for name in wanted:
                if name in pictures:
                    values[name].append(self._objects.get_bytes(f"sha256:{pictures[name].hex()}"))
                elif name in annotations:
                    values[name].append(annotations[name])
                else:
                    raise NotFound("column", name, detail=f"the archive has {', '.join(self._columns)}")
        return values

    def digests(self, progress: Progress = no_progress) -> RowDigests:
        """Digests of every row, from what is kept; pictures are read and compared, too."""
        pictures, rows = bytearray(), bytearray()
        total = self._listing["rows"]
        for number, row in enumerate(row for block in self._listing["blocks"] for row in self._read_block(block)):
            own = decode_row(row)[1]
            for digest in own.values():
                self._objects.get_bytes(f"sha256:{digest.hex()}")
            pictures += picture_of([own[name] for name in sorted(own)])
            rows += hashlib.sha256(row).digest()
            progress("checking archived rows", number + 1, total)
        return RowDigests.of(pictures, rows)

    def _read_block(self, digest: str) -> list[bytes]:
        content = self._objects.get_bytes(digest)
        if not content.startswith(_MAGIC):
            raise IntegrityError(f"object {digest[:19]}…", expected="archived rows", found=f"{content[:16]!r}")
        plain = inflate(content[len(_MAGIC) :], f"object {digest[:19]}…")
        (count,) = struct.unpack_from("<I", plain)
        rows, at = [], 4 + 4 * count
        for length in struct.unpack_from(f"<{count}I", plain, 4):
            rows.append(plain[at : at + length])
            at += length
        return rows
