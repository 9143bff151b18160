"""How alike pictures are."""

from __future__ import annotations

from typing import Protocol


class Pictures(Protocol):
    """Looks at decoded pictures."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the perceptual hashes it computes, with their release: hashes of one name can be compared."""

    @property
    def near_bits(self) -> tuple[int, ...]:
        """Two pictures are near-duplicates when at most so many bits differ in each of their hashes."""

    def hashes(self, content: bytes) -> tuple[int, ...] | None:
        """The 64-bit hashes of an encoded picture, one for each method; ``None`` for one that shows nothing (one colour all over).

        Raises:
            InvalidSource: It cannot be decoded.
        """

    def reduced(self, content: bytes, most_px: int) -> bytes | None:
        """An encoded picture as a JPEG whose longer side has ``most_px`` pixels; ``None`` when it is no larger already.

        Raises:
            InvalidSource: It cannot be decoded, or has more than 100 million pixels.
        """

    def side_by_side(self, left: bytes, right: bytes, titles: tuple[str, str]) -> bytes:
        """Two encoded pictures in one PNG, of equal height, with a line of text over each.

        Raises:
            InvalidSource: One of them cannot be decoded.
        """
