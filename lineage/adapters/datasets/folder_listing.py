"""What is in a plain folder: a listing by names and stamps, and digests of the files behind it.

A stamp is (device, inode, size, time of modification, time of change). Every write sets the time of change, which no program can choose, so
a file with the same stamp holds the same bytes; with one exception, which git knows as well: a second write within one tick of the clock.
Therefore the digest of a file that was touched in the last seconds is not kept.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import struct
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from lineage.errors import Conflict, InvalidSource, NotFound

NOT_DATA = frozenset({".git", ".hg", ".svn", ".dvc", ".lineage"})
"""Names that are no part of a dataset, files or folders: version control and our own store keep their books in them."""

_SETTLED_NS = 2_000_000_000
_AT_ONCE = 500
_FILES_A_THREAD = 16
_FILE = "files.sqlite"

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, times of modification and of change in nanoseconds."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a folder.

    Attributes:
        path: Inside the folder, with ``/``.
        stamp: What it looked like when it was found.
    """

    path: str
    stamp: Stamp

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return self.stamp[2]


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp in what the system says of a file."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_settled(stamp: Stamp) -> bool:
    """Whether a file was last touched long enough ago that another write would change its stamp."""
    return max(stamp[3:]) < time.time_ns() - _SETTLED_NS


def list_files(root: Path) -> list[FoundFile]:
    """Every file in and under a folder, by path; of a single file, that file.

    Hidden files count; :data:`NOT_DATA` and empty folders do not. Links are followed wherever they lead: a folder of links into a pool of
    pictures is a usual way to write down a split, and digests are of what they lead to.

    Raises:
        NotFound: There is nothing.
        InvalidSource: A link leads nowhere or in a circle, an entry is no regular file, cannot be read, or its name is not UTF-8.
        Conflict: Something vanished meanwhile.
    """
    try:
        status = root.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("dataset", f"file://{root}", hint="check the address") from error
    except OSError as error:
        raise InvalidSource(f"{root}: cannot be read: {error.strerror}", hint="allow reading it") from error
    if not stat.S_ISDIR(status.st_mode):
        _refuse_special(str(root), status)
        _refuse_other_than_utf8(str(root), root.name)
        return [FoundFile(root.name, stamp_of(status))]
    found: list[FoundFile] = []
    waiting = [(str(root), "", frozenset({(status.st_dev, status.st_ino)}))]
    while waiting:
        folder, prefix, above = waiting.pop()
        for name in _names(folder):
            path = f"{folder}/{name}"  # plain strings: with `Path`, listing takes twice as long
            status = _status(path)
            _refuse_other_than_utf8(path, name)
            if stat.S_ISDIR(status.st_mode):
                own = (status.st_dev, status.st_ino)
                if own in above:
                    raise InvalidSource(f"{path}: this link leads to a folder that it lies in", hint="remove the link")
                waiting.append((path, f"{prefix}{name}/", above | {own}))
            else:
                _refuse_special(path, status)
                found.append(FoundFile(prefix + name, stamp_of(status)))
    return sorted(found, key=lambda file: file.path)


def _names(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.name not in NOT_DATA]
    except FileNotFoundError as error:
        raise _vanished(folder) from error
    except OSError as error:
        raise InvalidSource(f"{folder}: the folder cannot be read: {error.strerror}", hint="allow reading it") from error


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        if os.path.islink(path):
            raise InvalidSource(
                f"{path}: this link leads nowhere: {error.strerror}", hint="remove the link, or restore what it leads to"
            ) from error
        if isinstance(error, FileNotFoundError):
            raise _vanished(path) from error
        raise InvalidSource(f"{path}: cannot be read: {error.strerror}", hint="allow reading it") from error


def _refuse_special(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise InvalidSource(f"{path}: expected a regular file, found a pipe, socket or device", hint="remove it from the dataset's folder")


def _refuse_other_than_utf8(path: str, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidSource(f"{os.fsencode(path)!r} is not UTF-8, so a record cannot hold the name", hint="rename the file") from error


def _vanished(path: str) -> Conflict:
    return Conflict(f"{path} vanished while its folder was read", hint="wait until nothing writes there, then try again")


class FileDigests:
    """SHA-256 by stamp, so that a file is read once and not at the start of every run.

    A cache: it can be deleted at any time, and when it cannot be read or written, files are read instead. Opened for each use, so that it
    can be pickled and carried over a fork.

    Args:
        folder: Where to keep it between processes; ``None``: not at all.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[bytes, bytes] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"_folder": self._folder, "_known": {}}

    def known(self, files: Sequence[FoundFile]) -> list[bytes | None]:
        """Digest of each file, 32 bytes raw, or ``None`` where it would have to be read."""
        stamps = [struct.pack("<QQQqq", *file.stamp) for file in files]
        missing = [stamp for stamp in stamps if stamp not in self._known]
        if missing and self._folder is not None and (self._folder / _FILE).is_file():
            with contextlib.suppress(sqlite3.Error, OSError), contextlib.closing(_open(self._folder)) as store:
                for start in range(0, len(missing), _AT_ONCE):
                    part = missing[start : start + _AT_ONCE]
                    self._known.update(store.execute(f"select * from digests where stamp in ({','.join('?' * len(part))})", part))
        return [self._known.get(stamp) for stamp in stamps]

    def of(self, root: Path, files: Sequence[FoundFile]) -> list[bytes]:
        """Digest of each file under ``root``, 32 bytes raw, in order; what is not known is read.

        Raises:
            Conflict: A file is changed or removed meanwhile.
            InvalidSource: A file cannot be read.
        """
        found = self.known(files)
        unread = [position for position, digest in enumerate(found) if digest is None]
        base = base_of(root)
        # Hashing lets other threads run, and so does waiting for a disk.
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            parts = [unread[start : start + _FILES_A_THREAD] for start in range(0, len(unread), _FILES_A_THREAD)]
            read = [
                digest
                for part in pool.map(lambda part: [_read_digest(base, files[position]) for position in part], parts)
                for digest in part
            ]
        learnt: dict[bytes, bytes] = {}
        for position, digest in zip(unread, read, strict=True):
            found[position] = digest
            if is_settled(files[position].stamp):
                learnt[struct.pack("<QQQqq", *files[position].stamp)] = digest
        self._known |= learnt
        if learnt and self._folder is not None:
            with contextlib.suppress(sqlite3.Error, OSError):
                self._folder.mkdir(parents=True, exist_ok=True)
                with contextlib.closing(_open(self._folder)) as store, store:
                    store.executemany("insert or replace into digests values (?, ?)", learnt.items())
        return [digest for digest in found if digest is not None]


def _open(folder: Path) -> sqlite3.Connection:
    store = sqlite3.connect(folder / _FILE, timeout=30)
    store.execute("create table if not exists digests (stamp blob primary key, digest blob not null) without rowid")
    return store


def base_of(root: Path) -> Path:
    """The folder that paths of a listing start from: a dataset that is one file lies in it under its own name."""
    return root.parent if root.is_file() else root


def _read_digest(base: Path, file: FoundFile) -> bytes:
    path = f"{base}/{file.path}"
    try:
        with open(path, "rb") as stream:
            digest = file_digest(stream, "sha256").digest()
            after = stamp_of(os.fstat(stream.fileno()))
    except FileNotFoundError as error:
        raise _vanished(path) from error
    except OSError as error:
        raise InvalidSource(f"{path}: cannot be read: {error.strerror}", hint="allow reading it") from error
    if after != file.stamp:
        raise Conflict(f"{path} was changed while it was read", hint="wait until nothing writes there, then try again")
    return digest
