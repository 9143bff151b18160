"""The identity of a view: which rows, in which order, with which content."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lineage.errors import IntegrityError
from lineage.model.dataset import InputRecord, View
from lineage.model.deflated import LARGEST_BYTES, inflate
from lineage.model.digest import digest_of_rows, digest_of_view
from lineage.ports import DatasetBackend, DatasetReader, ObjectStore, Progress, RowIndex, no_progress
from lineage.record.ledger import Ledger, RowDigests, RowNames
from lineage.record.spaces import digested_rows

if TYPE_CHECKING:
    from lineage.model.dataset import Rows

_LARGEST_ROWS_BYTES = 4 * LARGEST_BYTES  # 537 million rows


def class_names_of(reader: DatasetReader) -> dict[str, tuple[str, ...]]:
    """Names by index, for each column of class labels."""
    return {name: column.class_names for name, column in reader.columns.items() if column.kind == "class_labels"}


def record_input(
    backend: DatasetBackend, objects: ObjectStore, index: RowIndex, view: View, role: str, progress: Progress = no_progress
) -> InputRecord:
    """Find out a view's identity, keep its rows and digests in the object store, and enter it into the row index.

    Rows of a version are digested once; a later view of it, or of a version that only appended, reads what is new.

    Raises:
        NotFound: A row or a file behind it is missing.
        IntegrityError: The dataset is another one than the view was taken from, or was changed without a commit.
    """
    reader = backend.open(view.version.uri, view.version.branch, view.version.commit_id)
    version = view.version
    if reader.version.dataset_id != version.dataset_id:
        raise IntegrityError(f"dataset {version.uri}", expected=f"id {version.dataset_id}", found=f"id {reader.version.dataset_id}")
    manifest = backend.manifest(version)  # first: it finds files that must not be read
    found = digested_rows(backend, objects, index, reader, manifest, view.rows, progress, f"digesting {role} rows")
    names = class_names_of(reader)
    item = InputRecord(
        role=role,
        uri=version.uri,
        kind=backend.kind_of(version.uri),
        dataset_id=version.dataset_id,
        branch=version.branch,
        branch_id=version.branch_id,
        commit_id=version.commit_id,
        view_id=view.view_id,
        view_name=view.name,
        query=view.query,
        rows=len(view.rows),
        rows_total=version.rows_total,
        rows_digest=digest_of_rows(view.rows),
        content_digest=digest_of_view(found.ledger.take(view.rows).rows.tobytes(), names),
        rows_object=objects.put_bytes(pack_rows(view.rows)),
        space=found.space,
        ledger_object=found.ledger_digest,
        columns=dict(reader.column_types),
        class_names=names,
        manifest=manifest,
        backend=backend.name_of(version.uri),
        used_at=datetime.now(UTC),
    )
    enter_view(index, item, view.rows)
    return item


def enter_view(index: RowIndex, item: InputRecord, rows: Rows) -> None:
    """Make an input's rows findable."""
    if item.view_key is not None and item.space is not None and not index.has_view(item.view_key):
        index.add_view(item.view_key, item.space, rows)


def pack_rows(rows: Rows) -> bytes:
    """Ordered positions, compressed: differences between neighbours are small and repeat."""
    import numpy as np

    return zlib.compress(np.diff(rows, prepend=0).astype("<i8").tobytes(), 6)


def unpack_rows(content: bytes, count: int) -> Rows:
    """The inverse of :func:`pack_rows`, for so many rows.

    Raises:
        IntegrityError: There are other ones, or it is something else.
    """
    import numpy as np

    plain = inflate(content, "rows of a view", min(8 * count, _LARGEST_ROWS_BYTES))
    if len(plain) != 8 * count:
        raise IntegrityError("rows of a view", expected=f"{count} rows", found=f"{len(plain)} bytes")
    return np.cumsum(np.frombuffer(plain, "<i8")).astype(np.int64)


def recorded_rows(objects: ObjectStore, item: InputRecord) -> Rows:
    """The ordered source positions of a recorded input, checked.

    Raises:
        NotFound: The object is gone.
        IntegrityError: It is not what the record says.
    """
    rows = unpack_rows(objects.get_bytes(item.rows_object), item.rows)
    found = digest_of_rows(rows)
    if found != item.rows_digest:
        raise IntegrityError(f"rows of input '{item.role}'", expected=item.rows_digest, found=found)
    return rows


def recorded_digests(objects: ObjectStore, item: InputRecord, rows: Rows) -> RowDigests:
    """Digests of a recorded input's ``rows``, in view order, checked against the root in its record.

    Raises:
        NotFound: An object is gone.
        IntegrityError: They are not what the record says.
    """
    if item.ledger_object is not None:
        digests = Ledger.load(objects, item.ledger_object).take(rows)
    elif item.digests_object is not None:
        digests = RowDigests.from_bytes(objects.get_bytes(item.digests_object))
    else:
        raise IntegrityError(f"input '{item.role}'", expected="digests of its rows", found="none in the record")
    found = digest_of_view(digests.rows.tobytes(), item.class_names)
    if found != item.content_digest:
        raise IntegrityError(f"digests of input '{item.role}'", expected=item.content_digest, found=found)
    return digests


def digests_at(objects: ObjectStore, item: InputRecord, rows: Rows, part: slice) -> RowDigests:
    """Digests of some of a recorded input's ``rows``, without the check of the root over all of them.

    Raises:
        NotFound: An object is gone.
        IntegrityError: An object is not what its digest says.
    """
    if item.ledger_object is not None:
        return Ledger.load(objects, item.ledger_object).take(rows[part])
    return recorded_digests(objects, item, rows)[part]


def recorded_names(objects: ObjectStore, item: InputRecord, rows: Rows) -> RowNames:
    """Sample ids and sequences of a recorded input's ``rows``, in view order, as far as they were recorded."""
    return RowNames() if item.ledger_object is None else Ledger.load(objects, item.ledger_object).names(rows)


def objects_of(objects: ObjectStore, item: InputRecord) -> set[str]:
    """Every object that the record of an input relies on."""
    needed = {item.rows_object}
    if item.digests_object is not None:
        needed.add(item.digests_object)
    if item.ledger_object is not None:
        needed.add(item.ledger_object)
        if objects.has(item.ledger_object):
            needed.update(Ledger.load(objects, item.ledger_object).objects())
    return needed
