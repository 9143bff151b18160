"""Predictions on pictures, for people: the same validation pictures each epoch, and the worst ones at the end."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from lineage.ports import BoxedPicture, ShownBox
from pipelines.detection.evaluate import PictureResult
from pipelines.detection.transforms import MEAN, STD

_ENLARGED_PX, _MOST_PX = 480, 960
"""Small pictures are enlarged by a whole number to this side at most; those with a side beyond the other are shrunk to it."""
_GAP_PX, _CAPTION_PX = 10, 18
_PAPER, _INK = "#16181d", "#e8e8e8"
_TRUE, _DETECTED, _IGNORED = "#35e06f", "#ffb020", "#8a93a3"
LEGEND = "green: true object    orange: detection with class and score    grey: ignored region"

PictureOf = Callable[[int], torch.Tensor]
"""Gives the tensor of a picture, float32 (3, h, w), normalised, by its place in the evaluation."""


def chosen(count: int, pictures: int) -> list[int]:
    """Places of the pictures to draw, spread evenly: the same in every epoch and in every run over the same view."""
    return sorted({round(place) for place in np.linspace(0, pictures - 1, min(count, pictures))}) if pictures else []


def pictures_sheet(results: Sequence[tuple[PictureResult, torch.Tensor]], classes: Sequence[str], title: str) -> bytes:
    """A sheet with one picture beside the other, as PNG; the same bytes for the same input.

    Args:
        results: What was found in each picture, and its tensor: float32 (3, h, w), normalised.
        classes: Names of labels 1, 2, …
        title: Above everything.
    """
    drawn = [(_draw(tensor, result, classes), _caption(result)) for result, tensor in results]
    width = max((picture.width for picture, _ in drawn), default=_ENLARGED_PX)
    height = max((picture.height for picture, _ in drawn), default=0) + _CAPTION_PX
    columns = min(4, max(1, len(drawn)))
    rows = -(-len(drawn) // columns)
    top = 2 * _CAPTION_PX + 2 * _GAP_PX
    page = Image.new("RGB", (columns * (width + _GAP_PX) + _GAP_PX, top + rows * (height + _GAP_PX)), _PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_GAP_PX, _GAP_PX), title, fill=_INK, font=_font(15))
    pen.text((_GAP_PX, _GAP_PX + _CAPTION_PX), LEGEND, fill=_IGNORED, font=_font(12))
    for number, (picture, caption) in enumerate(drawn):
        left, upper = _GAP_PX + number % columns * (width + _GAP_PX), top + number // columns * (height + _GAP_PX)
        pen.text((left, upper), caption, fill=_INK, font=_font(13))
        page.paste(picture, (left, upper + _CAPTION_PX))
    out = io.BytesIO()
    page.save(out, "PNG", optimize=False)
    return out.getvalue()


def boxed_picture(result: PictureResult, tensor: torch.Tensor) -> BoxedPicture:
    """A picture with its boxes, for trackers that draw them: ``truth`` and ``predictions``, in the frame of the tensor.

    Args:
        result: What was found in it.
        tensor: float32 (3, h, w), normalised.
    """
    truth = zip(result.truth["boxes"].tolist(), result.truth["labels"].tolist(), strict=True)
    scores = result.prediction["scores"].tolist()
    found = zip(result.prediction["boxes"].tolist(), result.prediction["labels"].tolist(), scores, strict=True)
    boxes = {
        "truth": [ShownBox((left, top, right, bottom), label) for (left, top, right, bottom), label in truth],
        "predictions": [ShownBox((left, top, right, bottom), label, score) for (left, top, right, bottom), label, score in found],
    }
    return BoxedPicture(_pixels(tensor), boxes, _caption(result))


def _pixels(tensor: torch.Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    numbers = tensor.double().numpy().transpose(1, 2, 0) * np.array(STD) + np.array(MEAN)
    pixels: np.ndarray[Any, np.dtype[np.uint8]] = np.rint(np.clip(numbers, 0, 1) * 255).astype(np.uint8)
    return pixels


def _caption(result: PictureResult) -> str:
    value = "nothing to find" if result.corrected_iou is None else f"IoU {result.corrected_iou:.2f}"
    return f"row {result.row}   {value}   {result.found} of {result.true} found   {result.false_alarms} false"


def _draw(tensor: torch.Tensor, result: PictureResult, classes: Sequence[str]) -> Image.Image:
    picture = Image.fromarray(_pixels(tensor))
    side = max(picture.size)
    scale = max(1.0, _ENLARGED_PX // side) if side <= _MOST_PX else _MOST_PX / side
    picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for region in _boxes(result.truth.get("ignored"), scale):
        pen.rectangle(region, outline=_IGNORED, width=1)
    for box in _boxes(result.truth["boxes"], scale):
        pen.rectangle(box, outline=_TRUE, width=2)
    labels, scores = result.prediction["labels"].tolist(), result.prediction["scores"].tolist()
    font = _font(11)
    for box, label, score in zip(_boxes(result.prediction["boxes"], scale), labels, scores, strict=True):
        pen.rectangle(box, outline=_DETECTED, width=2)
        text = f"{classes[label - 1]} {score:.2f}"
        left = min(box[0], picture.width - pen.textlength(text, font=font) - 2)
        pen.text((left, box[1] - 13 if box[1] >= 13 else box[3] + 1), text, fill=_DETECTED, font=font, stroke_width=1, stroke_fill="black")
    return picture


def _boxes(boxes: torch.Tensor | None, scale: float) -> list[tuple[float, float, float, float]]:
    found = []
    for left, top, right, bottom in (boxes * scale).tolist() if boxes is not None else []:
        found.append((left, top, max(left, right - 1), max(top, bottom - 1)))
    return found


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
