"""What came out of two runs: metrics, summary, files; and where series of metrics part, bit for bit."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lineage.model.run import MetricPoint, Run
from lineage.record.metrics import NOT_COMPARED

if TYPE_CHECKING:
    from lineage.model.difference import MetricDifference, Results, ValueChange

LOWER_IS_BETTER = re.compile(r"loss|err(or)?(_|/|$)|(^|[_/])(mse|mae|rmse|perplexity)([_/]|$)")

FlatPoint = tuple[int, str, bytes, float]
"""(step, metric, bits of the value, value)."""


def flat_points(points: Sequence[MetricPoint]) -> list[FlatPoint]:
    """Every value that is compared, in the order of the calls.

    By their bits: two NaN of the same bits are the same, 0.0 and -0.0 are not. Metrics that depend on the machine's speed are left out.
    """
    return [
        (point.step, name, struct.pack("<d", value), value)
        for point in points
        for name, value in sorted(point.values.items())
        if not name.startswith(NOT_COMPARED)
    ]


def first_difference(left: Sequence[FlatPoint], right: Sequence[FlatPoint]) -> str | None:
    """Where two series part, in words; ``None`` when they do not."""
    for a, b in zip(left, right, strict=False):
        if a[:3] != b[:3]:
            detail = f"first difference at step {a[0]}: {a[1]} = {a[3]!r}"
            return detail + (f", then {b[3]!r}" if a[:2] == b[:2] else f", then {b[1]} = {b[3]!r} at step {b[0]}")
    if len(left) != len(right):
        longer = left if len(left) > len(right) else right
        return f"one series ends before step {longer[min(len(left), len(right))][0]}"
    return None


def compare_results(a: Run, b: Run, metrics_a: Sequence[MetricPoint], metrics_b: Sequence[MetricPoint]) -> Results:
    """What came out of two runs, and what of it differs.

    Args:
        a: The first run.
        b: The second.
        metrics_a: Points of the first in the order of the calls.
        metrics_b: Likewise of the second.
    """
    from lineage.model.difference import Results, ValueChange  # a reproduction needs the comparison of series only

    left, right = flat_points(metrics_a), flat_points(metrics_b)
    ours, theirs = _series(left), _series(right)
    metrics = tuple(_metric(name, ours.get(name, []), theirs.get(name, [])) for name in sorted(ours | theirs))
    summary = _summary(a, b, ours.keys() | theirs.keys())
    files_a, files_b = ({item.name: item.digest for item in run.outputs if item.kind != "dataset"} for run in (a, b))
    outputs = changed_values(files_a, files_b)
    state = None if a.state is b.state else ValueChange(name="state", a=a.state.value, b=b.state.value)
    has_results = bool(left or right or files_a or files_b or a.summary or b.summary)
    return Results(
        is_same=not (first_difference(left, right) or summary or outputs or state) if has_results or state else None,
        metrics=metrics,
        first_difference=first_difference(left, right),
        summary=summary,
        outputs=outputs,
        state=state,
    )


def changed_values(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> tuple[ValueChange, ...]:
    """Keys whose values differ, in order; ``None`` where one is absent."""
    from lineage.model.difference import ValueChange

    return tuple(
        ValueChange(name=prefix + name, a=a.get(name), b=b.get(name))
        for name in sorted(a.keys() | b.keys())
        if name not in a or name not in b or not _equal(a[name], b[name])
    )


def _equal(a: Any, b: Any) -> bool:
    # 1 and 1.0 and True are equal in Python, and do other things in a program.
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return type(a) is type(b) and a == b


def _summary(a: Run, b: Run, logged: set[str]) -> tuple[ValueChange, ...]:
    # Last values of metrics are in the summary too; they are compared with their series.
    ours, theirs = (
        {name: value for name, value in run.summary.items() if name not in logged and not name.startswith(NOT_COMPARED)} for run in (a, b)
    )
    return changed_values(ours, theirs)


def _series(points: Sequence[FlatPoint]) -> dict[str, list[FlatPoint]]:
    series: dict[str, list[FlatPoint]] = {}
    for point in points:
        series.setdefault(point[1], []).append(point)
    return series


def _metric(name: str, ours: list[FlatPoint], theirs: list[FlatPoint]) -> MetricDifference:
    from lineage.model.difference import MetricDifference

    best_is: Literal["lowest", "highest"] = "lowest" if LOWER_IS_BETTER.search(name.lower()) else "highest"
    parted = None
    if [point[0] for point in ours] == [point[0] for point in theirs]:
        parted = next(((a, b) for a, b in zip(ours, theirs, strict=True) if a[2] != b[2]), None)
    return MetricDifference(
        name=name,
        is_same=[point[::2] for point in ours] == [point[::2] for point in theirs],
        values_a=len(ours),
        values_b=len(theirs),
        last_a=_number(ours[-1][3]) if ours else None,
        last_b=_number(theirs[-1][3]) if theirs else None,
        best_is=best_is,
        best_a=_best(ours, best_is),
        best_b=_best(theirs, best_is),
        first_step=None if parted is None else parted[0][0],
        at_first_step_a=None if parted is None else _number(parted[0][3]),
        at_first_step_b=None if parted is None else _number(parted[1][3]),
    )


def _best(points: Sequence[FlatPoint], best_is: str) -> float | str | None:
    values = [point[3] for point in points if not math.isnan(point[3])]
    if not values:
        return "nan" if points else None
    return _number(min(values) if best_is == "lowest" else max(values))


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
