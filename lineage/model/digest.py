"""Digests: the only names in this project that denote content.

A digest is the string ``sha256:`` and 64 hexadecimal digits (the form OCI and in-toto use).
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from lineage.model.rows import RowEncoder

if TYPE_CHECKING:
    from lineage.model.dataset import Rows

_FORM = re.compile(r"sha256:[0-9a-f]{64}")
_BLOCK_BYTES = 1 << 20


def check_digest(text: str) -> str:
    """Return ``text`` when it has the form of a digest.

    Raises:
        ValueError: It has another form.
    """
    if not _FORM.fullmatch(text):
        raise ValueError(f"expected 'sha256:' and 64 hexadecimal digits, found {text!r}")
    return text


Digest = Annotated[str, AfterValidator(check_digest)]


def looks_like_digest(text: str) -> bool:
    """Whether ``text`` is a whole digest."""
    return _FORM.fullmatch(text) is not None


def digest_of_bytes(*parts: bytes | memoryview) -> str:
    """Digest of the parts, one after the other."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return f"sha256:{state.hexdigest()}"


def digest_of_file(path: Path) -> str:
    """Digest of a file's bytes, read in blocks.

    Raises:
        OSError: The file cannot be read.
    """
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            state.update(block)
    return f"sha256:{state.hexdigest()}"


def canonical_json(value: Any) -> bytes:
    """The one JSON spelling of a value: sorted keys, no blanks, UTF-8, shortest float that reads back to the same bits.

    Raises:
        TypeError: The value holds something JSON has no form for.
        ValueError: A float is not finite; JSON has no number for it, so two spellings would compete.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of_json(value: Any) -> str:
    """Digest of :func:`canonical_json`."""
    return digest_of_bytes(canonical_json(value))


def digest_of_picture(encoded: bytes | memoryview) -> bytes:
    """SHA-256 of one picture's encoded bytes, 32 bytes raw: it equals ``sha256sum`` of the file it came from."""
    return hashlib.sha256(encoded).digest()


def digest_of_row(annotations: dict[str, Any], pictures: dict[str, bytes]) -> bytes:
    """SHA-256 of one row as ``lineage.model.rows`` writes it, 32 bytes raw.

    Args:
        annotations: Every column but the pictures: arrays, texts, ``None``.
        pictures: :func:`digest_of_picture` of each picture column, so that picture bytes are read once for both digests.

    Raises:
        TypeError: A value has no fixed bytes (object arrays).
    """
    encode = RowEncoder(annotations, pictures)
    values = [annotations[name] for name in encode.names]
    return hashlib.sha256(encode(values, [pictures[name] for name in encode.pictures])).digest()


def digest_of_rows(rows: Rows) -> str:
    """Digest of the ordered source rows of a view: int64 positions, shape (n,), as little-endian bytes."""
    return digest_of_bytes(rows.astype("<i8").tobytes())


def digest_of_view(row_digests: bytes, class_names: dict[str, tuple[str, ...]]) -> str:
    """The root over a view: its rows' digests in order, and what the class indices in them mean.

    Args:
        row_digests: :func:`digest_of_row` of each row, 32 bytes each, in view order.
        class_names: Names by index, for each column of class labels.
    """
    header = canonical_json({"rows": len(row_digests) // 32, "class_names": {k: list(v) for k, v in class_names.items()}, "version": 1})
    return digest_of_bytes(header, b"\n", row_digests)
