"""Backups: a folder with one state of the records and every object that they name. Made again, it gets what is new.

Records first, objects after: an object is kept before a record names it, so whatever the copied records name is there to be copied.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from lineage.adapters.stores.backup_tables import finish_file, runs_in
from lineage.adapters.stores.database import Database
from lineage.errors import Conflict, IntegrityError, NotFound, Unavailable
from lineage.model.backup import MANIFEST, File, Manifest, read_manifest
from lineage.model.digest import digest_of_file
from lineage.ports import ObjectStore, Progress, no_progress

_LOCK = ".lock"
_PARTIAL = ".partial-"


def make_backup(
    database: Database, objects: ObjectStore, folder: Path, kept: ObjectStore, *, reread: bool = False, progress: Progress = no_progress
) -> tuple[Manifest, int]:
    """Bring a backup up to date, or begin one; interrupted at any moment, the backup before it is whole, and the next one goes on.

    Args:
        database: Of the store; others may go on writing to it.
        objects: Of the store.
        folder: Of the backup.
        kept: Objects of the backup.
        reread: Compare those that are there already with their digests, too, and copy damaged ones again.
        progress: Told of pages or tables, then of objects.

    Returns:
        What the backup says of itself, and how many objects are new in it.

    Raises:
        Conflict: The folder holds something else, or the backup of another store, or is being written.
        IntegrityError: The store's database is damaged. Damaged objects are no error: the backup names them.
        Unavailable: The database cannot be used, or the folder not be written.
    """
    with _errors(folder), _claimed(folder):
        before = read_backup(folder) if (folder / MANIFEST).exists() else None
        made_at = datetime.now(UTC)
        aside = folder / f"{_PARTIAL}records"
        _clear(folder, lambda name: name.startswith(_PARTIAL))
        database.copy_to_file(aside, progress)
        runs = finish_file(aside)
        if before is not None and (lost := runs_in(folder / before.records.name) - runs_in(aside)):
            raise Conflict(
                f"{folder} is a backup of {before.source} with {len(lost)} runs that {database.location} does not have",
                hint="give each store a folder of its own; a store that lost records is restored, not backed up",
            )
        listed, damaged, new = _copy_objects(objects, kept, reread, progress)
        records = _named(aside, "records", ".sqlite")
        listing = folder / f"{_PARTIAL}objects"
        listing.write_text("".join(f"{digest} {size}\n" for digest, size in listed), encoding="ascii")
        manifest = Manifest(
            made_at=made_at,
            release=version("dataset-lineage"),
            source=database.location,
            runs=runs,
            records=records,
            objects=_named(listing, "objects", ".txt"),
            object_count=len(listed),
            object_bytes=sum(size for _, size in listed),
            damaged=tuple(damaged),
        ).sealed()
        _replace(folder / MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")
        names = {manifest.records.name, manifest.objects.name}
        _clear(folder, lambda name: name.startswith(("records-", "objects-", _PARTIAL)) and name not in names)
    return manifest, new


def read_backup(folder: Path) -> Manifest:
    """What a backup says of itself, compared with its two lists, not yet with its objects.

    Raises:
        NotFound: There is no whole backup.
        IntegrityError: A file of it was altered, or is torn or gone.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise NotFound(
            "backup", str(folder), hint=f"the folder has no {MANIFEST}: it is another one, or the first backup never ended"
        ) from None
    manifest = read_manifest(text, str(folder / MANIFEST))
    for file in (manifest.records, manifest.objects):
        path = folder / file.name
        if path.parent != folder or not path.is_file():
            raise IntegrityError(str(path), expected=file.digest, found="no such file")
        if (found := digest_of_file(path)) != file.digest:
            raise IntegrityError(str(path), expected=file.digest, found=found, hint="it was altered or torn; take another backup")
    return manifest


def objects_in(folder: Path, manifest: Manifest) -> Iterator[tuple[str, int]]:
    """(digest, size in bytes) of every object of a backup."""
    with (folder / manifest.objects.name).open(encoding="ascii") as lines:
        for line in lines:
            digest, size = line.split()
            yield digest, int(size)


def _copy_objects(
    objects: ObjectStore, kept: ObjectStore, reread: bool, progress: Progress
) -> tuple[list[tuple[str, int]], list[str], int]:
    there = {digest: size for digest, size, _ in kept.all()}
    listed: list[tuple[str, int]] = []
    damaged: list[str] = []
    wanted = [(digest, size) for digest, size, _ in objects.all()]
    new = 0
    for number, (digest, size) in enumerate(wanted, 1):
        progress("copying objects", number, len(wanted))
        if there.get(digest) != size or (reread and not _is_intact(kept, digest)):
            path = objects.path_of(digest)
            if path is None:  # tidied away since it was listed: no record names it
                continue
            try:
                with path.open("rb") as content:
                    kept.put_stream(content, size, digest)
            except FileNotFoundError:
                continue
            except IntegrityError:
                damaged.append(digest)
                continue
            new += 1
        listed.append((digest, size))
    return listed, damaged, new


def _is_intact(kept: ObjectStore, digest: str) -> bool:
    try:
        kept.check(digest)
    except (IntegrityError, NotFound):
        return False
    return True


def _named(aside: Path, kind: str, ending: str) -> File:
    digest = digest_of_file(aside)
    name = f"{kind}-{digest.partition(':')[2][:12]}{ending}"
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    size = aside.stat().st_size
    aside.replace(aside.with_name(name))
    return File(name=name, digest=digest, size_bytes=size)


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f"{_PARTIAL}{path.name}")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # or a power cut could leave the new files without the one that names them
    finally:
        os.close(folder)


def _clear(folder: Path, is_unwanted: Callable[[str], bool]) -> None:
    for path in folder.iterdir():
        if path.is_file() and is_unwanted(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    if folder.exists() and not (folder / _LOCK).exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} holds something else than a backup", hint="name a folder that is empty or not there")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # records say much about a team
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another backup is being written to {folder}", hint="wait until it is done") from None
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                _clear(folder, lambda name: name.startswith(_PARTIAL))
            raise


@contextmanager
def _errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"the backup in {folder} cannot be written: {error.strerror or error}",
            hint="an earlier backup there is whole; make room and run the command again, it goes on where it was",
        ) from error
