"""Puts the parts of backups together."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lineage.adapters.objects.folder import FolderObjectStore
from lineage.errors import UsageError
from lineage.ports import Progress
from lineage.settings import Settings, load_settings
from lineage.wiring import database_of, is_service

if TYPE_CHECKING:
    from lineage.adapters.stores.restoring import Restored
    from lineage.model.backup import Manifest


def back_up(folder: Path, *, reread: bool, progress: Progress) -> tuple[Manifest, int]:
    """Back the store of this environment up to a folder; see :func:`lineage.adapters.stores.backup.make_backup`.

    Raises:
        UsageError: The store is a service's, or the folder lies in the store.
    """
    from lineage.adapters.stores.backup import make_backup

    settings = _own(load_settings(), "LINEAGE_STORE")
    folder = folder.expanduser().absolute()
    store = settings.folder.resolve()
    if folder.resolve() == store or store in folder.resolve().parents:
        raise UsageError(f"{folder} lies in the store itself", hint="name a folder elsewhere, best on another disk")
    database = database_of(settings)
    try:
        return make_backup(
            database, FolderObjectStore(settings.folder / "objects"), folder, _kept(folder), reread=reread, progress=progress
        )
    finally:
        database.close()


def check(folder: Path, progress: Progress) -> Restored:
    """Check a backup; see :func:`lineage.adapters.stores.restoring.check_backup`."""
    from lineage.adapters.stores.restoring import check_backup

    folder = folder.expanduser().absolute()
    with tempfile.TemporaryDirectory(prefix="lineage-backup-") as scratch:
        return check_backup(folder, _kept(folder), Path(scratch), progress)


def restore_to(folder: Path, target: str, *, keep_tokens: bool, progress: Progress) -> Restored:
    """Make a store from a backup: a folder, or ``postgresql://…`` with objects in ``LINEAGE_FOLDER``.

    Raises:
        UsageError: The target is a service.
    """
    from lineage.adapters.stores.restoring import restore

    settings = _own(load_settings(store=target), "TO")
    folder = folder.expanduser().absolute()
    objects = FolderObjectStore(settings.folder / "objects")
    if "://" in settings.store:
        database = database_of(settings)
        try:
            return restore(folder, _kept(folder), database, objects, settings.folder, keep_tokens=keep_tokens, progress=progress)
        finally:
            database.close()
    is_new = not settings.folder.exists()
    found = restore(folder, _kept(folder), settings.folder, objects, settings.folder, keep_tokens=keep_tokens, progress=progress)
    if is_new:  # as for a store that is made by recording: inside a repository it must not show up
        (settings.folder / ".gitignore").write_text("*\n", encoding="utf-8")
    return found


def _kept(folder: Path) -> FolderObjectStore:
    return FolderObjectStore(folder / "objects")


def _own(settings: Settings, name: str) -> Settings:
    if is_service(settings):
        raise UsageError(
            f"{name} names a service: its records are in the store behind it",
            hint="run this where the service runs, with the LINEAGE_STORE that it has",
        )
    return settings
