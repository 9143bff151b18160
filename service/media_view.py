"""What a sheet of media looks like on a page, as plain values; templates make the markup, so every recorded text is escaped there.

A sheet comes from whoever recorded the run: nothing in it is taken for granted.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lineage.model.digest import looks_like_digest
from service.charts import number

COLOURS = ((255, 210, 63), (76, 201, 240), (247, 37, 133), (128, 237, 153), (255, 159, 28), (184, 184, 255))
"""Of classes, by their number, again and again; the style sheet has the same ones."""
MOST_ROWS, MOST_ITEMS, MOST_BOXES, MOST_COLUMNS, MOST_LAYERS, MOST_SMALL = 100, 24, 300, 40, 500, 24
_MASK_ALPHA = 130
_HIGH, _WIDE = 100.0, 240.0


@dataclass(frozen=True, slots=True)
class Box:
    """A box on a picture, in its pixels; ``kind`` and ``colour`` number styles."""

    kind: int
    colour: int
    left: float
    top: float
    width: float
    height: float
    words: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with what lies on it.

    Attributes:
        masks: (number of the kind, digest).
        text_px: Height of labels in the picture's pixels.
    """

    digest: str
    width: int
    height: int
    caption: str
    boxes: tuple[Box, ...]
    masks: tuple[tuple[int, str], ...]
    text_px: float
    boxes_left_out: int


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram as one SVG path in a frame of 240 by 100."""

    name: str
    path: str
    low: str
    high: str
    words: str


@dataclass(frozen=True, slots=True)
class View:
    """A sheet. What its type has not is empty.

    Attributes:
        kinds: Kinds of boxes and masks, in the order of their numbers.
        classes: (number of the colour, name) of the classes that occur.
        clear: Whether class 0 of masks is the background.
        left_out: How many items, rows or layers are not shown.
    """

    type: str
    pictures: tuple[Picture, ...] = ()
    kinds: tuple[str, ...] = ()
    classes: tuple[tuple[int, str], ...] = ()
    clear: bool = True
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | Picture, ...], ...] = ()
    bars: tuple[Bars, ...] = ()
    files: tuple[tuple[str, str, int, str], ...] = ()
    note: str = ""
    left_out: int = 0


def view_of(sheet: Mapping[str, Any]) -> View:
    """What is shown of a sheet."""
    match sheet.get("type"):
        case "pictures":
            return _pictures(sheet)
        case "table" | "chart":
            return _table(sheet)
        case "model":
            return _model(sheet)
        case "histogram":
            return View("histogram", bars=tuple(_bars("", sheet)))
        case "histograms":
            named = _mapping(sheet.get("of"))
            bars = tuple(bar for name in list(named)[:MOST_SMALL] for bar in _bars(str(name), _mapping(named[name])))
            return View("histograms", bars=bars, left_out=max(0, len(named) - MOST_SMALL))
        case _:
            return _files(sheet)


def coloured(mask: bytes, *, clear: bool) -> bytes:
    """A mask with a colour for each class: a PNG of 8-bit grey values becomes one with a palette, without touching its pixels.

    Args:
        mask: The file. One of another form stays as it is.
        clear: Whether class 0 is nothing.
    """
    if len(mask) < 33 or mask[12:16] != b"IHDR" or mask[24:26] != b"\x08\x00":
        return mask
    head = mask[16:25] + b"\x03" + mask[26:29]
    palette = b"".join(bytes(COLOURS[value % len(COLOURS)]) for value in range(256))
    alpha = bytes([0 if clear else _MASK_ALPHA]) + bytes([_MASK_ALPHA]) * 255
    return mask[:8] + _chunk(b"IHDR", head) + _chunk(b"PLTE", palette) + _chunk(b"tRNS", alpha) + mask[33:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15:
        return None
    return float(value) if math.isfinite(value) else None


def _pictures(sheet: Mapping[str, Any]) -> View:
    items = [_mapping(item) for item in _sequence(sheet.get("items"))]
    names = {str(key): str(word) for key, word in _mapping(sheet.get("classes")).items()}
    kinds: list[str] = []
    for item in items[:MOST_ITEMS]:
        kinds += [kind for part in ("boxes", "masks") for kind in _mapping(item.get(part)) if kind not in kinds]
    pictures = tuple(made for item in items[:MOST_ITEMS] if (made := _picture(item, kinds, names)) is not None)
    labels = {box.colour for made in pictures for box in made.boxes}
    has_masks = any(made.masks for made in pictures)
    clear = names.get("0", "background").lower() in ("background", "bg", "none", "void", "")
    numbered = sorted((int(key), word) for key, word in names.items() if key.isdecimal() and len(key) < 10)
    seen = [(key, word) for key, word in numbered if key % len(COLOURS) in labels or (has_masks and not (clear and key == 0))]
    classes = [(key % len(COLOURS), word) for key, word in seen]
    return View(
        "pictures",
        pictures=pictures,
        kinds=tuple(kinds),
        classes=tuple(classes[:40]),
        clear=clear,
        left_out=max(0, len(items) - MOST_ITEMS),
    )


def _picture(item: Mapping[str, Any], kinds: Sequence[str], names: Mapping[str, str]) -> Picture | None:
    digest = item.get("picture")
    if not isinstance(digest, str) or not looks_like_digest(digest):
        return None
    width, height = (int(_float(item.get(side)) or 0) for side in ("width", "height"))
    found = [box for kind, boxes in _mapping(item.get("boxes")).items() for box in _boxes(kinds.index(kind), boxes, names)]
    masks = tuple(
        (kinds.index(kind), mask) for kind, mask in _mapping(item.get("masks")).items() if isinstance(mask, str) and looks_like_digest(mask)
    )
    caption = item.get("caption")
    return Picture(
        digest,
        max(width, 1),
        max(height, 1),
        caption if isinstance(caption, str) else "",
        tuple(found[:MOST_BOXES]),
        masks,
        round(max(height / 18, width / 24, 4), 1),
        max(0, len(found) - MOST_BOXES),
    )


def _boxes(kind: int, boxes: Any, names: Mapping[str, str]) -> Iterator[Box]:
    for box in map(_mapping, _sequence(boxes)):
        corners = [_float(corner) for corner in _sequence(box.get("corners"))]
        if len(corners) != 4 or any(corner is None for corner in corners):
            continue
        left, top, right, bottom = (corner for corner in corners if corner is not None)
        label = box.get("label")
        label = label if isinstance(label, int) and label >= 0 else 0
        words = box.get("caption")
        if not isinstance(words, str):
            score = _float(box.get("score"))
            words = names.get(str(label), str(label)) + ("" if score is None else f" {score:.2f}")
        yield Box(kind, label % len(COLOURS), left, top, max(0.0, right - left), max(0.0, bottom - top), words)


def _table(sheet: Mapping[str, Any]) -> View:
    columns = [str(column) for column in _sequence(sheet.get("columns"))]
    rows = [_sequence(row)[:MOST_COLUMNS] for row in _sequence(sheet.get("rows"))]
    total = sheet.get("rows_total")
    total = total if isinstance(total, int) else len(rows)
    note = ""
    if sheet.get("type") == "chart":
        fields = ", ".join(f"{name}: {column}" for name, column in _mapping(sheet.get("fields")).items())
        note = f"custom chart {sheet.get('spec', '')}" + (f" ({fields})" if fields else "")
    return View(
        "table",
        columns=tuple(columns[:MOST_COLUMNS]),
        rows=tuple(tuple(_cell(value) for value in row) for row in rows[:MOST_ROWS]),
        note=note,
        left_out=max(0, total - min(len(rows), MOST_ROWS)),
    )


def _cell(value: Any) -> str | Picture:
    if isinstance(value, dict):
        return _picture(value, (), {}) or ""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = number(value) if isinstance(value, float) else str(value)
    return text if len(text) <= 300 else f"{text[:299]}…"


def _model(sheet: Mapping[str, Any]) -> View:
    layers = [_mapping(layer) for layer in _sequence(sheet.get("layers"))]
    rows = [tuple(_cell(layer.get(name)) for name in ("name", "layer", "output_shape", "parameters")) for layer in layers[:MOST_LAYERS]]
    total = sheet.get("parameters")
    note = f"{len(layers)} layers" + (f", {total:,} parameters" if isinstance(total, int) else "")
    columns = ("layer", "type", "output", "parameters")
    return View("table", columns=columns, rows=tuple(rows), note=note, left_out=max(0, len(layers) - MOST_LAYERS))


def _bars(name: str, sheet: Mapping[str, Any]) -> Iterator[Bars]:
    counts = [_float(count) for count in _sequence(sheet.get("counts"))][:2048]
    edges = [_float(edge) for edge in _sequence(sheet.get("edges"))][:2049]
    if not counts or len(edges) != len(counts) + 1 or None in counts or None in edges:
        return
    heights, bounds = [count or 0.0 for count in counts], [edge or 0.0 for edge in edges]
    most, low, high = max(heights), bounds[0], bounds[-1]
    if most <= 0:
        return
    extent = high - low
    parts = []
    for position, height in enumerate(heights):
        if height <= 0:
            continue
        share = (bounds[position] - low) / extent if extent > 0 else 0.0
        until = (bounds[position + 1] - low) / extent if extent > 0 else 1.0
        left, right = sorted((min(1.0, max(0.0, share)), min(1.0, max(0.0, until))))
        tall = max(0.8, _HIGH * height / most)
        parts.append(f"M{left * _WIDE:.1f} {_HIGH:.0f}V{_HIGH - tall:.1f}H{max(right * _WIDE, left * _WIDE + 0.5):.1f}V{_HIGH:.0f}Z")
    words = f"{sum(heights):,.0f} values in {len(heights)} bins from {number(low)} to {number(high)}"
    yield Bars(name, "".join(parts), number(low), number(high), words)


def _files(sheet: Mapping[str, Any]) -> View:
    found = []
    for item in map(_mapping, _sequence(sheet.get("items"))[:MOST_ITEMS]):
        digest, size, name, caption = item.get("file"), item.get("size_bytes"), item.get("name"), item.get("caption")
        if isinstance(digest, str) and looks_like_digest(digest):
            size_bytes = size if isinstance(size, int) and size >= 0 else 0
            found.append((digest, str(name or "file"), size_bytes, caption if isinstance(caption, str) else ""))
    return View("files", files=tuple(found), left_out=max(0, len(_sequence(sheet.get("items"))) - MOST_ITEMS))
