"""Width and height of an encoded picture, read from its header."""

from __future__ import annotations

from itertools import pairwise

_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}


def picture_size(encoded: bytes) -> tuple[str, int, int] | None:
    """(media type, width, height in pixels) of a JPEG or PNG picture; ``None`` for anything else."""
    if encoded.startswith(b"\x89PNG\r\n\x1a\n") and len(encoded) >= 24:
        return "image/png", int.from_bytes(encoded[16:20], "big"), int.from_bytes(encoded[20:24], "big")
    if not encoded.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(encoded) and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        if marker == 0xFF:  # padding before a marker
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _FRAMES:
            height, width = (int.from_bytes(encoded[i:j], "big") for i, j in pairwise((at + 5, at + 7, at + 9)))
            return "image/jpeg", width, height
        else:
            at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return None
