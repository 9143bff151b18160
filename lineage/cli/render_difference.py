"""A difference of two runs for people, on stdout."""

from __future__ import annotations

from collections.abc import Sequence

from lineage.cli.output import escape, out
from lineage.cli.render_outputs import few_media
from lineage.lookup.diff_causes import counts, row_name, shown
from lineage.model.difference import (
    CodeDifference,
    DataDifference,
    Difference,
    EnvironmentDifference,
    ObjectChange,
    Results,
    RowChange,
    ValueChange,
)
from lineage.model.steps import StepsCompared

_SHOWN = 20
_SIGNS = {"added": "[green]+[/green]", "removed": "[red]-[/red]"}


def _print(text: str) -> None:
    out().print(text, soft_wrap=True)


def _section(title: str, same: bool | None, note: str = "") -> None:
    word = {True: "[green]same[/green]", False: "[yellow]different[/yellow]", None: "not known"}[same]
    _print(f"[bold]{escape(title)}[/bold]  {word}{'  ' + escape(note) if note else ''}")


def difference(item: Difference) -> None:
    """The whole comparison."""
    for which, side in (("a", item.a), ("b", item.b)):
        _print(f"[bold]{which}[/bold]  run {side.run_id[:12]}  {escape(side.name)}  {escape(side.project)} · {escape(side.job_type)}")
    if item.causes:
        _print("what differs, the likeliest cause of other results first:")
        for number, cause in enumerate(item.causes, 1):
            _print(f"  {number}. {escape(cause.sentence)}")
    else:
        _print("nothing recorded differs")
    for data in item.data:
        _data(data)
    _code(item.code)
    _section("configuration", not item.configuration)
    _values(item.configuration)
    if item.base_weights:
        _section("base weights", False)
        _values(item.base_weights)
    if item.files_read:
        _section("files read", False)
        _values(item.files_read)
    _environment(item.environment)
    _results(item.results)
    if item.steps is not None:
        steps(item.steps)
    if item.not_compared:
        _print("not compared:")
        for line in item.not_compared:
            _print(f"  - {escape(line)}")


def _values(changes: Sequence[ValueChange], indent: int = 2) -> None:
    for change in changes[:_SHOWN]:
        _print(f"{' ' * indent}{escape(change.name)}: [red]{escape(shown(change.a))}[/red] → [green]{escape(shown(change.b))}[/green]")
    if len(changes) > _SHOWN:
        _print(f"{' ' * indent}and {len(changes) - _SHOWN} more (--json has them all)")


def _data(item: DataDifference) -> None:
    _section(f"data {item.role}", item.is_same, "" if item.is_same else ", ".join(counts(item)))
    for which, side in (("a", item.a), ("b", item.b)):
        if side is None:
            _print(f"  {which} did not read it")
        elif not item.is_same or item.names:
            view = f", view {side.view_name}" if side.view_name else ""
            _print(f"  {which} {side.rows} rows of {escape(side.uri)} at {escape(side.commit_id)}{escape(view)}")
    if item.matched_by not in (None, "content"):
        repeated = f"; {item.repeated_a} and {item.repeated_b} of them repeat a row" if item.repeated_a or item.repeated_b else ""
        _print(f"  {item.same} rows equal, the others matched by {item.matched_by}{repeated}")
    _values([change for change in item.names if change.name in ("query", "dataset id")])
    _values(item.class_names)
    for row in item.rows:
        _row(row)
    for kind, total in (
        ("relabelled", item.relabelled),
        ("replaced", item.replaced),
        ("renamed", item.renamed),
        ("removed", item.removed),
        ("added", item.added),
    ):
        described = sum(row.kind == kind for row in item.rows)
        if described < total and item.a is not None and item.b is not None:
            _print(f"  and {total - described} more {kind}")


def _row(row: RowChange) -> None:
    sign = _SIGNS.get(row.kind, "[yellow]~[/yellow]")
    places = " → ".join(str(place) for place in (row.row_a, row.row_b) if place is not None)
    name = f"{row_name(row)} → '{row.new_sample_id}'" if row.new_sample_id else row_name(row)
    _print(f"  {sign} {row.kind} {escape(name)}" + (f" (row {places})" if row.sample_id is not None else ""))
    for change in row.objects:
        _object(change)
    _values(row.columns, indent=6)


def _object(change: ObjectChange) -> None:
    what = change.class_b or change.class_a or "object"
    if change.kind == "added":
        text = f"[green]+[/green] {escape(what)} {_box(change.box_b)}"
    elif change.kind == "removed":
        text = f"[red]-[/red] {escape(what)} {_box(change.box_a)}"
    else:
        where = f"{_box(change.box_a)} → {_box(change.box_b)}" if change.kind == "moved" else _box(change.box_b)
        values = ", ".join(f"{value.name} {shown(value.a)} → {shown(value.b)}" for value in change.values)
        text = f"[yellow]~[/yellow] {escape(what)} {where}{escape(f'  {values}' if values else '')}"
    _print(f"      {text}")


def _box(box: tuple[float, ...] | None) -> str:
    return "" if box is None else escape(f"[{', '.join(f'{side:g}' for side in box)}]")


def _code(item: CodeDifference) -> None:
    is_known = item.a is not None and item.b is not None
    _section("code", item.is_same if is_known else None, item.reason or "")
    if item.is_same or not is_known:
        return
    _print(f"  {escape(item.a or '')} → {escape(item.b or '')}")
    files = item.files or ()
    for file in files[:_SHOWN]:
        lines = "" if file.lines_added is None else f"  [green]+{file.lines_added}[/green] [red]-{file.lines_deleted}[/red]"
        moved = f"{file.old_path} → " if file.old_path else ""
        _print(f"  {file.status:<9} {escape(moved + file.path)}{lines}")
    if len(files) > _SHOWN:
        _print(f"  and {len(files) - _SHOWN} more")


def _environment(item: EnvironmentDifference) -> None:
    if not item.is_recorded:
        _section("environment", None, "not recorded by both runs")
        return
    _section("environment", item.interpreter is None and not item.packages and not item.variables)
    _values([*((item.interpreter,) if item.interpreter else ()), *item.packages, *item.variables])
    if item.machine:
        _section("machine", False)
        _values(item.machine)


def steps(item: StepsCompared) -> None:
    """Where two step logs part."""
    first = item.first
    ends = "" if item.steps_a == item.steps_b else f"one ends after {item.compared} steps, the other goes on"
    _section("steps", item.is_same, ends or f"{item.compared} steps" if first is None else first.sentence)
    if first is None:
        return
    for which, rows, losses in (("a", first.rows_a, first.losses_a), ("b", first.rows_b, first.losses_b)):
        for read in rows:
            names = [name or str(row) for row, name in zip(read.rows, read.sample_ids, strict=True)]
            more = f" and {len(read.positions) - _SHOWN} more" if len(read.positions) > _SHOWN else ""
            epoch = "" if read.epoch is None else f", epoch {read.epoch}"
            _print(f"  {which}: {escape(read.role)}{epoch}: {escape(', '.join(names[:_SHOWN]))}{more}")
        if losses:
            _print(f"  {which}: loss {', '.join(f'{loss!r}' for loss in losses)}")


def _results(item: Results) -> None:
    _section("results", item.is_same, "none" if item.is_same is None else item.first_difference or "")
    _values([item.state] if item.state else [])
    metrics = [metric for metric in item.metrics if not metric.is_same]
    for metric in metrics[:_SHOWN]:
        step = "" if metric.first_step is None else f", apart from step {metric.first_step}"
        last, best = (f"{_number(a)} → {_number(b)}" for a, b in ((metric.last_a, metric.last_b), (metric.best_a, metric.best_b)))
        _print(f"  {escape(metric.name)}: last {last}, {metric.best_is} {best}{step}")
    if len(metrics) > _SHOWN:
        _print(f"  and {len(metrics) - _SHOWN} more metrics")
    _values(item.summary)
    for change in (few := few_media(item.outputs)):
        left, right = (("not made" if digest is None else str(digest)[:19]) for digest in (change.a, change.b))
        _print(f"  output {escape(change.name)}: {left} → {right}")
    if len(few) < len(item.outputs):
        _print(f"  and {len(item.outputs) - len(few)} more media")


def _number(value: float | str | None) -> str:
    return "none" if value is None else value if isinstance(value, str) else f"{value:.6g}"
