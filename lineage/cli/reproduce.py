"""``lineage reproduce``."""

from __future__ import annotations

from typing import Annotated

import typer

from lineage.cli import render
from lineage.cli.look import RunName
from lineage.cli.output import AsJson, print_json, progress_bars, talk
from lineage.errors import UsageError
from lineage.lookup.runs import get_run
from lineage.model.comparison import Report
from lineage.reproduce.execute import reproduce
from lineage.settings import load_settings
from lineage.wiring import child_variables, wire


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reproduce")(reproduce_command)


def reproduce_command(
    run: RunName,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done and what stands in the way, and stop.")] = False,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="ROLE=URI", help="Read the data of a role from another place; it must hold the same rows."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the workspace even when the result is identical.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a recorded run again from its record, in a workspace of its own, and say whether the result is the same.

    Data are checked row by row before anything is run. The recorded command is executed: it is shown first. Verdicts and exit codes:
    identical 0, diverged 1, inconclusive 3, blocked 4 (nothing was run).
    """
    settings = load_settings()
    ports = wire(settings)
    found = get_run(ports.runs, ports.liveness, run)
    with progress_bars() as progress:
        report = reproduce(
            ports,
            found,
            variables=child_variables(settings),
            data=by_role(data or []),
            plan_only=plan,
            keep_workspace=keep,
            on_plan=render.plan,
            on_line=lambda line: talk().print(f"  │ {line}", markup=False, soft_wrap=True),
            progress=progress,
        )
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print(report)
    raise typer.Exit(0 if report.verdict is None else report.verdict.exit_code)


def _print(report: Report) -> None:
    if report.comparison is not None:
        render.comparison(report.comparison)
    elif report.verdict is not None:
        for blocker in report.plan.blockers:
            typer.echo(f"blocked by {blocker}")
        typer.echo("not checked:\n  - the result: nothing was run")
    if report.replica_id is not None:
        typer.echo(f"run {report.replica_id} is recorded as the reproduction of {report.run_id}")
    if report.workspace is not None:
        typer.echo(f"workspace kept: {report.workspace}")
    if report.verdict is None:
        typer.echo("nothing stands in the way")
        return
    typer.echo(f"verdict: {report.verdict.value}" + (f" ({report.reason})" if report.reason else ""))


def by_role(options: list[str]) -> dict[str, str]:
    """``ROLE=URI`` options as a mapping."""
    places: dict[str, str] = {}
    for option in options:
        role, equals, uri = option.partition("=")
        if not equals or not role or not uri:
            raise UsageError(f"--data expects ROLE=URI, found '{option}'", hint="for example --data train=/mnt/copy/visdrone-train")
        places[role] = uri
    return places
