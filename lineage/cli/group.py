"""``lineage group`` and ``lineage groups``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lineage.cli.output import AsJson, print_json, progress_bars, say, table, when
from lineage.errors import UsageError
from lineage.wiring import wire

_SERIES = 600  # steps that a drawing needs


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("group")(group_command)
    app.command("groups")(groups_command)


def group_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="One group, or several to compare.")],
    project: Annotated[str | None, typer.Option(help="Project of the groups, where several have one of that name.")] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", "-m", help="Only this metric. Can be given again.")] = None,
    axis: Annotated[
        str | None, typer.Option("--over", metavar="METRIC", help="Over another metric (epoch), or step; else what define_metric said.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also metrics of the machine: system/… and timing/….")] = False,
    points: Annotated[
        int | None,
        typer.Option("--points", metavar="N", min=4, help="At most about so many steps of each metric in --json; all by default."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also write a page with a band for each group.")] = None,
    draw: Annotated[
        bool | None, typer.Option("--draw/--no-draw", help="Draw each metric; without it, on a terminal with --metric.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Mean ± std (min, max) of every metric over the runs of a group, at the end and per step, and what differs between its runs.

    std is the standard deviation of the sample (divided by n - 1). Nothing is interpolated: n tells how many runs have a value. Runs that
    failed, were broken off, or reproduce another run do not count. Several groups are laid over each other.
    """
    from lineage.cli import render_group  # here: no other command should wait for what this one needs
    from lineage.cli.group_page import group_page
    from lineage.lookup.groups import compare_groups, group_of

    if html is not None and not html.absolute().parent.is_dir():
        raise UsageError(f"--html {html}: expected a file in a folder that exists")
    ports = wire()
    thinned = points if as_json and html is None else _SERIES
    with progress_bars() as progress:
        found = [
            group_of(ports, name, project=project, metrics=metric or [], axis=axis, machine=everything, points=thinned, progress=progress)
            for name in dict.fromkeys(names)
        ]
    between = compare_groups(ports, found) if len(found) > 1 else None
    if html is not None:
        try:
            html.write_text(group_page(found, between), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--html {html}: {error.strerror}", hint="name a file in a folder that can be written") from error
        say("done", f"wrote {html}")
    if as_json:
        told = [item.model_dump(mode="json") for item in found]
        print_json(told[0] if len(told) == 1 else {"groups": told, "between": between and between.model_dump(mode="json")})
        return
    is_drawn = draw if draw is not None else bool(metric) and sys.stdout.isatty()
    render_group.groups(found, is_drawn=is_drawn)
    if between is not None:
        render_group.between(between)


def groups_command(
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    as_json: AsJson = False,
) -> None:
    """List groups, that with the newest run first."""
    from lineage.lookup.groups import groups

    ports = wire()
    found = groups(ports.runs, ports.liveness, project)
    if as_json:
        print_json(
            [
                {
                    "name": item.name,
                    "project": item.project,
                    "runs": item.runs,
                    "finished": item.finished,
                    "newest": item.newest.started_at.isoformat(),
                }
                for item in found
            ]
        )
        return
    if not found:
        say("done", f"no run in {ports.runs.location} has a group: lineage.start_run(group=…), lineage run --group, lineage repeat")
        return
    rows = [[item.name, item.project, str(item.runs), str(item.finished), when(item.newest.started_at)] for item in found]
    table(["group", "project", "runs", "finished", "newest (UTC)"], rows)
