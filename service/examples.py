"""The example of the API's documentation: one record, made of the same models as the answers, so that it cannot go stale."""

from __future__ import annotations

import functools
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from lineage.model.code import CodeVersion
from lineage.model.dataset import InputRecord
from lineage.model.environment import Environment, Package
from lineage.model.run import Artifact, MetricPoint, Reproduction, Run, RunState
from service import schemas

NOT_MODIFIED: dict[str, Any] = {"description": "The answer is the one that `If-None-Match` names."}

_BEGAN = datetime(2026, 3, 14, 9, 26, 53, 589793, tzinfo=UTC)


def _digest(word: str) -> str:
    return f"sha256:{hashlib.sha256(word.encode()).hexdigest()}"


@functools.cache
def record() -> Run:
    """A finished training run that was reproduced once."""
    return Run(
        id="4f0c2a6d4f1b4d0e9a53c7be1f0a8d26",
        name="train-4f0c2a",
        project="parking",
        group="cars-20px",
        job_type="train",
        state=RunState.finished,
        started_at=_BEGAN,
        ended_at=_BEGAN + timedelta(seconds=61.8),
        command=("python", "-m", "pipelines.detection", "train", "config.yaml"),
        code=CodeVersion(
            git_sha="9fceb02d0ae598e95dc970b74767f19372d61af8",
            branch="main",
            is_dirty=False,
            snapshot_sha="9fceb02d0ae598e95dc970b74767f19372d61af8",
            tree_sha="4b825dc642cb6eb9a060e54bf8d69288fbee4904",
            repository="https://git.example.org/vision/parking.git",
            root="/srv/parking",
        ),
        environment=Environment(
            python="3.11.7",
            implementation="CPython",
            executable="/srv/parking/.venv/bin/python",
            packages={
                "numpy": Package(version="2.4.6", record=_digest("numpy")),
                "torch": Package(version="2.15.0", record=_digest("torch")),
            },
            digest=_digest("environment"),
            platform="Linux-6.1-x86_64",
            libc="glibc 2.36",
            cpu="AMD EPYC 7B13",
            cpu_count=2,
            variables={"OMP_NUM_THREADS": "2"},
        ),
        host="workstation",
        user="ada",
        inputs=(
            InputRecord(
                role="train",
                uri="s3://pictures/visdrone-train",
                dataset_id="d2f5c1e8",
                branch="main",
                branch_id="main",
                commit_id="0000000002m00000000",
                view_id="0f7e6a52",
                view_name="cars-20px",
                query="select * where not any(logical_and(logical_or(boxes[:,2]<20, boxes[:,3]<20), labels == 'car'))",
                rows=1843,
                rows_total=6471,
                rows_digest=_digest("rows"),
                content_digest=_digest("content"),
                rows_object=_digest("rows object"),
                digests_object=_digest("digests object"),
                columns={"image": "image(jpeg)", "boxes": "array(float32, 2)", "labels": "class_label(array(int32, 1))"},
                class_names={"labels": ("ignored", "pedestrian", "people", "bicycle", "car")},
                backend="deeplake 4.7.4",
                used_at=_BEGAN + timedelta(seconds=1),
            ),
        ),
        config={"epochs": 2, "optimizer": {"learning_rate": 0.02}},
        seed=7,
        determinism={"threads": 2, "promise": "bitwise on CPUs with AVX2 and the same thread count"},
        summary={"loss": 0.482, "validation_iou": 0.61},
        outputs=(Artifact(name="model.pth", kind="model", path="runs/model.pth", digest=_digest("model"), size_bytes=77_305_344),),
        reproductions=(
            Reproduction(run_id="b1946ac92492d2347c6235b4d2611184", verdict="identical", at=_BEGAN + timedelta(days=180, hours=2)),
        ),
    )


def _example(answer: BaseModel) -> dict[str, Any]:
    return {"content": {"application/json": {"example": answer.model_dump(mode="json")}}}


def run() -> dict[str, Any]:
    """A whole record."""
    return _example(record())


def run_page() -> dict[str, Any]:
    """A page of runs."""
    return _example(schemas.RunPage(items=(schemas.brief(record()),), next_cursor="MjAyNi0wMy0xNFQwOToyNjo1My41ODk3OTMrMDA6MDA"))


def run_data() -> dict[str, Any]:
    """What the run read."""
    return _example(schemas.data_of(record()))


def run_metrics() -> dict[str, Any]:
    """What it logged."""
    began = _BEGAN.timestamp()
    points = [MetricPoint(step=step, values={"loss": loss}, at=began + step) for step, loss in enumerate((2.31, 1.07, 0.482))]
    return _example(schemas.run_metrics(record().id, points))


def model_data() -> dict[str, Any]:
    """Which data made its model."""
    return _example(schemas.model_data(record().outputs[0].digest, [record()]))
