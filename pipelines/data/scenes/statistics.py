"""Do the drawn scenes look like the official ones, in numbers? Annotations only, nothing is painted in colour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipelines.data.scenes.annotate import annotate
from pipelines.data.scenes.plan import plan_scene
from pipelines.data.scenes.recipes import Recipe, Split


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure: what the official training annotations have, the band around it, and what was measured."""

    name: str
    target: float
    low: float
    high: float
    measured: float

    @property
    def is_met(self) -> bool:
        return self.low <= self.measured <= self.high


def measure(
    scenes: int,
    seed: int = 0,
    *,
    recipe: Recipe = "full",
    split: Split = "train",
    size: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Measure]:
    """Statistics of ``scenes`` scenes. Targets are those of the official training set at full size."""
    kept, rows_each, parts = 0, [], []
    for index in range(scenes):
        rows = np.array(annotate(plan_scene(seed, index, recipe, size, split)), dtype=np.int64).reshape(-1, 8)
        cars = rows[rows[:, 5] == 4]
        kept += not ((cars[:, 2] < 20) | (cars[:, 3] < 20)).any()
        rows_each.append(int(((rows[:, 5] >= 1) & (rows[:, 5] <= 10)).sum()))
        parts.append(rows)
        if progress is not None:
            progress(index + 1, scenes)
    rows = np.concatenate(parts)
    objects = rows[(rows[:, 5] >= 1) & (rows[:, 5] <= 10)]
    cars = rows[rows[:, 5] == 4]
    area = objects[:, 2] * objects[:, 3]
    found = [_around("kept by the playbook's filter", 0.457 if split == "train" else 0.288, 0.04, kept / scenes)]
    for quantile, target in zip((5, 25, 50, 75, 95), (9, 24, 42, 70, 132), strict=True):
        found.append(_share(f"objects a picture, {quantile} %", target, 0.25, float(np.percentile(rows_each, quantile))))
    for side, column, targets in (("width", 2, (10, 38, 135)), ("height", 3, (8, 29, 114))):
        for quantile, target in zip((5, 50, 95), targets, strict=True):
            found.append(_share(f"car {side} in pixels, {quantile} %", target, 0.25, float(np.percentile(cars[:, column], quantile))))
    found.append(_around("cars below 20 pixels", 0.351, 0.06, float(((cars[:, 2] < 20) | (cars[:, 3] < 20)).mean())))
    for name, target, flags in (
        ("small objects (area below 32 x 32)", 0.605, area < 1024),
        ("medium objects", 0.340, (area >= 1024) & (area < 9216)),
        ("large objects (area from 96 x 96)", 0.055, area >= 9216),
    ):
        found.append(_around(name, target, 0.05, float(flags.mean())))
    found.append(_around("truncated", 0.039, 0.015, float(objects[:, 6].mean())))
    shares = np.bincount(rows[:, 5], minlength=12) / len(rows)
    for category, target in enumerate((0.025, 0.224, 0.077, 0.030, 0.410, 0.071, 0.036, 0.014, 0.009, 0.017, 0.084, 0.004)):
        found.append(_around(f"share of category {category}", target, 0.03, float(shares[category])))
    return found


def _around(name: str, target: float, band: float, measured: float) -> Measure:
    return Measure(name, target, target - band, target + band, measured)


def _share(name: str, target: float, band: float, measured: float) -> Measure:
    return Measure(name, target, target * (1 - band), target * (1 + band), measured)
