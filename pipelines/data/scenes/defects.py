"""Opt-in defects: what the official files really contain, and what importers and queries trip over.

A defect takes a whole training picture; the manifest says which picture, which lines and what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from lineage.errors import UsageError
from pipelines.data.scenes.annotate import Row
from pipelines.data.scenes.layout import Plan, anywhere, make_actor, place
from pipelines.data.scenes.plan import plan_scene
from pipelines.data.scenes.recipes import Recipe
from pipelines.data.scenes.scene import Scene, draw_scene

DEFECTS: dict[str, str] = {
    "trailing-commas": "every line ends with a comma (a ninth, empty field)",
    "flat-car": "a car of height 0",
    "flat-ignored-region": "an ignored region of height 0",
    "duplicate-row": "one row twice",
    "two-labels": "the same box twice, with two categories",
    "no-car": "a picture without any car: it passes filters on cars",
    "none-of-nine": "only pedestrians and people: no class that the playbook trains on",
    "crowded": "more than 500 rows",
    "tiny-sides": "boxes with sides of 2 pixels or less",
    "border-box": "a box that ends exactly at the picture's right and lower border",
    "odd-size": "a picture of another size than the rest",
    "grayscale": "a JPEG file with one channel",
}
"""Name → what it is."""

_WITHOUT = {"no-car": (4,), "none-of-nine": tuple(range(3, 12))}


@dataclass(frozen=True)
class Damage:
    """What was done to a picture.

    Attributes:
        defect: Name in :data:`DEFECTS`.
        detail: The defect in words.
        lines: Lines of the annotation file that show it, from 1; empty where it is not a matter of single lines.
    """

    defect: str
    detail: str
    lines: tuple[int, ...] = ()


def parse_defects(names: Sequence[str]) -> tuple[str, ...]:
    """Known names in the order of :data:`DEFECTS`, each once; ``all`` stands for every one.

    Raises:
        UsageError: A name is unknown.
    """
    unknown = [name for name in names if name not in DEFECTS and name != "all"]
    if unknown:
        raise UsageError(f"there is no defect '{unknown[0]}'", hint="known: all, " + ", ".join(DEFECTS))
    return tuple(name for name in DEFECTS if "all" in names or name in names)


def text_of(row: Row) -> str:
    """One annotation line, without line end."""
    return ",".join(map(str, row))


def damaged_scene(defect: str, seed: int, index: int, recipe: Recipe, size: tuple[int, int] | None) -> tuple[Scene, list[str], Damage]:
    """A training scene with a defect: the picture, the lines of its annotation file, and what is wrong.

    The rows of the returned scene are those of its lines, as far as they can be read. With ``grayscale`` the picture is (H, W).
    """
    if defect == "odd-size":
        size = (1398, 1048) if size != (1398, 1048) else (480, 360)
    plan = plan_scene(seed, index, recipe, size, "train", without=_WITHOUT.get(defect, ()))
    _add_actors(plan, defect)
    scene = draw_scene(plan)
    rows, lines = _edit(defect, scene.rows, scene)
    scene = replace(scene, rows=rows)
    text = [text_of(row) for row in rows]
    if defect == "trailing-commas":
        text, lines = [line + "," for line in text], range(1, len(text) + 1)
    elif defect == "grayscale":
        scene = replace(scene, image=np.asarray(cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY), dtype=np.uint8))
    elif defect == "tiny-sides":
        lines = [n for n, row in enumerate(rows, 1) if min(row[2], row[3]) <= 2]
    elif defect == "border-box":
        lines = [n for n, row in enumerate(rows, 1) if row[0] + row[2] == scene.width and row[1] + row[3] == scene.height]
    return scene, text, Damage(defect, DEFECTS[defect], tuple(lines))


def _add_actors(plan: Plan, defect: str) -> None:
    """Put in what the defect needs to be seen in the picture, not only in the file."""
    camera = plan.camera
    if defect == "crowded":
        side = 0.005 * min(camera.width, camera.height)  # metres of 1.85 become some pixels
        for number in range(800):
            x, y = (number % 40 + 0.5) / 40 * camera.width, (number // 40 + 0.5) / 20 * camera.height
            actor = make_actor(plan, 1, x + float(plan.rng.normal(0, 2)), y + float(plan.rng.normal(0, 2)), 0.0)
            plan.actors.append(replace(actor, scale_px_per_m=max(2.2, side)))
    elif defect == "tiny-sides":
        for _ in range(4):
            actor = make_actor(plan, 1, *anywhere(plan), 0.0)
            plan.actors.append(
                replace(actor, x=0.1 * camera.width + 0.8 * actor.x, y=camera.height * 0.04, scale_px_per_m=1.3, length_m=0.9, width_m=0.9)
            )
    elif defect == "border-box":
        actor = make_actor(plan, 4, 0.0, 0.0, 0.0)
        reach = 0.36 * actor.scale_px_per_m
        plan.actors.append(replace(actor, x=camera.width - reach * actor.length_m, y=camera.height - reach * actor.width_m))
    elif defect in ("no-car", "none-of-nine"):
        for _ in range(20):  # there must be something to annotate
            x, y = anywhere(plan)
            inside = 0.1 < x / camera.width < 0.9 and 0.1 < y / camera.height < 0.9
            if inside and place(plan, make_actor(plan, 5 if defect == "no-car" else 1, x, y, plan.site.heading)):
                break


def _edit(defect: str, rows: list[Row], scene: Scene) -> tuple[list[Row], Sequence[int]]:
    """The rows with the defect, and the numbers of the lines that show it."""
    last = len(rows) + 1
    chosen = next((row for row in rows if row[5] == 4), rows[0])
    left, top, width = chosen[:3]
    if defect == "flat-car":
        return [*rows, (left, top, width, 0, 1, 4, 0, 0)], [last]
    if defect == "flat-ignored-region":
        return [*rows, (scene.width // 3, scene.height // 20, 12, 0, 0, 0, 0, 0)], [last]
    if defect == "duplicate-row":
        return [*rows, chosen], [rows.index(chosen) + 1, last]
    if defect == "two-labels":
        other = 5 if chosen[5] == 4 else 4
        return [*rows, (*chosen[:4], 1, other, *chosen[6:])], [rows.index(chosen) + 1, last]
    return rows, []
