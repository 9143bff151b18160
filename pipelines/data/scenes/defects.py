"""Flaws of real annotation files, put into chosen pictures on request.

Each is something that the official release holds or that pipelines are known to stumble over; none makes a file that the importer refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from lineage.errors import UsageError
from pipelines.data.scenes.annotate import Row
from pipelines.data.scenes.plan import plan_scene
from pipelines.data.scenes.recipes import Recipe, Split
from pipelines.data.scenes.scene import Scene, draw_scene

CAR, VAN, PEDESTRIAN = 4, 5, 1
_ALL = frozenset(range(1, 12))
_MANY = 520


@dataclass(frozen=True, slots=True)
class Flawed:
    """A scene and how its files are written."""

    scene: Scene
    line_end: str = "\n"
    is_grey: bool = False


@dataclass(frozen=True, slots=True)
class Defect:
    """One kind of flaw.

    Attributes:
        says: What it is.
        without: Categories that the scene must not show.
        shrink: Pixels taken off both sides of the picture.
        change: What is done to the finished scene.
    """

    says: str
    without: frozenset[int] = field(default_factory=frozenset)
    shrink: int = 0
    change: Callable[[Scene], Flawed] = Flawed


def _with_rows(scene: Scene, *rows: Row) -> Flawed:
    return Flawed(replace(scene, rows=[*scene.rows, *rows]))


def _painted(scene: Scene, boxes: list[tuple[int, int, int, int]], category: int) -> Flawed:
    image = scene.image.copy()
    for left, top, width, height in boxes:
        cv2.rectangle(image, (left, top), (left + width - 1, top + height - 1), (180, 40, 40), -1)
    return Flawed(replace(scene, image=image, rows=[*scene.rows, *((*box, 1, category, 0, 0) for box in boxes)]))


def _again(scene: Scene, category: int | None = None) -> Flawed:
    first: Row = scene.rows[0] if scene.rows else (1, 1, 9, 9, 1, CAR, 0, 0)
    return _with_rows(scene, first if category is None else (*first[:4], 1, VAN if first[5] == CAR else CAR, *first[6:]))


def _crowd(scene: Scene) -> Flawed:
    per_row = max(1, (scene.width - 8) // 6)
    return _painted(scene, [(4 + 6 * (i % per_row), 4 + 7 * (i // per_row), 3, 4) for i in range(_MANY)], PEDESTRIAN)


DEFECTS: dict[str, Defect] = {
    "trailing-comma": Defect("every line of one file ends with a comma", change=lambda scene: Flawed(scene, line_end=",\n")),
    "zero-height-car": Defect("a car's box has no height", change=lambda scene: _with_rows(scene, (5, 5, 4, 0, 1, CAR, 0, 0))),
    "zero-height-ignored": Defect("an ignored region has no height", change=lambda scene: _with_rows(scene, (5, 5, 9, 0, 0, 0, 0, 0))),
    "duplicate-row": Defect("a row occurs twice", change=_again),
    "two-labels": Defect("a box occurs with two categories", change=lambda scene: _again(scene, VAN)),
    "no-car": Defect("a picture without a car", without=frozenset({CAR})),
    "no-class-of-interest": Defect("a picture with pedestrians and people only", without=_ALL - {1, 2}),
    "many-rows": Defect("a picture with more than 500 rows", change=_crowd),
    "tiny-sides": Defect("a box of 2 x 1 pixels", change=lambda scene: _painted(scene, [(6, 6, 2, 1)], PEDESTRIAN)),
    "at-border": Defect(
        "a box that ends exactly at the right and lower border",
        change=lambda scene: _painted(scene, [(scene.width - 30, scene.height - 24, 30, 24)], VAN),
    ),
    "odd-size": Defect("a picture of another size, with odd sides", shrink=3),
    "grey": Defect("a grey JPEG", change=lambda scene: Flawed(scene, is_grey=True)),
}
"""Every flaw by name."""


def choose(names: str | None) -> tuple[str, ...]:
    """Names from a list with commas, or ``all``.

    Raises:
        UsageError: A name is not known.
    """
    if not names:
        return ()
    chosen = tuple(DEFECTS) if names == "all" else tuple(name.strip() for name in names.split(","))
    unknown = [name for name in chosen if name not in DEFECTS]
    if unknown:
        raise UsageError(f"no defect '{unknown[0]}'", hint=f"known: all, {', '.join(DEFECTS)}")
    return chosen


def flawed_scene(seed: int, index: int, recipe: Recipe, size: tuple[int, int] | None, split: Split, defect: str | None) -> Flawed:
    """Scene ``index`` with a flaw, or as it is."""
    if defect is None:
        return Flawed(draw_scene(plan_scene(seed, index, recipe, size, split)))
    chosen = DEFECTS[defect]
    if chosen.shrink:
        plain = plan_scene(seed, index, recipe, size, split)
        size = (plain.camera.width - chosen.shrink, plain.camera.height - chosen.shrink)
    return chosen.change(draw_scene(plan_scene(seed, index, recipe, size, split, without=chosen.without)))


def grey(image: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """(H, W, 3) RGB to (H, W), both uint8."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
