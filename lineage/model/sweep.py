"""A run's place in a sweep, as its record tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lineage.model.digest import Digest

Goal = Literal["minimize", "maximize"]


class SweepTrial(BaseModel):
    """The trial of a sweep that a run is.

    Attributes:
        sweep: Id of the sweep: eight lower-case letters and digits. It is also the group of the run.
        number: Of the trial, counted from 0 in the order of proposal. A trial whose agent died is run again under the same number.
        attempt: Counted from 1.
        parameters: The proposed values as the program sees them; nested parameters are nested here.
        metric: Name of the metric that the sweep is about; ``None`` when it names none.
        goal: What is looked for.
        definition: Object with the sweep's definition as JSON (``lineage.model.sweep_file``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sweep: str = Field(pattern=r"^[0-9a-z]{8}$")
    number: int = Field(ge=0)
    attempt: int = Field(1, ge=1)
    parameters: dict[str, Any]
    metric: str | None = None
    goal: Goal = "minimize"
    definition: Digest


class StoppedEarly(BaseModel):
    """That a sweep ended a trial before its program was done.

    How far the program got before its end came is left to chance: a result, and a comparison, is about the points up to this one.

    Attributes:
        points: Metric points of the run up to the one that decided, that one included.
        step: Its step.
        iteration: Number of the metric's value, counted from 1.
        value: That value: the result of the trial.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    points: int
    step: int
    iteration: int
    value: float


def with_parameters(config: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in which a trial's values stand, at any depth."""
    merged = dict(config)
    for name, value in parameters.items():
        known = merged.get(name)
        merged[name] = with_parameters(known, value) if isinstance(value, Mapping) and isinstance(known, Mapping) else value
    return merged
