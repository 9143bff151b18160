"""Pictures with boxes, as trackers show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ShownBox:
    """A box on a picture.

    Attributes:
        corners: Left, top, right, bottom in pixels.
        label: Number of its class.
        score: Confidence from 0 to 1; ``None`` for a box that is the truth.
    """

    corners: tuple[float, float, float, float]
    label: int
    score: float | None = None


@dataclass(frozen=True, slots=True)
class BoxedPicture:
    """A picture and the boxes on it.

    Attributes:
        pixels: uint8, shape (height, width, 3), RGB; or what else ``run.log_pictures`` takes.
        boxes: Kind of boxes (``truth``, ``predictions``) to boxes.
        caption: A line under it.
        masks: Kind of mask to the class of each pixel: uint8, shape (height, width).
    """

    pixels: Any
    boxes: Mapping[str, Sequence[ShownBox]] = field(default_factory=dict)
    caption: str | None = None
    masks: Mapping[str, Any] = field(default_factory=dict)
