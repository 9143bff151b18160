"""What a picture's header says; pixels are not decoded."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from lineage.errors import InvalidSource

ENDINGS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "JPEG2000": (".jp2",),
}
"""Formats that can be exported, as Pillow names them, and the endings of their files; the first is given to files without one."""

_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = 1


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """Format and size of a picture.

    Attributes:
        form: A key of :data:`ENDINGS`.
        width: Of the stored pixels.
        height: Of the stored pixels.
        is_turned: The file asks readers to turn or mirror the pixels; boxes refer to the stored ones.
    """

    form: str
    width: int
    height: int
    is_turned: bool


def read_header(content: bytes, place: str) -> PictureHeader:
    """Read a picture's header.

    Args:
        content: The encoded picture.
        place: The row, for messages.

    Raises:
        InvalidSource: It is no picture, or none of a known format.
    """
    try:
        with warnings.catch_warnings():
            # Large aerial pictures are meant; nothing is decoded here.
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(content)) as image:
                form = "JPEG" if image.format == "MPO" else image.format or ""
                turned = form == "JPEG" and image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT
                size = image.size
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        start = content[:4].hex(" ") or "no byte"
        raise InvalidSource(f"{place}: expected an encoded picture, found bytes {start}: {error}") from error
    if form not in ENDINGS:
        raise InvalidSource(f"{place}: expected a picture in one of {', '.join(ENDINGS)}, found {form or 'an unknown format'}")
    return PictureHeader(form, size[0], size[1], turned)
