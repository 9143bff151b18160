"""Arrays as PNG files: the same pixels give the same bytes, whatever library for pictures is installed, if any."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from lineage.errors import UsageError

_COLOURS = {1: 0, 3: 2, 4: 6}  # channels to PNG's type of colour


def encode_png(pixels: Any) -> bytes:
    """A PNG of an array.

    Args:
        pixels: uint8, shape (height, width), (height, width, 1), (height, width, 3) as RGB or (height, width, 4) as RGBA. Booleans count as
            0 and 255.

    Raises:
        UsageError: It has another type or shape.
    """
    import numpy as np

    array = np.asarray(pixels)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    channels = 1 if array.ndim == 2 else array.shape[-1] if array.ndim == 3 else 0
    if array.dtype != np.uint8 or channels not in _COLOURS or 0 in array.shape:
        raise UsageError(
            f"a picture: expected uint8 of shape (height, width, 3), found {array.dtype} of shape {array.shape}",
            hint="for example (255 * image).clip(0, 255).astype('uint8'), with the channels last",
        )
    height, width = array.shape[:2]
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with the number of its filter: none
    rows[:, 1:] = array.reshape(height, width * channels)
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
