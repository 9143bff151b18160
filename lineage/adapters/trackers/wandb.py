"""Weights & Biases as a place that is told of a run.

Joins the active W&B run, or starts one (offline unless ``WANDB_MODE`` says otherwise). Identity goes into the run's config and, for
datasets, into a file inside an artifact: W&B computes an artifact's digest from its files alone, metadata does not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb

from lineage.model.dataset import InputRecord
from lineage.model.run import Artifact, Run, RunState
from lineage.model.secrets import redact_command

_NAME_LENGTH = 128
_started: set[str] = set()  # W&B runs of other live runs in this process: each has its own


class WandbTracker:
    """One W&B run.

    Args:
        folder: Where W&B keeps its files, unless ``WANDB_DIR`` says otherwise: in the working folder they would show up as untracked files
            and enter the code snapshot of the next run.
    """

    name = "wandb"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: Any = None
        self._is_own = False
        self._inputs: list[dict[str, Any]] = []

    def started(self, run: Run) -> dict[str, Any]:
        """Join the active W&B run or start one; returns its id, project, mode and folder."""
        active = wandb.run
        if active is not None and not getattr(active, "disabled", False) and active.id not in _started:
            self._run = active
        else:
            mode = os.environ.get("WANDB_MODE", "offline")
            if mode == "offline":
                # Staged artifact files would otherwise lie in the user's home, away from the run they belong to.
                os.environ.setdefault("WANDB_DATA_DIR", str(Path(os.environ.get("WANDB_DIR", self._folder)).absolute() / "wandb" / "data"))
            with _without_secrets_in_arguments():
                self._run = wandb.init(
                    project=run.project,
                    group=run.group,
                    job_type=run.job_type,
                    name=run.name,
                    tags=list(run.tags) or None,
                    config=json.loads(json.dumps(run.config)),
                    mode=mode,  # type: ignore[arg-type]  # W&B itself names the modes it knows when this is none of them
                    dir=os.environ.get("WANDB_DIR", str(self._folder)),
                    reinit="default" if active is None else "create_new",
                    settings=wandb.Settings(silent=True),
                )
            self._is_own = True
            _started.add(self._run.id)
        facts: dict[str, Any] = {"run_id": run.id, "reproduces": run.reproduces, "seed": run.seed}
        if run.code is not None:
            facts |= {"git_sha": run.code.git_sha, "snapshot_sha": run.code.snapshot_sha, "is_dirty": run.code.is_dirty}
        if run.environment is not None:
            facts["environment_digest"] = run.environment.digest
        self._update({"lineage": facts, "lineage_run_id": run.id})
        offline = bool(getattr(self._run, "offline", False))
        called = {"id": self._run.id, "project": self._run.project, "mode": "offline" if offline else "online"}
        return called | {"directory": str(Path(self._run.settings.sync_dir).absolute()), "url": None if offline else self._run.url}

    def input_used(self, run: Run, item: InputRecord) -> None:
        """Put the dataset's URI, commit id and view id into the config, nested and flat, and an input edge into the artifact graph."""
        identity = _identity(item.model_dump(mode="json"))
        self._inputs.append({"role": item.role, **identity})
        nested = dict(self._run.config.get("lineage") or {})
        flat = {f"{item.role}_{key}": identity[key] for key in ("uri", "commit_id", "view_id")}
        self._update({"lineage": nested | {"inputs": self._inputs}, **flat})
        self._use(_dataset_artifact(item.uri, identity), _alias(identity))

    def logged(self, values: Mapping[str, float], step: int) -> None:
        """Log a point. W&B counts steps itself: it drops what arrives under an older step."""
        self._run.log(dict(values))

    def metric_defined(self, name: str, step_metric: str | None) -> None:
        """Pass on which metric is the horizontal axis."""
        self._run.define_metric(name, step_metric=step_metric)

    def artifact_made(self, run: Run, item: Artifact, path: Path | None) -> None:
        """Log an artifact: a dataset version by its identity, a file with its content."""
        if item.kind == "dataset":
            identity = _identity(item.details)
            self._run.log_artifact(_dataset_artifact(str(identity["uri"]), identity), aliases=[_alias(identity)])
        elif path is not None:
            artifact = wandb.Artifact(
                _artifact_name(item.name), item.kind, metadata={"lineage_run_id": run.id, "digest": item.digest, "path": item.path}
            )
            artifact.add_file(str(path), name=path.name)
            self._run.log_artifact(artifact)

    def ended(self, run: Run) -> None:
        """End the W&B run if it was started here."""
        self._update({"lineage_fingerprint": run.fingerprint})
        if self._is_own:
            _started.discard(self._run.id)
            self._run.finish(exit_code=0 if run.state in (RunState.finished, RunState.running) else 1)

    def _update(self, values: Mapping[str, Any]) -> None:
        # A fresh deep copy: W&B compares with what it holds, and a shared mutable value would look unchanged.
        self._run.config.update(json.loads(json.dumps(dict(values))), allow_val_change=True)

    def _use(self, artifact: Any, alias: str) -> None:
        if getattr(self._run, "offline", False):
            # The public use_artifact refuses offline; this private call queues the edge, and `wandb sync` makes it.
            self._run._log_artifact(artifact, aliases=[alias], is_user_created=True, use_after_commit=True)
        else:
            self._run.use_artifact(artifact)


@contextmanager
def _without_secrets_in_arguments() -> Iterator[None]:
    # W&B copies the command line into its own files as it is.
    arguments = sys.argv
    sys.argv = [*arguments[:1], *redact_command(arguments[1:])]
    try:
        yield
    finally:
        sys.argv = arguments


def _identity(facts: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("uri", "dataset_id", "branch", "commit_id", "view_id", "query", "rows", "rows_digest", "content_digest")
    return {key: facts.get(key) for key in keys}


def _dataset_artifact(uri: str, identity: Mapping[str, Any]) -> Any:
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", uri).strip("-")[-80:]
    artifact = wandb.Artifact(f"dl-{stem}-{hashlib.sha256(uri.encode()).hexdigest()[:12]}", "dataset", metadata=dict(identity))
    with artifact.new_file("lineage.json") as stream:
        json.dump(identity, stream, sort_keys=True, indent=2)
    return artifact


def _artifact_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(name).stem).strip("-")[:_NAME_LENGTH] or "artifact"


def _alias(identity: Mapping[str, Any]) -> str:
    view = f"-view-{identity['view_id']}" if identity.get("view_id") else ""
    return f"commit-{identity['commit_id']}{view}"
