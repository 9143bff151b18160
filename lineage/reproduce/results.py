"""What two runs say of their end and of single values: compared so that nothing that differs passes for the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lineage.model.run import MetricPoint, Run, RunState
from lineage.record.metrics import NOT_COMPARED

INSIDE = "inside the command: "
"""A note that begins so tells how the program itself said that it ended, where another process closes the record."""

NO_LOG = "no step log"
"""What a comparison says of a run without a step log, where the other has one."""


def own_summary(run: Run, metrics: Sequence[MetricPoint]) -> dict[str, Any]:
    """Values of a summary that are more than the last value of a metric, which is compared with its series."""
    last = {name: value for point in metrics for name, value in point.values.items()}
    return {
        name: value
        for name, value in run.summary.items()
        if not name.startswith(NOT_COMPARED) and not (name in last and same_value(value, _kept(last[name])))
    }


def same_value(a: Any, b: Any) -> bool:
    """Whether two plain values are the same in every bit: 1, 1.0 and true are three values, and so are 0.0 and -0.0."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def other_values(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Names whose values differ, in order; one that only one side has differs from one that is null."""
    return [name for name in sorted({*ours, *theirs}) if name not in ours or name not in theirs or not same_value(ours[name], theirs[name])]


def end_of(run: Run) -> str:
    """How a run ended, in words: its state, and the error that the program told."""
    told = next((note.removeprefix(INSIDE) for note in reversed(run.notes) if note.startswith(INSIDE)), None)
    error = told if told is not None else None if run.state is RunState.finished else run.error
    return run.state.value if error is None else f"{run.state.value} ({error})"


def _kept(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
