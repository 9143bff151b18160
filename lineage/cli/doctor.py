"""``lineage doctor``."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import typer

from lineage.cli.output import AsJson, print_json, say
from lineage.errors import LineageError
from lineage.lookup.runs import find_runs
from lineage.model.run import Run
from lineage.ports import Ports, RunQuery
from lineage.settings import load_settings
from lineage.wiring import wire

_OPTIONAL = (
    ("deeplake", "deeplake", "datasets"),
    ("torch", "training", "training"),
    ("torchvision", "pipelines", "the detection pipeline"),
    ("wandb", "wandb", "Weights & Biases"),
    ("fastapi", "service", "lineage serve"),
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


def doctor(as_json: AsJson = False) -> None:
    """Say what works here and what does not: store, git, packages, objects that runs need."""
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
    findings = [Finding("store", "ok", f"{ports.runs.location}, {len(runs)} runs"), _objects(ports, runs)]
    workspaces = ports.folder / "workspaces"
    kept = len(list(workspaces.iterdir())) if workspaces.is_dir() else 0
    if kept:
        findings.append(Finding("workspaces", "ok", f"{kept} kept in {workspaces}; delete those you have looked at"))
    return findings


def _objects(ports: Ports, runs: Sequence[Run]) -> Finding:
    needed = {digest for run in runs for item in run.inputs for digest in (item.rows_object, item.digests_object)}
    needed |= {item.digest for run in runs for item in run.outputs if item.kind != "dataset"}
    missing = sorted(digest for digest in needed if not ports.objects.has(digest))
    if missing:
        return Finding(
            "objects",
            "broken",
            f"{len(missing)} of {len(needed)} objects that runs need are missing, first {missing[0][:19]}…",
            "restore the store's objects folder",
        )
    return Finding("objects", "ok", f"all {len(needed)} that runs need are present (not re-read)")


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
