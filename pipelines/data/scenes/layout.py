"""Where things are: the plan of a scene before anything is drawn.

A scene is a function of (seed, index) and the recipe. Frames of one sequence share their site: the heading of rows and roads, the
ground and the time of day. All random numbers of a scene come from ``Philox(key=[seed, index])``, those of a site from
``Philox(key=[seed, 2**62 + sequence])``, so scene 17 is the same whether or not scenes 0–16 were made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.data.scenes import bodies, recipes
from pipelines.data.scenes.geometry import Actor, Camera, circles

FRAMES = 4
"""Pictures of one sequence."""
VALIDATION = 2**40
"""Added to the index of a validation scene to make its key."""
_SITE = 2**62


@dataclass(frozen=True)
class Site:
    """What the frames of a sequence share.

    Attributes:
        sequence: Number of the sequence, the first part of a picture's name.
        heading: Direction of roads and rows, radians.
        tone: Grey value of the asphalt, 0–255.
        grass: Whether the ground beyond asphalt is green (else paved).
        night: Whether it is dark.
        sun: Direction of shadows, radians.
        near: Frames that ``parking`` takes from near the ground, a half of them.
    """

    sequence: int
    heading: float
    tone: float
    grass: bool
    night: bool
    sun: float
    near: tuple[int, ...]


@dataclass(frozen=True)
class Road:
    """A straight road: a point of its axis (pixels), its direction and its lanes of 3.4 m."""

    x: float
    y: float
    heading: float
    lanes: int

    @property
    def half_m(self) -> float:
        """Half its width in metres."""
        return self.lanes * 1.7

    def beside(self, camera: Camera, x: float, y: float, across_m: float) -> tuple[float, float]:
        """The point ``across_m`` metres right of the axis where (x, y) is nearest to it."""
        ux, uy = math.cos(self.heading), math.sin(self.heading) * camera.flat
        along = ((x - self.x) * ux + (y - self.y) * uy) / (ux * ux + uy * uy)
        return camera.step(self.x + along * ux, self.y + along * uy, self.heading, 0.0, across_m)

    def distance_m(self, camera: Camera, x: float, y: float) -> float:
        """Metres on the ground between (x, y) and the axis."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return abs((x - self.x) * sin * camera.flat - (y - self.y) * cos) / (camera.scale_at(y) * camera.flat)


@dataclass(frozen=True)
class Slot:
    """A parking slot: its centre (pixels) and the direction a parked car points to."""

    x: float
    y: float
    heading: float


@dataclass
class Plan:
    """A scene that is ready to be drawn; ``rng`` goes on where the layout stopped."""

    name: str
    site: Site
    camera: Camera
    roads: list[Road]
    slots: list[Slot]
    actors: list[Actor]
    regions: list[tuple[int, int, int, int]]
    rng: np.random.Generator
    taken: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))


def generator(seed: int, key: int) -> np.random.Generator:
    """The stream of random numbers that belongs to a key alone."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, key], dtype=np.uint64)))


def scene_name(index: int, split: recipes.Split) -> str:
    """The picture's name: sequence, frame, ``d`` and a running number, like ``0000012_00345_d_0000007``."""
    sequence = 1 + index // FRAMES + (5_000_000 if split == "validation" else 0)
    return f"{sequence:07d}_{index % FRAMES * 115 + sequence % 97:05d}_d_{index + 1:07d}"


def make_site(seed: int, sequence: int) -> Site:
    """The place where a sequence was taken."""
    rng = generator(seed, _SITE + sequence)
    return Site(
        sequence=sequence,
        heading=float(rng.normal(0.0, 0.35)) + (math.pi / 2 if rng.random() < 0.42 else 0.0),
        tone=float(rng.uniform(92, 142)),
        grass=bool(rng.random() < 0.6),
        night=bool(rng.random() < 0.13),
        sun=float(rng.uniform(0, 2 * math.pi)),
        near=tuple(rng.permutation(FRAMES)[: FRAMES // 2].tolist()),
    )


def anywhere(plan: Plan) -> tuple[float, float]:
    """A point of the picture, pixels: around the middle across, rather high than low (as official boxes are)."""
    rng, camera = plan.rng, plan.camera
    top_heavy = 1.0 if camera.slope < 0.35 else 1.25
    x = rng.triangular(-0.02, 0.52, 1.02) if rng.random() < 0.7 else rng.random()
    return float(x) * camera.width, float(rng.beta(top_heavy, 1.15 if camera.slope < 0.35 else 1.9)) * camera.height


def make_roads(plan: Plan, number: int) -> list[Road]:
    """Roads along the site's heading, the second one across it."""
    rng, camera, heading = plan.rng, plan.camera, plan.site.heading
    roads = []
    for order in range(number):
        turn = math.pi / 2 if order == 1 else 0.0
        across = heading + turn + float(rng.normal(0, 0.04))
        edge = float(rng.choice([0.16, 0.84])) if order != 1 else float(rng.uniform(0.1, 0.9))
        level = abs(math.cos(across)) > 0.7
        x, y = (0.5, edge) if level else (edge, 0.5)
        roads.append(Road(x * camera.width, y * camera.height, across, int(rng.integers(2, 5)) if order == 0 else 2))
    return roads


def make_slots(plan: Plan, number: int) -> list[Slot]:
    """Rows of slots until there are about ``number``; a row is left where it meets a road or another row."""
    rng, camera = plan.rng, plan.camera
    slots: list[Slot] = []
    for _ in range(40):
        if len(slots) >= number:
            break
        pitch, heading = 1.85 * float(rng.uniform(1.3, 1.6)), plan.site.heading + float(rng.normal(0, 0.02))
        x, y = anywhere(plan)
        length = int(rng.integers(4, 21))
        x, y = camera.step(x, y, heading, -pitch * length / 2)
        for _ in range(length):
            inside = -0.02 * camera.width < x < 1.02 * camera.width and -0.02 * camera.height < y < 1.02 * camera.height
            clear = all(road.distance_m(camera, x, y) > road.half_m + 2.9 for road in plan.roads)
            if inside and clear and all(math.hypot(x - s.x, (y - s.y) / camera.flat) > 0.98 * pitch * camera.scale_at(y) for s in slots):
                turned = math.pi if rng.random() < 0.5 else 0.0
                slots.append(Slot(x, y, heading + math.pi / 2 + turned))
            x, y = camera.step(x, y, heading, pitch)
    return slots


def make_actor(plan: Plan, category: int, x: float, y: float, heading: float, *, moving: bool = False) -> Actor:
    """A thing of the category with its own size, colour and variant."""
    rng = plan.rng
    length, width, height, spread = bodies.SIZES_M[category]
    size = math.exp(float(np.clip(rng.normal(), -2, 2)) * spread)
    paint = bodies.PAINT[1 if category == 2 else category]
    colour = bodies.tinted(paint[int(rng.integers(len(paint)))], float(rng.uniform(0.88, 1.1)))
    jitter = math.exp(float(rng.normal(0, 0.19))) if plan.camera.slope > 0.35 else 1.0
    scale = plan.camera.scale_at(y) * jitter
    variant = int(rng.integers(1 << 16))
    return Actor(
        bodies.NAMES[category], category, x, y, scale, heading, length * size, width * size, height * size, colour, variant, moving
    )


def place(plan: Plan, actor: Actor, *, gap: float = 1.0) -> bool:
    """Add the actor unless its footprint meets another one's; ``gap`` < 1 allows some overlap."""
    mine = circles(plan.camera, actor)
    if len(plan.taken):
        dx = mine[:, None, 0] - plan.taken[None, :, 0]
        dy = (mine[:, None, 1] - plan.taken[None, :, 1]) / plan.camera.flat
        reach = (mine[:, None, 2] + plan.taken[None, :, 2]) * gap
        if bool((dx * dx + dy * dy < reach * reach).any()):
            return False
    plan.taken = np.concatenate([plan.taken, mine])
    plan.actors.append(actor)
    return True


def _on_road(plan: Plan, category: int) -> Actor:
    road = plan.roads[int(plan.rng.integers(len(plan.roads)))]
    lane = int(plan.rng.integers(road.lanes))
    across = (lane + 0.5) * 3.4 - road.half_m
    if category in (3, 7, 8, 10):  # slow traffic keeps to the edges
        across = math.copysign(road.half_m - float(plan.rng.uniform(0.3, 1.6)), across)
    x, y = road.beside(plan.camera, *anywhere(plan), across)
    heading = road.heading + (math.pi if across < 0 else 0.0) + float(plan.rng.normal(0, 0.05))
    return make_actor(plan, category, x, y, heading, moving=True)


def _near(plan: Plan, category: int, centre: tuple[float, float]) -> Actor:
    x, y = plan.camera.step(*centre, 0.0, float(plan.rng.normal(0, 1.8)), float(plan.rng.normal(0, 1.8)))
    return make_actor(plan, category, x, y, float(plan.rng.uniform(0, 2 * math.pi)))


def _stray(plan: Plan, category: int) -> Actor:
    x, y = anywhere(plan)
    turn = plan.site.heading + float(plan.rng.choice([0.0, 0.5, 1.0, 1.5])) * math.pi + float(plan.rng.normal(0, 0.2))
    return make_actor(plan, category, x, y, turn)


def _try(plan: Plan, make: Callable[[], Actor], fits: Callable[[Actor], bool], *, gap: float, tries: int) -> bool:
    for _ in range(tries):
        actor = make()
        if fits(actor) and place(plan, actor, gap=gap):
            return True
    return False


def populate(plan: Plan, wanted: dict[int, int], *, whole: bool, parked: float) -> None:
    """Put the wanted things into slots, on roads, at their edges and in groups.

    Args:
        plan: Gets the actors; its roads and slots are there already.
        wanted: Category → number.
        whole: Leave out what the border would cut.
        parked: Share of cars and vans that stand in slots.
    """
    rng, camera = plan.rng, plan.camera
    free = [plan.slots[i] for i in rng.permutation(len(plan.slots))]

    def fits(actor: Actor) -> bool:
        # Half a length beyond the border is as far as an annotated object reaches.
        reach = 0.55 * actor.length_m * actor.scale_px_per_m + 3 if whole else -0.1 * actor.length_m * actor.scale_px_per_m
        top = reach + (actor.height_m * camera.lift * actor.scale_px_per_m if whole else 0.0)
        return reach <= actor.x <= camera.width - reach and top <= actor.y <= camera.height - reach

    for category in sorted(wanted, key=lambda c: -bodies.SIZES_M[c][0]):
        centre, members = anywhere(plan), 0
        for _ in range(wanted[category]):
            if category in (4, 5) and free and rng.random() < parked:
                slot = free.pop()
                actor = make_actor(plan, category, slot.x, slot.y, slot.heading + float(rng.normal(0, 0.03)))
                if fits(actor) and place(plan, actor, gap=0.9):
                    continue
            if category <= 3 or (category == 10 and rng.random() < 0.5):
                if members <= 0:
                    members = int(rng.integers(1, 7))
                    centre = anywhere(plan) if rng.random() < 0.5 or not plan.roads else _edge(plan)
                members -= 1
                here = centre
                _try(plan, lambda c=category, p=here: _near(plan, c, p), fits, gap=0.45, tries=6)  # type: ignore[misc]
                continue
            if not plan.roads or not _try(plan, lambda c=category: _on_road(plan, c), fits, gap=1.0, tries=8):  # type: ignore[misc]
                _try(plan, lambda c=category: _stray(plan, c), fits, gap=1.0, tries=12)  # type: ignore[misc]


def _edge(plan: Plan) -> tuple[float, float]:
    road = plan.roads[int(plan.rng.integers(len(plan.roads)))]
    side = float(plan.rng.choice([-1.0, 1.0]))
    return road.beside(plan.camera, *anywhere(plan), side * (road.half_m + 2.0))
