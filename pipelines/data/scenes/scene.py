"""One scene: its picture and its annotation rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.data.scenes.annotate import Row, annotate
from pipelines.data.scenes.draw import render
from pipelines.data.scenes.layout import Plan
from pipelines.data.scenes.plan import plan_scene
from pipelines.data.scenes.recipes import Recipe, Split


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        rows: left, top, width, height (pixels), score, category, truncation, occlusion of each annotated thing.
        width: Picture width in pixels.
        height: Picture height in pixels.
        sequence: The sequence the picture belongs to.
        name: File name without ending, like ``0000012_00345_d_0000007``.
    """

    image: NDArray[np.uint8]
    rows: list[Row]
    width: int
    height: int
    sequence: int
    name: str


def generate_scene(seed: int, index: int, recipe: Recipe = "parking", size: tuple[int, int] | None = None, split: Split = "train") -> Scene:
    """Make scene ``index`` of a data set; the same arguments give the same pixels and rows, whatever was made before.

    Raises:
        UsageError: See :func:`pipelines.data.scenes.plan.plan_scene`.
    """
    return draw_scene(plan_scene(seed, index, recipe, size, split))


def draw_scene(plan: Plan) -> Scene:
    """Annotate and draw a plan. Call it once for a plan: drawing uses up its random numbers."""
    rows = annotate(plan)
    return Scene(render(plan), rows, plan.camera.width, plan.camera.height, plan.site.sequence, plan.name)
