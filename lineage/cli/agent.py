"""``lineage agent``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineage.cli.output import escape, log_text, say, talk
from lineage.cli.sweep import named_sweep
from lineage.cli.worker import ExecutorName
from lineage.sweeping.agent import FAILURES, work
from lineage.sweeping.program import usage_problem
from lineage.sweeping.result import Outcome, best_of, words_of

if TYPE_CHECKING:
    from lineage.ports.sweeps import Trial
    from lineage.sweeping.program import Crew


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("agent")(agent)


def agent(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of a sweep, or how it begins; lineage sweep FILE prints it.")],
    count: Annotated[int | None, typer.Option(min=1, help="At most so many trials.")] = None,
    failures: Annotated[int, typer.Option(min=0, help="End when so many trials failed and none succeeded; 0: never.")] = FAILURES,
    output: Annotated[bool, typer.Option("--output", help="Show what the program prints, on stderr.")] = False,
    lease: Annotated[float, typer.Option(min=1, help="Seconds of silence after which another agent takes a trial over.")] = 60.0,
    agents: Annotated[int, typer.Option(min=1, help="Start so many agents, and wait for all of them.")] = 1,
    executor: Annotated[ExecutorName, typer.Option("--executor", help="Where agents run.")] = ExecutorName.local,
    address: Annotated[str | None, typer.Option("--address", help="Of the cluster, for ray.")] = None,
    cpus: Annotated[float, typer.Option(min=0, help="Processors of a node for each agent, for ray.")] = 1.0,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of a node for each agent, for ray.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON on stdout for each trial.")] = False,
) -> None:
    """Run trials of a sweep, one after the other, until it has no more. Start as many agents as you like, on any machine with the store.

    The program is looked for in this folder. Ctrl-C and SIGTERM hand the trial back at once.
    """
    if agents > 1 or executor is not ExecutorName.local:
        given = {"--count": count, "--failures": failures, "--lease": lease, "--output": output, "--json": as_json}
        _several(sweep_id, given, agents, executor.value, address, cpus, gpus)
        return
    from lineage.settings import load_settings
    from lineage.wiring_agents import crew_of
    from lineage.wiring_sweeps import sweep_engine

    settings = load_settings()
    engine = sweep_engine(settings)
    try:
        crew = crew_of(
            named_sweep(engine, sweep_id).id,
            say,
            settings=settings,
            engine=engine,
            show=_print if output else None,
            lease_s=lease,
        )
        metric = f", {crew.sweep.definition.metric.goal} {crew.metric}" if crew.sweep.definition.metric is not None else ""
        say("done", f"agent {crew.name} of sweep {crew.sweep.id} ({crew.sweep.definition.method}{metric})")
        worked = work(crew, count=count, failures=failures, on_begin=_began, on_end=_teller(crew, as_json=as_json))
    finally:
        engine.close()
    say("done", f"{len(worked.outcomes)} trials here; {worked.why}")


def _several(sweep_id: str, given: dict[str, Any], agents: int, executor: str, address: str | None, cpus: float, gpus: float) -> None:
    import sys
    from pathlib import Path

    from lineage.settings import load_settings
    from lineage.sweeping.crowd import check_endings, send_agents
    from lineage.wiring import child_variables
    from lineage.wiring_agents import agents_executor
    from lineage.wiring_sweeps import sweep_engine

    settings = load_settings()
    engine = sweep_engine(settings)
    try:
        whole_id = named_sweep(engine, sweep_id).id
    finally:
        engine.close()
    runs_them = agents_executor(executor, address, settings, cpus=cpus, gpus=gpus)
    words = [
        word for name, value in given.items() if value not in (None, False) for word in ([name] if value is True else [name, str(value)])
    ]
    command = [sys.executable, "-m", "lineage", "agent", whole_id, *words]

    def heard(number: int, line: str) -> None:
        if given["--json"] and line.startswith("{"):
            typer.echo(line)
        else:
            talk().print(f"[dim]agent {number} │[/dim] {escape(log_text(line))}")

    variables = child_variables(settings) | {"PYTHONUNBUFFERED": "1"}
    logs = settings.folder / "agents" / f"{whole_id}-{os.getpid()}"
    try:
        endings = send_agents(runs_them, command, Path.cwd(), logs, variables, agents, heard, say)
    finally:
        shutil.rmtree(logs, ignore_errors=True)
    check_endings(command, endings)
    say("done", f"{agents} agents are done")


def _print(line: str) -> None:
    talk().print(escape(log_text(line)))


def _began(trial: Trial) -> None:
    again = "" if trial.attempt == 1 else f" (attempt {trial.attempt})"
    say("done", f"trial {trial.number}{again}: {words_of(trial.parameters)}")


def _teller(crew: Crew, *, as_json: bool) -> Callable[[Outcome], None]:
    def ended(outcome: Outcome) -> None:
        metric = crew.sweep.definition.metric
        best = None if metric is None else best_of(crew.engine.trials(crew.sweep.id), metric.goal)
        value = "" if outcome.value is None else f", {crew.metric} {outcome.value:.6g}"
        so_far = "" if best is None else f"; best {best.value:.6g} at trial {best.number}"
        kind = {"failed": "error", "lost": "warning", "cancelled": "warning"}.get(outcome.end, "done")
        why = f": {outcome.reason}" if outcome.reason is not None and outcome.end != "complete" else ""
        say(kind, f"trial {outcome.trial.number}: {outcome.end} in {outcome.seconds:.1f} s{value}{why}{so_far}")
        if outcome.end == "failed" and crew.show is None:
            for line in [problem] if (problem := usage_problem(outcome)) is not None else outcome.last_lines:
                talk().print(f"    {escape(log_text(line))}")
        if as_json:
            typer.echo(json.dumps(_as_json(crew, outcome, None if best is None else best.number)))

    return ended


def _as_json(crew: Crew, outcome: Outcome, best: int | None) -> dict[str, Any]:
    return {
        "sweep": crew.sweep.id,
        "trial": outcome.trial.number,
        "attempt": outcome.trial.attempt,
        "parameters": outcome.trial.parameters,
        "state": outcome.end,
        "value": _number(outcome.value),
        "run_id": outcome.run_id,
        "reason": outcome.reason,
        "seconds": round(outcome.seconds, 3),
        "best": best,
    }


def _number(value: float | None) -> float | str | None:
    return value if value is None or abs(value) < float("inf") else str(value)
