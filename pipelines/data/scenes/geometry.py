"""Where a thing stands and which pixels it covers.

Frame: picture pixels, origin at the top left, x to the right, y downwards. The ground is a plane whose scale (pixels per metre)
grows exponentially from the top of the picture to its bottom; a tilted camera shortens the ground vertically (``flat``) and shows
the sides of what stands on it (``lift``). Angles are radians in the ground plane, clockwise from +x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.int32]
"""Corners of a polygon, (n, 2), whole pixels (x, y)."""

Colour = tuple[int, int, int]
"""Red, green, blue, 0–255."""


@dataclass(frozen=True)
class Camera:
    """A view on the ground.

    Attributes:
        width: Picture width in pixels.
        height: Picture height in pixels.
        scale_px_per_m: Pixels per metre at the picture's centre.
        slope: Growth of the logarithm of the scale from the top of the picture to its bottom.
        elevation_rad: Angle of the view below the horizon; π/2 looks straight down.
    """

    width: int
    height: int
    scale_px_per_m: float
    slope: float
    elevation_rad: float

    @property
    def flat(self) -> float:
        """Vertical shortening of the ground, 0–1."""
        return math.sin(self.elevation_rad)

    @property
    def lift(self) -> float:
        """Pixels upwards per pixel of height above the ground, 0–1."""
        return math.cos(self.elevation_rad)

    def scale_at(self, y: float) -> float:
        """Pixels per metre at picture row ``y``; at most 7 % of the picture's shorter side, so that no car fills the picture."""
        within = min(max(y / self.height, -0.3), 1.3)
        scale = self.scale_px_per_m * math.exp(self.slope * (within - 0.5))
        return float(min(scale, 0.07 * min(self.width, self.height)) if self.slope > 1 else scale)

    def step(self, x: float, y: float, heading: float, along_m: float, across_m: float = 0.0) -> tuple[float, float]:
        """The point ``along_m`` metres ahead of (x, y) in direction ``heading`` and ``across_m`` metres to its right."""
        scale = self.scale_at(y)
        dx = along_m * math.cos(heading) - across_m * math.sin(heading)
        dy = (along_m * math.sin(heading) + across_m * math.cos(heading)) * self.flat
        return x + dx * scale, y + dy * scale


@dataclass(frozen=True)
class Actor:
    """One thing standing on the ground.

    Attributes:
        kind: Entry of ``bodies.PARTS``, or ``tree``.
        category: VisDrone category 1–11; 0 for things without an annotation (trees, what fills an ignored region).
        x: Centre of the footprint, pixels.
        y: Centre of the footprint, pixels.
        scale_px_per_m: Pixels per metre here.
        heading: Direction of its front, radians.
        length_m: Along the heading.
        width_m: Across the heading.
        height_m: Above the ground.
        colour: Main colour.
        variant: Any whole number from 0; bodies use it to differ in small ways.
        moving: Whether it drives (its lamps are on at night).
    """

    kind: str
    category: int
    x: float
    y: float
    scale_px_per_m: float
    heading: float
    length_m: float
    width_m: float
    height_m: float
    colour: Colour
    variant: int = 0
    moving: bool = False


def project(camera: Camera, actor: Actor, u: float, v: float, z: float) -> tuple[float, float]:
    """Picture position of a point of the body: ``u`` along, ``v`` across (both -0.5–0.5 of its size), ``z`` 0–1 of its height."""
    along, across = u * actor.length_m, v * actor.width_m
    cos, sin = math.cos(actor.heading), math.sin(actor.heading)
    dx = along * cos - across * sin
    dy = (along * sin + across * cos) * camera.flat - z * actor.height_m * camera.lift
    return actor.x + dx * actor.scale_px_per_m, actor.y + dy * actor.scale_px_per_m


def plate(camera: Camera, actor: Actor, u: tuple[float, float], v: tuple[float, float], z: float) -> Points:
    """A level rectangle of the body at height ``z`` as four picture points."""
    corners = [(u[0], v[0]), (u[1], v[0]), (u[1], v[1]), (u[0], v[1])]
    return np.array([[round(c) for c in project(camera, actor, a, b, z)] for a, b in corners], dtype=np.int32)


def circles(camera: Camera, actor: Actor) -> NDArray[np.float64]:
    """The footprint as circles of half its width, (n, 3): x, y and radius in metres around the picture's origin at this scale."""
    count = max(1, math.ceil(actor.length_m / actor.width_m))
    radius = actor.width_m / 2
    reach = max(0.0, actor.length_m / 2 - radius)
    offsets = np.linspace(-reach, reach, count)
    x = actor.x + offsets * math.cos(actor.heading) * actor.scale_px_per_m
    y = actor.y + offsets * math.sin(actor.heading) * camera.flat * actor.scale_px_per_m
    return np.stack([x, y, np.full(count, radius * actor.scale_px_per_m)], axis=1)
