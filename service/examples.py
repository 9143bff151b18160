"""The example of the API's documentation: one record, made of the same models as the answers, so that it cannot go stale."""

from __future__ import annotations

import functools
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from lineage.lookup.graph import Hop
from lineage.lookup.models import ModelUse
from lineage.lookup.rows import Exposure, Occurrence
from lineage.model.code import CodeVersion
from lineage.model.dataset import InputRecord
from lineage.model.environment import Environment, Package
from lineage.model.graph import Edge, FileNode, Graph, MoreNode, RunNode, VersionNode, ViewNode, node_id
from lineage.model.group import (
    Group,
    GroupDifference,
    GroupMember,
    MetricOfGroup,
    SpreadAtEnd,
    SpreadOverSteps,
    Variant,
    Variation,
)
from lineage.model.listing import brief
from lineage.model.materialisation import JobProgress, JobState, Materialisation, MaterialisationRequest
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


def example(answer: BaseModel) -> dict[str, Any]:
    """An answer as OpenAPI's example, told as JSON text: ``service.documentation`` parses it."""
    return {"content": {"application/json": {"example": answer.model_dump_json()}}}


def run() -> dict[str, Any]:
    """A whole record."""
    return example(record())


def run_page() -> dict[str, Any]:
    """A page of runs."""
    return example(schemas.RunPage(items=(brief(record()),), next_cursor="MjAyNi0wMy0xNFQwOToyNjo1My41ODk3OTMrMDA6MDA"))


def run_data() -> dict[str, Any]:
    """What the run read."""
    return example(schemas.data_of(record()))


def environment() -> dict[str, Any]:
    """Where it ran."""
    made = record().environment
    assert made is not None
    return example(made)


def run_metrics() -> dict[str, Any]:
    """What it logged."""
    began = _BEGAN.timestamp()
    points = [MetricPoint(step=step, values={"loss": loss}, at=began + step) for step, loss in enumerate((2.31, 1.07, 0.482))]
    return example(schemas.run_metrics(record().id, points))


def model_data() -> dict[str, Any]:
    """Which data made its model."""
    return example(schemas.model_data(record().outputs[0].digest, [(record(), ())]))


def _hop() -> Hop:
    made = record().outputs[0]
    return Hop(record().id, record().name, made.name, made.digest, "77e6ab3d0c5f4a8f9d2b1c0e3f4a5b6c", "tuned-77e6ab")


def graph() -> dict[str, Any]:
    """Where its model came from and went."""
    item, made, hop = record().inputs[0], record().outputs[0], _hop()
    version, view = (item.dataset_id, item.commit_id), (item.dataset_id, item.commit_id, item.content_digest)
    names = {"version": node_id("version", version), "view": node_id("view", view), "model": node_id("file", (made.digest,))}
    runs = [
        RunNode(
            id=node_id("run", (run_id,)),
            run_id=run_id,
            name=name,
            project=record().project,
            group=record().group,
            job_type=record().job_type,
            state="finished",
            started_at=_BEGAN.isoformat(timespec="microseconds"),
        )
        for run_id, name in ((record().id, record().name), (hop.to_run_id, hop.to_run_name))
    ]
    return example(
        Graph(
            start=runs[0].id,
            direction="both",
            depth=8,
            nodes=(
                runs[0],
                ViewNode(
                    id=names["view"],
                    dataset_id=item.dataset_id,
                    commit_id=item.commit_id,
                    content_digest=item.content_digest,
                    name=item.view_name,
                    uri=item.uri,
                ),
                VersionNode(id=names["version"], dataset_id=item.dataset_id, commit_id=item.commit_id, uri=item.uri),
                FileNode(id=names["model"], digest=made.digest, name=made.name, file_kind="model"),
                runs[1],
                MoreNode(id=f"more:down:reads:{names['view']}", of=names["view"], direction="down", link="reads", count=3, skip=1),
            ),
            edges=(
                Edge(source=names["version"], target=names["view"], kind="holds"),
                Edge(source=names["view"], target=runs[0].id, kind="reads", label="train"),
                Edge(source=runs[0].id, target=names["model"], kind="makes"),
                Edge(source=names["model"], target=runs[1].id, kind="starts", label="base"),
                Edge(source=names["view"], target=f"more:down:reads:{names['view']}", kind="more"),
            ),
            is_whole=False,
            has_cycle=False,
        )
    )


def _job() -> Materialisation:
    return Materialisation(
        id="9d1c0f5b7a2e4c6d8f90a1b2c3d4e5f6",
        run_id=record().id,
        what="rerun",
        options=MaterialisationRequest(what="rerun"),
        state=JobState.running,
        attempt=1,
        requested_by="token 5e1c7a2b9d04 (ada)",
        requested_at=_BEGAN + timedelta(days=2),
        started_at=_BEGAN + timedelta(days=2, seconds=1),
        heartbeat_at=_BEGAN + timedelta(days=2, seconds=9),
        worker="gpu-1-4711-0c3f",
        progress=JobProgress(what="running it again", done=0, total=1),
        isolation=("network off", "files read-only", "home hidden", "processes apart"),
    )


def materialisation(description: str = "Successful Response") -> dict[str, Any]:
    """A re-run under way."""
    return {**example(_job()), "description": description}


def materialisation_page() -> dict[str, Any]:
    """A page of jobs."""
    text = json.dumps({"items": [_job().model_dump(mode="json")], "next_cursor": None})  # as text, so that the nulls stay
    return {"content": {"application/json": {"example": text}}}


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
    return example(schemas.seen([Exposure(sighting, (row,))], [own, tuned]))


def models() -> dict[str, Any]:
    """Its model, and one that was fine-tuned from it."""
    shown: schemas.Seen = schemas.Seen.model_validate_json(seen()["content"]["application/json"]["example"])
    return example(schemas.Models(models=shown.models))


def group() -> dict[str, Any]:
    """A group of two runs."""
    end = SpreadAtEnd(n=2, mean=0.482, std=0.0184, min=0.469, max=0.495)
    over = SpreadOverSteps(
        x=(0, 1, 2),
        n=(2, 2, 2),
        mean=(2.31, 1.07, 0.482),
        std=(0.0424, 0.0566, 0.0184),
        min=(2.28, 1.03, 0.469),
        max=(2.34, 1.11, 0.495),
        steps=3,
        values=6,
    )
    made, other = record(), "b1946ac92492d2347c6235b4d2611184"
    seeds = tuple(Variant(value=seed, runs=(run,)) for seed, run in (("7", made.id), ("8", other)))
    difference = GroupDifference(
        sentence="these 2 runs differ only in the seed",
        is_seed_only=True,
        variations=(Variation(subject="seed", name="seed", variants=seeds),),
    )
    member = GroupMember(
        run_id=made.id,
        name=made.name,
        project=made.project,
        state=made.state,
        seed=7,
        started_at=made.started_at,
        repeats=None,
        left_out=None,
        last={"loss": 0.469},
    )
    second = member.model_copy(
        update={"run_id": other, "name": f"{made.name}-seed-8", "seed": 8, "repeats": made.id, "last": {"loss": 0.495}}
    )
    metric = MetricOfGroup(name="loss", end=end, axis="step", over=over)
    return example(
        Group(
            name="cars-20px",
            project=made.project,
            runs=2,
            members=(second, member),
            is_whole=True,
            metrics=(metric,),
            difference=difference,
        )
    )


def run_groups() -> dict[str, Any]:
    """Three runs that differ in their seed."""
    loss = schemas.Spread(metric="loss", count=3, mean=0.482, std=0.013, min=0.469, max=0.495)
    group = schemas.RunGroup(values=("cars-20px",), runs=3, run_ids=(record().id,), metrics=(loss,))
    return example(schemas.RunGroups(by=("group",), runs=3, is_whole=True, groups=(group,)))
