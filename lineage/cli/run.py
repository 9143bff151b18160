"""``lineage run``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from lineage.cli.output import AsJson, print_json, say
from lineage.errors import LineageError
from lineage.model.run import RunState
from lineage.ports import Step
from lineage.record.reproducing import RUN_VARIABLE
from lineage.record.start import start_run
from lineage.settings import load_settings
from lineage.wiring import child_variables, wire


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
    as_json: AsJson = False,
) -> None:
    """Run any command and record it: code, environment, command line, outcome. Its exit status is passed on.

    A program that calls lineage.start_run() adds to this record instead of starting its own.
    """
    settings = load_settings()
    ports = wire(settings)
    live = start_run(ports, project=project or settings.project, job_type=job_type, name=name, group=group, command=command)
    program = shutil.which(command[0])
    if program is None or Path(program).parent != Path(sys.executable).parent:
        live.note(f"the environment recorded is that of the lineage command; '{Path(command[0]).name}' may have run in another")
    try:
        status = ports.executor.execute(Step(tuple(command), Path.cwd(), child_variables(settings) | {RUN_VARIABLE: live.id}))
    except (KeyboardInterrupt, SystemExit):
        live.finish(RunState.aborted, "interrupted")
        raise
    except LineageError as error:
        live.finish(RunState.failed, error.message)
        raise
    run = live.finish(
        RunState.finished if status == 0 else RunState.failed, None if status == 0 else f"the command ended with status {status}"
    )
    say("done" if status == 0 else "error", f"run {run.id[:12]} {run.state.value}")
    if as_json:
        print_json(run.model_dump(mode="json"))
    raise typer.Exit(status)
