"""The example of the API's documentation: one record, made of the same models as the answers, so that it cannot go stale."""

from __future__ import annotations

import functools
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from lineage.lookup.graph import Hop, Relative
from lineage.lookup.models import ModelUse
from lineage.lookup.rows import Exposure, Occurrence
from lineage.model.code import CodeVersion
from lineage.model.dataset import InputRecord
from lineage.model.difference import (
    Cause,
    CodeDifference,
    DataDifference,
    DataSide,
    Difference,
    EnvironmentDifference,
    Results,
    RunSide,
    ValueChange,
)
from lineage.model.environment import Environment, Package
from lineage.model.findings import ComparedInput, LeakReport, LeakVerdict, Match, RowName, WayFindings
from lineage.model.run import Artifact, MetricPoint, Reproduction, Run, RunState
from lineage.ports import Sighting
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
                space="5f2b8c1e9a7d4c3b8e6f0a1b2c3d4e5f",
                ledger_object=_digest("ledger"),
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


def environment() -> dict[str, Any]:
    """Where it ran."""
    made = record().environment
    assert made is not None
    return _example(made)


def run_metrics() -> dict[str, Any]:
    """What it logged."""
    began = _BEGAN.timestamp()
    points = [MetricPoint(step=step, values={"loss": loss}, at=began + step) for step, loss in enumerate((2.31, 1.07, 0.482))]
    return _example(schemas.run_metrics(record().id, points))


def model_data() -> dict[str, Any]:
    """Which data made its model."""
    return _example(schemas.model_data(record().outputs[0].digest, [(record(), ())]))


def _hop() -> Hop:
    made = record().outputs[0]
    return Hop(record().id, record().name, made.name, made.digest, "77e6ab3d0c5f4a8f9d2b1c0e3f4a5b6c", "tuned-77e6ab")


def run_lineage() -> dict[str, Any]:
    """Where its result went."""
    hop = _hop()
    tuned = record().model_copy(update={"id": hop.to_run_id, "name": hop.to_run_name})
    return _example(schemas.run_lineage(record(), (), [(Relative(hop.to_run_id, hop.to_run_name, (hop,)), tuned)]))


def seen() -> dict[str, Any]:
    """Who saw a picture."""
    item, hop = record().inputs[0], _hop()
    row = Occurrence("5f2b8c1e9a7d4c3b8e6f0a1b2c3d4e5f", 17, _digest("picture"), "0000002_00005_d_0000014")
    sighting = Sighting(
        run_id=record().id,
        run_name=record().name,
        project=record().project,
        job_type=record().job_type,
        state=record().state.value,
        started_at=_BEGAN.isoformat(timespec="microseconds"),
        ordinal=0,
        role=item.role,
        uri=item.uri,
        commit_id=item.commit_id,
        view_id=item.view_id,
        view_name=item.view_name,
        view_key=item.view_key,
        reproduces=None,
        models=tuple((output.name, output.digest) for output in record().outputs),
    )
    made = record().outputs[0]
    own = ModelUse(record().id, record().name, sighting.started_at, None, made.name, made.digest, (sighting,), (row,))
    later = (_BEGAN + timedelta(days=3)).isoformat(timespec="microseconds")
    tuned = ModelUse(hop.to_run_id, hop.to_run_name, later, None, "model.pth", _digest("tuned"), (sighting,), (row,), (hop,))
    return _example(schemas.seen([Exposure(sighting, (row,))], [own, tuned]))


def difference() -> dict[str, Any]:
    """What differs from a run with another seed."""
    own = DataSide(**record().inputs[0].model_dump(include=set(DataSide.model_fields)))
    seed = ValueChange(name="seed", a="7", b="8")

    def side(run_id: str, name: str) -> RunSide:
        return RunSide(
            run_id=run_id,
            name=name,
            project=record().project,
            job_type=record().job_type,
            state=record().state.value,
            started_at=_BEGAN.isoformat(),
        )

    return _example(
        Difference(
            a=side(record().id, record().name),
            b=side("b1946ac92492d2347c6235b4d2611184", "train-b1946a"),
            is_same=False,
            causes=(Cause(subject="configuration", sentence="the seed differs: 7 and 8"),),
            data=(DataDifference(role="train", a=own, b=own, is_same=True, matched_by="content", same=own.rows),),
            code=CodeDifference(is_same=True, a="9fceb02d0a", b="9fceb02d0a"),
            configuration=(seed,),
            base_weights=(),
            environment=EnvironmentDifference(),
            results=Results(is_same=False, first_difference="loss at step 0: 2.31, then 2.28"),
        )
    )


def leaks() -> dict[str, Any]:
    """One validation row that was trained on."""
    item = record().inputs[0]
    shared = {"run_id": record().id, "uri": item.uri, "row": 17, "sample_id": "0000002_00005_d_0000014", "sequence": "0000002"}
    match = Match(
        evaluated=RowName(input=1, role="validation", position=3, **shared), trained=RowName(input=0, role="train", position=9, **shared)
    )

    def compared(number: int, role: str, rows: int) -> ComparedInput:
        return ComparedInput(
            run_id=record().id,
            run_name=record().name,
            input=number,
            role=role,
            uri=item.uri,
            commit_id=item.commit_id,
            view_name=item.view_name,
            query=item.query,
            rows=rows,
        )

    return _example(
        LeakReport(
            run_id=record().id,
            run_name=record().name,
            verdict=LeakVerdict.leaks,
            evaluated=(compared(1, "validation", 548),),
            trained=(compared(0, "train", item.rows),),
            ways=(
                WayFindings(way="row", checked=True, rows=1, further_rows=1, trained_rows=1, examples=(match,)),
                WayFindings(way="picture", checked=True, rows=1, trained_rows=1),
                WayFindings(way="near", checked=False, reason="left out"),
                WayFindings(way="sequence", checked=True, rows=12, further_rows=11, trained_rows=40),
            ),
            not_checked=("near-duplicate pictures: left out",),
        )
    )
