"""Whether an encoded picture is whole, found out before it is stored: a store that keeps bytes as they are does not notice."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from lineage.model.source import SourceProblem

ENDINGS = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",)}
"""Forms that can be stored, and the endings of their files."""

_STARTS = {"JPEG": b"\xff\xd8", "PNG": b"\x89PNG\r\n\x1a\n"}
_REDUCED = 8


def form_of(content: bytes) -> str | None:
    """``JPEG``, ``PNG`` or ``None``, by the first bytes."""
    return next((form for form, start in _STARTS.items() if content.startswith(start)), None)


def check_picture(content: bytes, path: Path, form: str = "JPEG") -> tuple[int, int] | SourceProblem:
    """Look through a whole picture.

    Args:
        content: The file's bytes.
        path: Its path, for messages.
        form: What it must be: a column of a dataset holds one form only.

    Returns:
        (width, height) in pixels as stored, or what is wrong.
    """
    found = form_of(content)
    if found != form:
        kind = "an empty file" if not content else f"a {found}" if found else f"bytes {content[:4].hex(' ')}"
        return SourceProblem(path, f"is no {form} picture", expected=f"a file that starts with {_STARTS[form][:4].hex(' ')}", found=kind)
    try:
        with Image.open(BytesIO(content), formats=(form,)) as image:
            size = image.size
            # Decoding at an eighth of the size reads the whole stream, so that a cut-off picture is found, at a fraction of the time.
            image.draft("L", (max(size[0] // _REDUCED, 1), max(size[1] // _REDUCED, 1)))
            image.load()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        return SourceProblem(path, "cannot be decoded", expected=f"a whole {form} picture", found=str(error))
    if form == "JPEG" and not _has_end(content):
        # The decoder takes what fills the rest, often zeros of an interrupted download, for pixels.
        return SourceProblem(path, "is cut off", expected="an end marker (ff d9) after the picture", found="none")
    return size


def _has_end(content: bytes) -> bool:
    """Whether an end marker follows the first scan of a JPEG file (ITU T.81, annex B); bytes after it may be anything."""
    at = 2
    while at + 4 <= len(content) and content[at : at + 2] != b"\xff\xda":
        # Segments hold their own length; bytes between them are fill and are skipped one by one, as decoders do.
        is_segment = content[at] == 0xFF and content[at + 1] not in (0x00, 0xFF)
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big") if is_segment else 1
    return content.find(b"\xff\xd9", at) >= 0
