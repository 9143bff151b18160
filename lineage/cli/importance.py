"""``lineage importance``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from lineage.cli.output import AsJson, escape, out, print_json, say, table
from lineage.cli.render_sweep import best_run, head, render_sweep
from lineage.errors import UsageError
from lineage.lookup.sweeps import sweep_or_group
from lineage.model.sweep import Goal
from lineage.model.sweep_findings import Correlation, Importance, ParameterImportance, SweepReport
from lineage.wiring import wire

_NOT_TOLD = 3  # as of a verdict: inconclusive
_BAR = 20
_MARKS = " ▏▎▍▌▋▊▉█"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("importance")(importance)


def importance(
    name: Annotated[str, typer.Argument(metavar="SWEEP_OR_GROUP", help="Id of a sweep, or name of a group of runs.")],
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="What mattered for this metric; without it the sweep's own. A group needs one.")
    ] = None,
    goal: Annotated[str | None, typer.Option(help="minimize or maximize; without it what the sweep or the metric's name says.")] = None,
    project: Annotated[str | None, typer.Option(help="Of a group, when several projects have one of this name.")] = None,
    with_stopped: Annotated[
        bool, typer.Option("--with-stopped", help="Count trials that were stopped early, too, by their last value.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write it with all plots, as a page that needs nothing else.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Which parameter of a sweep mattered: random forest, fANOVA and correlation, over its complete trials.

    Refused (exit code 3) under 20 complete trials, for a metric that is the same in all of them, and when no parameter varies. A group of
    runs that were made by hand is looked at in the same way: its parameters are the fields of the configuration that differ.
    """
    from lineage.cli.sweep_page import make_report, write_report  # drawing takes more modules than most commands

    view = sweep_or_group(wire(), name, metric=metric, goal=_goal(goal), project=project)
    report = make_report(view, with_stopped=with_stopped)
    if html is not None:
        write_report(report, html)
        say("done", f"drawn in {html}")
    if as_json:
        print_json(report.model_dump(mode="json"))
    elif html is None:
        _print(report)
    if report.refused is not None:
        say("warning", f"not told: {report.refused}")
        raise typer.Exit(_NOT_TOLD)


def _goal(text: str | None) -> Goal | None:
    found: Literal["minimize", "maximize"] | None = "minimize" if text == "minimize" else "maximize" if text == "maximize" else None
    if text is not None and found is None:
        raise UsageError(f"expected --goal {' or '.join(get_args(Goal))}, found '{text}'")
    return found


def _print(report: SweepReport) -> None:
    found = report.importance
    if found is None:
        render_sweep(report.sweep)
        return
    head(report.sweep)
    others = ", ".join(f"{count} {word}" for word, count in found.left_out.items())
    rests_on = f"{found.trials} trials{f' (not of {others})' if others else ''}"
    out().print(escape(f"  importance for {found.metric}, of {rests_on}"), soft_wrap=True)
    _bars(found)
    best_run(report.sweep)
    say("done", f"of trials that it has not seen the forest foretells {max(0.0, found.explained):.0%} of the variance")
    for note in (*report.sweep.notes, *found.notes):
        say("warning", note)


def _bars(found: Importance) -> None:
    rows = []
    for item in found.parameters:
        numbers = [each for each in item.correlations if each.category is None]
        rows.append([item.name, *_shares(item), *(_correlation(numbers[0]) if numbers else ("", ""))])
        rows += [[f"  = {each.category}", "", "", "", "", *_correlation(each)] for each in item.correlations if each.category is not None]
    table(["parameter", "importance", "", "80 % of draws", "fANOVA", "correlation", "of ranks"], rows)


def _shares(item: ParameterImportance) -> list[str]:
    forest = item.forest
    return [_bar(forest.share), f"{forest.share:.3f}", f"{forest.low:.3f} to {forest.high:.3f}", f"{item.fanova:.3f}"]


def _correlation(item: Correlation) -> tuple[str, str]:
    return tuple("–" if value is None else f"{value:+.3f}" for value in (item.pearson, item.spearman))  # type: ignore[return-value]  # two


def _bar(share: float) -> str:
    eighths = round(max(0.0, min(1.0, share)) * _BAR * 8)
    return ("█" * (eighths // 8) + _MARKS[eighths % 8].strip()).ljust(_BAR)
