"""Weights & Biases as a place that is told of a run.

Joins the active W&B run, or begins one. One that is begun here always writes into a local folder first, also with ``WANDB_MODE=online``:
then a process of its own sends that folder to the server while the training goes on (:mod:`lineage.adapters.trackers.wandb_delivery`).
W&B's own online mode waits for the server when a run begins and ends, up to minutes when it hangs.

Identity goes into the run's config and, for datasets, into a file inside an artifact: W&B computes an artifact's digest from its files
alone, metadata does not count.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import wandb

from lineage.adapters.trackers.wandb_delivery import Delivery, LiveDelivery
from lineage.model.dataset import InputRecord
from lineage.model.media import MEDIA
from lineage.model.run import Artifact, MetricPoint, Run, RunState
from lineage.model.secrets import redact_command
from lineage.model.wandb_names import LENGTH, artifact_type, dataset_alias, dataset_artifact_name, file_artifact_name
from lineage.ports import BoxedPicture
from lineage.ports.telling import run_to_join

_ONLINE = ("online", "run")
_started: dict[str, set[str]] = {}  # W&B runs of live runs in this process, with the config keys that were written: each has its own


class WandbTracker:
    """One W&B run.

    Args:
        folder: Where W&B keeps its files, unless ``WANDB_DIR`` says otherwise: in the working folder they would show up as untracked files
            and enter the code snapshot of the next run.
        patience_s: How long the end of a run waits for the server.
    """

    name = "wandb"

    def __init__(self, folder: Path, patience_s: float) -> None:
        self._folder = folder
        self.patience_s = patience_s
        self.is_shared = False
        self._run: Any = None
        self._live: LiveDelivery | None = None
        self._inputs: list[dict[str, Any]] = []
        self._outputs: list[dict[str, Any]] = []
        self._types: dict[str, str] = {}

    def started(self, run: Run) -> dict[str, Any]:
        """Join the active W&B run or begin one; returns its id, project, mode, folder, address, and whether it was joined."""
        active = run_to_join() or wandb.run
        if active is not None and _is_open(active) and active.id not in _started:
            self._run, self.is_shared = active, True
        else:
            self._begin(run, is_first=active is None)
        _started[self._run.id] = set()
        self._describe(run)
        is_local = bool(getattr(self._run, "offline", False))
        is_online = self._live is not None or not is_local
        mode = "disabled" if self._run.disabled else "online" if is_online else "offline"
        called = {"id": self._run.id, "project": self._run.project, "mode": mode}
        called |= {"directory": str(Path(self._run.settings.sync_dir).absolute()), "url": None if is_local else self._run.url}
        return called | {"entity": self._run.entity or None, "joined": self.is_shared}

    def input_used(self, run: Run, item: InputRecord) -> None:
        """Put the dataset's URI, commit id and view id into the config, nested, flat and as Deep Lake 3 did; and an edge into the graph."""
        identity = _identity(item.model_dump(mode="json"))
        self._inputs.append({"role": item.role, **identity})
        flat = {f"{item.role}_{key}": identity[key] for key in ("uri", "commit_id", "view_id")}
        self._update({"lineage": self._nested({"inputs": self._inputs}), "input_datasets": list(map(_as_version_3, self._inputs)), **flat})
        artifact, alias = _dataset_artifact(identity), dataset_alias(identity)
        if self._run.disabled:
            return
        # The public use_artifact refuses offline, and online it waits for the server. This one queues the edge.
        self._run._log_artifact(artifact, aliases=[alias], is_user_created=True, use_after_commit=True)

    def logged(self, values: Mapping[str, float], step: int) -> None:
        """Log a point. W&B counts steps itself: it drops what arrives under an older step."""
        self._run.log(dict(values))

    def pictures_logged(self, name: str, pictures: Sequence[BoxedPicture], classes: Mapping[int, str]) -> None:
        """Log pictures with boxes that can be switched on and off by kind and class."""
        self._run.log({name: [_image(picture, classes) for picture in pictures]})

    def table_logged(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table; a column may hold values of different types."""
        self._run.log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)})

    def histogram_logged(self, name: str, counts: Sequence[float], edges: Sequence[float]) -> None:
        """Log a histogram."""
        import numpy as np  # only here, and of histograms are few

        self._run.log({name: wandb.Histogram(np_histogram=(np.asarray(counts), np.asarray(edges)))})

    def metric_defined(self, name: str, step_metric: str | None, summary: str | None) -> None:
        """Pass on which metric is the horizontal axis, and what the summary gets."""
        self._run.define_metric(name, step_metric=step_metric, summary=summary)

    def artifact_made(self, run: Run, item: Artifact, path: Path | None) -> None:
        """Log an artifact: a dataset version by its identity, a file with its content and digest. Media were logged as such."""
        if item.kind == "dataset":
            identity = _identity(item.details)
            self._outputs.append(identity)
            versions = list(map(_as_version_3, self._outputs))
            self._update({"lineage": self._nested({"outputs": self._outputs}), "output_datasets": versions})
            self._run.log_artifact(_dataset_artifact(identity), aliases=[dataset_alias(identity)])
        elif path is not None and item.kind != MEDIA:
            kind, name = artifact_type(item.kind), file_artifact_name(item.name)
            if self._types.setdefault(name, kind) != kind:  # W&B has one type for a name
                name = f"{name[: LENGTH - len(kind) - 1]}-{kind}"
            artifact = wandb.Artifact(name, kind, metadata={"lineage_run_id": run.id, "digest": item.digest, "path": item.path})
            artifact.add_file(str(path), name=Path(item.path).name, policy="immutable", skip_cache=True)
            self._run.log_artifact(artifact)

    def ended(self, run: Run) -> dict[str, Any]:
        """End the W&B run if it was begun here; returns when and where it was delivered, or why it was not."""
        self._update({"lineage_fingerprint": run.fingerprint})
        _started.pop(self._run.id, None)
        if self.is_shared:
            return {}
        self._run.finish(exit_code=0 if run.state in (RunState.finished, RunState.running) else 1)
        return {} if self._live is None else _facts_of(self._live.finish(self.patience_s))

    def rebuild(self, run: Run, points: Sequence[MetricPoint], path_of: Any) -> Path:
        """Write the folder of a W&B run again, from the record, under the same W&B id; returns it."""
        called = run.trackers[self.name]
        self._begin(run, is_first=wandb.run is None, run_id=called["id"], project=called.get("project"), mode="offline")
        _started[self._run.id] = set()
        self._describe(run)
        for item in run.inputs:
            self.input_used(run, item)
        for point in points:
            self._run.log({**point.values, "_timestamp": point.at})
        for made in run.outputs:
            self.artifact_made(run, made, path_of(made.digest))
        folder = Path(self._run.settings.sync_dir).absolute()
        self.ended(run)
        return folder

    def _begin(self, run: Run, *, is_first: bool, run_id: str | None = None, project: str | None = None, mode: str | None = None) -> None:
        wanted = mode or os.environ.get("WANDB_MODE", "offline")
        root = Path(os.environ.get("WANDB_DIR", self._folder)).absolute()
        # Staged artifact files would otherwise lie in the user's home, away from the run they belong to.
        os.environ.setdefault("WANDB_DATA_DIR", str(root / "wandb" / "data"))
        if wanted in _ONLINE:
            _without_telemetry()
        with _without_secrets_in_arguments():
            self._run = wandb.init(
                id=run_id,
                project=project or run.project,
                group=run.group,
                job_type=run.job_type,
                name=run.name,
                tags=[tag[:64] for tag in run.tags if tag] or None,
                config=json.loads(json.dumps(run.config)),
                mode="offline" if wanted in _ONLINE else wanted,  # type: ignore[arg-type]  # W&B names the modes it knows
                dir=str(root),
                reinit="default" if is_first else "create_new",
                settings=wandb.Settings(silent=True),
            )
        if wanted in _ONLINE:
            self._live = LiveDelivery(Path(self._run.settings.sync_dir), self.patience_s)

    def _describe(self, run: Run) -> None:
        facts: dict[str, Any] = {"run_id": run.id, "reproduces": run.reproduces, "seed": run.seed}
        if run.code is not None:
            facts |= {"git_sha": run.code.git_sha, "snapshot_sha": run.code.snapshot_sha, "is_dirty": run.code.is_dirty}
        if run.environment is not None:
            facts["environment_digest"] = run.environment.digest
        self._facts = facts
        self._update({"lineage": self._nested({}), "lineage_run_id": run.id})

    def _nested(self, more: Mapping[str, Any]) -> dict[str, Any]:
        self._facts |= more
        return dict(self._facts)

    def _update(self, values: Mapping[str, Any]) -> None:
        # A fresh deep copy: W&B compares with what it holds, and a shared mutable value would look unchanged.
        told = {self._own_key(key): value for key, value in values.items()}
        self._run.config.update(json.loads(json.dumps(told)), allow_val_change=True)

    def _own_key(self, name: str) -> str:
        # A key of the user's configuration is theirs: ours then has another name.
        own, known = _started.setdefault(self._run.id, set()), self._run.config
        earlier = known.get(name)
        is_ours = name in own or (name.startswith("lineage") and isinstance(earlier, dict) and "run_id" in earlier)
        while name in known and not is_ours:
            name = f"lineage_{name}"
            is_ours = name in own
        own.add(name)
        return name


def _is_open(run: Any) -> bool:
    return not getattr(run, "disabled", False) and not getattr(run, "_is_finished", False)


def _facts_of(delivery: Delivery) -> dict[str, Any]:
    """What the record keeps of a delivery: when and where, or why not."""
    if delivery.is_complete:
        return {"delivered_at": datetime.now(UTC).isoformat(), "url": delivery.url, "problem": None}
    return {"problem": delivery.problem} | ({} if delivery.url is None else {"url": delivery.url})


def _without_telemetry() -> None:
    # With WANDB_MODE=online the client counts its own calls and tells the server from this process: at a server that hangs, the process
    # then ends ten seconds later (measured). Another release may have no such thing.
    with suppress(ImportError, AttributeError):
        from wandb.analytics.opentelemetry import opentelemetry_proxy

        opentelemetry_proxy.disable()


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


def _as_version_3(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The form in which Deep Lake 3 wrote a dataset into the config: dashboards filter by these very words."""
    found = {"Dataset": identity["uri"], "Commit ID": identity["commit_id"], "Query": identity["query"], "View ID": identity["view_id"]}
    return {key: value for key, value in found.items() if value is not None}


def _dataset_artifact(identity: Mapping[str, Any]) -> Any:
    artifact = wandb.Artifact(dataset_artifact_name(str(identity["uri"])), "dataset", metadata=dict(identity))
    with artifact.new_file("lineage.json") as stream:
        json.dump(identity, stream, sort_keys=True, indent=2)
    return artifact


def _image(picture: BoxedPicture, classes: Mapping[int, str]) -> Any:
    boxes: dict[str, Any] = {}
    for kind, found in picture.boxes.items():
        data = [
            {
                "position": {"minX": left, "minY": top, "maxX": right, "maxY": bottom},
                "domain": "pixel",
                "class_id": box.label,
                "box_caption": classes.get(box.label, str(box.label)) + ("" if box.score is None else f" {box.score:.2f}"),
                **({} if box.score is None else {"scores": {"score": box.score}}),
            }
            for box in found
            for left, top, right, bottom in [box.corners]
        ]
        boxes[kind] = {"box_data": data, "class_labels": dict(classes)}
    masks = {kind: {"mask_data": mask, "class_labels": dict(classes)} for kind, mask in picture.masks.items()}
    pixels = picture.pixels
    if isinstance(pixels, bytes):
        from PIL import Image  # W&B wants it for pictures only

        pixels = Image.open(io.BytesIO(pixels))
        pixels.load()
    return wandb.Image(pixels, boxes=boxes, masks=masks or None, caption=picture.caption)
