"""``lineage impact``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from lineage.cli.output import AsJson, escape, out, print_json, progress_bars, say
from lineage.errors import Conflict
from lineage.lookup.impact import Subject, find_impact, require_one_subject, subject_by_name, subject_by_query
from lineage.model.findings import AffectedInput, AffectedRun, CleanedView, ImpactReport, ModelStep
from lineage.ports import Ports, Progress
from lineage.wiring import wire

_ROWS_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("impact")(impact)


def impact(
    sample: Annotated[str | None, typer.Option("--sample", metavar="ID", help="A sample id.")] = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="FILE", help="A picture file, found by its bytes; or their digest.")
    ] = None,
    query: Annotated[str | None, typer.Option("--query", metavar="TEXT", help="The rows of a query, asked of --dataset.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", metavar="URI", help="The dataset of --query.")] = None,
    commit: Annotated[str | None, typer.Option("--commit", help="The dataset's commit; the newest by default.")] = None,
    plan: Annotated[Path | None, typer.Option("--plan", metavar="FILE", help="Write the plan to a new file, as Markdown.")] = None,
    as_json: AsJson = False,
) -> None:
    """Which views, runs and models hold a sample, a picture or the rows of a query; and how to retrain without them.

    Answered from the records: the data may be gone. Models that were fine-tuned from affected ones are included. Nothing is executed: the
    plan lists commands for cleaned views, then the runs to repeat, base models first. A query for a cleaned view is named only after it was
    evaluated and gave exactly the rows that are left.
    """
    require_one_subject(sample, image, query, dataset)
    if plan is not None and plan.exists():
        raise Conflict(f"{plan} exists", hint="name a new file for the plan")
    ports = wire()
    with progress_bars() as progress:
        report = find_impact(ports, _subject(ports, sample, image, query, dataset, commit, progress), progress)
    if plan is not None:
        plan.parent.mkdir(parents=True, exist_ok=True)
        plan.write_text("\n".join(markdown(report)) + "\n", encoding="utf-8")
        say("done", f"plan in {plan}")
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print(report)


def _subject(
    ports: Ports, sample: str | None, image: str | None, query: str | None, dataset: str | None, commit: str | None, progress: Progress
) -> Subject:
    if query is not None and dataset is not None:
        return subject_by_query(ports, dataset, query, commit, progress)
    return subject_by_name(ports, sample=sample, image=image)


def _print(report: ImpactReport) -> None:
    console = out()
    ids = f" ({', '.join(report.sample_ids[:5])}{', …' if len(report.sample_ids) > 5 else ''})" if report.sample_ids else ""
    console.print(f"[bold]{escape(report.subject)}[/bold]: {report.rows} recorded rows{escape(ids)}", soft_wrap=True)
    console.print(f"{len(report.runs)} runs, {len(report.models)} models")
    for run in report.runs:
        console.print(f"  [bold]{run.run_id[:8]}[/bold] {escape(run.run_name)}: {escape(_why(run))}", soft_wrap=True)
        for item in run.inputs:
            console.print(f"      {escape(_held(item))}", soft_wrap=True)
    for model in report.models:
        how = "trained on it" if model.is_trained_on_it else "evaluated with it"
        console.print(f"  model {escape(model.name)} {model.digest[:19]}… of run {model.run_id[:8]}: {how}", soft_wrap=True)
    console.print("plan to retrain without it (nothing is executed):")
    for line in _plan_lines(report):
        console.print(f"  {escape(line)}", soft_wrap=True)
    console.print("not checked:")
    for line in report.not_checked:
        console.print(f"  - {escape(line)}", soft_wrap=True)


def _why(run: AffectedRun) -> str:
    if run.reason == "inherits":
        text = f"starts from a model that was trained on it: {_path(run.path)}"
    else:
        text = {"trained": "trained on it", "evaluated": "evaluated with it"}.get(run.reason, "had it in a view, never read it")
    return text + (f"; reproduces {run.reproduces[:8]}" if run.reproduces else "")


def _path(path: tuple[ModelStep, ...]) -> str:
    return " → ".join([*(f"{step.from_run_id[:8]} made {step.model}" for step in path), path[-1].to_run_id[:8]])


def _held(item: AffectedInput) -> str:
    view = f"view '{item.view_name}'" if item.view_name else "a view"
    text = f"{item.role}: {item.rows_held} of {item.rows} rows of {view} of {item.uri}"
    if item.epochs is not None:
        spans = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in item.epochs)
        text += f", read in epochs {spans}" if spans else ", never read"
    return text


def _plan_lines(report: ImpactReport) -> Iterator[str]:
    for view in report.plan.views:
        yield f"view without it: {view.rows_left} of {view.rows} rows of {view.view_name or view.uri}"
        yield f"    {shlex.join(view.command)}" if view.command else f"    {view.reason}"
    for step in report.plan.steps:
        yield f"{step.number}. {step.action} run {step.run_id[:8]} ({step.run_name}) again: {shlex.join(step.command)}"
        for item in step.replace:
            yield f"    {item.what} → {item.by} ({'; '.join(item.where) or 'named in its code, not in its command'})"
    for note in report.plan.notes:
        yield f"- {note}"


# --- the plan as a file -----------------------------------------------------------------------------------------------------


def markdown(report: ImpactReport) -> Iterator[str]:
    """The plan as lines of Markdown."""
    yield from (f"# Retraining without {report.subject}", "", f"{len(report.runs)} runs and {len(report.models)} models are affected.")
    yield from ("Nothing of this was executed.", "", "## 1. Views without the rows", "")
    for view in report.plan.views:
        yield from _view_section(view)
    yield from ("## 2. Runs to make again, in this order", "")
    for step in report.plan.steps:
        yield from (f"### {step.number}. {step.action.capitalize()} {step.run_name} (run {step.run_id[:12]})", "")
        code = f"code {step.git_sha[:12]}, " if step.git_sha else ""
        yield from (f"Recorded command ({code}folder `{step.working_directory}`):", "", *_block(shlex.join(step.command)))
        for item in step.replace:
            where = ", ".join(f"`{place}`" for place in item.where) or "named in its code, not in its command"
            yield f"- replace {item.what} by {item.by}: {where}"
        yield ""
    yield from ("## 3. What else", "", *(f"- {note}" for note in report.plan.notes), "")
    yield from ("## Not checked", "", *(f"- {line}" for line in report.not_checked))


def _view_section(view: CleanedView) -> Iterator[str]:
    yield from (f"### {view.name}", "", f"{view.rows_left} of {view.rows} rows of {view.uri} at commit {view.commit_id} are left.", "")
    if view.command is not None:
        yield from _block(shlex.join(view.command))
    if view.reason is not None:
        yield from (f"{view.reason[:1].upper()}{view.reason[1:]}.", "")
    if view.query is not None:
        pinned = f"run.use_dataset({view.uri!r}, role=…, query={view.query!r}, branch={view.branch!r}, commit_id={view.commit_id!r})"
        yield from ("The same rows, whatever is committed later:", "", *_block(pinned))
    elif view.rows_left:
        names = view.excluded_ids or tuple(f"row {row}" for row in view.excluded)
        more = f" and {len(names) - _ROWS_SHOWN} more (--json lists all)" if len(names) > _ROWS_SHOWN else ""
        yield from (f"Leave out: {', '.join(names[:_ROWS_SHOWN])}{more}.", "")


def _block(text: str) -> tuple[str, ...]:
    return ("```", text, "```", "")
