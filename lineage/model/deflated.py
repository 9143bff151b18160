"""Reading compressed bytes that anybody may have made: never more than they should be."""

from __future__ import annotations

import zlib

from lineage.errors import IntegrityError

LARGEST_BYTES = 1 << 30
"""For what has no size of its own: lists of names, blocks of rows. One that we write takes a few megabytes."""


def inflate(content: bytes, what: str, largest: int = LARGEST_BYTES) -> bytes:
    """The plain bytes of one zlib stream, whole.

    Args:
        content: The stream, and nothing behind it.
        what: What it is, for errors.
        largest: So many bytes at most.

    Raises:
        IntegrityError: It is no whole stream, or gives more.
    """
    reader = zlib.decompressobj()
    try:
        plain = reader.decompress(content, largest + 1)
    except zlib.error as error:
        raise IntegrityError(what, expected="compressed bytes", found=f"{content[:16]!r} ({error})") from error
    if len(plain) > largest:
        raise IntegrityError(what, expected=f"at most {largest} bytes", found="more, once decompressed")
    if not reader.eof or reader.unused_data:
        raise IntegrityError(what, expected="one whole compressed stream", found="a part of one, or more behind it")
    return plain
