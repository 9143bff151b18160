"""What a recipe asks for: picture size, camera and how many things of each class.

Figures of ``full`` come from the official training annotations (aggregates: presence, logarithm of counts, camera scale and slope);
``parking`` is our own, for small pictures that a detector learns quickly.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from pipelines.data.scenes.geometry import Camera

Recipe = Literal["parking", "full"]
Split = Literal["train", "validation"]

SIZES: tuple[tuple[int, int, float], ...] = (
    (1400, 1050, 0.386), (1400, 788, 0.201), (2000, 1500, 0.119), (1360, 765, 0.115), (1916, 1078, 0.083), (1920, 1080, 0.053),
    (960, 540, 0.039), (1398, 1048, 0.004),
)  # fmt: skip
"""Official training sizes and how often they occur."""
VALIDATION_SIZES: tuple[tuple[int, int, float], ...] = ((1360, 765, 0.745), (960, 540, 0.221), (1920, 1080, 0.034))

PARKING_SIZE = (480, 360)
"""Width and height of ``parking`` pictures unless another size is asked for."""

COUNTS: dict[int, tuple[float, float, float]] = {
    1: (0.83, 2.10, 1.10), 2: (0.61, 1.38, 0.95), 3: (0.43, 0.80, 0.85), 4: (0.95, 2.77, 0.86), 5: (0.765, 1.20, 0.90),
    6: (0.55, 0.82, 0.80), 7: (0.26, 0.65, 0.75), 8: (0.18, 0.60, 0.75), 9: (0.31, 0.70, 0.75), 10: (0.655, 1.50, 0.92),
    11: (0.12, 0.35, 0.60),
}  # fmt: skip
"""Category → probability of presence, mean and standard deviation of the logarithm of the count where present."""

_VALIDATION = {1: 0.30, 2: 0.80, 3: 0.40, 4: 0.12, 5: -0.15, 6: -0.30, 7: 0.75, 8: 0.50, 9: -0.80, 10: 0.75, 11: -1.0}
"""Added to the logarithm of validation counts: the official validation pictures show another mix (more people and motors)."""

_LARGE = {4: 0.50, 5: 0.15, 6: 0.12, 9: 0.09, 7: 0.07, 8: 0.07}
_SMALL = {1: 0.45, 2: 0.15, 10: 0.22, 3: 0.15, 11: 0.03}


def picture_size(recipe: Recipe, size: tuple[int, int] | None, split: Split, rng: np.random.Generator) -> tuple[int, int]:
    """Width and height: the ones asked for, else 480x360 (``parking``) or one of the official sizes (``full``)."""
    if size is not None:
        return size
    if recipe == "parking":
        return PARKING_SIZE
    table = SIZES if split == "train" else VALIDATION_SIZES
    shares = np.array([share for _, _, share in table])
    width, height, _ = table[int(rng.choice(len(table), p=shares / shares.sum()))]
    return width, height


def make_camera(recipe: Recipe, split: Split, width: int, height: int, rng: np.random.Generator, *, near: bool) -> tuple[Camera, float]:
    """The camera, and the altitude: 0 on average, higher for smaller things (``full``), -1 near or 1 far (``parking``)."""
    side = math.sqrt(width * height)
    if recipe == "parking":
        slope = float(rng.uniform(0.0, 0.3))
        close = max(14.0 * math.exp(slope / 2), side * float(rng.uniform(0.036, 0.048)))
        scale = close if near else min(5.2, side * float(rng.uniform(0.0105, 0.0125)))
        return Camera(width, height, scale, slope, math.radians(float(rng.uniform(58, 86)))), -1.0 if near else 1.0
    altitude = float(rng.normal())
    log_size = -3.29 - 0.50 * altitude if split == "train" else -3.33 - 0.34 * altitude
    slope = math.exp(0.60 + 0.18 * altitude + 0.65 * float(rng.normal())) if rng.random() > 0.10 else float(rng.normal(0, 0.25))
    slope = min(max(slope, -0.4), 4.2)
    elevation = math.radians(min(max(82 - 19 * max(slope, 0.0), 28), 87))
    return Camera(width, height, math.exp(log_size) * side / CAR_M, slope, elevation), altitude


CAR_M = 3.05
"""Typical side of a car's box in metres: the square root of its area, over all headings and tilts."""


def counts(recipe: Recipe, split: Split, altitude: float, rng: np.random.Generator) -> dict[int, int]:
    """How many things of each category the scene shall have; there is always at least one car, van or other vehicle or a person."""
    wanted: dict[int, int] = {}
    if recipe == "parking":
        large = int(rng.integers(3, 11)) if altitude < 0 else int(rng.integers(14, 40))
        small = int(rng.integers(0, 4)) if altitude < 0 else int(rng.integers(0, 14))
        for number, shares in ((large, _LARGE), (small, _SMALL)):
            drawn = rng.multinomial(number, np.array(list(shares.values())))
            wanted.update({category: int(n) for category, n in zip(shares, drawn, strict=True) if n})
        if altitude > 0:
            wanted[4] = max(wanted.get(4, 0), 3)
        return wanted
    busy = 0.57 * float(rng.normal())
    for category, (presence, mean, deviation) in COUNTS.items():
        present = bool(rng.random() < presence)
        spread = float(rng.normal())
        if present:
            more = altitude * (0.30 if category >= 4 else 0.12) + busy + (_VALIDATION[category] if split == "validation" else 0.0)
            wanted[category] = min(300, max(1, round(math.exp(mean + more + math.sqrt(deviation**2 - 0.32) * spread))))
    return wanted or {4: 1}
