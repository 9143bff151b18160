"""Where bytes are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol


class ObjectStore(Protocol):
    """Keeps bytes under their digest."""

    def put_bytes(self, content: bytes) -> str:
        """Keep ``content`` and return its digest."""

    def put_stream(self, stream: IO[bytes], size: int, digest: str) -> None:
        """Keep the next ``size`` bytes of a stream under the digest that they are said to have.

        Raises:
            IntegrityError: They have another one, or there are fewer; nothing is kept.
        """

    def put_file(self, path: Path) -> tuple[str, int]:
        """Keep a file's content; return its digest and size in bytes."""

    def get_bytes(self, digest: str) -> bytes:
        """The content.

        Raises:
            NotFound: It is not kept here.
            IntegrityError: It is no longer what its digest says.
        """

    def check(self, digest: str) -> None:
        """Read an object and compare it with its digest, without holding it in memory.

        Raises:
            NotFound: It is not kept here.
            IntegrityError: It is no longer what its digest says.
        """

    def has(self, digest: str) -> bool:
        """Whether it is kept here (not whether it is intact)."""

    def path_of(self, digest: str) -> Path | None:
        """A local file with the content, when there is one."""

    def all(self) -> Iterator[tuple[str, int, float]]:
        """(digest, size in bytes, when it was last put, in seconds since the epoch) of everything kept."""

    def delete(self, digest: str, older_than_s: float = 0.0) -> int:
        """Forget an object that was not put in so many seconds; return the bytes freed, 0 when it is not kept or too young."""

    def delete_leftovers(self, older_than_s: float) -> int:
        """Delete what killed processes left half-written, when it is older than so many seconds; return the bytes freed."""
