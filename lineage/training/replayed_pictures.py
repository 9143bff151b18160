"""Pictures of samples as a model saw them: numbers back to colours, boxes drawn."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw

_SMALLEST_PX = 320
"""Pictures are enlarged by a whole number until their longer side is at least this."""

_COLOURS = ("#ffd400", "#00e5ff", "#ff4fd8", "#7cff4f", "#ff8a3d", "#b48cff", "#ff5c5c", "#4fa3ff", "#ffffff", "#a0ffd8")
_CAPTION_PX = 14
_COLUMNS = 4


class Values(NamedTuple):
    """How numbers become colours.

    Attributes:
        mean: Subtracted before the model, by channel, on the scale 0 to 1; ``None`` when no normalisation was found.
        std: Divided by.
        told: For people.
    """

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    told: str


class Drawn(NamedTuple):
    """A drawn sample."""

    picture: Image.Image
    boxes: int


def values_of(transform: Any) -> Values:
    """Look for a normalisation inside a transform: anything called ``Normalize`` with ``mean`` and ``std``, however deep it is wrapped."""
    found = _normalisation(transform, 6)
    if found is None:
        return Values(None, None, "no normalisation found in the transform: 0 to 1 is black to white, other ranges are stretched")
    mean, std = (tuple(float(value) for value in np.ravel(np.asarray(part))) for part in (found.mean, found.std))
    return Values(mean, std, f"the transform's normalisation undone: mean {mean}, std {std}")


def _normalisation(thing: Any, depth: int) -> Any:
    if depth < 0:
        return None
    if type(thing).__name__ == "Normalize" and hasattr(thing, "mean") and hasattr(thing, "std"):
        return thing
    inside: list[Any] = []
    if isinstance(thing, functools.partial):
        inside = [thing.func, *thing.args, *thing.keywords.values()]
    elif isinstance(thing, Mapping):
        inside = list(thing.values())
    elif isinstance(thing, list | tuple):
        inside = list(thing)
    elif hasattr(thing, "transforms"):
        inside = list(thing.transforms)
    elif hasattr(thing, "__dict__") and not isinstance(thing, type | torch.Tensor) and not callable(getattr(thing, "__code__", None)):
        inside = list(vars(thing).values())
    for item in inside:
        if (found := _normalisation(item, depth - 1)) is not None:
            return found
    return None


def draw_sample(sample: Any, values: Values, classes: Sequence[str]) -> Drawn | None:
    """The first picture in a sample, with the boxes of its detection target; ``None`` when there is none.

    Args:
        sample: What a transform returned. A picture is a tensor or array of shape (3, h, w), (1, h, w), (h, w, 3) or (h, w, 1). A detection
            target is a mapping with ``boxes`` (n, 4), ``[x1, y1, x2, y2]`` in pixels of the picture, and ``labels`` (n,).
        values: From :func:`values_of`.
        classes: Names of labels 1, 2, …; the number is drawn where there is no name.
    """
    pixels = next((found for item in _parts(sample) if (found := _pixels(item)) is not None), None)
    if pixels is None:
        return None
    target = next((item for item in _mappings(sample) if "boxes" in item), None)
    picture = Image.fromarray(_colours(pixels, values))
    scale = max(1, -(-_SMALLEST_PX // max(picture.size)))
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    boxes = np.zeros((0, 4)) if target is None else np.asarray(target["boxes"], dtype=np.float64).reshape(-1, 4)
    labels = [] if target is None else np.asarray(target.get("labels", [])).reshape(-1).tolist()
    pen = ImageDraw.Draw(picture)
    for number, (left, top, right, bottom) in enumerate(boxes * scale):
        label = labels[number] if number < len(labels) else None
        colour = _COLOURS[int(label or 0) % len(_COLOURS)]
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=2)
        if label is not None:
            name = classes[int(label) - 1] if 1 <= int(label) <= len(classes) else str(label)
            place = (left + 3, top + 1 if bottom - top > _CAPTION_PX else max(0, top - _CAPTION_PX + 2))
            pen.text(place, name, fill=colour, stroke_width=1, stroke_fill="black")
    if target is None and (label := _label(sample)) is not None:
        name = classes[label] if label < len(classes) else f"label {label}"
        pen.text((4, 3), name, fill=_COLOURS[0], stroke_width=1, stroke_fill="black")
    return Drawn(picture, len(boxes))


def sheet(pictures: Sequence[tuple[Path, str]], file: Path) -> None:
    """All pictures on one, each under its caption."""
    opened = [(Image.open(path).convert("RGB"), caption) for path, caption in pictures]
    width = max(picture.width for picture, _ in opened)
    height = max(picture.height for picture, _ in opened) + _CAPTION_PX + 6
    columns = min(_COLUMNS, len(opened))
    page = Image.new("RGB", (columns * (width + 8) + 8, -(-len(opened) // columns) * (height + 8) + 8), "#1c1f24")
    pen = ImageDraw.Draw(page)
    for number, (picture, caption) in enumerate(opened):
        left, top = 8 + number % columns * (width + 8), 8 + number // columns * (height + 8)
        while caption and pen.textlength(caption) > width:
            caption = caption[:-2] + "…"
        pen.text((left, top), caption, fill="#e6e6e6")
        page.paste(picture, (left, top + _CAPTION_PX + 4))
    page.save(file)


def _colours(pixels: np.ndarray[Any, Any], values: Values) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if pixels.dtype == np.uint8:
        found = pixels
    else:
        numbers = pixels.astype(np.float64)
        if values.mean is not None and values.std is not None and len(values.mean) in (1, pixels.shape[2]):
            numbers = numbers * np.asarray(values.std) + np.asarray(values.mean)
        elif numbers.min(initial=0) < 0 or numbers.max(initial=0) > 1:
            low, high = np.percentile(numbers, (1, 99))
            numbers = (numbers - low) / max(high - low, 1e-12)
        found = np.rint(np.clip(np.nan_to_num(numbers), 0, 1) * 255).astype(np.uint8)
    return np.repeat(found, 3, axis=2) if found.shape[2] == 1 else found


def _pixels(item: Any) -> np.ndarray[Any, Any] | None:
    if isinstance(item, torch.Tensor):
        item = item.detach().cpu()
        item = item.float().numpy() if item.is_floating_point() else item.numpy()
    if not isinstance(item, np.ndarray) or item.ndim != 3 or item.dtype.kind not in "uif":
        return None
    if item.shape[0] in (1, 3):
        return item.transpose(1, 2, 0)
    return item if item.shape[2] in (1, 3) else None


def _parts(sample: Any) -> list[Any]:
    if isinstance(sample, Mapping):
        return [part for value in sample.values() for part in _parts(value)]
    if isinstance(sample, list | tuple):
        return [part for value in sample for part in _parts(value)]
    return [sample]


def _mappings(sample: Any) -> list[Mapping[str, Any]]:
    if isinstance(sample, Mapping):
        return [sample, *(found for value in sample.values() for found in _mappings(value))]
    return [found for value in sample for found in _mappings(value)] if isinstance(sample, list | tuple) else []


def _label(sample: Any) -> int | None:
    numbers = [part for part in _parts(sample) if isinstance(part, int | np.integer) and not isinstance(part, bool)]
    return int(numbers[0]) if len(numbers) == 1 else None
