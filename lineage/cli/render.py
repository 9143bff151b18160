"""Runs, plans and reports for people."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lineage.cli.output import escape, out, table, talk, when
from lineage.cli.render_dvc import dvc_lines, push_lines
from lineage.cli.render_outputs import file_lines, media_lines, output_lines
from lineage.lookup.data import Inherited
from lineage.lookup.models import ModelUse
from lineage.lookup.usage import usage_line
from lineage.model.dataset import InputRecord
from lineage.model.metrics import logged
from lineage.model.plan import Plan
from lineage.model.run import MetricPoint, RowsRead, Run
from lineage.model.signing import key_id
from lineage.model.verification import Verification

MARK = {"none": "[green]✓[/green]", "note": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "blocker": "[red]✗[/red]"}


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
    if item.loaded is not None:
        for what, names in (
            ("from outside the repository", [file.path for file in item.loaded.outside]),
            ("not in the snapshot as they were loaded", [file.path for file in item.loaded.inside]),
            ("edited since they were loaded", list(item.loaded.edited)),
            ("not kept", list(item.loaded.not_kept)),
        ):
            if names:
                _line("modules", f"{len(names)} {what}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}")
    if item.environment is not None:
        it = item.environment
        _line("environment", f"{it.implementation} {it.python}, {len(it.packages)} packages, {it.cpu}, {it.digest[:19]}…")
    _line("seed", "not fixed" if item.seed is None else str(item.seed))
    if item.determinism:
        _line("promise", str(item.determinism.get("promise", "")))
    for heading, text in dvc_lines(item.dvc):
        _line(heading, text)
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
    if own := logged(points):
        _line("metrics", f"{len(own)} points of {len({name for point in own for name in point.values})} metrics")
    if used := usage_line(points):
        _line("system", used)
    for heading, text in (*file_lines(item), *output_lines(item.outputs), *media_lines(item)):
        _line(heading, text)
    for tracker, called in item.trackers.items():
        _line(tracker, ", ".join(f"{name} {value}" for name, value in called.items() if value))
    if item.reproduces:
        _line("reproduces", item.reproduces)
    if item.repeats:
        _line("repeats", f"{item.repeats}, with the seed {'not fixed' if item.seed is None else item.seed}")
    for again in item.reproductions:
        _line("reproduced", f"{again.words} by {again.run_id[:12]} at {when(again.at)} UTC")
    if item.calibration is not None:
        found = "equal bit for bit" if item.calibration.is_deterministic else "they differ; `lineage show --json` has the spreads"
        _line("calibrated", f"by {len(item.calibration.run_ids)} repetitions at {when(item.calibration.at)} UTC: {found}")
    for heading, text in push_lines(item.pushes):
        _line(heading, text)
    for signature in item.signatures:
        _line("signed", f"with key {key_id(bytes.fromhex(signature.public_key))[7:23]}; `lineage verify` checks it")
    if item.imported is not None:
        _line("imported", f"from {item.imported.tracker}, {item.imported.place}: this layer did not see the run")
        for text in item.imported.missing:
            _line("missing", text)
    for note in item.notes:
        _line("note", note)
    _line("fingerprint", item.fingerprint)


def inputs(item: Run, *, heading: bool = True, role: str | None = None) -> None:
    """The data of a run on stdout."""
    if heading:
        out().print(f"[bold]run {item.id}[/bold]  {escape(item.name)}", soft_wrap=True)
        if not item.inputs:
            out().print("no input was recorded")
    for ordinal, used in enumerate(item.inputs):
        if role in (None, used.role):
            _input(used, [read for read in item.reads if read.ordinal == ordinal])


def inherited(item: Inherited, *, role: str | None = None) -> None:
    """Data that came with base weights, on stdout."""
    way = " → ".join([item.path[0].from_run_name, *(hop.to_run_name for hop in item.path)])
    out().print(f"[bold]inherited from run {item.run_id}[/bold]  {escape(way)}", soft_wrap=True)
    for used in item.inputs:
        if role in (None, used.role):
            _input(used, ())


def _input(used: InputRecord, reads: Sequence[RowsRead]) -> None:
    out().print(f"[bold]data[/bold] [cyan]{escape(used.role)}[/cyan]")
    _line("uri", used.uri, indent=2)
    _line("dataset id", used.dataset_id, indent=2)
    _line("commit id", f"{used.commit_id} (branch {used.branch})" if used.branch else used.commit_id, indent=2)
    if used.view_id:
        _line("view id", f"{used.view_id} ({used.view_name})", indent=2)
    if used.query:
        _line("query", used.query, indent=2)
    _line("rows", f"{used.rows} of {used.rows_total}, {used.rows_digest}", indent=2)
    _line("content", used.content_digest, indent=2)
    for read in reads:
        span = "outside an epoch" if read.first_epoch is None else f"epochs {read.first_epoch} to {read.last_epoch}"
        if read.first_epoch is not None and read.first_epoch == read.last_epoch:
            span = f"epoch {read.first_epoch}"
        _line("read", f"{'every row' if read.rows == used.rows else f'{read.rows} of {used.rows} rows'}, {span}", indent=2)


def models(found: Sequence[ModelUse]) -> None:
    """Models on stdout, with the data or the way that connects them."""
    rows = []
    for item in found:
        data = ", ".join(f"{used.role}: {used.view_name or used.commit_id}" for used in item.inputs)
        if item.path:
            data = f"via {' → '.join([item.path[0].from_run_name, *(hop.to_run_name for hop in item.path)])} ({data})"
        rows.append([item.model_name, item.model_digest[:19], item.run_id[:8], item.run_name, item.started_at[:19].replace("T", " "), data])
    table(["model", "digest", "run", "name", "started (UTC)", "data"], rows)


def plan(item: Plan) -> None:
    """A plan on stderr: one line for each ingredient."""
    console = talk()
    console.print(f"plan for run [bold]{item.run_id[:12]}[/bold]")
    for ingredient in item.ingredients:
        console.print(
            f"  {MARK[ingredient.severity]} {escape(ingredient.name):<18} {ingredient.status:<10} {escape(ingredient.found)}",
            soft_wrap=True,
        )
        if ingredient.name == "command":
            console.print(f"      {escape(ingredient.recorded)}", soft_wrap=True)
        for line in ingredient.detail:
            console.print(f"      {escape(line)}", soft_wrap=True)


def verification(item: Verification) -> None:
    """What was verified of a run, on stdout."""
    out().print(f"[bold]run {item.run_id}[/bold]  {escape(item.run_name)}", soft_wrap=True)
    for check in item.checks:
        mark = MARK["none" if check.status == "intact" else "blocker"]
        out().print(f"  {mark} {escape(check.subject):<18} {check.status:<10} {escape(check.found)}", soft_wrap=True)
        for line in check.detail:
            out().print(f"      {escape(line)}", soft_wrap=True)
