"""Objects that a service keeps, and a local folder before them."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

from lineage.adapters.stores.http_client import HttpClient
from lineage.errors import NotFound, Unavailable
from lineage.model.digest import check_digest
from lineage.ports import ObjectStore

_AWAY_S = 15.0


class HttpObjects:
    """Objects of a service, by digest.

    Args:
        client: Of the service.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def has(self, digest: str) -> bool:
        """Whether the service keeps it."""
        try:
            self._client.send("HEAD", _path(digest), missing=("object", digest))
        except NotFound:
            return False
        return True

    def put_file(self, path: Path, digest: str) -> None:
        """Send a file's content; the service checks it."""
        self._client.send("PUT", _path(digest), stream=(lambda: path.open("rb"), path.stat().st_size))

    def put_bytes(self, content: bytes, digest: str) -> None:
        """Send bytes; the service checks them."""
        self._client.send("PUT", _path(digest), stream=(lambda: io.BytesIO(content), len(content)))

    def get(self, digest: str, target: IO[bytes]) -> None:
        """Write the content to an empty file; the caller checks it.

        Raises:
            NotFound: The service does not keep it.
        """
        self._client.send("GET", _path(digest), missing=("object", digest), target=target)


class FetchingObjectStore:
    """A local object store that gets from a service what it has not; see :class:`lineage.ports.ObjectStore`.

    Args:
        local: Keeps what is put, and what was fetched.
        remote: Of the service. What is put goes there when a record that needs it is delivered.
        folder: For what is being fetched.
    """

    def __init__(self, local: ObjectStore, remote: HttpObjects, folder: Path) -> None:
        self._local, self._remote, self._folder = local, remote, folder
        self._away_until = 0.0

    def put_bytes(self, content: bytes) -> str:
        return self._local.put_bytes(content)

    def put_stream(self, stream: IO[bytes], size: int, digest: str) -> None:
        self._local.put_stream(stream, size, digest)

    def put_file(self, path: Path) -> tuple[str, int]:
        return self._local.put_file(path)

    def get_bytes(self, digest: str) -> bytes:
        self._fetch(digest)
        return self._local.get_bytes(digest)

    def check(self, digest: str) -> None:
        self._fetch(digest)
        self._local.check(digest)

    def has(self, digest: str) -> bool:
        return self._local.has(digest) or self._is_there(digest)

    def path_of(self, digest: str) -> Path | None:
        if not self.has(digest):
            return None
        self._fetch(digest)
        return self._local.path_of(digest)

    def _is_there(self, digest: str) -> bool:
        # A run asks this on its way, and must not wait for a service that is away, question after question.
        if time.monotonic() < self._away_until:
            return False
        try:
            return self._remote.has(digest)
        except Unavailable:
            self._away_until = time.monotonic() + _AWAY_S
            return False

    def all(self) -> Iterator[tuple[str, int, float]]:
        """What is kept here; the service tidies up for itself."""
        return self._local.all()

    def delete(self, digest: str, older_than_s: float = 0.0) -> int:
        return self._local.delete(digest, older_than_s)

    def delete_leftovers(self, older_than_s: float) -> int:
        return self._local.delete_leftovers(older_than_s)

    def _fetch(self, digest: str) -> None:
        if self._local.has(digest):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder) as content:
            self._remote.get(digest, content)
            size = content.tell()
            content.seek(0)
            self._local.put_stream(content, size, digest)


def _path(digest: str) -> str:
    return f"/api/v1/objects/{quote(check_digest(digest), safe=':')}"
