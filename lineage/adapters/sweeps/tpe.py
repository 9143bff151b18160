"""Bayesian proposals: Optuna's tree-structured Parzen estimator over all parameters together.

It runs over a study in memory that holds nothing but what the proposal may depend on, so it is a function of that. It is also to be the
same on other processors, and two things in it would not be: it sorts coordinates, and which of two equal ones comes first is left to the
vector unit; and its results differ in the last bits. So coordinates that are not choices are shares between 0 and 1, no two of them equal,
and what is found is rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from lineage.model.sweep import Goal
from lineage.model.sweep_file import SweepDefinition
from lineage.model.sweep_parameters import Axis

_DECIMALS, _LEAST = 7, 1e-7
_MARGIN, _APART = 1e-6, 1e-12  # room at both ends for a million trials that lie this far apart
Coordinates = dict[str, int | float]


@dataclass(frozen=True, slots=True)
class Told:
    """An earlier trial as a proposal sees it.

    Attributes:
        coordinates: By dotted name.
        value: The metric's; ``None`` while it runs, as far as the proposal may know.
        stopped_at: Iteration at which it was stopped early; ``None`` when it was not.
    """

    coordinates: Coordinates
    value: float | None
    stopped_at: int | None = None


def propose(definition: SweepDefinition, goal: Goal, earlier: Sequence[Told], seed: int) -> Coordinates:
    """Coordinates of the next trial by dotted name.

    Args:
        definition: Of the sweep.
        goal: Which direction is better.
        earlier: Trials that ended with a value, and those under way, by number.
        seed: Of 32 bits.
    """
    axes = {name: axis for name, parameter in definition.leaves() if (axis := parameter.axis()) is not None}
    searched = {name: axis for name, axis in axes.items() if axis.low < axis.high}
    fixed: Coordinates = {name: axis.low for name, axis in axes.items()}
    if not searched:
        return fixed
    space = {name: _distribution(axis) for name, axis in searched.items()}
    storage = InMemoryStorage()
    direction = StudyDirection.MINIMIZE if goal == "minimize" else StudyDirection.MAXIMIZE
    study_id = storage.create_new_study([direction], "proposal")
    for index, told in enumerate(earlier):
        params = {name: _share(axis, told.coordinates[name], index) for name, axis in searched.items()}
        storage.create_new_trial(study_id, _trial(told, params, space))
    sampler = TPESampler(seed=seed, n_startup_trials=0, multivariate=True, constant_liar=True)
    study = optuna.Study("proposal", storage, sampler)
    asked = storage.get_trial(storage.create_new_trial(study_id))
    found = sampler.sample_relative(study, asked, space)
    return fixed | {name: _coordinate(axis, found[name]) for name, axis in searched.items()}


def _distribution(axis: Axis) -> BaseDistribution:
    return CategoricalDistribution(range(axis.high + 1)) if axis.kind == "choice" else FloatDistribution(0, 1)


def _share(axis: Axis, coordinate: int | float, index: int) -> int | float:
    if axis.kind == "choice":
        return coordinate
    share = coordinate if axis.kind == "unit" else (coordinate - axis.low + 0.5) / (axis.high - axis.low + 1)
    return _MARGIN + share * (1 - 2 * _MARGIN) + index * _APART


def _coordinate(axis: Axis, share: int | float) -> int | float:
    match axis.kind:
        case "choice":
            return int(share)
        case "integer":
            return min(axis.low + int(share * (axis.high - axis.low + 1)), axis.high)
        case "unit":
            return min(max(round(share, _DECIMALS), _LEAST), 1 - _LEAST)


def _trial(told: Told, params: Coordinates, space: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    state, steps = TrialState.COMPLETE, {}
    if told.value is None:
        state = TrialState.RUNNING
    elif told.stopped_at is not None:
        state, steps = TrialState.PRUNED, {told.stopped_at: told.value}
    return create_trial(state=state, value=told.value, params=params, distributions=space, intermediate_values=steps)
