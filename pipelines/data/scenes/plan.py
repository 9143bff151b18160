"""From (seed, index, recipe) to a plan: site, camera, roads, slots, things, trees and ignored regions."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from lineage.errors import UsageError
from pipelines.data.scenes import recipes
from pipelines.data.scenes.geometry import Actor
from pipelines.data.scenes.layout import (
    FRAMES,
    VALIDATION,
    Plan,
    anywhere,
    generator,
    make_actor,
    make_roads,
    make_site,
    make_slots,
    populate,
    scene_name,
)

_SMALLEST, _LARGEST = 96, 4096


def plan_scene(
    seed: int,
    index: int,
    recipe: recipes.Recipe = "parking",
    size: tuple[int, int] | None = None,
    split: recipes.Split = "train",
    *,
    without: Collection[int] = (),
) -> Plan:
    """Decide where everything of a scene is.

    Args:
        seed: Seed of the data set, 0 or more.
        index: Number of the scene within its split, from 0.
        recipe: ``parking`` or ``full``.
        size: Width and height in pixels; by default the recipe's own.
        split: ``train`` or ``validation``; the two share no sequence and no random numbers.
        without: Categories to leave out.

    Raises:
        UsageError: A number is negative, the recipe or split unknown, or the size outside 96–4096 pixels.
    """
    if not 0 <= seed < 2**63 or not 0 <= index < 10**6:
        raise UsageError(f"seed must be within 0–2**63-1 and index within 0–999999, found {seed} and {index}")
    if recipe not in ("parking", "full") or split not in ("train", "validation"):
        raise UsageError(f"recipe must be parking or full and split train or validation, found '{recipe}' and '{split}'")
    if size is not None and not all(_SMALLEST <= side <= _LARGEST for side in size):
        raise UsageError(f"a picture's sides must be {_SMALLEST}–{_LARGEST} pixels, found {size[0]}x{size[1]}")
    rng = generator(seed, index + (VALIDATION if split == "validation" else 0))
    name = scene_name(index, split)
    site = make_site(seed, int(name[:7]))
    width, height = recipes.picture_size(recipe, size, split, rng)
    camera, altitude = recipes.make_camera(recipe, split, width, height, rng, near=index % FRAMES in site.near)
    wanted = recipes.counts(recipe, split, altitude, rng)
    plan = Plan(name, site, camera, [], [], [], [], rng)
    near = recipe == "parking" and altitude < 0
    plan.roads = make_roads(plan, int(rng.integers(1, 2 if near else 4)))
    fill, parked = float(rng.uniform(0.40, 0.95)), float(rng.choice([0.15, 0.5, 0.85], p=[0.35, 0.25, 0.40])) if not near else 0.75
    plan.slots = make_slots(plan, math.ceil((wanted.get(4, 0) + wanted.get(5, 0)) * parked / fill))
    populate(plan, {c: n for c, n in wanted.items() if c not in without}, whole=near, parked=parked)
    if not plan.actors and not without:  # the official files hold at least one object each
        plan.actors.append(make_actor(plan, 4, 0.5 * width, 0.5 * height, site.heading))
    _trees(plan, int(rng.integers(0, 4 if near else 14)))
    if recipe == "full" or not near:
        _ignored_regions(plan, 0.41 if recipe == "full" else 0.25)
    return plan


def _trees(plan: Plan, number: int) -> None:
    """Trees stand off the roads and rows, mostly; their crowns may still hide what is beside them."""
    for _ in range(number):
        x, y = anywhere(plan)
        scale = plan.camera.scale_at(y)
        crown = float(plan.rng.uniform(2.5, 5.0))
        variant = int(plan.rng.integers(1 << 16))
        if any(road.distance_m(plan.camera, x, y) < road.half_m + 0.4 * crown for road in plan.roads):
            continue
        if any(math.hypot(x - s.x, (y - s.y) / plan.camera.flat) < (0.5 * crown + 2.2) * scale for s in plan.slots):
            continue
        plan.actors.append(Actor("tree", 0, x, y, scale, 0.0, crown, crown, float(plan.rng.uniform(2.5, 4.5)), (62, 92, 48), variant))


def _ignored_regions(plan: Plan, presence: float) -> None:
    """Rectangles, mostly near the top, filled with things too small to be labelled: the reason for the ignore rule."""
    rng, camera = plan.rng, plan.camera
    if rng.random() > presence:
        return
    for _ in range(int(rng.integers(1, 5))):
        width = int(np.clip(math.exp(3.5 + 0.85 * float(rng.normal())) * camera.width / 1400, 6, camera.width // 3))
        height = int(np.clip(math.exp(3.3 + 0.75 * float(rng.normal())) * camera.width / 1400, 6, camera.height // 4))
        left = int(rng.integers(0, camera.width - width))
        top = int(camera.height * float(rng.beta(1.0, 2.6)) * 0.9 * (1 - height / camera.height))
        plan.regions.append((left, top, width, height))
        fill_region(plan, (left, top, width, height))


def fill_region(plan: Plan, region: tuple[int, int, int, int]) -> None:
    """Crowd a region (left, top, width, height in pixels) with unlabelled people or cars of a few pixels."""
    rng = plan.rng
    left, top, width, height = region
    category = 1 if rng.random() < 0.6 else 4
    side = max(1.5, min(width, height) / float(rng.uniform(3.0, 6.0)))  # pixels of one thing
    for _ in range(min(60, int(1.2 * width * height / (side * side * (1.5 if category == 1 else 2.5))))):
        x, y = left + width * float(rng.uniform(0.06, 0.94)), top + height * float(rng.uniform(0.15, 0.94))
        actor = make_actor(plan, category, x, y, plan.site.heading if category == 4 else 0.0)
        scale = side / actor.height_m if category == 1 else side / actor.length_m
        plan.actors.append(replace(actor, category=0, scale_px_per_m=scale))
