"""What the next trial of a sweep tries, as a function of the sweep and of results that everybody agrees on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lineage.adapters.sweeps.tpe import Told, propose
from lineage.model.sweep_draws import grid_point, random_coordinates, seed_of, values_at
from lineage.ports.sweeps import Sweep, TrialEnd

STARTUP = 10
"""So many trials of a bayesian search are random: there is nothing to learn from yet."""


@dataclass(frozen=True, slots=True)
class Past:
    """A trial that was begun.

    Attributes:
        coordinates: By dotted name.
        state: How it ended; ``None`` while it runs.
        value: The metric's when it ended.
        stopped_at: Iteration at which it was stopped early.
        rungs: Iteration (as text) to badness there, as it is kept.
    """

    coordinates: dict[str, int | float]
    state: TrialEnd | None
    value: float | None = None
    stopped_at: int | None = None
    rungs: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to try.

    Attributes:
        parameters: Values by dotted name.
        coordinates: Of those that were searched for; none in a grid.
    """

    parameters: dict[str, Any]
    coordinates: dict[str, int | float]


@dataclass(frozen=True, slots=True)
class Later:
    """A trial that the next one depends on has not ended."""

    reason: str


@dataclass(frozen=True, slots=True)
class Beyond:
    """There is no next trial."""

    reason: str


def next_proposal(sweep: Sweep, past: Sequence[Past], *, only_whether: bool = False) -> Proposal | Later | Beyond:
    """The trial behind those that were begun.

    Args:
        sweep: What it belongs to.
        past: Every trial that was begun, by number.
        only_whether: Do not work a proposal out: ``Later`` stands for it, too.
    """
    definition, number = sweep.definition, len(past)
    if definition.run_cap is not None and number >= definition.run_cap:
        return Beyond(f"run_cap is {definition.run_cap}")
    if definition.method == "grid" and number >= definition.grid_size:
        return Beyond(f"all {definition.grid_size} points of the grid were tried")
    seen = past[: max(number - sweep.parallel + 1, 0)]
    learns = definition.method == "bayes" and number >= STARTUP
    has_target = definition.metric is not None and definition.metric.target is not None
    if learns or has_target or definition.early_terminate is not None:
        for earlier, trial in enumerate(seen):
            if trial.state is None:
                return Later(f"trial {number} depends on the result of trial {earlier}, which is under way")
            if definition.metric is not None and _value_of(trial) is not None and definition.metric.is_reached_by(_value_of(trial) or 0.0):
                return Beyond(f"trial {earlier} reached the target of {definition.metric.name}")
    if only_whether:
        return Later("")
    if definition.method == "grid":
        return Proposal(grid_point(definition, number), {})
    if not learns:
        coordinates = random_coordinates(definition, sweep.seed, number)
    else:
        assert definition.metric is not None
        told = [Told(trial.coordinates, value, trial.stopped_at) for trial in seen if (value := _value_of(trial)) is not None]
        told += [Told(trial.coordinates, None) for trial in past[len(seen) :]]
        coordinates = propose(definition, definition.metric.goal, told, seed_of(sweep.seed, number, "estimator"))
    return Proposal(values_at(definition, coordinates), coordinates)


def _value_of(trial: Past) -> float | None:
    return None if trial.state == "failed" or trial.value is None or math.isnan(trial.value) else trial.value
