"""Sweeps, and which run is which trial of one: kept beside the records, so that a list of sweeps parses none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lineage.adapters.stores.database import Execute, in_lists
from lineage.model.words import instant
from lineage.ports import SweepName

if TYPE_CHECKING:
    from lineage.model.run import Run
    from lineage.model.sweep import SweepTrial

# Of each number the attempt that counts: one that ended as it should, else one that goes on, else the last one.
_COUNTED = (
    "SELECT sweep, state, COUNT(*), MIN(value), MAX(value) FROM (SELECT sweep, state, value, ROW_NUMBER() OVER (PARTITION BY sweep, number"
    " ORDER BY CASE state WHEN 'complete' THEN 2 WHEN 'stopped' THEN 2 WHEN 'running' THEN 1 ELSE 0 END DESC, attempt DESC,"
    " started_at DESC) AS place FROM sweep_trials WHERE sweep IN ({})) AS counted WHERE place = 1 GROUP BY sweep, state"
)
_RUNS = "SELECT sweep, COUNT(*) FROM sweep_trials WHERE sweep IN ({}) GROUP BY sweep"
_BEST = "SELECT run_id FROM sweep_trials WHERE sweep = ? AND state = 'complete' AND value = ? ORDER BY number, attempt DESC LIMIT 1"


def write_trial(execute: Execute, run: Run, trial: SweepTrial) -> None:
    """Note which trial a run is, and what became of it; nothing of one that was made to repeat a trial."""
    from lineage.model.sweep_findings import end_of, result_of  # what reads a store's lists needs neither

    if run.reproduces is not None or run.repeats is not None:
        return
    began_at, value = instant(run.started_at), result_of(run, trial.metric)
    execute(
        "INSERT INTO recorded_sweeps (id, began_at, project, metric, goal, definition) VALUES (?, ?, ?, ?, ?, ?)"
        # A program may name its own project once its run has begun.
        " ON CONFLICT (id) DO UPDATE SET project = excluded.project, began_at = CASE WHEN excluded.began_at < recorded_sweeps.began_at"
        " THEN excluded.began_at ELSE recorded_sweeps.began_at END",
        (trial.sweep, began_at, run.project, trial.metric, trial.goal, trial.definition),
    )
    execute(
        "INSERT INTO sweep_trials (run_id, sweep, number, attempt, state, value, started_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run_id) DO UPDATE SET state = excluded.state, value = excluded.value",
        (run.id, trial.sweep, trial.number, trial.attempt, end_of(run), value if isinstance(value, float) else None, began_at),
    )


def find_sweeps(execute: Execute, most: int, after: tuple[str, str] | None, prefix: str) -> list[SweepName]:
    """See :meth:`lineage.ports.RowIndex.sweeps`."""
    conditions: list[str] = []
    given: list[Any] = []
    if after is not None:
        conditions.append("(began_at, id) < (?, ?)")
        given.extend(after)
    if prefix:
        conditions.append("substr(id, 1, ?) = ?")
        given.extend((len(prefix), prefix))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    found = execute(
        f"SELECT id, began_at, project, metric, goal, definition FROM recorded_sweeps{where} ORDER BY began_at DESC, id DESC LIMIT ?",
        (*given, most),
    )
    counts: dict[str, dict[str, tuple[int, float | None, float | None]]] = {}
    runs: dict[str, int] = {}
    for places, part in in_lists(sweep for sweep, *_ in found):
        for sweep, state, *told in execute(_COUNTED.format(places), part):
            counts.setdefault(sweep, {})[state] = (told[0], told[1], told[2])
        runs |= dict(execute(_RUNS.format(places), part))
    return [_named(execute, facts, counts.get(facts[0], {}), runs.get(facts[0], 0)) for facts in found]


def _named(execute: Execute, facts: tuple[Any, ...], counts: dict[str, tuple[int, float | None, float | None]], runs: int) -> SweepName:
    sweep, began_at, project, metric, goal, definition = facts
    none = (0, None, None)
    complete, least, greatest = counts.get("complete", none)
    best = greatest if goal == "maximize" else least
    return SweepName(
        sweep=sweep,
        began_at=began_at,
        project=project,
        metric=metric,
        goal=goal,
        definition=definition,
        runs=runs,
        complete=complete,
        stopped=counts.get("stopped", none)[0],
        running=counts.get("running", none)[0],
        failed=counts.get("failed", none)[0],
        best_run=None if best is None else execute(_BEST, (sweep, best))[0][0],
        best_value=best,
    )
