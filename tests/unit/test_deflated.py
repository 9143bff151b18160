"""Compressed bytes from anybody: whole, and never more than they should be."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest

from lineage.errors import IntegrityError
from lineage.model.deflated import inflate


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_what_fits_comes_back(size: int) -> None:
    assert inflate(zlib.compress(bytes(size)), "a list", max(size, 1)) == bytes(size)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (zlib.compress(bytes(101)), "at most 100 bytes"),
        (zlib.compress(b"x" * 50)[:-3], "one whole compressed stream"),
        (zlib.compress(b"x") + b"more", "one whole compressed stream"),
        (b"", "one whole compressed stream"),
        (b"none", "compressed bytes"),
    ],
)
def test_what_does_not_is_refused(content: bytes, told: str) -> None:
    with pytest.raises(IntegrityError, match=told):
        inflate(content, "a list", 100)


def test_what_is_too_much_is_not_even_made() -> None:
    """A bomb of 256 MiB takes no memory."""
    maker = zlib.compressobj(9)
    bomb = b"".join(maker.compress(bytes(1 << 20)) for _ in range(256)) + maker.flush()
    tracemalloc.start()
    with pytest.raises(IntegrityError):
        inflate(bomb, "a list", 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
