"""Pictures for people: validation pictures with what they were taken for, and the confusion matrix. The same bytes for the same input."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipelines.classification.evaluate import Evaluation

_SHOWN_PX, _GAP_PX, _LINE_PX = 128, 10, 16
_PAPER, _INK, _FAINT = "#16181d", "#e8e8e8", "#8a93a3"
_RIGHT, _WRONG = "#35e06f", "#ff6b5e"


def chosen(count: int, pictures: int) -> list[int]:
    """Places of the pictures to draw, spread evenly: the same at every evaluation and in every run over the same view."""
    return sorted({round(place) for place in np.linspace(0, pictures - 1, min(count, pictures))}) if pictures else []


def caption(evaluation: Evaluation, place: int, classes: Sequence[str]) -> str:
    """What a picture was taken for, and what it is where that is something else."""
    named = f"{classes[evaluation.predictions[place]]} {evaluation.probabilities[place]:.2f}"
    is_right = evaluation.predictions[place] == evaluation.labels[place]
    return named if is_right else f"{named}, is {classes[evaluation.labels[place]]}"


def predictions_sheet(
    pixels: Sequence[NDArray[np.uint8]], evaluation: Evaluation, places: Sequence[int], classes: Sequence[str], title: str
) -> bytes:
    """A sheet of pictures with their predictions, as PNG.

    Args:
        pixels: uint8 ``(h, w, 3)`` of each picture that is shown.
        evaluation: What was found.
        places: Where the pictures are in the evaluation.
        classes: Names by number.
        title: Above everything.
    """
    columns = min(8, max(1, len(places)))
    lines = -(-len(places) // columns)
    top, cell = 2 * _GAP_PX + _LINE_PX, _SHOWN_PX + 2 * _LINE_PX + _GAP_PX
    page = Image.new("RGB", (columns * (_SHOWN_PX + _GAP_PX) + _GAP_PX, top + lines * cell), _PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_GAP_PX, _GAP_PX), title, fill=_INK, font=_font(15))
    for number, (place, picture) in enumerate(zip(places, pixels, strict=True)):
        left, upper = _GAP_PX + number % columns * (_SHOWN_PX + _GAP_PX), top + number // columns * cell
        page.paste(Image.fromarray(picture).resize((_SHOWN_PX, _SHOWN_PX), Image.Resampling.NEAREST), (left, upper))
        is_right = evaluation.predictions[place] == evaluation.labels[place]
        named = f"{classes[evaluation.predictions[place]]} {evaluation.probabilities[place]:.2f}"
        pen.text((left, upper + _SHOWN_PX + 2), named, fill=_RIGHT if is_right else _WRONG, font=_font(13))
        if not is_right:
            pen.text((left, upper + _SHOWN_PX + _LINE_PX), f"is {classes[evaluation.labels[place]]}", fill=_FAINT, font=_font(12))
    return _png(page)


def confusion_picture(confusion: NDArray[np.int64], classes: Sequence[str], title: str) -> bytes:
    """The confusion matrix as PNG: true classes down, predicted classes across; a row's shares are its colours."""
    side, edge = 44, 110
    shares = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    size = len(classes) * side
    page = Image.new("RGB", (edge + size + 2 * _GAP_PX, edge + size + 2 * _GAP_PX + _LINE_PX), _PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_GAP_PX, _GAP_PX), title, fill=_INK, font=_font(15))
    left, top = edge, edge + _LINE_PX
    pen.text((_GAP_PX, top - _LINE_PX - 4), "true \\ predicted", fill=_FAINT, font=_font(12))
    for row, name in enumerate(classes):
        pen.text((left - 8, top + row * side + side // 2), name, fill=_INK, font=_font(13), anchor="rm")
        label = Image.new("RGB", (edge - _LINE_PX, _LINE_PX + 2), _PAPER)
        ImageDraw.Draw(label).text((0, 0), name, fill=_INK, font=_font(13))
        page.paste(label.rotate(90, expand=True), (left + row * side + side // 2 - 9, top - 4 - label.width))
        for column in range(len(classes)):
            share = float(shares[row, column])
            hue = (53, 224, 111) if row == column else (255, 107, 94)
            paper = (28, 31, 38)
            colour = tuple(round(a + (b - a) * share**0.6) for a, b in zip(paper, hue, strict=True))
            x, y = left + column * side, top + row * side
            pen.rectangle((x, y, x + side - 2, y + side - 2), fill=colour)
            number = int(confusion[row, column])
            if number:
                ink = "#101216" if share > 0.35 else _INK
                pen.text((x + side / 2 - 1, y + side / 2 - 1), str(number), fill=ink, font=_font(13), anchor="mm")
    return _png(page)


def _png(page: Image.Image) -> bytes:
    out = io.BytesIO()
    page.save(out, "PNG", optimize=False)
    return out.getvalue()


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
