"""A sweep as its runs tell it, and which of its parameters mattered."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lineage.model.run import Run, RunState
from lineage.model.sweep import Goal

Number = float | Literal["nan", "inf", "-inf"]
"""A float; JSON has no number for the three that are not finite."""

TrialEnd = Literal["running", "complete", "stopped", "failed"]
"""``stopped``: early, by the sweep. ``failed``: its program failed, or its process ended without a word."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SweepParameter(_Value):
    """A parameter, over all trials of a sweep.

    Attributes:
        name: With dots where parameters are nested.
        kind: ``number`` when every trial's value is a finite number, else ``category``.
        scale: How numbers are spread: ``log`` when the sweep draws them so; or, where nothing is said of it, when all are positive and the
            greatest is a hundred times the least or more.
        categories: Texts of the values of a category, in the order of their names.
        low: Least value of a number.
        high: Greatest.
        distinct: How many different values there are, one that is not set included.
        missing: Trials that do not have it.
    """

    name: str
    kind: Literal["number", "category"]
    scale: Literal["linear", "log"] = "linear"
    categories: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    distinct: int
    missing: int = 0


class SweepTrialView(_Value):
    """A trial: the run of its attempt that counts.

    Attributes:
        number: Counted from 0 in the order of proposal; in a plain group in the order in which the runs began.
        attempt: Of the run.
        state: What became of it.
        parameters: Name with dots to value.
        value: Of the metric, the last one; ``None`` when there is none.
        attempts: Runs of other attempts under the same number.
    """

    number: int
    attempt: int
    run_id: str
    run_name: str
    state: TrialEnd
    started_at: datetime
    duration_s: float | None
    parameters: dict[str, Any]
    value: Number | None
    error: str | None
    attempts: tuple[str, ...] = ()

    @property
    def finite(self) -> float | None:
        """The value, when it is a finite number."""
        return self.value if isinstance(self.value, float) and math.isfinite(self.value) else None


class SweepView(_Value):
    """A sweep, or a plain group of runs looked at as one.

    Attributes:
        id: Of the sweep, or name of the group.
        is_sweep: Whether it is one.
        method: ``grid``, ``random`` or ``bayes``; ``None`` for a plain group, or when the definition is not kept here.
        metric: What it is about; ``None`` when nothing was named.
        goal: What is looked for.
        definition: The sweep's definition, in W&B's form.
        parameters: In the order of the definition.
        trials: By number.
        best: Run id of the best complete trial.
        logged: Metrics that trials logged.
        notes: What a reader should know, one sentence each.
    """

    id: str
    is_sweep: bool
    name: str | None
    project: str
    method: str | None
    metric: str | None
    goal: Goal
    definition: dict[str, Any] | None
    parameters: tuple[SweepParameter, ...]
    trials: tuple[SweepTrialView, ...]
    best: str | None
    logged: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def varying(self) -> tuple[SweepParameter, ...]:
        """Parameters with more than one value."""
        return tuple(item for item in self.parameters if item.distinct > 1)

    @property
    def best_trial(self) -> SweepTrialView | None:
        """The best complete trial."""
        return next((item for item in self.trials if item.run_id == self.best), None)

    def count(self, state: TrialEnd) -> int:
        """Number of trials in a state."""
        return sum(item.state == state for item in self.trials)

    def ranked(self) -> list[SweepTrialView]:
        """Trials, best first: complete ones before those that were stopped early, then running ones, then failed ones."""
        order = {"complete": 0, "stopped": 1, "running": 2, "failed": 3}
        sign = -1.0 if self.goal == "maximize" else 1.0

        def key(item: SweepTrialView) -> tuple[int, bool, float, int]:
            return order[item.state], item.finite is None, sign * (item.finite or 0.0), item.number

        return sorted(self.trials, key=key)


class Share(_Value):
    """A part of what mattered, between 0 and 1, with how far it moves when trials are drawn again.

    Attributes:
        low: Tenth percentile over the draws.
        high: Ninetieth.
    """

    share: float
    low: float
    high: float


class Correlation(_Value):
    """How a parameter, or one category of it, goes along with the metric.

    Attributes:
        category: Of a parameter without order; ``None`` for a number.
        pearson: Linear correlation, of the logarithm on a logarithmic scale; ``None`` where it has none.
        spearman: Correlation of ranks.
        trials: How many it is over.
    """

    category: str | None
    pearson: float | None
    spearman: float | None
    trials: int


class ParameterImportance(_Value):
    """How much one parameter mattered.

    Attributes:
        forest: Share of a random forest's impurity decrease, categories summed.
        fanova: Share of the variance that it explains by itself (functional ANOVA).
        correlations: One for a number, one for each category otherwise.
    """

    name: str
    forest: Share
    fanova: float
    correlations: tuple[Correlation, ...]


class Importance(_Value):
    """Which parameters mattered for a metric.

    Attributes:
        trials: Complete trials that it rests on.
        left_out: State, or reason, to number of trials that it does not rest on.
        parameters: The one that mattered most first.
        explained: Share of the variance of trials that it has not seen that the forest foretells (out of bag); near 0, or below, when it
            foretells nothing.
        draws: How often trials were drawn again for the intervals.
        notes: What a reader should know, one sentence each.
    """

    metric: str
    goal: Goal
    trials: int
    left_out: dict[str, int]
    parameters: tuple[ParameterImportance, ...]
    explained: float
    draws: int
    notes: tuple[str, ...] = ()


class SweepReport(_Value):
    """A sweep with what mattered in it.

    Attributes:
        importance: ``None`` where nothing can be said.
        refused: Why not.
    """

    sweep: SweepView
    importance: Importance | None
    refused: str | None


def end_of(run: Run) -> TrialEnd:
    """What became of a trial."""
    if run.state is RunState.running:
        return "running"
    if run.stopped_early is not None:
        return "stopped"
    return "complete" if run.state is RunState.finished else "failed"


def result_of(run: Run, metric: str | None) -> Number | None:
    """A trial's value of a metric: the last one, or the one that decided that it was stopped."""
    if metric is None:
        return None
    if run.stopped_early is not None and run.sweep is not None and run.sweep.metric == metric:
        return number_of(run.stopped_early.value)
    return number_of(run.summary.get(metric))


def number_of(value: Any) -> Number | None:
    """A recorded value as a number, or as the word of one that is not finite; ``None`` for anything else."""
    if isinstance(value, str):
        return value if value in ("nan", "inf", "-inf") else None  # type: ignore[return-value]  # these three are what the type allows
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        made = float(value)
    except OverflowError:  # a whole number beyond every float
        return "inf" if value > 0 else "-inf"
    if math.isfinite(made):
        return made
    return "nan" if math.isnan(made) else "inf" if made > 0 else "-inf"
