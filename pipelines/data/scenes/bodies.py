"""What each class looks like: sizes in metres and bodies put together from boxes and plates.

The cues that tell classes apart: a car has dark glass around a short roof, a van a longer plain roof and glass only in front, a truck
a cab and a cargo bed with a gap, a bus a long roof with hatches, a tricycle an open bed, an awning-tricycle a striped coloured canopy,
two-wheelers a rider. Cars and vans are deliberately close, as they are in real pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.data.scenes.geometry import Actor, Colour

NAMES = (
    "ignored regions", "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor", "others",
)  # fmt: skip
"""VisDrone categories; the index is the category."""

SIZES_M: dict[int, tuple[float, float, float, float]] = {
    1: (0.75, 0.85, 1.85, 0.16),
    2: (1.05, 0.95, 1.45, 0.18),
    3: (1.85, 0.70, 1.55, 0.16),
    4: (4.50, 1.85, 1.45, 0.06),
    5: (5.10, 2.00, 2.05, 0.08),
    6: (7.60, 2.45, 2.80, 0.18),
    7: (3.10, 1.35, 1.50, 0.13),
    8: (3.10, 1.45, 1.90, 0.13),
    9: (11.0, 2.60, 3.10, 0.14),
    10: (1.95, 0.80, 1.50, 0.14),
    11: (4.80, 2.30, 2.20, 0.35),
}
"""Category → length, width, height in metres, standard deviation of the logarithm of the size."""

PAINT: dict[int, tuple[Colour, ...]] = {
    1: ((190, 60, 60), (60, 70, 150), (40, 40, 45), (220, 215, 205), (90, 120, 80), (200, 160, 60)),
    3: ((60, 60, 65), (150, 60, 50), (50, 90, 140), (200, 190, 60)),
    4: ((232, 232, 232), (235, 236, 238), (25, 27, 30), (150, 154, 160), (92, 96, 102), (150, 32, 34), (40, 66, 120), (180, 170, 150)),
    5: ((236, 236, 234), (226, 228, 226), (170, 174, 178), (110, 116, 124), (200, 190, 160)),
    6: ((40, 90, 165), (190, 50, 40), (225, 225, 222), (60, 130, 80), (225, 170, 50)),
    7: ((70, 90, 130), (150, 50, 45), (60, 100, 70), (110, 110, 112)),
    8: ((215, 50, 50), (40, 100, 200), (40, 150, 90), (230, 140, 40), (200, 70, 150)),
    9: ((225, 190, 60), (60, 140, 100), (210, 80, 50), (225, 228, 230), (70, 110, 180)),
    10: ((35, 35, 38), (160, 40, 40), (60, 70, 90), (200, 200, 200)),
    11: ((230, 180, 30), (210, 120, 40), (120, 130, 110)),
}
"""Category → colours to choose from; people wear what pedestrians wear."""

GLASS: Colour = (38, 46, 56)
SKIN: Colour = (198, 156, 124)
RUBBER: Colour = (28, 28, 30)
Span = tuple[float, float]


@dataclass(frozen=True)
class Part:
    """A box of the body (``z[0] < z[1]``) or a plate on it (equal heights).

    Attributes:
        u: Extent along the body, -0.5 (rear) to 0.5 (front).
        v: Extent across the body, -0.5 to 0.5.
        z: Extent in height, 0 (ground) to 1 (top).
        top: Colour of the upper face.
        shade: Brightness of the sides relative to the upper face.
    """

    u: Span
    v: Span
    z: Span
    top: Colour
    shade: float = 0.6


def tinted(colour: Colour, gain: float) -> Colour:
    """The colour, ``gain`` times as bright, clipped to 0–255."""
    return (min(255, int(colour[0] * gain)), min(255, int(colour[1] * gain)), min(255, int(colour[2] * gain)))


def _car(actor: Actor) -> list[Part]:
    paint = actor.colour
    rear = -0.40 if actor.variant % 2 else -0.33
    return [
        Part((-0.5, 0.5), (-0.5, 0.5), (0.0, 0.6), paint),
        Part((rear, 0.22), (-0.45, 0.45), (0.6, 0.95), GLASS, 0.85),
        Part((rear + 0.09, 0.08), (-0.40, 0.40), (0.95, 1.0), tinted(paint, 0.96)),
        Part((0.49, 0.5), (-0.42, -0.25), (0.6, 0.6), (245, 240, 215)),
        Part((0.49, 0.5), (0.25, 0.42), (0.6, 0.6), (245, 240, 215)),
    ]


def _van(actor: Actor) -> list[Part]:
    paint = actor.colour
    parts = [
        Part((-0.5, 0.5), (-0.5, 0.5), (0.0, 0.55), paint),
        Part((-0.5, 0.40), (-0.48, 0.48), (0.55, 1.0), paint, 0.7),
        Part((0.30, 0.42), (-0.44, 0.44), (0.98, 0.98), GLASS),
    ]
    if actor.variant % 3 == 0:
        parts.append(Part((-0.34, 0.16), (-0.03, 0.03), (1.0, 1.0), tinted(paint, 0.8)))
    return parts


def _truck(actor: Actor) -> list[Part]:
    cargo: Colour = ((206, 206, 200), (122, 98, 70), (70, 96, 120), (150, 150, 150))[actor.variant % 4]
    parts = [
        Part((-0.5, 0.5), (-0.44, 0.44), (0.0, 0.3), RUBBER),
        Part((-0.5, 0.20), (-0.5, 0.5), (0.3, 1.0), cargo, 0.65),
        Part((0.25, 0.5), (-0.47, 0.47), (0.2, 0.85), actor.colour),
        Part((0.42, 0.49), (-0.42, 0.42), (0.86, 0.86), GLASS),
    ]
    if actor.variant % 4 in (1, 3):  # an open bed: its floor shows
        parts.append(Part((-0.47, 0.17), (-0.43, 0.43), (1.0, 1.0), tinted(cargo, 0.62)))
    else:
        parts += [Part((at, at + 0.015), (-0.5, 0.5), (1.0, 1.0), tinted(cargo, 0.82)) for at in (-0.35, -0.18, 0.0)]
    return parts


def _bus(actor: Actor) -> list[Part]:
    roof = tinted(actor.colour, 1.08)
    hatch = tinted(actor.colour, 0.62)
    return [
        Part((-0.5, 0.5), (-0.5, 0.5), (0.0, 0.45), actor.colour),
        Part((-0.5, 0.5), (-0.5, 0.5), (0.45, 0.8), GLASS, 0.9),
        Part((-0.5, 0.5), (-0.5, 0.5), (0.8, 1.0), roof, 0.75),
        Part((-0.32, -0.24), (-0.2, 0.2), (1.0, 1.0), hatch),
        Part((0.20, 0.28), (-0.2, 0.2), (1.0, 1.0), hatch),
        Part((-0.10, 0.08), (-0.3, 0.3), (1.0, 1.0), (236, 238, 238)),
        Part((0.46, 0.5), (-0.46, 0.46), (1.0, 1.0), GLASS),
    ]


def _rider(at: float, clothes: Colour, width: float = 0.42) -> list[Part]:
    return [
        Part((at - 0.13, at + 0.13), (-width, width), (0.45, 0.85), clothes),
        Part((at - 0.08, at + 0.10), (-0.2, 0.2), (0.85, 1.0), SKIN),
    ]


def _tricycle(actor: Actor) -> list[Part]:
    load: Colour = ((120, 92, 62), (60, 62, 66), (168, 150, 110))[actor.variant % 3]
    return [
        Part((-0.5, 0.12), (-0.5, 0.5), (0.0, 0.55), actor.colour),
        Part((-0.45, 0.07), (-0.40, 0.40), (0.55, 0.55), load),
        Part((0.12, 0.5), (-0.14, 0.14), (0.0, 0.5), RUBBER),
        Part((0.36, 0.40), (-0.34, 0.34), (0.6, 0.6), RUBBER),
        *_rider(0.20, PAINT[1][actor.variant % 6], 0.3),
    ]


def _awning_tricycle(actor: Actor) -> list[Part]:
    stripe: Colour = (240, 238, 230)
    parts = [
        Part((-0.5, 0.5), (-0.42, 0.42), (0.0, 0.45), tinted(actor.colour, 0.5)),
        Part((-0.48, 0.38), (-0.5, 0.5), (0.80, 1.0), actor.colour, 0.7),
    ]
    parts += [Part((at, at + 0.09), (-0.5, 0.5), (1.0, 1.0), stripe) for at in (-0.36, -0.10, 0.16)]
    return parts


def _two_wheeler(actor: Actor) -> list[Part]:
    slim = 0.12 if actor.kind == "bicycle" else 0.24
    parts = [
        Part((-0.5, 0.5), (-slim, slim), (0.0, 0.42), actor.colour if actor.kind == "motor" else RUBBER),
        Part((0.26, 0.33), (-0.5, 0.5), (0.55, 0.55), RUBBER),
    ]
    if actor.kind == "bicycle":
        parts.append(Part((-0.28, 0.28), (-0.07, 0.07), (0.5, 0.5), actor.colour))
    if actor.kind == "motor" or actor.variant % 4:  # one bicycle in four is parked
        parts += _rider(-0.06, PAINT[1][actor.variant % 6])
    return parts


def _person(actor: Actor) -> list[Part]:
    hair: Colour = (40, 32, 28)
    if actor.kind == "pedestrian":
        trousers: Colour = ((40, 44, 60), (70, 66, 60), (28, 28, 30))[actor.variant % 3]
        return [
            Part((-0.22, 0.30), (-0.22, 0.22), (0.0, 0.45), trousers, 0.9),
            Part((-0.22, 0.22), (-0.5, 0.5), (0.42, 0.84), actor.colour, 0.85),
            Part((-0.18, 0.18), (-0.2, 0.2), (0.84, 1.0), hair, 1.0),
        ]
    return [
        Part((-0.1, 0.5), (-0.34, 0.34), (0.0, 0.4), (70, 66, 84), 0.9),
        Part((-0.5, 0.0), (-0.5, 0.5), (0.0, 0.8), actor.colour, 0.85),
        Part((-0.35, -0.1), (-0.2, 0.2), (0.8, 1.0), hair, 1.0),
    ]


def _other(actor: Actor) -> list[Part]:
    return [
        Part((-0.5, 0.5), (-0.5, 0.5), (0.0, 0.35), RUBBER),
        Part((-0.5, 0.0), (-0.45, 0.45), (0.35, 1.0), actor.colour),
        Part((0.0, 0.5), (-0.12, 0.12), (0.35, 0.8), tinted(actor.colour, 0.8)),
        Part((0.38, 0.5), (-0.4, 0.4), (0.35, 0.6), (90, 90, 94)),
    ]


PARTS = {
    1: _person, 2: _person, 3: _two_wheeler, 4: _car, 5: _van, 6: _truck, 7: _tricycle, 8: _awning_tricycle, 9: _bus, 10: _two_wheeler,
    11: _other,
}  # fmt: skip


def parts_of(actor: Actor) -> list[Part]:
    """The actor's body from the ground upwards, in the order of drawing."""
    return PARTS[NAMES.index(actor.kind)](actor)
