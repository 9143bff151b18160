"""File names for rows: what a dataset says, made safe for any folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from pipelines.data.export.picture import ENDINGS

_LONGEST_BYTES = 200  # most file systems take 255; endings are added
_KNOWN_ENDINGS = tuple(sorted({ending for endings in ENDINGS.values() for ending in endings}))
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')


def picture_name(candidates: Sequence[str], number: int, form: str) -> tuple[str, bool]:
    """Name of a picture's file.

    Args:
        candidates: Names the row has, best first; the first that leaves anything is taken, else the row's number.
        number: Position of the row, from 0.
        form: Format of the picture's bytes, a key of :data:`pipelines.data.export.picture.ENDINGS`.

    Returns:
        (a plain name without any folder, whose ending fits the bytes; whether it differs from the first candidate by more than an added
        ending).
    """
    endings = ENDINGS[form]
    for candidate in candidates:
        stem, ending = _split(_safe(candidate))
        if stem:
            stem = _short(stem, candidate)
            name = stem + (ending if ending.lower() in endings else endings[0])
            return name, candidate != candidates[0] or candidate not in (name, stem)
    return f"row-{number:07d}{endings[0]}", bool(candidates)


def _safe(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written
    parts = [part.strip() for part in re.split(r"[/\\]", text)]
    # Folders become part of the name, so that a/1.jpg and b/1.jpg stay two files.
    name = "_".join(part for part in parts if part not in ("", ".", ".."))
    # A leading dot would hide the file; Windows drops dots and spaces at the end.
    return _UNSAFE.sub("_", name).lstrip(". ").rstrip(". ")


def _split(name: str) -> tuple[str, str]:
    for ending in _KNOWN_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)].rstrip(". "), name[-len(ending) :]
    return name, ""


def _short(stem: str, original: str) -> str:
    encoded = stem.encode()
    if len(encoded) <= _LONGEST_BYTES:
        return stem
    # The digest keeps two long names apart that begin alike.
    mark = hashlib.sha256(original.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{encoded[: _LONGEST_BYTES - 17].decode(errors='ignore')}-{mark}"
