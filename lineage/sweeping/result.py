"""What came of a trial, and what is said of it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lineage.lookup.runs import find_runs
from lineage.model.run import Run, RunState
from lineage.model.sweep import Goal
from lineage.ports import Ports, RunQuery
from lineage.ports.sweeps import Trial, TrialState
from lineage.record.metrics import NOT_COMPARED

End = Literal["complete", "stopped", "failed", "lost", "cancelled"]

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended.

    Attributes:
        trial: It.
        run_id: Its run.
        end: ``lost``: another agent has it now; ``cancelled``: with the whole sweep. Neither is an end of the trial by its own.
        value: Of the sweep's metric.
        reason: Why it did not end well; ``None`` when it did.
        last_lines: What its program printed last.
        status: Exit status of its program.
        seconds: From its start to its end.
    """

    trial: Trial
    run_id: str
    end: End
    value: float | None = None
    reason: str | None = None
    last_lines: tuple[str, ...] = ()
    status: int | None = None
    seconds: float = 0.0


def result_of(ports: Ports, run: Run, metric: str | None) -> float | None:
    """The value by which a trial is compared: the metric's last one, or the one by which it was stopped early."""
    if metric is None:
        return None
    if run.stopped_early is not None:
        return run.stopped_early.value
    value = run.summary.get(metric)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if value in ("nan", "inf", "-inf"):
        return float(value)
    # A program that was ended in the middle had no time to write a summary.
    return next((point.values[metric] for point in reversed(ports.runs.metrics(run.id)) if metric in point.values), None)


def finished_attempt(ports: Ports, sweep_id: str, number: int) -> Run | None:
    """The run of an earlier attempt that was recorded to its end, where its agent had no time to tell the sweep."""
    runs = find_runs(ports.runs, ports.liveness, RunQuery(group=sweep_id))
    mine = [run for run in runs if run.sweep is not None and run.sweep.number == number and run.reproduces is None and run.repeats is None]
    return next((run for run in mine if run.state is RunState.finished), None)


def without_metric(ports: Ports, run: Run, metric: str) -> str:
    """What to say of a trial that did not log the metric of its sweep: the names that it did log, and the nearest one."""
    logged = sorted({name for point in ports.runs.metrics(run.id) for name in point.values} | set(run.summary))
    logged = [name for name in logged if not name.startswith(NOT_COMPARED)]
    if not logged:
        return f"it logged no '{metric}', nor any other metric"
    lowered = {name.lower(): name for name in logged}
    close = difflib.get_close_matches(metric.lower(), lowered, 1, 0.5) or [name for name in lowered if metric.lower() in name][:1]
    more = f" and {len(logged) - _SHOWN} more" if len(logged) > _SHOWN else ""
    told = f"it logged no '{metric}', but {', '.join(logged[:_SHOWN])}{more}"
    return told + (f"; is '{lowered[close[0]]}' meant?" if close else "")


def best_of(trials: Sequence[TrialState], goal: Goal) -> TrialState | None:
    """The best trial so far."""
    done = [item for item in trials if item.state in ("complete", "stopped") and item.value is not None and math.isfinite(item.value)]
    if not done:
        return None
    return (min if goal == "minimize" else max)(
        done, key=lambda item: (item.value or 0.0, item.number if goal == "minimize" else -item.number)
    )


def words_of(parameters: Mapping[str, Any]) -> str:
    """Parameters for people: ``lr=0.1 batch_size=32``."""
    return " ".join(f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}" for name, value in parameters.items())
