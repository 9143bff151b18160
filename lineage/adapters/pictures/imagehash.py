"""Perceptual hashes by ImageHash, over Pillow.

Two pictures are near-duplicates when both of their hashes are close: ``phash`` (low frequencies of a cosine transform) finds edits best,
``dhash`` (whether brightness rises from one cell to the next) refuses what agrees in those frequencies by chance.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from io import BytesIO
from typing import Any, TypeVar

import imagehash
import numpy as np
from PIL import Image, ImageDraw, UnidentifiedImageError

from lineage.errors import InvalidSource

_RELEASE = ".".join(version("imagehash").split(".")[:2])
"""Part of the hashes' names: another release may give other bits."""
_DECODED_PX = 64
"""JPEG pictures are decoded at the smallest scale (of 1, 1/2, 1/4, 1/8) whose sides have so many pixels; hashes need 32."""
_FLAT_LEVELS = 4
"""A picture whose grey values span less is noise to a hash."""
_SHOWN_HEIGHT_PX = 480
_MOST_PX = 100_000_000
_TITLE_HEIGHT_PX = 18
_Picture = Image.Image
_T = TypeVar("_T")


class ImageHashPictures:
    """Looks at pictures with ImageHash; see :class:`lineage.ports.Pictures`."""

    methods = (f"phash-8-{_RELEASE}", f"dhash-8-{_RELEASE}")
    near_bits = (10, 12)
    """Measured: no pair of 2.3 million unrelated pictures (drawn scenes, 32-pixel photographs) is so near in both; re-encoded, resized,
    brightened and 2 %-cropped copies always are, but for 1 in 326 of those of half the size. ``phash`` alone takes 9 pairs for one."""

    def hashes(self, content: bytes) -> tuple[int, ...] | None:
        """Both 64-bit hashes; ``None`` when the picture is of one colour all over."""

        def both(picture: _Picture) -> tuple[int, ...] | None:
            picture.draft("L", (_DECODED_PX, _DECODED_PX))
            grey = picture.convert("L")
            low, high = grey.getextrema()
            if not isinstance(low, int | float) or not isinstance(high, int | float) or high - low < _FLAT_LEVELS:
                return None
            return _number(imagehash.phash(grey)), _number(imagehash.dhash(grey))

        return _decoded(content, both)

    def reduced(self, content: bytes, most_px: int) -> bytes | None:
        """The picture as a smaller JPEG; ``None`` when it is no larger already."""

        def smaller(picture: _Picture) -> bytes | None:
            width, height = picture.size
            if max(width, height) <= most_px:
                return None
            if width * height > _MOST_PX:
                raise InvalidSource(f"a picture of {width} x {height} pixels is too large to be shown")
            picture.draft("RGB", (min(width, most_px), min(height, most_px)))  # at least so large, and much faster
            share = most_px / max(width, height)
            shown = picture.convert("RGB").resize((max(1, round(width * share)), max(1, round(height * share))), Image.Resampling.BILINEAR)
            buffer = BytesIO()
            shown.save(buffer, "JPEG", quality=82)
            return buffer.getvalue()

        return _decoded(content, smaller)

    def side_by_side(self, left: bytes, right: bytes, titles: tuple[str, str]) -> bytes:
        """Both pictures in one PNG, with a title over each."""
        pictures = [_decoded(content, _shown) for content in (left, right)]
        sheet = Image.new("RGB", (sum(item.width for item in pictures) + 4, _SHOWN_HEIGHT_PX + _TITLE_HEIGHT_PX), "white")
        draw, at = ImageDraw.Draw(sheet), 0
        for picture, title in zip(pictures, titles, strict=True):
            sheet.paste(picture, (at, _TITLE_HEIGHT_PX))
            draw.text((at + 2, 3), _fitting(draw, title, picture.width), fill="black")
            at += picture.width + 4
        buffer = BytesIO()
        sheet.save(buffer, "PNG")
        return buffer.getvalue()


def _decoded(content: bytes, use: Callable[[_Picture], _T]) -> _T:
    try:
        with Image.open(BytesIO(content)) as picture:
            return use(picture)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidSource(f"a picture of {len(content)} bytes cannot be decoded: {error}") from error


def _number(found: imagehash.ImageHash) -> int:
    bits: np.ndarray[Any, np.dtype[np.bool_]] = found.hash
    return int.from_bytes(np.packbits(bits.reshape(-1)).tobytes(), "big")


def _shown(picture: _Picture) -> _Picture:
    return picture.convert("RGB").resize((max(1, round(picture.width * _SHOWN_HEIGHT_PX / picture.height)), _SHOWN_HEIGHT_PX))


def _fitting(draw: ImageDraw.ImageDraw, text: str, width_px: int) -> str:
    plain = text.encode("ascii", "replace").decode()  # the built-in typeface knows no other letters
    while len(plain) > 4 and draw.textlength(plain) > width_px - 4:
        plain = plain[:-4] + "..."
    return plain
