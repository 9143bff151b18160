"""``lineage reproduce``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lineage.cli import render, render_verdict
from lineage.cli.bundle import RunOrFile, StoreForFile, open_run
from lineage.cli.output import AsJson, print_json, progress_bars, say, talk
from lineage.cli.render_segments import segments_as_json, segments_in_words
from lineage.cli.secrets import AskedSecrets, ask_secrets
from lineage.errors import UsageError
from lineage.model.comparison import Report, Verdict
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.reproduce.execute import reproduce
from lineage.reproduce.segment import Segment, chosen_segments
from lineage.wiring import child_variables


class EnvironmentMode(StrEnum):
    """Where a reproduction runs."""

    auto = "auto"
    recorded = "recorded"
    current = "current"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reproduce")(reproduce_command)


def reproduce_command(
    context: typer.Context,
    run: RunOrFile,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done and what stands in the way, and stop.")] = False,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="ROLE=URI", help="Read the data of a role from another place; it must hold the same rows."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the workspace even when the result is identical.")] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Run to the end in any case. Without it the run is stopped where it first differs.")
    ] = False,
    until_step: Annotated[
        int | None, typer.Option("--until-step", metavar="N", help="Stop when step N is done; the verdict is then about steps 0 to N only.")
    ] = None,
    segment: Annotated[
        list[int] | None,
        typer.Option(
            "--segment",
            metavar="K",
            help="Repeat only what lies between checkpoint K and the next one (0: from the beginning to the first). Can be given again.",
        ),
    ] = None,
    random_segments: Annotated[
        int, typer.Option("--random-segments", metavar="N", min=0, help="Repeat N segments that are drawn at random, one after the other.")
    ] = 0,
    segments_seed: Annotated[int, typer.Option("--segments-seed", metavar="SEED", help="Decides which ones are drawn.")] = 0,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write the report as a page, with the curves of both runs.")
    ] = None,
    env: Annotated[
        EnvironmentMode,
        typer.Option(
            "--env",
            help="Run in the recorded environment (built again with uv), in the current one, or (auto) in the current one when it is the "
            "recorded one, else in the recorded one, and where that cannot be had in the current one with a warning.",
        ),
    ] = EnvironmentMode.auto,
    yes: Annotated[
        bool, typer.Option("--yes", help="Execute the command of a record that came from elsewhere and that nobody trusted signed.")
    ] = False,
    secret: AskedSecrets = None,
    store: StoreForFile = None,
    as_json: AsJson = False,
) -> None:
    """Run a recorded run again from its record, in a workspace of its own, and say whether the result is the same.

    Data are checked row by row before anything is run. The recorded command is executed: it is shown first. While it runs, its steps and
    metrics are compared with the recorded ones. Verdicts and exit codes: identical 0, equivalent 0 (within the tolerance that lineage
    calibrate measured), diverged 1, inconclusive 3, blocked 4 (nothing was run).

    Secrets that the command was given are in no record. They are taken from environment variables, which the plan names.

    A bundle's file is taken into a store of its own and reproduced from there, without the original's store, repository or network.
    """
    if html is not None and not html.absolute().parent.is_dir():
        raise UsageError(
            f"--html {html}: expected a file in a folder that exists", hint="a reproduction may take long: it is checked first"
        )
    wants_segments = bool(segment) or random_segments > 0
    if wants_segments and (until_step is not None or html is not None):
        raise UsageError("--segment goes with neither --until-step nor --html", hint="repeat the segments first, then what differs")
    ask_secrets(secret or [])
    opened = open_run(context, run, store)
    ports, found = opened.ports, opened.run
    parts: list[Segment | None] = [None]
    if wants_segments:
        parts = list(chosen_segments(found, segment or [], random_segments, segments_seed))
    reports = []
    for part in parts:
        with progress_bars() as progress:
            report = reproduce(
                ports,
                found,
                variables=child_variables(opened.settings),
                data=by_role(data or []),
                plan_only=plan,
                keep_workspace=True if keep else None,
                keep_going=keep_going,
                until_step=until_step,
                segment=part,
                is_vouched=yes,
                environment=env.value,
                on_plan=render.plan,
                on_line=lambda line: talk().print(f"  │ {line}", markup=False, soft_wrap=True),
                progress=progress,
            )
        reports.append(report)
        if report.workspace is not None:
            opened.keep()
        if not as_json:
            _print(report)
        if plan or report.verdict is Verdict.blocked:
            break
    if html is not None:
        _write_page(ports, found, reports[0], html)
    if as_json:
        print_json(segments_as_json(found, parts, reports) if wants_segments else reports[0].model_dump(mode="json"))
    elif wants_segments and not plan:
        typer.echo(segments_in_words(found, parts, reports))
    raise typer.Exit(max((0 if item.verdict is None else item.verdict.exit_code) for item in reports))


def _print(report: Report) -> None:
    if report.comparison is not None:
        render_verdict.comparison(report.comparison)
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
    if report.stopped is not None:
        typer.echo(f"stopped before its end: {report.stopped}")
    typer.echo(f"verdict: {report.verdict.value}" + (f" ({report.reason})" if report.reason else ""))


def _write_page(ports: Ports, run: Run, report: Report, file: Path) -> None:
    from lineage.cli.reproduction_page import batch_pictures, reproduction_page

    replica = None if report.replica_id is None else ports.runs.get(report.replica_id)
    metrics = [[] if item is None else ports.runs.metrics(item.id) for item in (run, replica)]
    page = reproduction_page(report, run, replica, metrics[0], metrics[1], batch_pictures(ports, run, report))
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--html {file}: {error.strerror}", hint="name a file in a folder that can be written") from error
    say("done", f"wrote {file}")


def by_role(options: list[str]) -> dict[str, str]:
    """``ROLE=URI`` options as a mapping."""
    places: dict[str, str] = {}
    for option in options:
        role, equals, uri = option.partition("=")
        if not equals or not role or not uri:
            raise UsageError(f"--data expects ROLE=URI, found '{option}'", hint="for example --data train=/mnt/copy/visdrone-train")
        places[role] = uri
    return places
