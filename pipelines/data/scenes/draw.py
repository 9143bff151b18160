"""Pixels of a plan: ground, markings, shadows, bodies, lamps, and what a camera adds (blur, noise).

Pictures are RGB, uint8, (height, width, 3). The same polygons that ``annotate`` measures are filled here.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.data.scenes.annotate import painting_order, shape_of, tree_crown
from pipelines.data.scenes.bodies import parts_of, tinted
from pipelines.data.scenes.geometry import Actor, Camera, Points, plate, project
from pipelines.data.scenes.layout import Plan, Road, Slot

Picture = NDArray[np.uint8]


def render(plan: Plan) -> Picture:
    """Draw a plan, (H, W, 3) uint8 RGB. Uses up the plan's random numbers: call it once."""
    picture = _ground(plan)
    for road in plan.roads:
        _road(picture, plan, road)
    for slot in plan.slots:
        _slot_lines(picture, plan.camera, slot)
    picture = _texture(picture, plan)
    order = painting_order(plan)
    if not plan.site.night:
        _shadows(picture, plan, order)
    for actor in order:
        _body(picture, plan, actor)
    return _sensor(_night(picture, plan, order) if plan.site.night else picture, plan)


def _patches(plan: Plan, cells: int, spread: float) -> NDArray[np.float32]:
    """Smooth brightness changes, (H, W) float32 around 0: random values on a coarse grid, enlarged."""
    camera = plan.camera
    grid = plan.rng.normal(0, spread, (max(2, cells * camera.height // camera.width) + 1, cells)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _ground(plan: Plan) -> Picture:
    """Paved or green land with an asphalt yard under each row of slots."""
    camera, tone = plan.camera, plan.site.tone
    base = (0.62 * tone, 0.80 * tone, 0.50 * tone) if plan.site.grass else (1.12 * tone, 1.08 * tone, 0.99 * tone)
    picture = np.empty((camera.height, camera.width, 3), dtype=np.uint8)
    picture[:] = [min(225, round(c)) for c in base]
    asphalt = [round(0.92 * tone)] * 3
    for slot in plan.slots:
        cv2.fillConvexPoly(picture, _ground_plate(camera, slot, 12.0, 4.5), asphalt)
    return picture


def _ground_plate(camera: Camera, slot: Slot, length_m: float, width_m: float) -> Points:
    corners = [(-length_m / 2, -width_m / 2), (length_m / 2, -width_m / 2), (length_m / 2, width_m / 2), (-length_m / 2, width_m / 2)]
    return np.array([[round(c) for c in camera.step(slot.x, slot.y, slot.heading, a, b)] for a, b in corners], dtype=np.int32)


def _road_edge(plan: Plan, road: Road, across_m: float, pieces: int = 24) -> Points:
    """A line ``across_m`` metres beside the axis from one end of the picture to the other, (n, 2)."""
    camera = plan.camera
    reach = 1.2 * math.hypot(camera.width, camera.height)
    ux, uy = math.cos(road.heading), math.sin(road.heading) * camera.flat
    stretch = reach / math.hypot(ux, uy)
    line = []
    for t in np.linspace(-stretch, stretch, pieces).tolist():
        x, y = road.x + t * ux, road.y + t * uy
        line.append([round(c) for c in camera.step(x, y, road.heading, 0.0, across_m)])
    return np.array(line, dtype=np.int32)


def _road(picture: Picture, plan: Plan, road: Road) -> None:
    grey = round(0.78 * plan.site.tone)
    for half, colour in ((road.half_m + 2.2, [min(230, round(1.25 * plan.site.tone))] * 3), (road.half_m + 0.3, [grey, grey, grey + 2])):
        left, right = _road_edge(plan, road, -half), _road_edge(plan, road, half)
        cv2.fillPoly(picture, [np.concatenate([left, right[::-1]])], colour)
    paint = [min(235, round(1.9 * plan.site.tone))] * 3
    camera = plan.camera
    width = max(1, round(0.15 * camera.scale_at(road.y)))
    for edge in (-road.half_m, road.half_m):
        cv2.polylines(picture, [_road_edge(plan, road, edge)], False, paint, width, cv2.LINE_AA)
    for lane in range(1, road.lanes):
        across = lane * 3.4 - road.half_m
        colour = [min(240, paint[0]), 190, 70] if 2 * lane == road.lanes else paint
        for direction in (1.0, -1.0):
            x, y = road.beside(camera, road.x, road.y, across)
            for _ in range(400):
                if not (-50 < x < camera.width + 50 and -50 < y < camera.height + 50) or camera.scale_at(y) < 0.5:
                    break
                _line(picture, (x, y), camera.step(x, y, road.heading, 3.0 * direction), colour, width)
                x, y = camera.step(x, y, road.heading, 7.5 * direction)


def _slot_lines(picture: Picture, camera: Camera, slot: Slot) -> None:
    scale = camera.scale_at(slot.y)
    if scale < 2.5:
        return
    for side in (-1.32, 1.32):
        start, end = (camera.step(slot.x, slot.y, slot.heading, along, side) for along in (-2.6, 2.6))
        _line(picture, start, end, [212, 212, 206], max(1, round(0.12 * scale)))


def _line(picture: Picture, start: tuple[float, float], end: tuple[float, float], colour: list[int], width: int) -> None:
    cv2.line(picture, (round(start[0]), round(start[1])), (round(end[0]), round(end[1])), colour, width, cv2.LINE_AA)


def _texture(picture: Picture, plan: Plan) -> Picture:
    """Grain of the ground and slow changes of its brightness."""
    camera = plan.camera
    grain = plan.rng.normal(0, 5.0, (camera.height // 2 + 1, camera.width // 2 + 1)).astype(np.float32)
    grain = cv2.resize(grain, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    change = grain + _patches(plan, 7, 6.0) + _patches(plan, 40, 3.0)
    return np.clip(picture + change[..., None], 0, 255).astype(np.uint8)


def _shadows(picture: Picture, plan: Plan, order: list[Actor]) -> None:
    """Darken the ground where bodies and trees stand between it and the sun."""
    mask = np.zeros(picture.shape[:2], dtype=np.uint8)
    camera = plan.camera
    for actor in order:
        reach = 0.55 * actor.height_m
        cast = camera.step(0.0, actor.y, plan.site.sun, reach)
        shift = np.array([cast[0], cast[1] - actor.y]) * (actor.scale_px_per_m / camera.scale_at(actor.y))
        if actor.kind == "tree":
            foot = tree_crown(camera, actor) + np.array([0, round(actor.height_m * camera.lift * actor.scale_px_per_m)], dtype=np.int32)
        else:
            foot = plate(camera, actor, (-0.5, 0.5), (-0.46, 0.46), 0.0)
        moved = (foot + np.rint(shift)).astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(np.concatenate([foot, moved])).astype(np.int32), 1)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)
    picture[:] = (picture * (1 - 0.42 * soft[..., None])).astype(np.uint8)


def _body(picture: Picture, plan: Plan, actor: Actor) -> None:
    camera, shape = plan.camera, shape_of(plan.camera, actor)
    if actor.kind == "tree":
        _tree(picture, camera, actor, shape.hulls[0])
        return
    for part, hull in zip(parts_of(actor), shape.hulls, strict=True):
        if part.z[0] < part.z[1]:
            cv2.fillConvexPoly(picture, hull, tinted(part.top, part.shade))
        cv2.fillConvexPoly(picture, plate(camera, actor, part.u, part.v, part.z[1]), part.top)


def _tree(picture: Picture, camera: Camera, actor: Actor, crown: Points) -> None:
    cv2.fillConvexPoly(picture, crown, tinted(actor.colour, 0.72))
    x, y = project(camera, actor, 0.0, 0.0, 1.0)
    radius = actor.width_m / 2 * actor.scale_px_per_m
    for leaf in range(9):
        angle, away = leaf * 2.4 + actor.variant, 0.24 * radius * math.sqrt(leaf)
        spot = (round(x + away * math.cos(angle)), round(y + away * math.sin(angle)))
        cv2.circle(
            picture,
            spot,
            max(1, round(0.2 * radius)),
            tinted(actor.colour, 0.85 + 0.06 * ((leaf * 7 + actor.variant) % 6)),
            -1,
            cv2.LINE_AA,
        )


def _night(picture: Picture, plan: Plan, order: list[Actor]) -> Picture:
    """Dark, bluish, with street lamps and the lamps of what drives."""
    camera = plan.camera
    light = np.full(picture.shape[:2], 0.38, dtype=np.float32)
    side = min(camera.width, camera.height)
    for _ in range(int(plan.rng.integers(3, 8))):
        spot = (int(plan.rng.integers(camera.width)), int(plan.rng.integers(camera.height)))
        cv2.circle(light, spot, int(side * float(plan.rng.uniform(0.10, 0.22))), 0.75, -1)
    small = cv2.resize(light, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), side * 0.016)
    light = cv2.resize(small, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    glow = np.zeros((*picture.shape[:2], 3), dtype=np.uint8)
    for actor in order:
        if not actor.moving or actor.category in (0, 3):
            continue
        radius = max(1, round(0.22 * actor.scale_px_per_m))
        for u, colour in ((0.49, (255, 246, 214)), (-0.49, (230, 40, 30))):
            for v in (-0.36, 0.36) if actor.width_m > 1.2 else (0.0,):
                x, y = project(camera, actor, u, v, 0.35)
                cv2.circle(glow, (round(x), round(y)), radius, colour, -1, cv2.LINE_AA)
    halo = cv2.GaussianBlur(glow, (0, 0), max(1.0, 0.5 * camera.scale_px_per_m)).astype(np.float32) * 1.2
    lit = picture * (light[..., None] * np.array([1.0, 0.94, 0.82], dtype=np.float32)) + halo + 0.8 * glow
    return np.clip(lit, 0, 255).astype(np.uint8)


def _sensor(picture: Picture, plan: Plan) -> Picture:
    """Lens blur (stronger on far rows of a tilted view), exposure and noise."""
    rng, camera = plan.rng, plan.camera
    sharp = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.45, 0.8)))
    if camera.slope > 1.2:
        soft = cv2.GaussianBlur(sharp, (0, 0), 1.3)
        weight = np.clip(1.4 - 3.2 * np.arange(camera.height, dtype=np.float32) / camera.height, 0, 1)[:, None, None]
        sharp = (sharp * (1 - weight) + soft * weight).astype(np.uint8)
    gain = float(rng.uniform(0.88, 1.12))
    noise = rng.normal(0, 6.0 if plan.site.night else 2.5, picture.shape[:2]).astype(np.float32)
    exposed = np.asarray(sharp, dtype=np.float32) * np.float32(gain) + noise[..., None]
    return np.asarray(np.clip(exposed, 0, 255), dtype=np.uint8)
