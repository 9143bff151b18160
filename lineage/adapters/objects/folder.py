"""Objects as files under their digest: ``sha256/ab/cdef…``. Written aside, flushed, renamed: a file with its final name is whole."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from lineage.errors import IntegrityError, NotFound
from lineage.model.digest import check_digest, digest_of_bytes

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
        target = self._file(digest)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=".partial-")
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            self._settle(Path(name), target)
        return digest

    def put_file(self, path: Path) -> tuple[str, int]:
        """Keep a file's content; digest and copy come from one reading, so they cannot differ."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".partial-")
        partial = Path(name)
        state, size = hashlib.sha256(), 0
        try:
            with os.fdopen(handle, "wb") as target, path.open("rb") as source:
                while block := source.read(_BLOCK_BYTES):
                    state.update(block)
                    size += len(block)
                    target.write(block)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        digest = f"sha256:{state.hexdigest()}"
        final = self._file(digest)
        if final.exists():
            partial.unlink()
        else:
            final.parent.mkdir(parents=True, exist_ok=True)
            self._settle(partial, final)
        return digest, size

    @staticmethod
    def _settle(partial: Path, final: Path) -> None:
        try:
            partial.chmod(0o444)  # an object is never edited; a slip of an editor should not succeed
            partial.rename(final)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def get_bytes(self, digest: str) -> bytes:
        """The content, checked against its digest."""
        try:
            content = self._file(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound("object", digest, hint="it was deleted from the object store, or the store is another one") from None
        found = digest_of_bytes(content)
        if found != digest:
            raise IntegrityError(
                f"object {digest[:19]}…", expected=digest, found=found, hint="the file was changed; restore it from a copy"
            )
        return content

    def has(self, digest: str) -> bool:
        """Whether it is kept here."""
        return self._file(digest).exists()

    def path_of(self, digest: str) -> Path | None:
        """The file with the content."""
        path = self._file(digest)
        return path if path.exists() else None
