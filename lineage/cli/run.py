"""``lineage run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineage.cli.output import AsJson, print_json, say
from lineage.errors import LineageError
from lineage.model.run import RunState
from lineage.ports import Ports, Step
from lineage.record.live import LiveRun
from lineage.record.observed.observation import Observation
from lineage.record.reproducing import RUN_VARIABLE
from lineage.record.start import start_run
from lineage.settings import load_settings
from lineage.wiring import child_variables, wire
from lineage.wiring_agents import where_it_runs


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False})(
        run_command
    )


def run_command(
    command: Annotated[list[str], typer.Argument(help="The command, after '--'.", metavar="-- COMMAND…")],
    project: Annotated[str | None, typer.Option(help="Project.")] = None,
    job_type: Annotated[str, typer.Option(help="What kind of job.")] = "command",
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    group: Annotated[str | None, typer.Option(help="Runs that belong together.")] = None,
    observe: Annotated[bool, typer.Option(help="Record files that Python processes read and write, and what they print.")] = True,
    printed: Annotated[bool, typer.Option(help="Take printed numbers as metrics, such as 'epoch 3 loss=0.12'.")] = True,
    volatile: Annotated[
        list[str] | None, typer.Option(help="Files that differ each time, such as '*.log': recorded, not compared. May be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run any command and record it: code, environment, command line, files, printed metrics, outcome. Its exit status is passed on.

    The program needs no change. One that calls lineage.start_run() adds to this record instead of starting its own.
    """
    settings = load_settings()
    ports, prefix, doubt = where_it_runs(wire(settings), command[0])
    live = start_run(ports, project=project or settings.project, job_type=job_type, name=name, group=group, command=command)
    if doubt is not None:
        live.note(doubt)
    variables = child_variables(settings) | {RUN_VARIABLE: live.id}
    try:
        if observe:
            with Observation(ports, live, printed=printed, volatile=volatile or (), prefix=prefix) as observation:
                status = _execute(ports, command, observation.variables(variables))
        else:
            status = _execute(ports, command, variables)
    except (KeyboardInterrupt, SystemExit):
        live.finish(RunState.aborted, "interrupted")
        raise
    except LineageError as error:
        live.finish(RunState.failed, error.message)
        raise
    _end(live, status, as_json=as_json)


def _execute(ports: Ports, command: list[str], variables: dict[str, str]) -> int:
    return ports.executor.execute(Step(tuple(command), Path.cwd(), variables))


def _end(live: LiveRun, status: int, *, as_json: bool) -> None:
    run = live.finish(
        RunState.finished if status == 0 else RunState.failed, None if status == 0 else f"the command ended with status {status}"
    )
    say("done" if status == 0 else "error", f"run {run.id[:12]} {run.state.value}")
    if as_json:
        print_json(run.model_dump(mode="json"))
    raise typer.Exit(status)
