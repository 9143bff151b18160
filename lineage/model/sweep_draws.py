"""Proposals that need no results: every point of a grid in its order, and random draws.

A draw is a function of the seed, the trial's number and the parameter's name. It does not change when other parameters come or go,
and no machine, process or number of threads has a say in it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from lineage.model.sweep_file import SweepDefinition


def grid_point(definition: SweepDefinition, number: int) -> dict[str, Any]:
    """Values of a grid's trial by dotted name. Names are sorted as W&B sorts them, and the last one changes with every trial.

    Args:
        definition: Of a grid.
        number: Below ``definition.grid_size``.
    """
    point: dict[str, Any] = {}
    for name, parameter in reversed(definition.leaves()):
        values = parameter.grid()
        assert values is not None
        number, index = divmod(number, len(values))
        point[name] = values[index]
    return dict(reversed(point.items()))


def random_coordinates(definition: SweepDefinition, seed: int, number: int) -> dict[str, int | float]:
    """Coordinates of a random trial by dotted name; parameters with one value have none."""
    return {
        name: parameter.coordinate(_between_0_and_1(seed, number, name))
        for name, parameter in definition.leaves()
        if parameter.axis() is not None
    }


def values_at(definition: SweepDefinition, coordinates: dict[str, int | float]) -> dict[str, Any]:
    """Values by dotted name at these coordinates."""
    return {name: parameter.value_at(coordinates.get(name, 0)) for name, parameter in definition.leaves()}


def seed_of(seed: int, number: int, purpose: str) -> int:
    """A seed of 32 bits for whatever needs one of its own."""
    return int.from_bytes(_digest(seed, number, purpose)[:4], "big")


def _between_0_and_1(seed: int, number: int, name: str) -> float:
    return ((int.from_bytes(_digest(seed, number, f"parameter {name}")[:8], "big") >> 12) + 0.5) / 2**52


def _digest(seed: int, number: int, purpose: str) -> bytes:
    return hashlib.sha256(f"sweep {seed} trial {number} {purpose}".encode()).digest()
