"""Object storage that is shared with people who use DVC only."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Remote(Protocol):
    """Keeps files under their MD5, where DVC's own commands find them."""

    @property
    def name(self) -> str:
        """What DVC's configuration calls it."""

    @property
    def address(self) -> str:
        """Where it is, without credentials."""

    @property
    def jobs(self) -> int:
        """How many transfers are worth making at once."""

    def size_of(self, md5: str) -> int | None:
        """Size in bytes of what it has under an MD5; ``None`` when it has nothing.

        Raises:
            Unavailable: It cannot be reached, or refuses; so, too, in the other methods.
        """

    def put(self, file: Path, md5: str) -> None:
        """Copy a file there; what was there under its MD5 is replaced."""

    def md5_of(self, md5: str) -> str:
        """MD5 of what it really has under an MD5, read back.

        Raises:
            NotFound: It has nothing.
        """

    def get(self, md5: str, file: Path) -> None:
        """Copy what it has under an MD5 into a new file.

        Raises:
            NotFound: It has nothing.
        """
