"""The identity of a view: digests over every row, in order."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime

from lineage.errors import IntegrityError
from lineage.model.dataset import InputRecord, RowIndex, View
from lineage.model.digest import digest_of_picture, digest_of_row, digest_of_rows, digest_of_view
from lineage.ports import DatasetBackend, DatasetReader, ObjectStore, Progress, no_progress

_BATCH_ROWS = 256
DIGEST_BYTES = 32


class RowDigests:
    """Digests of a view's rows.

    Attributes:
        pictures: 32 bytes a row: SHA-256 of the picture's encoded bytes (of all pictures' digests when a row has several).
        rows: 32 bytes a row: SHA-256 of the whole row.
    """

    def __init__(self, pictures: bytes, rows: bytes) -> None:
        self.pictures = pictures
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows) // DIGEST_BYTES

    def to_bytes(self) -> bytes:
        """Both, one after the other."""
        return self.pictures + self.rows

    @classmethod
    def from_bytes(cls, content: bytes) -> RowDigests:
        """The inverse of :meth:`to_bytes`."""
        half = len(content) // 2
        return cls(content[:half], content[half:])

    def differing(self, other: RowDigests) -> tuple[list[int], list[int]]:
        """Positions whose pictures differ, and positions whose rows differ, in two views of equal length."""
        return _differing(self.pictures, other.pictures), _differing(self.rows, other.rows)


def _differing(left: bytes, right: bytes) -> list[int]:
    import numpy as np

    a = np.frombuffer(left, np.uint8).reshape(-1, DIGEST_BYTES)
    b = np.frombuffer(right, np.uint8).reshape(-1, DIGEST_BYTES)
    return [int(i) for i in np.flatnonzero((a != b).any(axis=1))]


def digest_rows(reader: DatasetReader, rows: RowIndex, progress: Progress = no_progress, what: str = "digesting rows") -> RowDigests:
    """Read the rows as stored bytes, without decoding, and digest each.

    Raises:
        NotFound: A row or a file behind it is missing.
        TypeError: A column holds values that have no fixed bytes.
    """
    pictures_of = [name for name, column in reader.columns.items() if column.kind == "image"]
    pictures, digests = bytearray(), bytearray()
    for start in range(0, len(rows), _BATCH_ROWS):
        part = [int(row) for row in rows[start : start + _BATCH_ROWS]]
        values = reader.read(part)
        for i in range(len(part)):
            own = {name: digest_of_picture(values[name][i]) for name in pictures_of}
            annotations = {name: column[i] for name, column in values.items() if name not in own}
            digests += digest_of_row(annotations, own)
            pictures += next(iter(own.values())) if len(own) == 1 else digest_of_picture(b"".join(own[name] for name in sorted(own)))
        progress(what, min(start + _BATCH_ROWS, len(rows)), len(rows))
    return RowDigests(bytes(pictures), bytes(digests))


def class_names_of(reader: DatasetReader) -> dict[str, tuple[str, ...]]:
    """Names by index, for each column of class labels."""
    return {name: column.class_names for name, column in reader.columns.items() if column.kind == "class_labels"}


def record_input(backend: DatasetBackend, objects: ObjectStore, view: View, role: str, progress: Progress = no_progress) -> InputRecord:
    """Compute a view's identity and keep its rows and digests in the object store."""
    reader = backend.open(view.version.uri, view.version.branch, view.version.commit_id)
    if reader.version.dataset_id != view.version.dataset_id:
        raise IntegrityError(
            f"dataset {view.version.uri}", expected=f"id {view.version.dataset_id}", found=f"id {reader.version.dataset_id}"
        )
    manifest = backend.manifest(view.version)  # first: it finds files that must not be read
    digests = digest_rows(reader, view.rows, progress, f"digesting {role} rows")
    names = class_names_of(reader)
    return InputRecord(
        role=role,
        uri=view.version.uri,
        dataset_id=view.version.dataset_id,
        branch=view.version.branch,
        branch_id=view.version.branch_id,
        commit_id=view.version.commit_id,
        view_id=view.view_id,
        view_name=view.name,
        query=view.query,
        rows=len(view.rows),
        rows_total=view.version.rows_total,
        rows_digest=digest_of_rows(view.rows),
        content_digest=digest_of_view(digests.rows, names),
        rows_object=objects.put_bytes(pack_rows(view.rows)),
        digests_object=objects.put_bytes(digests.to_bytes()),
        columns=dict(reader.column_types),
        class_names=names,
        manifest=manifest,
        backend=backend.name,
        used_at=datetime.now(UTC),
    )


def pack_rows(rows: RowIndex) -> bytes:
    """Ordered positions, compressed: differences between neighbours are small and repeat."""
    import numpy as np

    return zlib.compress(np.diff(rows, prepend=0).astype("<i8").tobytes(), 6)


def unpack_rows(content: bytes) -> RowIndex:
    """The inverse of :func:`pack_rows`."""
    import numpy as np

    return np.cumsum(np.frombuffer(zlib.decompress(content), "<i8")).astype(np.int64)


def recorded_rows(objects: ObjectStore, item: InputRecord) -> RowIndex:
    """The ordered source positions of a recorded input, checked.

    Raises:
        NotFound: The object is gone.
        IntegrityError: It is not what the record says.
    """
    rows = unpack_rows(objects.get_bytes(item.rows_object))
    found = digest_of_rows(rows)
    if found != item.rows_digest:
        raise IntegrityError(f"rows of input '{item.role}'", expected=item.rows_digest, found=found)
    return rows
