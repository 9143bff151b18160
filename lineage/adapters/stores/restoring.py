"""A store from a backup. Everything is compared with its digest on the way, and the records come last: a store is there whole, or not."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lineage.adapters.stores.backup import objects_in, read_backup
from lineage.adapters.stores.backup_tables import finish_file, load_file, refuse_filled
from lineage.adapters.stores.continuing import ContinuingRunStore
from lineage.adapters.stores.database import Database
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.errors import Conflict, IntegrityError, LineageError, NotFound, Unavailable
from lineage.model.backup import Manifest
from lineage.model.event import replay
from lineage.model.run import RunState
from lineage.model.words import instant
from lineage.ports import ObjectStore, Progress, no_progress

_SHOWN = 3
_ASIDE = ".partial-restored.sqlite"
_ALL = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Restored:
    """What was found.

    Attributes:
        manifest: Of the backup.
        broken: Run id and what is wrong, of records that did not hold when they were backed up already.
        tokens: How many access tokens were revoked.
        jobs: How many requests for re-materialisation were cancelled.
    """

    manifest: Manifest
    broken: tuple[tuple[str, str], ...]
    tokens: int
    jobs: int


def check_backup(folder: Path, kept: ObjectStore, scratch: Path, progress: Progress = no_progress) -> Restored:
    """Compare every byte of a backup with its digests, and every record with its chain.

    Args:
        folder: Of the backup.
        kept: Its objects.
        scratch: A folder with room for a copy of its records.
        progress: Told of objects, then of records.

    Raises:
        NotFound: There is no backup.
        IntegrityError: It was altered or is torn; each thing is named.
        Unavailable: The copy cannot be written.
    """
    manifest = read_backup(folder)
    _refuse(folder, _each(folder, manifest, progress, "checking objects", lambda digest, _: kept.check(digest)))
    with _errors(scratch), _opened(folder, manifest, scratch) as (_, database):
        return Restored(manifest, _broken(database, progress), 0, 0)


def restore(
    folder: Path,
    kept: ObjectStore,
    target: Path | Database,
    objects: ObjectStore,
    scratch: Path,
    *,
    keep_tokens: bool,
    progress: Progress = no_progress,
) -> Restored:
    """Make a store from a backup; interrupted, the same call goes on where it was.

    Args:
        folder: Of the backup.
        kept: Its objects.
        target: A folder for a store in a file, or a database of this release with nothing in it.
        objects: Of the new store.
        scratch: A folder on the same disk as ``target``, where that is a folder.
        keep_tokens: Leave access tokens valid that were so when the backup was made.
        progress: Told of objects, records and tables.

    Raises:
        Conflict: There is a store already; nothing was changed.
        NotFound: There is no backup.
        IntegrityError: It was altered or is torn; each thing is named, and there is no new store.
        Unavailable: The target cannot be written; there is no new store.
    """
    manifest = read_backup(folder)
    if isinstance(target, Path) and (target / "lineage.sqlite").exists():
        raise Conflict(f"there is a store in {target} already", hint="restore to a folder that is not there")
    if isinstance(target, Database):
        refuse_filled(folder / manifest.records.name, target)

    def bring(digest: str, size: int) -> None:
        with contextlib.suppress(NotFound, IntegrityError):
            objects.check(digest)  # brought by an earlier call
            return
        path = kept.path_of(digest)
        if path is None:
            raise NotFound("object", digest)
        with path.open("rb") as content:
            objects.put_stream(content, size, digest)

    with _errors(scratch), _opened(folder, manifest, scratch) as (aside, database):
        _refuse(folder, _each(folder, manifest, progress, "copying objects", bring))
        broken = _broken(database, progress)
        tokens, jobs = _settle(database, keep_tokens=keep_tokens)
        database.close()
        finish_file(aside)
        if isinstance(target, Path):
            aside.replace(target / "lineage.sqlite")
        else:
            load_file(aside, target, progress)
    return Restored(manifest, broken, tokens, jobs)


def _each(folder: Path, manifest: Manifest, progress: Progress, what: str, act: Callable[[str, int], None]) -> list[str]:
    wrong: list[str] = []
    for number, (digest, size) in enumerate(objects_in(folder, manifest), 1):
        try:
            act(digest, size)
        except (IntegrityError, NotFound) as error:
            wrong.append(error.message)
        progress(what, number, manifest.object_count)
    return wrong


def _refuse(folder: Path, wrong: list[str]) -> None:
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise IntegrityError(
            f"objects of the backup {folder}",
            expected="each as its digest says",
            found="; ".join(wrong[:_SHOWN]) + more,
            hint="where the store is still there, `lineage store backup --reread` mends its backup",
        )


@contextmanager
def _opened(folder: Path, manifest: Manifest, scratch: Path) -> Iterator[tuple[Path, SqliteDatabase]]:
    aside = scratch / _ASIDE
    _forget(aside)
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(folder / manifest.records.name, aside)
        with closing(SqliteDatabase(aside)) as database:  # brings records of an older release to this one's tables
            yield aside, database
    finally:
        _forget(aside)


def _forget(aside: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        Path(f"{aside}{ending}").unlink(missing_ok=True)


def _broken(database: SqliteDatabase, progress: Progress) -> tuple[tuple[str, str], ...]:
    runs = ContinuingRunStore(database)
    ids = runs.ids_with_prefix("", _ALL)
    broken: list[tuple[str, str]] = []
    for number, run_id in enumerate(ids, 1):
        try:
            told = replay(runs.events(run_id), run_id, runs.environment)
            if told != runs.get(run_id):
                raise IntegrityError(f"record {run_id[:12]}", expected="what its events add up to", found="another one")
            if told.state is not RunState.running and (found := runs.metrics_digest(run_id)) != told.metrics_digest:
                raise IntegrityError(f"metrics of run {run_id[:12]}", expected=str(told.metrics_digest), found=str(found))
        except LineageError as error:
            broken.append((run_id, error.message))
        progress("checking records", number, len(ids))
    return tuple(broken)


def _settle(database: SqliteDatabase, *, keep_tokens: bool) -> tuple[int, int]:
    now = datetime.now(UTC)
    with database.writing() as execute:
        valid = execute("SELECT id FROM access_tokens WHERE revoked_at IS NULL", ())
        if not keep_tokens:  # one that was revoked after the backup was made would be valid again
            execute("UPDATE access_tokens SET revoked_at = ? WHERE revoked_at IS NULL", (instant(now),))
        waiting = execute("SELECT id FROM materialisations WHERE state IN ('queued', 'running')", ())
        # Nobody who asked for them waits any more, and they execute commands.
        execute(
            "UPDATE materialisations SET state = 'cancelled', cancel_requested = 1, lease_until = NULL, ended_at = ?, change = change + 1"
            " WHERE state IN ('queued', 'running')",
            (now.timestamp(),),
        )
    return 0 if keep_tokens else len(valid), len(waiting)


@contextmanager
def _errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"nothing was restored: {place} cannot be written: {os.strerror(error.errno) if error.errno else error}",
            hint="make room and run the command again; it goes on where it was",
        ) from error
