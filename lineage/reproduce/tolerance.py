"""How much repetitions of one run differ from one another, and whether a reproduction lies within that."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lineage.model.calibration import Calibration, Spread
from lineage.model.comparison import Change, Comparison
from lineage.model.run import MetricPoint, Run
from lineage.record.metrics import NOT_COMPARED
from lineage.reproduce.results import NO_LOG, other_values, own_summary

Series = dict[str, list[tuple[int, float]]]
"""Metric to (step, value), in the order of the calls."""


def measure(runs: Sequence[Run], metrics: Sequence[Sequence[MetricPoint]], steps_are_equal: bool | None) -> Calibration:
    """The spread of every value over repetitions of one run.

    Args:
        runs: The repetitions, at least two.
        metrics: Points of each in the order of the calls.
        steps_are_equal: Whether their step logs are equal to the end; ``None`` without.
    """
    series = [series_of(points) for points in metrics]
    names = sorted({name for one in series for name in one})
    spreads = [_metric_spread(name, [one.get(name, []) for one in series]) for name in names]
    summaries = [_numbers(own_summary(run, points)) for run, points in zip(runs, metrics, strict=True)]
    spreads += [_summary_spread(name, [one.get(name) for one in summaries]) for name in sorted({name for one in summaries for name in one})]
    made = [{item.name: item.digest for item in run.outputs} for run in runs]
    environments = {None if run.environment is None else run.environment.digest for run in runs}
    return Calibration(
        at=datetime.now(UTC),
        run_ids=tuple(run.id for run in runs),
        environment=environments.pop() if len(environments) == 1 else None,
        spreads=tuple(spreads),
        outputs={name: len({one.get(name) for one in made}) == 1 for name in sorted({name for one in made for name in one})},
        steps_are_equal=steps_are_equal,
    )


def series_of(points: Sequence[MetricPoint]) -> Series:
    """Every compared metric's own series."""
    found: Series = {}
    for point in points:
        for name, value in point.values.items():
            if not name.startswith(NOT_COMPARED):
                found.setdefault(name, []).append((point.step, value))
    return found


def usable(calibration: Calibration | None, environment: str | None) -> tuple[Calibration | None, str | None]:
    """The calibration where it counts, and else why it does not (``None``: there is none, or nothing is to be tolerated).

    Args:
        calibration: Of the original.
        environment: Digest of interpreter and packages of the reproduction.
    """
    if calibration is None or calibration.is_deterministic:
        return None, None
    if calibration.environment is None or calibration.environment != environment:
        return None, "the calibrated tolerance: it was measured with another interpreter or other packages"
    return calibration, None


def tolerate(
    comparison: Comparison,
    calibration: Calibration,
    original: Run,
    replica: Run,
    original_metrics: Sequence[MetricPoint],
    replica_metrics: Sequence[MetricPoint],
) -> Comparison:
    """The comparison with everything marked that differs no more than the repetitions did; the rest says by how much it does."""
    changes = []
    kinds = [{item.name: item.kind for item in run.outputs} for run in (original, replica)]
    for change in comparison.changes:
        if change.same:
            changes.append(change)
        elif change.subject == "metrics":
            ours, theirs = series_of(original_metrics), series_of(replica_metrics)
            if comparison.checked is not None:  # the rest of each series was not logged any more
                ours = {name: ours.get(name, [])[: len(values)] for name, values in theirs.items()}
            changes.append(_judged(change, _outside_metrics(calibration, ours, theirs)))
        elif change.subject == "summary":
            ours_own, theirs_own = own_summary(original, original_metrics), own_summary(replica, replica_metrics)
            changes.append(_judged(change, _outside_summary(calibration, ours_own, theirs_own)))
        elif change.subject.startswith("output "):
            name = change.subject.removeprefix("output ")
            differed = calibration.outputs.get(name) is False
            is_made = "not made" not in (change.original, change.replica) and kinds[0].get(name) == kinds[1].get(name)
            changes.append(_judged(change, None if differed and is_made else "its bytes were equal in every calibrated repetition"))
        elif change.subject.startswith("steps"):
            equal = "the step logs were equal in every calibrated repetition"
            is_kept = NO_LOG not in (change.original, change.replica)
            changes.append(_judged(change, None if calibration.steps_are_equal is False and is_kept else equal))
        else:
            changes.append(change)
    return comparison.model_copy(update={"changes": tuple(changes)})


def _judged(change: Change, outside: str | None) -> Change:
    said = "no more than the calibrated repetitions differ" if outside is None else outside
    detail = said if change.detail is None else f"{change.detail}; {said}"
    return change.model_copy(update={"is_tolerated": outside is None, "detail": detail})


def _outside_metrics(calibration: Calibration, ours: Series, theirs: Series) -> str | None:
    for name in sorted(ours | theirs):
        left, right = ours.get(name, []), theirs.get(name, [])
        if [step for step, _ in left] != [step for step, _ in right]:
            return f"{name} was logged at other steps"
        spread = calibration.spread(name)
        for (step, a), (_, b) in zip(left, right, strict=True):
            if _bits(a) == _bits(b):
                continue
            if spread is None:
                return f"{name} was not calibrated"
            if not spread.allows(a, b):
                return _too_far(spread, a, b, f" at step {step}")
    return None


def _outside_summary(calibration: Calibration, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    for name in other_values(ours, theirs):
        a, b = ours.get(name), theirs.get(name)
        spread = calibration.spread(name, "summary")
        if spread is None or a is None or b is None or not (_is_number(a) and _is_number(b)):
            return f"{name} was not calibrated"
        if not spread.allows(a, b):
            return _too_far(spread, a, b, "")
    return None


def _too_far(spread: Spread, a: float, b: float, where: str) -> str:
    if spread.max_absolute is None:
        return f"{spread.name}{where}: {spread.reason}, so it must be equal"
    return f"{spread.name}{where} is {abs(a - b):.3g} away; the repetitions differ by {spread.max_absolute:.3g} at most"


def _metric_spread(name: str, series: Sequence[Sequence[tuple[int, float]]]) -> Spread:
    steps = [[step for step, _ in one] for one in series]
    count = min(map(len, steps))
    if any(one != steps[0] for one in steps):
        return Spread(name=name, points=count, reason="the repetitions logged it at different steps")
    return _spread(name, "metric", [[value for _, value in one] for one in series])


def _summary_spread(name: str, values: Sequence[float | None]) -> Spread:
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return Spread(name=name, kind="summary", points=1, reason="not every repetition has it as a number")
    return _spread(name, "summary", [[value] for value in numbers])


def _spread(name: str, kind: Any, series: Sequence[Sequence[float]]) -> Spread:
    absolute = relative = 0.0
    for values in zip(*series, strict=True):
        if len({_bits(value) for value in values}) == 1:
            continue
        if not all(map(math.isfinite, values)):
            return Spread(name=name, kind=kind, points=len(series[0]), reason="it is not finite in some repetitions only")
        apart = max(values) - min(values)
        if not math.isfinite(apart):
            return Spread(name=name, kind=kind, points=len(series[0]), reason="the repetitions differ by more than a number can hold")
        absolute = max(absolute, apart)
        relative = max(relative, apart / max(map(abs, values)) if apart else 0.0)
    return Spread(name=name, kind=kind, points=len(series[0]), max_absolute=absolute, max_relative=relative)


def _numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in summary.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bits(value: float) -> bytes:
    return struct.pack("<d", value)
