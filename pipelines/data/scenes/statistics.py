"""How close drawn scenes come to the official annotations, from annotations alone (nothing is rendered).

Targets are aggregates of the official training and validation annotation files; the bands are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineage.errors import UsageError
from pipelines.data.scenes.annotate import annotate
from pipelines.data.scenes.bodies import NAMES
from pipelines.data.scenes.plan import plan_scene
from pipelines.data.scenes.recipes import Recipe, Split

CAR, SMALL_PX = 4, 20
_SHARES = {
    "train": (8813, 79337, 27059, 10480, 144867, 24956, 12875, 4812, 3246, 5926, 29647, 1532),
    "validation": (1378, 8844, 5125, 1287, 14064, 1975, 750, 1045, 532, 251, 4886, 32),
}
"""Official rows of each category."""


@dataclass(frozen=True)
class Measure:
    """One line of the acceptance table.

    Attributes:
        name: What is measured, with its unit where it has one.
        value: The drawn scenes' value.
        target: The official value; None where there is none to compare with.
        band: Lowest and highest accepted value; None where the measure is only shown.
    """

    name: str
    value: float
    target: float | None = None
    band: tuple[float, float] | None = None

    @property
    def accepted(self) -> bool | None:
        """Whether the value is within its band; None without a band."""
        return None if self.band is None else self.band[0] <= self.value <= self.band[1]


def kept_by_filter(rows: NDArray[np.int64]) -> bool:
    """Whether a picture passes the filter 'no car with a side below 20 pixels'; rows are (n, 8)."""
    cars = rows[rows[:, 5] == CAR]
    return not bool(((cars[:, 2] < SMALL_PX) | (cars[:, 3] < SMALL_PX)).any())


def measure(
    scenes: int,
    *,
    split: Split = "train",
    recipe: Recipe = "full",
    seed: int = 0,
    size: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Measure]:
    """Annotate ``scenes`` scenes and compare them with the official ``split``.

    Args:
        scenes: How many, from index 0.
        split: ``train`` or ``validation``.
        recipe: ``full`` is meant to be close; ``parking`` has a kept share only.
        seed: Seed of the scenes.
        size: Width and height in pixels; by default the recipe's own.
        progress: Called with (done, total) after each scene.

    Raises:
        UsageError: ``scenes`` is below 1.
    """
    if scenes < 1:
        raise UsageError(f"scenes must be 1 or more, found {scenes}")
    each = []
    for index in range(scenes):
        each.append(np.array(annotate(plan_scene(seed, index, recipe, size, split)), dtype=np.int64).reshape(-1, 8))
        if progress is not None:
            progress(index + 1, scenes)
    kept = float(np.mean([kept_by_filter(rows) for rows in each]))
    rows = np.concatenate(each)
    objects = rows[(rows[:, 5] >= 1) & (rows[:, 5] <= 10)]
    numbers = np.array([np.count_nonzero((r[:, 5] >= 1) & (r[:, 5] <= 10)) for r in each])
    cars = rows[rows[:, 5] == CAR]
    if recipe == "parking":
        return [Measure("pictures kept by the filter", kept, None, (0.45, 0.60)), *_general(numbers, objects, cars)]
    train = split == "train"
    table = [Measure("pictures kept by the filter", kept, 0.457 if train else 0.288, (0.417, 0.497) if train else (0.22, 0.36))]
    if train:
        for q, target in ((5, 9.0), (25, 24.0), (50, 42.0), (75, 70.0), (95, 132.0)):
            table.append(Measure(f"objects in a picture, {q} %", float(np.percentile(numbers, q)), target, (0.75 * target, 1.25 * target)))
        for side, column, targets in (("width", 2, (10.0, 38.0, 135.0)), ("height", 3, (8.0, 29.0, 114.0))):
            for q, target in zip((5, 50, 95), targets, strict=True):
                found = float(np.percentile(cars[:, column], q))
                table.append(Measure(f"car {side}, {q} %, px", found, target, (0.75 * target, 1.25 * target)))
        small = float(((cars[:, 2] < SMALL_PX) | (cars[:, 3] < SMALL_PX)).mean())
        table.append(Measure("cars with a side below 20 px", small, 0.351, (0.291, 0.411)))
    else:
        table.append(Measure("objects in a picture, mean", float(numbers.mean()), 70.7, (53, 88)))
    area = objects[:, 2] * objects[:, 3]
    coco = (area < 32**2).mean(), ((area >= 32**2) & (area < 96**2)).mean(), (area >= 96**2).mean()
    for name, value, target in zip(
        ("small", "medium", "large"), coco, (0.605, 0.340, 0.055) if train else (0.686, 0.287, 0.028), strict=True
    ):
        table.append(Measure(f"{name} objects (COCO)", float(value), target, (max(0.0, target - 0.05), target + 0.05)))
    official = np.array(_SHARES[split]) / sum(_SHARES[split])
    for category, name in enumerate(NAMES):
        target = float(official[category])
        table.append(Measure(f"share of {name}", float((rows[:, 5] == category).mean()), target, (max(0.0, target - 0.03), target + 0.03)))
    if train:
        table.append(Measure("truncated objects", float(objects[:, 6].mean()), 0.039, (0.024, 0.054)))
        for level, target in enumerate((0.50, 0.39, 0.11)):
            table.append(Measure(f"cars with occlusion {level}", float((cars[:, 7] == level).mean()), target))
        table.append(Measure("objects whose box meets another one", _overlapping(each), 0.57))
    return table


def _general(numbers: NDArray[np.int64], objects: NDArray[np.int64], cars: NDArray[np.int64]) -> list[Measure]:
    table = [Measure(f"objects in a picture, {q} %", float(np.percentile(numbers, q))) for q in (5, 50, 95)]
    table += [Measure(f"car width, {q} %, px", float(np.percentile(cars[:, 2], q))) for q in (5, 50, 95) if len(cars)]
    table += [Measure(f"share of {NAMES[c]}", float((objects[:, 5] == c).mean())) for c in range(1, 11)]
    return table


def _overlapping(each: list[NDArray[np.int64]]) -> float:
    """Share of objects (categories 1–10) whose box overlaps another one's of the same picture."""
    meeting = total = 0
    for rows in each:
        box = rows[(rows[:, 5] >= 1) & (rows[:, 5] <= 10)]
        x0, y0, x1, y1 = box[:, 0], box[:, 1], box[:, 0] + box[:, 2], box[:, 1] + box[:, 3]
        across = np.minimum(x1[:, None], x1) - np.maximum(x0[:, None], x0)
        down = np.minimum(y1[:, None], y1) - np.maximum(y0[:, None], y0)
        both = (across > 0) & (down > 0)
        np.fill_diagonal(both, False)
        meeting += int(both.any(axis=1).sum())
        total += len(box)
    return meeting / max(1, total)
