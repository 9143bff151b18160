"""Objects as files under their digest: ``sha256/ab/cdef…``. Written aside, forced to disk, renamed: a file with its final name is whole."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lineage.errors import IntegrityError, NoSpace, NotFound
from lineage.model.digest import check_digest, digest_of_bytes, digest_of_file

_BLOCK_BYTES = 1 << 20


class FolderObjectStore:
    """Content-addressed files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _file(self, digest: str) -> Path:
        value = check_digest(digest).partition(":")[2]
        return self._folder / "sha256" / value[:2] / value[2:]

    def put_bytes(self, content: bytes) -> str:
        """Keep ``content`` and return its digest."""
        digest = digest_of_bytes(content)
        if not self._is_intact(digest):
            with self._aside() as (stream, partial):
                stream.write(content)
                self._settle(stream, partial, digest)
        return digest

    def put_file(self, path: Path) -> tuple[str, int]:
        """Keep a file's content; digest and copy come from one reading, so they cannot differ."""
        state, size = hashlib.sha256(), 0
        with self._aside() as (stream, partial), path.open("rb") as source:
            while block := source.read(_BLOCK_BYTES):
                state.update(block)
                size += len(block)
                stream.write(block)
            digest = f"sha256:{state.hexdigest()}"
            if not self._is_intact(digest):
                self._settle(stream, partial, digest)
        return digest, size

    def put_stream(self, stream: IO[bytes], size: int, digest: str) -> None:
        """Keep the next bytes of a stream; see :class:`lineage.ports.ObjectStore`."""
        state, left = hashlib.sha256(), size
        with self._aside() as (target, partial):
            while left and (block := stream.read(min(_BLOCK_BYTES, left))):
                state.update(block)
                left -= len(block)
                target.write(block)
            found = f"sha256:{state.hexdigest()}"
            if left or found != digest:
                raise IntegrityError(f"object {digest[:19]}…", expected=digest, found=f"{found}, {size - left} of {size} bytes")
            if not self._is_intact(digest):
                self._settle(target, partial, digest)

    def _is_intact(self, digest: str) -> bool:
        # A file that was damaged since must not pass for the content that is at hand right now: it is written again.
        file = self._file(digest)
        try:
            if digest_of_file(file) != digest:
                return False
            os.utime(file)  # as young as one that is written now: clean-up must not take it before a record mentions it
        except (FileNotFoundError, PermissionError):  # gone meanwhile, or another account's
            return False
        return True

    @contextmanager
    def _aside(self) -> Iterator[tuple[IO[bytes], Path]]:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".partial-")
        partial = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream, partial
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(f"the object store {self._folder} has no room left", hint="make room on its disk, then try again") from error
            raise
        finally:
            partial.unlink(missing_ok=True)  # renamed by now, or not wanted

    def _settle(self, stream: IO[bytes], partial: Path, digest: str) -> None:
        stream.flush()
        # Without it a power cut can leave the final name with nothing behind it.
        os.fsync(stream.fileno())
        partial.chmod(0o444)  # an object is never edited; a slip of an editor should not succeed
        final = self._file(digest)
        final.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(final)

    def get_bytes(self, digest: str) -> bytes:
        """The content, checked against its digest."""
        try:
            content = self._file(digest).read_bytes()
        except FileNotFoundError:
            raise _missing(digest) from None
        found = digest_of_bytes(content)
        if found != digest:
            raise _changed(digest, found)
        return content

    def check(self, digest: str) -> None:
        """Read an object and compare it with its digest."""
        try:
            found = digest_of_file(self._file(digest))
        except FileNotFoundError:
            raise _missing(digest) from None
        if found != digest:
            raise _changed(digest, found)

    def has(self, digest: str) -> bool:
        """Whether it is kept here."""
        return self._file(digest).exists()

    def path_of(self, digest: str) -> Path | None:
        """The file with the content."""
        path = self._file(digest)
        return path if path.exists() else None

    def all(self) -> Iterator[tuple[str, int, float]]:
        """Everything that is kept."""
        for file in sorted(self._folder.glob("sha256/??/*")):
            try:
                state = file.stat()
            except FileNotFoundError:  # deleted since it was listed
                continue
            yield f"sha256:{file.parent.name}{file.name}", state.st_size, state.st_mtime

    def delete(self, digest: str, older_than_s: float = 0.0) -> int:
        """Forget an object that was not put again in so many seconds; return the bytes freed."""
        file = self._file(digest)
        try:
            state = file.stat()
            if older_than_s and time.time() - state.st_mtime <= older_than_s:
                return 0
            file.unlink()
        except FileNotFoundError:
            return 0
        return state.st_size

    def delete_leftovers(self, older_than_s: float) -> int:
        """Delete what killed processes left half-written."""
        freed = 0
        for partial in self._folder.glob(".partial-*"):
            state = partial.stat()
            if time.time() - state.st_mtime > older_than_s:
                partial.unlink(missing_ok=True)
                freed += state.st_size
        return freed


def _missing(digest: str) -> NotFound:
    return NotFound("object", digest, hint="it was deleted from the object store, or the store is another one")


def _changed(digest: str, found: str) -> IntegrityError:
    return IntegrityError(f"object {digest[:19]}…", expected=digest, found=found, hint="the file was changed; restore it from a copy")
