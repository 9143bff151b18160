"""Trials that their sweep stopped early: what of them a repetition can be held to.

Between the value that decided and the end of the process lie as many steps as the agent was slow. They are recorded, and not compared.
"""

from __future__ import annotations

from collections.abc import Sequence

from lineage.lookup.results import flat_points
from lineage.model.run import MetricPoint, Run

STOPPED = "stopped early, as recorded"
"""Why a repetition of such a trial ends, when it does as it should."""


def decisive(run: Run, points: Sequence[MetricPoint]) -> Sequence[MetricPoint]:
    """Points of a run up to the one by which it was stopped early; all of them of another run."""
    return points if run.stopped_early is None else points[: run.stopped_early.points]


def comparable(
    run: Run, points: Sequence[MetricPoint], replica: Sequence[MetricPoint]
) -> tuple[Sequence[MetricPoint], Sequence[MetricPoint]]:
    """Points of a run and of its repetition that can be held against one another."""
    if run.stopped_early is None:
        return points, replica
    kept = decisive(run, points)
    left = len(flat_points(kept))
    for number, point in enumerate(replica, 1):
        left -= len(flat_points([point]))
        if left <= 0:
            return kept, replica[:number]
    return kept, replica
