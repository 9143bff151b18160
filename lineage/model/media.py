"""Media of a run: what it showed beside its numbers, such as pictures with boxes, tables and histograms.

What was logged under one key at one step is a *sheet*: an artifact of kind ``media``, a small JSON text that names pictures and files by
their digests. So captions, boxes and tables are under the sheet's digest, too, and a reproduction compares all of it. Sheets are, by
``type``:

``pictures``
    ``items``: ``picture`` (digest), ``media_type``, ``width``, ``height`` (pixels), ``caption``, ``boxes`` (kind to a list of ``corners``
    (left, top, right, bottom in pixels), ``label``, ``score``, ``caption``), ``masks`` (kind to a digest: a PNG whose grey values are
    classes); ``classes``: number of a class to its name.
``table``
    ``columns``, ``rows`` (a cell is plain, or names a picture), ``rows_total``.
``histogram``
    ``edges`` (one more than counts) and ``counts``.
``histograms``
    ``of``: name to such a histogram.
``chart``
    A table with ``spec``, ``fields`` and ``texts``: how another system draws it.
``model``
    ``layers``: ``name``, ``layer``, ``output_shape``, ``parameters``; ``parameters`` in all.
``files``
    ``items``: ``file`` (digest), ``name``, ``size_bytes``, ``caption``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lineage.errors import IntegrityError
from lineage.model.run import Artifact, Run

MEDIA = "media"
"""The kind of these artifacts."""
TYPES = ("pictures", "table", "histogram", "histograms", "chart", "model", "files")
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\:*?\"<>|]+")
_LONGEST = 120


def media_name(key: str, step: int, again: int = 0) -> str:
    """The artifact's name: ``media/<key>/<step>.json``; ``again`` counts sheets of the same key and step before it."""
    words = [word for word in _UNFIT.sub("_", key)[:_LONGEST].split("/") if word not in ("", ".", "..")]
    return f"{MEDIA}/{'/'.join(words) or '_'}/{step}{f'-{again + 1}' if again else ''}.json"


def sheet_text(sheet: Mapping[str, Any]) -> bytes:
    """A sheet in its one spelling.

    Raises:
        ValueError: It holds a float that is not finite: those are texts.
    """
    return json.dumps(sheet, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def read_sheet(content: bytes) -> dict[str, Any]:
    """A sheet from its text.

    Raises:
        IntegrityError: It is none.
    """
    try:
        sheet = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise IntegrityError("a sheet of media", expected="JSON", found=str(error)) from error
    if not isinstance(sheet, dict) or sheet.get("type") not in TYPES:
        raise IntegrityError("a sheet of media", expected=f"a type of {', '.join(TYPES)}", found="another one")
    return sheet


def media_of(run: Run) -> dict[str, list[Artifact]]:
    """Sheets by key, in the order of their steps."""
    keys: dict[str, list[Artifact]] = {}
    for item in run.outputs:
        if item.kind == MEDIA and isinstance(item.details.get("step"), int) and isinstance(item.details.get("key"), str):
            keys.setdefault(item.details["key"], []).append(item)
    return {key: sorted(keys[key], key=lambda item: (item.details["step"], len(item.name), item.name)) for key in sorted(keys)}


def objects_of(item: Artifact) -> list[str]:
    """Digests that a sheet names; none of another artifact."""
    named = item.details.get("objects", []) if item.kind == MEDIA else []
    return [digest for digest in named if isinstance(digest, str)] if isinstance(named, list) else []


def histogram(counts: Iterable[Any], edges: Iterable[Any]) -> dict[str, Any]:
    """A histogram for a sheet.

    Raises:
        ValueError: There is not one edge more than counts, or a count is negative or not finite.
    """
    heights, bounds = [float(count) for count in counts], [float(edge) for edge in edges]
    if len(bounds) != len(heights) + 1:
        raise ValueError(f"expected {len(heights) + 1} edges of {len(heights)} bins, found {len(bounds)}")
    if not all(math.isfinite(value) for value in (*heights, *bounds)) or min(heights, default=0) < 0:
        raise ValueError("expected counts of 0 or more and edges that are finite")
    return {"counts": [int(height) if height.is_integer() else height for height in heights], "edges": bounds}


def cell(value: Any) -> Any:
    """A table's cell in plain form: numbers, texts, true, false and nothing stay; the rest is its text."""
    if value is None or isinstance(value, bool | str):
        return value
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    return value if value is None or isinstance(value, bool | str) else str(value)
