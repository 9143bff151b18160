"""``lineage calibrate``."""

from __future__ import annotations

from typing import Annotated

import typer

from lineage.cli import render, render_verdict
from lineage.cli.look import RunName
from lineage.cli.output import AsJson, print_json, progress_bars, say, talk
from lineage.cli.reproduce import by_role
from lineage.lookup.runs import get_run
from lineage.model.comparison import Report
from lineage.reproduce.calibrate import calibrate
from lineage.settings import load_settings
from lineage.wiring import child_variables, wire


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calibrate")(calibrate_command)


def calibrate_command(
    run: RunName,
    repetitions: Annotated[int, typer.Option("--repetitions", "-n", help="How many times the run is repeated, at least 2.")] = 3,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="ROLE=URI", help="Read the data of a role from another place; it must hold the same rows."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Execute the command of a record that came from elsewhere and that nobody trusted signed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Repeat a run several times and record how much its repetitions differ: the tolerance of later reproductions.

    Each repetition is a whole reproduction. Measured are the spread of every metric and which files come out with the same bytes. Exit
    codes: 0 measured, 3 a repetition did not end well, 4 blocked.
    """
    settings = load_settings()
    ports = wire(settings)
    found = get_run(ports.runs, ports.liveness, run)

    def told(number: int, report: Report) -> None:
        verdict = "blocked" if report.verdict is None else report.verdict.value
        say("done", f"repetition {number} of {repetitions}: {verdict}, run {(report.replica_id or 'none')[:12]}")

    with progress_bars() as progress:
        result = calibrate(
            ports,
            found,
            repetitions,
            variables=child_variables(settings),
            data=by_role(data or []),
            is_vouched=yes,
            on_plan=render.plan,
            on_line=lambda line: talk().print(f"  │ {line}", markup=False, soft_wrap=True),
            on_report=told,
            progress=progress,
        )
    if as_json:
        measured = None
        if result.calibration is not None:
            measured = result.calibration.model_dump(mode="json") | {"is_deterministic": result.calibration.is_deterministic}
        print_json({"run_id": found.id, "calibration": measured, "reason": result.reason})
    elif result.calibration is not None:
        render_verdict.calibration(result.calibration)
    else:
        typer.echo(f"not calibrated: {result.reason}")
    raise typer.Exit(result.exit_code)
