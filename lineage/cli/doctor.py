"""``lineage doctor``."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from lineage.cli.output import AsJson, print_json, progress_bars, say
from lineage.errors import IntegrityError, LineageError
from lineage.lookup.runs import find_runs
from lineage.model.dataset import InputRecord
from lineage.model.run import Run
from lineage.model.words import size_in_words
from lineage.ports import Ports, RunQuery
from lineage.record.reindex import reindex_inputs
from lineage.reproduce.archive import is_complete
from lineage.reproduce.tidy import lost_needs
from lineage.settings import load_settings
from lineage.wiring import wire

_OPTIONAL = (
    ("deeplake", "deeplake", "datasets"),
    ("torch", "training", "training"),
    ("torchvision", "pipelines", "the detection pipeline"),
    ("wandb", "wandb", "Weights & Biases"),
    ("fastapi", "service", "lineage serve"),
    ("dvc", "dvc", "data that DVC tracks"),
    ("imagehash", "pictures", "near-duplicates in lineage leaks"),
    ("psycopg", "postgres", "a PostgreSQL store"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    subject: str
    status: str
    detail: str
    hint: str | None = None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    reindex: Annotated[bool, typer.Option("--reindex", help="First enter every record into the row index again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what works here and what does not: store, git, packages; objects, datasets and views that runs need."""
    if reindex:
        with progress_bars() as progress:
            say("done", f"{reindex_inputs(wire(), progress)} inputs entered into the row index")
    findings = [*_store(), _git(), *_packages()]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            kind = {"ok": "done", "absent": "warning", "broken": "error"}[finding.status]
            say(kind, f"{finding.subject}: {finding.detail}" + (f" ({finding.hint})" if finding.hint else ""))
    raise typer.Exit(11 if any(finding.status == "broken" for finding in findings) else 0)


def _store() -> list[Finding]:
    try:
        settings = load_settings()
        ports = wire(settings)
        runs = find_runs(ports.runs, ports.liveness, RunQuery())
    except LineageError as error:
        return [Finding("store", "broken", error.message, error.hint)]
    findings = [Finding("store", "ok", f"{ports.runs.location}, {len(runs)} runs"), _objects(ports, runs), *_data(ports, runs)]
    workspaces = ports.folder / "workspaces"
    kept = len(list(workspaces.iterdir())) if workspaces.is_dir() else 0
    if kept:
        findings.append(Finding("workspaces", "ok", f"{kept} kept in {workspaces}; delete those you have looked at"))
    return [*findings, *_environments(ports)]


def _environments(ports: Ports) -> list[Finding]:
    builder = ports.environments()
    try:
        findings = [Finding("uv", "ok", builder.program())]
    except LineageError as error:
        findings = [Finding("uv", "absent", error.message, error.hint)]
    kept = builder.all()
    if kept:
        total = size_in_words(sum(item.size_bytes for item in kept))
        hint = "lineage gc --environments deletes them"
        findings.append(Finding("environments", "ok", f"{len(kept)} rebuilt ({total}, most of it shared with uv's cache)", hint))
    return findings


def _objects(ports: Ports, runs: Sequence[Run]) -> Finding:
    needed, missing = lost_needs(ports, runs)
    if missing:
        return Finding(
            "objects",
            "broken",
            f"{len(missing)} of {needed} objects that runs need are missing, first {missing[0][:19]}…",
            "restore the store's objects folder; `lineage verify --all --quick` names the runs",
        )
    return Finding("objects", "ok", f"all {needed} that runs need are present (not re-read)")


def _data(ports: Ports, runs: Sequence[Run]) -> list[Finding]:
    """Datasets and saved views that runs need, each looked at once."""
    findings: list[Finding] = []
    versions: dict[tuple[str, str, str], list[tuple[Run, InputRecord]]] = {}
    for run in runs:
        for item in run.inputs if ports.runs.origin(run.id) is None else ():  # addresses of others are not opened
            versions.setdefault((item.uri, item.branch, item.commit_id), []).append((run, item))
    for (uri, _, commit_id), uses in versions.items():
        findings += _version(ports, uri, commit_id, uses)
    if versions and not findings:
        findings.append(Finding("data", "ok", f"all {len(versions)} dataset versions that runs read can be opened (not re-read)"))
    unknown = len(ports.rows.unindexed_inputs())
    if unknown:
        hint = "lineage doctor --reindex enters them"
        findings.append(Finding("row index", "absent", f"{unknown} inputs of older records cannot be found by picture or sample", hint))
    return findings


def _version(ports: Ports, uri: str, commit_id: str, uses: Sequence[tuple[Run, InputRecord]]) -> list[Finding]:
    item, of = uses[0][1], f"{len({run.id for run, _ in uses})} runs, such as {uses[0][0].id[:12]}"
    try:
        backend = ports.datasets()
        reader = backend.open(uri, item.branch, commit_id)
        if reader.version.dataset_id != item.dataset_id:
            raise IntegrityError(f"dataset {uri}", expected=f"id {item.dataset_id[:12]}", found=f"id {reader.version.dataset_id[:12]}")
    except LineageError as error:
        lost = [used for _, used in uses if not _is_archived(ports, used)]
        if not lost:
            return [Finding("data", "ok", f"{error.message}; the rows that {of} need are archived")]
        return [
            Finding("data", "broken", f"{error.message}; needed by {of}", "restore the dataset; `lineage archive RUN` guards against it")
        ]
    findings = []
    for view_id, name in sorted({(used.view_id, used.view_name or "") for _, used in uses if used.view_id is not None}):
        try:
            backend.resolve(uri, branch=item.branch, view=view_id)
        except LineageError:
            detail = f"view '{name}' ({view_id[:12]}) of {uri} was deleted; runs that read it still open by their recorded rows"
            findings.append(Finding("view", "absent", detail))
    return findings


def _is_archived(ports: Ports, item: InputRecord) -> bool:
    listing = ports.rows.archive(item.content_digest)
    return listing is not None and is_complete(ports, listing, item)


def _git() -> Finding:
    if shutil.which("git") is None:
        return Finding("git", "broken", "not installed", "runs record their code with it")
    return Finding("git", "ok", shutil.which("git") or "")


def _packages() -> list[Finding]:
    findings = [Finding("python", "ok", sys.version.split()[0])]
    for package, extra, purpose in _OPTIONAL:
        if importlib.util.find_spec(package) is None:
            findings.append(Finding(package, "absent", f"not installed; needed for {purpose}", f"pip install 'dataset-lineage[{extra}]'"))
            continue
        try:
            findings.append(Finding(package, "ok", version(package)))
        except PackageNotFoundError:
            findings.append(Finding(package, "ok", "installed without metadata"))
    return findings
