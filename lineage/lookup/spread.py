"""Mean, deviation, least and greatest of the last values of a metric over several runs; and which metrics come first."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lineage.model.run import Run
from lineage.record.metrics import NOT_COMPARED

LARGEST_UNSCALED = 1e150
"""Squares of larger values leave the range of floats: they are made smaller first."""

_EVALUATION = re.compile(r"val|test|eval", re.IGNORECASE)
_COUNTERS = ("epoch", "step", "lr", "learning_rate")


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric's last values over the runs of a group.

    Attributes:
        count: Runs that have one.
        deviation: Standard deviation of the sample (divided by ``count - 1``); ``None`` for a single value.
    """

    count: int
    mean: float
    deviation: float | None
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    """Mean, deviation, least and greatest of finite values; ``None`` without any."""
    if not values:
        return None
    # Means and deviations of huge values leave the range of floats; a hundredth of them does not.
    scale = 1.0 if max(abs(value) for value in values) < LARGEST_UNSCALED else 1e-160
    scaled = [value * scale for value in values]
    deviation = statistics.stdev(scaled) / scale if len(values) > 1 else None
    if deviation is not None and not math.isfinite(deviation):
        deviation = None
    return Spread(len(values), statistics.fmean(scaled) / scale, deviation, min(values), max(values))


def last_value(run: Run, name: str) -> float | None:
    """The last value of a metric, as the summary has it; ``None`` when it is no finite number, or the run goes on."""
    return finite(run.summary.get(name))


def finite(value: Any) -> float | None:
    """A value as a float; ``None`` when it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond every float
        return None


def is_not_finite(value: Any) -> bool:
    """Whether a summary's value is NaN or infinite; a record holds those as texts."""
    return value in ("nan", "inf", "-inf") or (isinstance(value, float) and not math.isfinite(value))


def metrics_in_order(counted: Mapping[str, int]) -> list[str]:
    """Names of metrics: those of an evaluation first, of them those of most runs; those of the machine last.

    Args:
        counted: Name to number of runs that have it.
    """
    return sorted(
        counted,
        key=lambda name: (name.startswith(NOT_COMPARED), name in _COUNTERS, not _EVALUATION.search(name), -counted[name], len(name), name),
    )


def axis_of(run: Run, name: str) -> str | None:
    """The metric that is the horizontal axis of another, as ``define_metric`` said; ``None``: the step."""
    if name in run.axes:
        return run.axes[name]
    return next((axis for known, axis in run.axes.items() if known.endswith("*") and name.startswith(known[:-1]) and axis != name), None)
