"""Which rows of a version are digested already, and digesting the rest: once for each version, less for one that only appended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lineage.errors import IntegrityError, LineageError
from lineage.model.dataset import DatasetVersion, LogManifest
from lineage.model.digest import digest_of_json
from lineage.ports import DatasetBackend, DatasetReader, KnownVersion, ObjectStore, Progress, RowIndex, no_progress
from lineage.record.digesting import Batch, digest_batches
from lineage.record.ledger import Ledger, RowDigests, RowNames
from lineage.record.row_keys import digests_of_nothing, picture_keys, sample_keys

if TYPE_CHECKING:
    from lineage.model.dataset import Rows

_SAVE_EVERY_S = 20.0  # a block that is not full yet is kept and soon replaced: more often would leave more behind
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class DigestedRows:
    """What is known of a version's rows.

    Attributes:
        space: Numbering of rows it belongs to.
        ledger: Holds at least the rows that were asked for.
        ledger_digest: Its name in the object store.
        read: How many rows were read for it; the others were known.
    """

    space: str
    ledger: Ledger
    ledger_digest: str
    read: int


@dataclass(slots=True)
class _Start:
    space: str
    ledger: Ledger
    saved: str | None
    trusted: int
    """Rows below this number need not be read again where the ledger knows them."""
    same_version: bool
    """Whether the ledger's rows are this version's own: one that reads otherwise now was damaged."""
    is_joined: bool = False
    """Whether the space is that of a version it shares rows with: those below ``trusted``, and no other."""


def digested_rows(
    backend: DatasetBackend,
    objects: ObjectStore,
    index: RowIndex,
    reader: DatasetReader,
    manifest: LogManifest | None,
    rows: Rows,
    progress: Progress = no_progress,
    what: str = "digesting rows",
) -> DigestedRows:
    """Digests of ``rows`` (int64, shape (n,)) of an open version; those that an earlier record computed are not read again.

    They are taken over while the files behind the version look as they did then, and from an older version when this one only appended to
    it. Interrupted, it loses the work of the last 20 seconds.

    Raises:
        IntegrityError: The version reads otherwise than when it was first digested, although nothing was committed.
    """
    version = reader.version
    signature = backend.signature(version)
    start = _start(backend, objects, index, version, manifest, signature)
    try:
        return _digested(backend, objects, index, reader, manifest, signature, start, rows, progress, what)
    except _OtherHistoryError:
        own = _begin_own(objects, index, version, manifest)
        return _digested(backend, objects, index, reader, manifest, signature, own, rows, progress, what)


def _digested(
    backend: DatasetBackend,
    objects: ObjectStore,
    index: RowIndex,
    reader: DatasetReader,
    manifest: LogManifest | None,
    signature: str | None,
    start: _Start,
    rows: Rows,
    progress: Progress,
    what: str,
) -> DigestedRows:
    import numpy as np

    version = reader.version
    wanted = rows if len(rows) < 2 or bool((np.diff(rows) > 0).all()) else np.unique(rows)  # sorted already, as most views are
    if start.same_version and start.trusted == 0 and signature is not None:
        # The files look different: all that was taken from them is in doubt.
        known = start.ledger.all_known()
        wanted = np.union1d(wanted, known[known < version.rows_total])
    missing = wanted[~(start.ledger.known(wanted) & (wanted < start.trusted))]
    noted = _known_version(version, manifest, signature, start.space)
    if not start.same_version:
        if start.is_joined and (_holds_others(start, version) or _is_claimed(backend, index, noted, start)):
            raise _OtherHistoryError
        index.put_version(noted)  # first: an interrupted work is found again by it
        if start.is_joined and _is_claimed(backend, index, noted, start):  # by somebody who looked at the same moment
            raise _OtherHistoryError
    if len(missing) == 0:
        index.put_version(noted)
        return DigestedRows(start.space, start.ledger, start.saved or start.ledger.save(), 0)
    growing = _Growing(objects, index, start, version)
    digest_batches(reader, missing, growing.add, progress, what)
    growing.flush()
    # Where somebody wrote to the files meanwhile, they are read again next time.
    index.put_version(_known_version(version, manifest, signature if backend.signature(version) == signature else None, start.space))
    return DigestedRows(start.space, growing.ledger, growing.saved, len(missing))


def _known_version(version: DatasetVersion, manifest: LogManifest | None, signature: str | None, space: str) -> KnownVersion:
    return KnownVersion(
        uri=version.uri,
        dataset_id=version.dataset_id,
        branch_id=version.branch_id,
        commit_id=version.commit_id,
        manifest="" if manifest is None else manifest.digest,
        signature=signature,
        rows_total=version.rows_total,
        space=space,
    )


def _start(
    backend: DatasetBackend,
    objects: ObjectStore,
    index: RowIndex,
    version: DatasetVersion,
    manifest: LogManifest | None,
    signature: str | None,
) -> _Start:
    name = "" if manifest is None else manifest.digest
    known = index.versions(version.uri, version.dataset_id, version.branch_id)
    for item in known:
        if (item.commit_id, item.manifest) == (version.commit_id, name):
            unchanged = signature is not None and item.signature == signature
            return _begin(objects, index, item.space, version.rows_total if unchanged else 0, same_version=True)
    own = _known_version(version, manifest, signature, "")
    # The one that shares most comes first.
    for item in sorted(known, key=lambda item: -min(item.rows_total, version.rows_total)):
        if item.signature is not None and _is_related(backend, own, item) and backend.signature(_named(item)) == item.signature:
            shared = min(item.rows_total, version.rows_total)
            return _begin(objects, index, item.space, shared, same_version=False, is_joined=True)
    return _begin_own(objects, index, version, manifest)


def _named(item: KnownVersion) -> DatasetVersion:
    # What is asked with it goes by the branch's id: its name may be another by now.
    return DatasetVersion(item.uri, item.dataset_id, "", item.branch_id, item.commit_id, item.rows_total)


def _is_related(backend: DatasetBackend, left: KnownVersion, right: KnownVersion) -> bool:
    """Whether one of two versions is the other with rows behind at most."""
    older, newer = sorted((left, right), key=lambda item: (item.rows_total, item.commit_id))
    if older.commit_id == newer.commit_id:
        return older.manifest == newer.manifest
    if not backend.only_appended(older, _named(newer)):
        return False
    # That was asked of the version that has the newer one's name today; it may be another one.
    try:
        manifest = backend.manifest(_named(newer))
    except LineageError:
        return False
    return newer.manifest == ("" if manifest is None else manifest.digest)


def _holds_others(start: _Start, version: DatasetVersion) -> bool:
    """Whether the ledger has rows behind the shared ones: of another continuation, since none that is related to this one shares more."""
    return version.rows_total > start.trusted and start.ledger.holds_from(start.trusted)


def _is_claimed(backend: DatasetBackend, index: RowIndex, own: KnownVersion, start: _Start) -> bool:
    """Whether another continuation of the shared rows counts on the same space, even if it did not come to enter its rows yet."""
    return own.rows_total > start.trusted and any(
        item.space == start.space and item.rows_total > start.trusted and not _is_same(item, own) and not _is_related(backend, own, item)
        for item in index.versions(own.uri, own.dataset_id, own.branch_id)
    )


def _is_same(left: KnownVersion, right: KnownVersion) -> bool:
    return (left.commit_id, left.manifest) == (right.commit_id, right.manifest)


def _begin_own(objects: ObjectStore, index: RowIndex, version: DatasetVersion, manifest: LogManifest | None) -> _Start:
    # Named from the version's names: two processes that meet it at the same time come to one space. Rows that are in it already (the note
    # of the version was lost, or is on its way) are this version's own.
    words = [version.uri, version.dataset_id, version.branch_id, version.commit_id, "" if manifest is None else manifest.digest]
    start = _begin(objects, index, digest_of_json(words).partition(":")[2][:32], 0, same_version=False)
    start.same_version = start.saved is not None
    return start


def _begin(objects: ObjectStore, index: RowIndex, space: str, trusted: int, *, same_version: bool, is_joined: bool = False) -> _Start:
    saved = index.ledger(space)
    ledger = Ledger(objects) if saved is None else Ledger.load(objects, saved)
    return _Start(space, ledger, saved, trusted, same_version, is_joined)


class _Growing:
    """Collects digested rows and adds them to the space's ledger, a block at a time."""

    def __init__(self, objects: ObjectStore, index: RowIndex, start: _Start, version: DatasetVersion) -> None:
        self._objects = objects
        self._index = index
        self._start = start
        self._version = version
        self._batches: list[Batch] = []
        self._saved_at = time.monotonic()
        self.ledger = start.ledger
        self.saved = start.saved or ""

    def add(self, batch: Batch) -> None:
        """Take over a batch; now and then, save what is there."""
        self._batches.append(batch)
        if time.monotonic() - self._saved_at > _SAVE_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Add what was collected to the ledger and the index."""
        if not self._batches:
            return
        rows, digests, names = _joined(self._batches)
        self._batches.clear()
        self.ledger, self.saved = enter_rows(
            self._objects, self._index, self._start.space, self.ledger, self.saved or None, rows, digests, names, self._check
        )
        self._saved_at = time.monotonic()

    def _check(self, rows: Rows, differing: list[int]) -> None:
        if not self._start.same_version:
            raise _OtherHistoryError
        shown = ", ".join(str(int(rows[position])) for position in differing[:_SHOWN])
        raise IntegrityError(
            f"dataset {self._version.uri} at {self._version.commit_id}",
            expected="the rows it held when it was first recorded",
            found=f"{len(differing)} that read otherwise (row {shown}{', …' if len(differing) > _SHOWN else ''}), without a commit",
            hint="files were damaged or edited in place; restore the dataset from a copy",
        )


def enter_rows(
    objects: ObjectStore,
    index: RowIndex,
    space: str,
    ledger: Ledger,
    saved: str | None,
    rows: Rows,
    digests: RowDigests,
    names: RowNames,
    differ: Callable[[Rows, list[int]], None] | None = None,
) -> tuple[Ledger, str]:
    """Add rows to a space's ledger and to the index; return the ledger and its digest.

    Args:
        objects: Holds ledgers.
        index: Knows each space's newest.
        space: Which.
        ledger: The newest that the caller knows.
        saved: Its digest.
        rows: int64, shape (n,), each once.
        digests: Of those rows.
        names: Of those rows.
        differ: Called with (rows, positions among them) when the ledger holds some of them with other digests.
    """
    while True:
        fresh = ~ledger.known(rows)
        known = rows[~fresh]
        if differ is not None and len(known) and (positions := ledger.take(known).differing(digests[~fresh])[1]):
            differ(known, positions)
        told = names.take(fresh.nonzero()[0].tolist())
        # First the index: after a crash in between a row is there twice, which does no harm, instead of being left out.
        _note(index, space, rows[fresh], digests[fresh], told)
        grown = ledger.extended(rows[fresh], digests[fresh], told)
        digest = grown.save()
        if digest == saved or index.put_ledger(space, saved, digest):
            return grown, digest
        # Somebody else added to it meanwhile: go on from theirs.
        saved = index.ledger(space)
        ledger = Ledger(objects) if saved is None else Ledger.load(objects, saved)


def _note(index: RowIndex, space: str, rows: Rows, digests: RowDigests, names: RowNames) -> None:
    if len(rows):
        has_picture = (digests.pictures != digests_of_nothing()).any(axis=1)
        index.add_keys(space, "picture", picture_keys(digests.pictures[has_picture]), rows[has_picture])
        if names.sample_ids is not None:
            index.add_keys(space, "sample", sample_keys(names.sample_ids), rows)


class _OtherHistoryError(Exception):
    """Rows behind the shared ones are of another continuation of the same version: two copies of a dataset that went different ways."""


def _joined(batches: list[Batch]) -> Batch:
    import numpy as np

    rows = np.concatenate([rows for rows, _, _ in batches])
    digests = RowDigests(
        np.concatenate([digests.pictures for _, digests, _ in batches]), np.concatenate([digests.rows for _, digests, _ in batches])
    )
    ids = [names.sample_ids for _, _, names in batches]
    sequences = [names.sequences for _, _, names in batches]
    return (
        rows,
        digests,
        RowNames(
            None if any(part is None for part in ids) else tuple(text for part in ids for text in part or ()),
            None if any(part is None for part in sequences) else tuple(text for part in sequences for text in part or ()),
        ),
    )
