"""The runs that ``service_lookups.py`` asks for: made up from a seed, so that every answer can be had without a store.

Run ``n`` is of project ``n mod 5``, in groups of 20, and reads three views (train, validation, test) of dataset version ``n mod versions``,
with a hundred runs for each version. A version holds a thousand rows of its own. Every run has 49 parameters, three inputs, four metrics of
20 points, 20 packages that all share, and a model.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from lineage.model.code import CodeVersion
from lineage.model.dataset import InputRecord, LogManifest
from lineage.model.environment import Environment
from lineage.model.event import ArtifactMade, Ended, Event, InputUsed, Started
from lineage.model.run import Artifact, MetricPoint, Run, RunState

RUNS_A_VERSION = 100
ROWS_A_VERSION = 1000
RUNS_A_GROUP = 20
RUNS_A_COMMIT = 50
PROJECTS = ("parking", "crossing", "harbour", "airfield", "stadium")
DATASETS = 4
POINTS = 20
METRICS = ("loss", "map", "map_50", "timing/step_s")
ROLES = {"train": (0, 700), "validation": (700, 850), "test": (850, 1000)}
"""Role to its rows, counted from the first row of the version."""
BEGIN = datetime(2024, 5, 6, tzinfo=UTC)
_EVERY = timedelta(minutes=5)


def digest(*parts: Any) -> str:
    """A digest made from a description instead of content."""
    return f"sha256:{hashlib.sha256(repr(parts).encode()).hexdigest()}"


class Records:
    """So many runs.

    Args:
        runs: How many.
        environment: What each of them ran in; none where only answers are wanted.
    """

    def __init__(self, runs: int, environment: Environment | None = None) -> None:
        self.runs = runs
        self.versions = max(1, runs // RUNS_A_VERSION)
        self.environment = environment

    # --- who is who -----------------------------------------------------------------------------------------------------------

    def run_id(self, run: int) -> str:
        return digest("run", run)[7:39]

    def name(self, run: int) -> str:
        return f"faster-rcnn-{run}"

    def project(self, run: int) -> str:
        return PROJECTS[run % len(PROJECTS)]

    def group(self, run: int) -> str:
        return f"sweep-{run // len(PROJECTS) // RUNS_A_GROUP}"

    def state(self, run: int) -> RunState:
        return RunState.failed if run % 10 == 3 else RunState.aborted if run % 20 == 7 else RunState.finished

    def started_at(self, run: int) -> datetime:
        return BEGIN + run * _EVERY

    def model(self, run: int) -> str:
        return digest("model", run)

    def git_sha(self, run: int) -> str:
        return digest("git", run // RUNS_A_COMMIT)[7:47]

    def learning_rate(self, run: int) -> float:
        return (1 + run % 97) / 10_000

    def last(self, run: int, metric: str) -> float:
        """The last value of a metric."""
        return random.Random(f"{run} {metric}").random()

    # --- data -----------------------------------------------------------------------------------------------------------------

    def version(self, run: int) -> int:
        return run % self.versions

    def runs_of(self, version: int) -> list[int]:
        """Runs that read a version, newest first."""
        return [*range(version, self.runs, self.versions)][::-1]

    def uri(self, version: int) -> str:
        return f"s3://pictures/visdrone-{version % DATASETS}"

    def dataset_id(self, version: int) -> str:
        return digest("dataset", version % DATASETS)[7:39]

    def space(self, dataset: int) -> str:
        return f"{digest('dataset', dataset)[7:39]}.main"

    def commit_id(self, version: int) -> str:
        return digest("commit", version)[7:31]

    def first_row(self, version: int) -> int:
        return version // DATASETS * ROWS_A_VERSION

    def picture(self, dataset: int, row: int) -> bytes:
        """SHA-256 of a row's picture, raw."""
        return hashlib.sha256(f"picture {dataset} {row}".encode()).digest()

    def sample_id(self, dataset: int, row: int) -> str:
        return f"visdrone-{dataset}/{row:08}"

    def config(self, run: int) -> dict[str, Any]:
        source = random.Random(run)
        return {
            "model": {"name": "faster_rcnn", "backbone": "resnet50_fpn", "classes": 10, "trainable_layers": run % 5, "anchors": "8,16,32"},
            "optimizer": {"name": "sgd", "lr": self.learning_rate(run), "momentum": 0.9, "weight_decay": round(source.random() / 100, 6)},
            "epochs": 12,
            "batch_size": 2 ** (1 + run % 5),
            **{f"augment.{name}": round(source.random(), 6) for name in ("flip", "scale", "crop", "hue", "blur", "noise", "mosaic", "mix")},
            **{f"schedule.{name}": source.randrange(1000) for name in ("warmup", "step_1", "step_2", "step_3", "cooldown")},
            **{f"loss.weight_{number}": round(source.random(), 6) for number in range(10)},
            **{f"nms.threshold_{number}": round(source.random(), 6) for number in range(10)},
            "flags": ",".join(f"option_{number}" for number in range(5)),
            "notes": f"{source.randrange(10**6)} pictures of a drone over a {self.project(run)}",
            "evaluate": {"every": 1, "limit": 500, "iou": 0.5},
        }

    def points(self, run: int) -> list[MetricPoint]:
        """Metric points: every metric at every step."""
        values = {metric: self.last(run, metric) for metric in METRICS}
        began = self.started_at(run).timestamp()
        return [
            MetricPoint(step=step, at=began + 10 * step, values={name: value + (POINTS - 1 - step) / 64 for name, value in values.items()})
            for step in range(POINTS)
        ]

    def metrics_digest(self, points: list[MetricPoint]) -> str:
        """What the record's end says of its points; stores compare it with what they hold."""
        lines = (f"{point.step} {point.at!r} {json.dumps(point.values)}\n" for point in points)
        return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"

    def events(self, run: int, metrics_digest: str) -> Iterator[Event]:
        """A record as a training run writes it."""
        at = self.started_at(run)
        yield Started(
            at=at,
            run=Run(
                id=self.run_id(run),
                name=self.name(run),
                project=self.project(run),
                group=self.group(run),
                job_type="train",
                started_at=at,
                command=("python", "-m", "pipelines.detection.train", "--config", "configs/cars.yaml", f"--seed={run}"),
                code=_code(self.git_sha(run), run // RUNS_A_COMMIT),
                environment=self.environment,
                host="worker-1",
                user="kim",
                config=self.config(run),
                seed=run,
            ),
        )
        for role in ROLES:
            yield InputUsed(at=at, input=self.input(run, role))
        artifact = Artifact(name="model.pth", kind="model", path="model.pth", digest=self.model(run), size_bytes=165_000_000)
        yield ArtifactMade(at=at, artifact=artifact)
        summary = {metric: self.last(run, metric) for metric in METRICS}
        state = self.state(run)
        error = None if state is RunState.finished else "it ran out of memory"
        yield Ended(at=at + 12 * _EVERY, state=state, summary=summary, error=error, metrics_digest=metrics_digest)

    def rows_digest(self, version: int, role: str) -> str:
        return digest("rows", version, role)

    def view_key(self, version: int, role: str) -> str:
        return f"{self.space(version % DATASETS)}/{self.rows_digest(version, role)[7:]}"

    def input(self, run: int, role: str) -> InputRecord:
        version = self.version(run)
        first, end = ROLES[role]
        return InputRecord(
            role=role,
            uri=self.uri(version),
            dataset_id=self.dataset_id(version),
            branch="main",
            branch_id="main",
            commit_id=self.commit_id(version),
            view_id=digest("tag", version, role)[7:31],
            view_name=f"{role}-{version}",
            query=f"select * where split == '{role}' and any(boxes[:,2:3] > 20)",
            rows=end - first,
            rows_total=self.first_row(version) + ROWS_A_VERSION,
            rows_digest=self.rows_digest(version, role),
            content_digest=digest("content", version, role),
            rows_object=digest("object", version, role),
            space=self.space(version % DATASETS),
            ledger_object=digest("ledger", version),
            columns={"images": "image", "boxes": "bbox", "labels": "class_label", "sample_id": "text"},
            class_names={
                "labels": ("pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor")
            },
            manifest=LogManifest(digest=digest("manifest", version), files=12),
            backend="deeplake 4.7.4",
            used_at=self.started_at(run),
        )


def _code(sha: str, commit: int) -> CodeVersion:
    return CodeVersion(
        git_sha=sha,
        branch="main",
        is_dirty=False,
        snapshot_sha=sha,
        tree_sha=digest("tree", commit)[7:47],
        repository="https://git.example/team/detection",
        root="/projects/detection",
    )


def flat(config: dict[str, Any], above: str = "") -> dict[str, str]:
    """A configuration as MLflow's parameters: dotted name to text."""
    found: dict[str, str] = {}
    for name, value in config.items():
        found |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": str(value)}
    return found
