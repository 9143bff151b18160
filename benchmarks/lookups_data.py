"""The store that ``lookups.py`` asks: made up from a seed, so that every answer can also be had without the store."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from lineage.adapters.environment.local import LocalEnvironmentProbe
from lineage.model.dataset import InputRecord, LogManifest
from lineage.model.event import ArtifactMade, Ended, Event, InputUsed, Started
from lineage.model.run import Artifact, Run, RunState
from lineage.ports import RowIndex, RunStore

ROWS_A_RUN = 1000
RUNS_A_VIEW = 10
RUNS_A_VERSION = 200
URI = "s3://pictures/visdrone-train"
SPACE = "b0c1d2e3f4a5968778695a4b3c2d1e0f.main"
KINDS = ("picture", "sample")
BEGIN = datetime(2024, 5, 6, tzinfo=UTC)


def digest(*parts: Any) -> str:
    """A digest made from a description instead of content."""
    return f"sha256:{hashlib.sha256(repr(parts).encode()).hexdigest()}"


class Scenario:
    """So many runs over a tenth as many views of a dataset with a thousand times as many rows.

    A quarter of the views each: the whole version, a range of 30 %, clusters of 1,000 rows that make about 10 %, 10 % at random. Every
    hundredth picture occurs in a second row. Every fourth run validates on a second view.
    """

    def __init__(self, runs: int, subjects: int) -> None:
        self.runs = runs
        self.rows = runs * ROWS_A_RUN
        self.views = max(4, runs // RUNS_A_VIEW)
        source = np.random.default_rng(20240506)
        self.keys = {kind: source.integers(0, 2**64, self.rows, np.uint64) for kind in KINDS}
        twins = source.permutation(self.rows)[: self.rows // 50]
        self.keys["picture"][twins[::2]] = self.keys["picture"][twins[1::2]]
        self.subjects = source.integers(0, self.rows, subjects).tolist()
        self.environment = LocalEnvironmentProbe(None).describe()
        self._asked = np.unique([row for kind in KINDS for subject in self.subjects for row in self.rows_with(kind, subject)])
        self._holds: dict[int, frozenset[int]] = {}

    def rows_with(self, kind: str, subject: int) -> list[int]:
        """Rows that share a subject's key, by looking at every key."""
        found: list[int] = np.flatnonzero(self.keys[kind] == self.keys[kind][subject]).tolist()
        return found

    def view_key(self, view: int) -> str:
        return f"{SPACE}/{digest('rows', self.runs, view)[7:]}"

    def view_rows(self) -> Iterator[tuple[int, Any]]:
        """(number, rows: int64, shape (n,)) of every view. What is asked later is looked up here, in a plain mask of rows."""
        for view in range(self.views):
            source = np.random.default_rng((20240506, view))
            match view % 4:
                case 0:
                    rows = np.arange(self.rows)
                case 1:
                    first = int(source.integers(0, self.rows * 7 // 10))
                    rows = np.arange(first, first + self.rows * 3 // 10)
                case 2:
                    starts = source.integers(0, self.rows - 1000, self.rows // 10_000)
                    rows = np.unique(starts[:, None] + np.arange(1000))
                case _:
                    rows = np.flatnonzero(source.random(self.rows, np.float32) < 0.1)
            mask = np.zeros(self.rows, bool)
            mask[rows] = True
            self._holds[view] = frozenset(self._asked[mask[self._asked]].tolist())
            yield view, rows

    def run_id(self, run: int) -> str:
        return digest("run", run)[7:39]

    def run_inputs(self, run: int) -> list[int]:
        """Views that a run read, in order."""
        return [run % self.views, *([(7 * run + 3) % self.views] if run % 4 == 0 else [])]

    def commit_id(self, view: int) -> str:
        return digest("commit", view % max(1, self.runs // RUNS_A_VERSION))[7:31]

    def expected(self, kind: str, subject: int) -> set[tuple[str, int, str]]:
        """(run id, number of the input, digest of its model) of every run that saw a subject, by looking at every view and run."""
        rows = set(self.rows_with(kind, subject))
        seeing = {view for view, held in self._holds.items() if held & rows}
        return {
            (self.run_id(run), ordinal, digest("model", run))
            for run in range(self.runs)
            for ordinal, view in enumerate(self.run_inputs(run))
            if view in seeing
        }

    def events(self, run: int) -> Iterator[Event]:
        """A record as a training run writes it."""
        at, source = BEGIN + timedelta(minutes=run), random.Random(run)
        yield Started(
            at=at,
            run=Run(
                id=self.run_id(run),
                name=f"faster-rcnn-{run}",
                project="parking",
                group=f"sweep-{run // 20}",
                job_type="train",
                started_at=at,
                command=("python", "-m", "pipelines.detection.train", "--config", "configs/cars.yaml", f"--seed={run}"),
                environment=self.environment,
                host="worker-1",
                user="kim",
                config={"lr": source.random(), "epochs": 12, "batch_size": 16, "backbone": "resnet50", "classes": ["car", "van", "truck"]},
                seed=run,
            ),
        )
        for ordinal, view in enumerate(self.run_inputs(run)):
            yield InputUsed(at=at, input=self._input(view, "validation" if ordinal else "train", at))
        name = "model.pth"
        yield ArtifactMade(
            at=at, artifact=Artifact(name=name, kind="model", path=name, digest=digest("model", run), size_bytes=165_000_000)
        )
        summary = {"loss": source.random(), "map": source.random(), "map_50": source.random()}
        yield Ended(at=at + timedelta(hours=1), state=RunState.finished, summary=summary)

    def _input(self, view: int, role: str, at: datetime) -> InputRecord:
        return InputRecord(
            role=role,
            uri=URI,
            dataset_id="0f1e2d3c4b5a69788796a5b4c3d2e1f0",
            branch="main",
            branch_id="main",
            commit_id=self.commit_id(view),
            view_id=digest("tag", view)[7:31],
            view_name=f"view-{view}",
            query="select * where any(boxes[:,2:3] > 20)",
            rows=self.rows // 10,
            rows_total=self.rows,
            rows_digest=digest("rows", self.runs, view),
            content_digest=digest("content", view),
            rows_object=digest("object", view),
            space=SPACE,
            ledger_object=digest("ledger"),
            columns={"images": "image", "boxes": "bbox", "labels": "class_label", "sample_id": "text"},
            class_names={
                "labels": ("pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor")
            },
            manifest=LogManifest(digest=digest("manifest", view), files=12),
            backend="deeplake 4.7.4",
            used_at=at,
        )


def add_runs(store: RunStore, scenario: Scenario) -> None:
    for run in range(scenario.runs):
        for event in scenario.events(run):
            store.append(scenario.run_id(run), event)


def add_keys(rows: RowIndex, scenario: Scenario) -> None:
    """In parts of a million, as an upload's ledger grows."""
    for first in range(0, scenario.rows, 1_000_000):
        end = min(first + 1_000_000, scenario.rows)
        rows.add_keys(SPACE, "picture", scenario.keys["picture"][first:end], np.arange(first, end))
        rows.add_keys(SPACE, "sample", scenario.keys["sample"][first:end], np.arange(first, end))
