"""Runs, plans and reports for people."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.markup import escape

from lineage.cli.output import out, size, talk, when
from lineage.model.comparison import Comparison
from lineage.model.plan import Plan
from lineage.model.run import MetricPoint, Run

_MARK = {"none": "[green]✓[/green]", "note": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "blocker": "[red]✗[/red]"}


def _line(label: str, text: str, *, indent: int = 0) -> None:
    out().print(f"{' ' * indent}[bold]{label:<{14 - indent}}[/bold]{escape(text)}", soft_wrap=True)


def run(item: Run, points: Sequence[MetricPoint]) -> None:
    """A whole record on stdout."""
    out().print(f"[bold]run {item.id}[/bold]  {escape(item.name)}", soft_wrap=True)
    _line("project", " · ".join(filter(None, [item.project, item.group, item.job_type, *item.tags])))
    _line("state", item.state.value + (f" ({item.error})" if item.error else ""))
    _line(
        "started",
        f"{when(item.started_at)} UTC"
        + ("" if item.duration_s is None else f", took {item.duration_s:.1f} s")
        + f", by {item.user}@{item.host}",
    )
    _line("command", " ".join(item.command))
    if item.code is not None:
        changed = ", ".join(item.code.changed[:3]) + (" …" if len(item.code.changed) > 3 else "")
        clean = f"uncommitted: {changed}; snapshot {item.code.snapshot_sha[:12]}" if item.code.is_dirty else "clean"
        _line("code", f"{item.code.git_sha or 'no commit'} ({item.code.branch or 'detached'}, {clean}) of {item.code.repository}")
    if item.environment is not None:
        it = item.environment
        _line("environment", f"{it.implementation} {it.python}, {len(it.packages)} packages, {it.cpu}, {it.digest[:19]}…")
    _line("seed", "not fixed" if item.seed is None else str(item.seed))
    if item.determinism:
        _line("promise", str(item.determinism.get("promise", "")))
    inputs(item, heading=False)
    if item.config:
        _line("config", json.dumps(item.config, ensure_ascii=False))
    if item.summary:
        _line(
            "summary",
            ", ".join(
                f"{name} = {value:.6g}" if isinstance(value, float) else f"{name} = {value}" for name, value in sorted(item.summary.items())
            ),
        )
    if points:
        _line("metrics", f"{len(points)} points of {len({name for point in points for name in point.values})} metrics")
    for artifact in item.outputs:
        _line("output", f"{artifact.name} ({artifact.kind}, {size(artifact.size_bytes)}) {artifact.digest}")
        _line("", artifact.path)
    for tracker, called in item.trackers.items():
        _line(tracker, ", ".join(f"{name} {value}" for name, value in called.items() if value))
    if item.reproduces:
        _line("reproduces", item.reproduces)
    for again in item.reproductions:
        _line("reproduced", f"{again.verdict} by {again.run_id[:12]} at {when(again.at)} UTC")
    for note in item.notes:
        _line("note", note)
    _line("fingerprint", item.fingerprint)


def inputs(item: Run, *, heading: bool = True) -> None:
    """The data of a run on stdout."""
    if heading:
        out().print(f"[bold]run {item.id}[/bold]  {escape(item.name)}", soft_wrap=True)
        if not item.inputs:
            out().print("no input was recorded")
    for used in item.inputs:
        out().print(f"[bold]data[/bold] [cyan]{escape(used.role)}[/cyan]")
        _line("uri", used.uri, indent=2)
        _line("dataset id", used.dataset_id, indent=2)
        _line("commit id", f"{used.commit_id} (branch {used.branch})", indent=2)
        if used.view_id:
            _line("view id", f"{used.view_id} ({used.view_name})", indent=2)
        if used.query:
            _line("query", used.query, indent=2)
        _line("rows", f"{used.rows} of {used.rows_total}, {used.rows_digest}", indent=2)
        _line("content", used.content_digest, indent=2)


def plan(item: Plan) -> None:
    """A plan on stderr: one line for each ingredient."""
    console = talk()
    console.print(f"plan for run [bold]{item.run_id[:12]}[/bold]")
    for ingredient in item.ingredients:
        console.print(
            f"  {_MARK[ingredient.severity]} {escape(ingredient.name):<18} {ingredient.status:<10} {escape(ingredient.found)}",
            soft_wrap=True,
        )
        if ingredient.name == "command":
            console.print(f"      {escape(ingredient.recorded)}", soft_wrap=True)
        for line in ingredient.detail:
            console.print(f"      {escape(line)}", soft_wrap=True)


def comparison(item: Comparison) -> None:
    """What was compared, on stdout."""
    console = out()
    for change in item.changes:
        mark, word = (_MARK["none"], "same") if change.same else (_MARK["blocker"], "different")
        console.print(
            f"  {mark} {escape(change.subject):<18} {word:<10} {escape(change.original)} · {escape(change.replica)}", soft_wrap=True
        )
        if change.detail:
            console.print(f"      {escape(change.detail)}", soft_wrap=True)
    if item.likely_causes:
        console.print("likely causes, likeliest first:")
        for cause in item.likely_causes:
            console.print(f"  - {escape(cause)}", soft_wrap=True)
    console.print("not checked:")
    for line in item.not_checked:
        console.print(f"  - {escape(line)}", soft_wrap=True)
