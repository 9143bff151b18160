"""``lineage leaks``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineage.cli.look import RunName
from lineage.cli.output import AsJson, escape, out, print_json, progress_bars, say
from lineage.lookup.leaks import find_leaks
from lineage.lookup.near_duplicates import require_empty, write_pairs
from lineage.lookup.runs import get_run
from lineage.model.findings import ComparedInput, LeakReport, Match, WayFindings
from lineage.wiring import wire

_NAMES = {"row": "same row", "picture": "same picture bytes", "near": "near-duplicate", "sequence": "same sequence"}
_PICTURES_WRITTEN = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("leaks")(leaks)


def leaks(
    run: RunName,
    role: Annotated[
        list[str] | None, typer.Option(help="Inputs that count as evaluated; all but 'train' by default. May be repeated.")
    ] = None,
    no_near: Annotated[bool, typer.Option("--no-near", help="Leave near-duplicate pictures out: no picture is read.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Count rows of a sequence that was trained on as leaks, not as a warning.")
    ] = False,
    examples: Annotated[int, typer.Option(min=0, help="Name so many matches of each kind.")] = 5,
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", metavar="DIR", help="Write the 20 nearest near-duplicates side by side, as PNG, into a new folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Were validation or test rows of a run trained on, by its model or by one that it was fine-tuned from?

    Found by row, by picture bytes, by near-duplicate picture and by source sequence. Exit codes: 0 clean (rows of a trained sequence alone
    are a warning), 1 leaks, 3 inconclusive (some data could not be compared, and no leak was found in the rest).
    """
    if pictures is not None:
        require_empty(pictures)  # before the work, not after it
    ports = wire()
    found = get_run(ports.runs, ports.liveness, run)
    with progress_bars() as progress:
        report = find_leaks(
            ports,
            found,
            roles=role or (),
            near=not no_near,
            strict=strict,
            examples=examples if pictures is None else max(examples, _PICTURES_WRITTEN),
            progress=progress,
        )
    files: list[Path] = []
    if pictures is not None and report.way("near").examples:
        files = write_pairs(ports, ports.pictures(), report.way("near").examples, pictures, _PICTURES_WRITTEN)
    if as_json:
        print_json(report.model_dump(mode="json") | {"pictures": [str(file) for file in files]})
    else:
        _print(report, examples)
        if pictures is not None:
            say("done", f"{len(files)} pairs of pictures in {pictures}" if files else "no near-duplicates to show")
    raise typer.Exit(report.verdict.exit_code)


def _print(report: LeakReport, examples: int) -> None:
    console = out()
    console.print(f"[bold]run {report.run_id}[/bold]  {escape(report.run_name)}", soft_wrap=True)
    for title, inputs in (("evaluated", report.evaluated), ("trained on", report.trained)):
        for item in inputs:
            console.print(f"  {title:<11}{escape(_described(item, report.run_id))}", soft_wrap=True)
    for way in report.ways:
        console.print(f"  {_mark(way)} {_NAMES[way.way]:<19} {escape(_counted(way))}", soft_wrap=True)
        for match in way.examples[:examples]:
            console.print(f"      {escape(_matched(match))}", soft_wrap=True)
    for line in report.warnings:
        say("warning", line)
    console.print("not checked:")
    for line in report.not_checked or ("nothing was left out",):
        console.print(f"  - {escape(line)}", soft_wrap=True)
    console.print(f"verdict: {report.verdict.value}")


def _described(item: ComparedInput, run_id: str) -> str:
    view = f"view '{item.view_name}' of " if item.view_name else ""
    read = "" if item.rows_read is None or item.rows_read == item.rows else f" ({item.rows_read} of them read)"
    way = " → ".join([f"run {step.from_run_id[:8]} ({step.from_run_name}) made {step.model}" for step in item.path])
    by = "" if item.run_id == run_id else f", by {way} → run {run_id[:8]}"
    return f"{item.rows} {item.role} rows{read} of {view}{item.uri}{by}"


def _mark(way: WayFindings) -> str:
    if not way.checked:
        return "[yellow]?[/yellow]"
    if not way.rows:
        return "[green]✓[/green]"
    return "[yellow]![/yellow]" if way.way == "sequence" else "[red]✗[/red]"


def _counted(way: WayFindings) -> str:
    if not way.checked:
        return f"not checked: {way.reason}"
    text = f"{way.rows} evaluated rows, {way.trained_rows} trained rows"
    if way.further_rows != way.rows:
        text += f"; {way.further_rows} of them were not found above"
    if way.unread_rows:
        text += f"; {way.unread_rows} more in the view but never read"
    return text + (f" ({way.reason})" if way.reason else "")


def _matched(match: Match) -> str:
    left, right = match.evaluated, match.trained
    bits = "" if match.distance_bits is None else f", {match.distance_bits} of 64 bits differ"
    sequence = f" (sequence {left.sequence})" if left.sequence else ""
    return (
        f"{left.role} row {left.row} {left.sample_id or ''}{sequence} · {right.role} row {right.row} {right.sample_id or ''} "
        f"of run {right.run_id[:8]}{bits}"
    )
