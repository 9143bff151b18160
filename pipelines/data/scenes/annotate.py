"""Annotation rows from what covers what: every thing is painted with its number, so occlusion is counted, not guessed.

The format is VisDrone's (VisDrone2018-DET-toolkit README): left, top, width, height, score, category, truncation, occlusion.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.data.scenes.bodies import parts_of
from pipelines.data.scenes.geometry import Actor, Camera, Points, plate, project
from pipelines.data.scenes.layout import Plan

Row = tuple[int, int, int, int, int, int, int, int]
"""left, top, width, height in pixels, score, category, truncation, occlusion."""

_HIDDEN = 0.95
"""An object that is covered more than this cannot be seen, and nobody would label it."""


@dataclass(frozen=True)
class Shape:
    """The polygons an actor is drawn with, from the ground upwards; each is convex, (n, 2) int32 pixels."""

    actor: Actor
    hulls: tuple[Points, ...]


def tree_crown(camera: Camera, actor: Actor) -> Points:
    """Outline of a tree's crown, (24, 2) int32; the lobes are small enough to keep it convex."""
    x, y = project(camera, actor, 0.0, 0.0, 1.0)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = actor.width_m / 2 * actor.scale_px_per_m * (1 + 0.03 * np.sin(angle * 5 + actor.variant))
    return np.stack([np.rint(x + radius * np.cos(angle)), np.rint(y + radius * np.sin(angle))], axis=1).astype(np.int32)


def shape_of(camera: Camera, actor: Actor) -> Shape:
    """The actor's silhouette: for each part of the body the hull of its lower and upper face."""
    if actor.kind == "tree":
        return Shape(actor, (tree_crown(camera, actor),))
    hulls = []
    for part in parts_of(actor):
        face = plate(camera, actor, part.u, part.v, part.z[1])
        if part.z[0] < part.z[1]:
            face = cv2.convexHull(np.concatenate([face, plate(camera, actor, part.u, part.v, part.z[0])])).reshape(-1, 2).astype(np.int32)
        hulls.append(face)
    return Shape(actor, tuple(hulls))


def painting_order(plan: Plan) -> list[Actor]:
    """Actors from the farthest to the nearest; crowns of trees are above everything at their place."""
    return sorted(plan.actors, key=lambda a: (a.y + (0.5 * a.width_m * a.scale_px_per_m if a.kind == "tree" else 0.0), a.x))


def annotate(plan: Plan) -> list[Row]:
    """Rows of a plan in the order of painting, ignored regions last.

    A box is the integer hull of the polygons that are drawn, clipped to the picture. ``truncation`` is 1 when the border cuts it;
    what is cut by more than half is left out. ``occlusion`` is 0 when up to 2 % of its pixels
    are covered, 1 up to a half, 2 beyond.
    """
    width, height = plan.camera.width, plan.camera.height
    owner = np.zeros((height, width), dtype=np.int32)
    shapes = [shape_of(plan.camera, actor) for actor in painting_order(plan)]
    for number, shape in enumerate(shapes, start=1):
        for hull in shape.hulls:
            cv2.fillConvexPoly(owner, hull, number)
    rows = [row for number, shape in enumerate(shapes, start=1) if (row := _row(shape, number, owner)) is not None]
    return rows + [(*region, 0, 0, 0, 0) for region in plan.regions]


def _row(shape: Shape, number: int, owner: NDArray[np.int32]) -> Row | None:
    category = shape.actor.category
    if category == 0:
        return None
    height, width = owner.shape
    points = np.concatenate(shape.hulls)
    (left, top), (right, bottom) = points.min(axis=0).tolist(), (points.max(axis=0) + 1).tolist()
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if x1 - x0 < 2 or y1 - y0 < 2 or (x1 - x0) * (y1 - y0) * 2 < (right - left) * (bottom - top):
        return None
    own = np.zeros((y1 - y0, x1 - x0), dtype=np.uint8)
    for hull in shape.hulls:
        cv2.fillConvexPoly(own, hull - np.array([x0, y0], dtype=np.int32), 1)
    covered = 1 - int(np.count_nonzero(owner[y0:y1, x0:x1] == number)) / max(1, int(np.count_nonzero(own)))
    if covered > _HIDDEN:
        return None
    occlusion = 0 if covered <= 0.02 else 1 if covered <= 0.5 else 2
    cut = (x0, y0, x1, y1) != (left, top, right, bottom)
    x, y, across, down = cv2.boundingRect(own)  # what is left of a rotated body at the border may be smaller than its clipped box
    if across < 2 or down < 2:
        return None
    return (x0 + x, y0 + y, across, down, 0 if category == 11 else 1, category, int(cut), occlusion)
