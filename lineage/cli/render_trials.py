"""A sweep as its engine knows it: also trials that run, and sweeps without a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from lineage.cli.output import escape, out, say, table
from lineage.errors import LineageError
from lineage.sweeping.result import best_of, words_of

if TYPE_CHECKING:
    from lineage.ports import Ports
    from lineage.ports.rows import SweepName
    from lineage.ports.sweeps import Sweep, TrialState


def render_trials(found: Sweep, trials: Sequence[TrialState], project: str) -> None:
    """Head, best trial and table of trials on stdout."""
    states = ["cancelled" if item.state == "running" and found.state == "cancelled" else item.state for item in trials]
    told = ", ".join(f"{count} {state}" for state, count in Counter(states).items()) or "none yet"
    metric = found.definition.metric
    about = "no metric" if metric is None else f"{metric.goal} {metric.name}"
    out().print(f"[bold]sweep {found.id}[/bold]  {escape('' if found.name == found.id else found.name)}".rstrip(), soft_wrap=True)
    head = [project, found.definition.method, about, found.state, f"seed {found.seed}"]
    typer.echo(f"  {' · '.join(head)}")
    typer.echo(f"  trials: {told}")
    typer.echo(f"  best: {_best_words(found, trials) or 'none yet'}")
    rows = [
        [
            str(item.number),
            state if item.attempt == 1 else f"{state} (attempt {item.attempt})",
            "" if item.value is None else f"{item.value:.6g}",
            words_of(item.parameters),
            "" if item.run_id is None else item.run_id[:12],
            item.agent,
        ]
        for item, state in zip(trials, states, strict=True)
    ]
    table(["trial", "state", "value" if metric is None else metric.name, "parameters", "run", "agent"], rows)
    if trials:
        say("done", f"which parameter mattered: lineage importance {found.id} · a run again: lineage reproduce RUN")


def sweep_as_json(found: Sweep, trials: Sequence[TrialState], project: str) -> dict[str, Any]:
    """A sweep of the engine."""
    metric = found.definition.metric
    best = None if metric is None else best_of(trials, metric.goal)
    return {
        "id": found.id,
        "name": found.name,
        "project": project,
        "state": found.state,
        "seed": found.seed,
        "parallel": found.parallel,
        "created_at": found.created_at,
        "definition_digest": found.digest,
        "definition": found.definition.as_json(),
        "ended": sum(item.state != "running" for item in trials),
        "best": None if best is None else best.number,
        "best_words": _best_words(found, trials),
        "trials": [asdict(item) for item in trials],
    }


def recorded_as_json(item: SweepName) -> dict[str, Any]:
    """A sweep that only records tell of."""
    words = (
        "" if item.best_value is None else f"{item.metric} {item.best_value:.6g}" + (f", run {item.best_run[:12]}" if item.best_run else "")
    )
    return {
        "id": item.sweep,
        "name": item.sweep,
        "project": item.project,
        "state": "recorded",
        "created_at": datetime.fromisoformat(item.began_at),
        "definition_digest": item.definition,
        "definition": None,
        "ended": item.complete + item.stopped + item.failed,
        "best": None,
        "best_words": words,
    }


def project_of(ports: Ports, found: Sweep, trials: Sequence[TrialState]) -> str:
    """The project that its runs are in: a program may name one."""
    run_id = next((item.run_id for item in trials if item.run_id is not None), None)
    with suppress(LineageError):
        return found.project if run_id is None else ports.runs.get(run_id).project
    return found.project


def _best_words(found: Sweep, trials: Sequence[TrialState]) -> str:
    metric = found.definition.metric
    best = None if metric is None else best_of(trials, metric.goal)
    if best is None or metric is None:
        return ""
    return f"{metric.name} {best.value:.6g} at trial {best.number} ({words_of(best.parameters)})"
