"""What a sweep is: its search, its parameters and its rules, once a sweep file was found right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lineage.model.sweep import Goal
from lineage.model.sweep_parameters import Parameter

Method = Literal["grid", "random", "bayes"]
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
_MOST_RUNGS = 100


class Metric(BaseModel):
    """What a sweep is about.

    Attributes:
        name: As the program logs it.
        goal: Which direction is better.
        target: The sweep proposes nothing more once a trial has reached it.
        impute: W&B's; means nothing here.
        impute_while_running: Likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    goal: Goal = "minimize"
    target: int | float | None = None
    impute: str | None = None
    impute_while_running: str | None = None

    def is_reached_by(self, value: float) -> bool:
        """Whether a value is at the target or better; never where there is no target."""
        if self.target is None:
            return False
        return value <= self.target if self.goal == "minimize" else value >= self.target


class Hyperband(BaseModel):
    """When trials are looked at, and which of them are stopped.

    Attributes:
        min_iter: First rung; the others follow at ``min_iter * eta**k``.
        max_iter: Instead: rungs lie at ``max_iter / eta**k`` for k from 1 to ``s``.
        s: How many rungs below ``max_iter``.
        eta: The best ``1 / eta`` of the trials at a rung go on.
        strict: Compare the value at the rung; else the best one up to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_iter: int | None = None
    max_iter: int | None = None
    s: int | None = None
    eta: int | float = 3
    strict: bool = True

    @property
    def rungs(self) -> tuple[int, ...]:
        """Iterations (from 1) at which a trial is compared with others, ascending. W&B calls them bands."""
        return tuple(sorted(set(islice(self._rungs(), _MOST_RUNGS))))

    def _rungs(self) -> Iterator[int]:
        if self.max_iter is not None:
            rung = float(self.max_iter)
            for _ in range(self.s or 0):
                rung /= self.eta
                if rung < 1:
                    return
                yield int(rung)
            return
        rung = float(self.min_iter or 1)
        while rung < 2**53:
            yield int(rung)
            rung *= self.eta


class SweepDefinition(BaseModel):
    """A sweep file that was found right.

    Attributes:
        program: What to run; ``None`` where a function is run.
        command: Words with placeholders.
        method: How parameters are proposed.
        metric: What the sweep is about.
        parameters: By name.
        early_terminate: Whether and when trials are stopped early.
        run_cap: At most so many trials.
        name: For people.
        project: Of the trials' runs.
        description: For people.
        unused: Keys of W&B that mean nothing here, as they were given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: str | None = None
    command: tuple[str, ...] = DEFAULT_COMMAND
    method: Method
    metric: Metric | None = None
    parameters: dict[str, Parameter]
    early_terminate: Hyperband | None = None
    run_cap: int | None = None
    name: str | None = None
    project: str | None = None
    description: str | None = None
    unused: dict[str, Any] = {}

    def as_json(self) -> dict[str, Any]:
        """As a sweep file, with everything that is implied written out. Reading it again gives an equal definition."""
        found: dict[str, Any] = {
            key: value
            for key in ("program", "method", "run_cap", "name", "project", "description")
            if (value := getattr(self, key)) is not None
        }
        found["command"] = list(self.command)
        if self.metric is not None:
            found["metric"] = self.metric.model_dump(exclude_none=True)
        found["parameters"] = {name: parameter.as_json() for name, parameter in self.parameters.items()}
        if self.early_terminate is not None:
            found["early_terminate"] = {"type": "hyperband"} | self.early_terminate.model_dump(exclude_none=True)
        return found | self.unused

    def leaves(self) -> list[tuple[str, Parameter]]:
        """Every parameter that has values, by its dotted name, sorted by name at each level as W&B does."""
        return [(".".join(path), parameter) for path, parameter in leaves_of(self.parameters)]

    def nest(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """Values by dotted name as the program sees them: those of nested parameters nested."""
        nested: dict[str, Any] = {}
        for path, _ in leaves_of(self.parameters):
            inner = nested
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            inner[path[-1]] = flat[".".join(path)]
        return nested

    @property
    def grid_size(self) -> int:
        """How many trials a grid search has."""
        size = 1
        for _, parameter in self.leaves():
            size *= parameter.grid_size()
        return size

    @property
    def notes(self) -> list[str]:
        """What somebody who knows W&B should be told about this definition."""
        notes = [f"`{key}` means nothing here" for key in self.unused]
        for key in ("impute", "impute_while_running"):
            if self.metric is not None and getattr(self.metric, key) is not None:
                notes.append(f"`metric.{key}` means nothing here: trials that told no value are left out")
        if (early := self.early_terminate) is not None and early.max_iter is not None and early.min_iter is not None:
            notes.append("`early_terminate.min_iter` means nothing beside `max_iter`, as with W&B")
        if early is not None and early.max_iter is None and early.s is not None:
            notes.append("`early_terminate.s` means nothing without `max_iter`, as with W&B")
        for name, parameter in self.leaves():
            if parameter.distribution.removeprefix("q_") in ("log_uniform", "inv_log_uniform"):
                low, high = parameter.bounds()
                notes.append(
                    f"`parameters.{name}`: the bounds of {parameter.distribution} are exponents of e, values lie between {low:.6g} "
                    f"and {high:.6g}; {parameter.distribution}_values takes the values themselves"
                )
        return notes


def leaves_of(parameters: Mapping[str, Parameter], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Parameter]]:
    """Parameters with values, by where they stand among the nested ones, sorted by name at each level."""
    for name in sorted(parameters):
        parameter = parameters[name]
        if parameter.distribution == "nested":
            yield from leaves_of(parameter.parameters, (*path, name))
        else:
            yield (*path, name), parameter
