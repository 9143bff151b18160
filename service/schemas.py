"""Answers of the API that are not records themselves. Times are UTC, ISO 8601; names carry their units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lineage.model.dataset import InputRecord
from lineage.model.run import MetricPoint, Run, RunState

Number = float | Literal["nan", "inf", "-inf"]
"""A float; JSON has no number for the three that are not finite."""

_NOT_FINITE: dict[str, Literal["nan", "inf", "-inf"]] = {"nan": "nan", "inf": "inf", "-inf": "-inf"}


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputBrief(_Answer):
    """An input in short; the whole one is in the run's record."""

    role: str
    uri: str
    dataset_id: str
    commit_id: str
    view_id: str | None
    view_name: str | None
    rows: int
    rows_total: int
    content_digest: str


class OutputBrief(_Answer):
    """An artifact in short."""

    name: str
    kind: str
    digest: str
    size_bytes: int


class RunBrief(_Answer):
    """A run as a list shows it.

    Attributes:
        reproduces: Id of the run that this one was made to repeat.
        verdicts: How reproductions of this run came out, oldest first.
        fingerprint: Digest of everything that should decide the result.
    """

    id: str
    name: str
    project: str
    group: str | None
    job_type: str
    state: RunState
    started_at: datetime
    ended_at: datetime | None
    duration_s: float | None
    seed: int | None
    inputs: tuple[InputBrief, ...]
    outputs: tuple[OutputBrief, ...]
    reproduces: str | None
    verdicts: tuple[str, ...]
    fingerprint: str


class RunPage(_Answer):
    """One page of runs, newest first.

    Attributes:
        items: The runs. With a `state` filter a page may hold fewer than `limit`: a run found to have ended meanwhile is left out.
        next_cursor: Give it as `cursor` for the next page; `null` on the last one.
    """

    items: tuple[RunBrief, ...]
    next_cursor: str | None


class RunData(_Answer):
    """What a run read, each input with its role, in the order of use."""

    run_id: str
    name: str
    reproduces: str | None
    inputs: tuple[InputRecord, ...]


class ModelData(_Answer):
    """The runs that made a model, newest first, and what each of them read."""

    model_digest: str
    runs: tuple[RunData, ...]


class MetricSeries(_Answer):
    """One metric: three columns of one length, in the order of the calls.

    Attributes:
        steps: Step of each value.
        values: The values.
        at: Seconds since the epoch (UTC).
    """

    name: str
    steps: tuple[int, ...]
    values: tuple[Number, ...]
    at: tuple[float, ...]


class RunMetrics(_Answer):
    """Every metric of a run, by name."""

    run_id: str
    series: tuple[MetricSeries, ...]


class Health(_Answer):
    """The service answers, and its store does."""

    status: Literal["ok"] = "ok"
    version: Annotated[str, Field(description="Release of dataset-lineage.")]


def brief(run: Run) -> RunBrief:
    """A run in short."""
    return RunBrief(
        id=run.id,
        name=run.name,
        project=run.project,
        group=run.group,
        job_type=run.job_type,
        state=run.state,
        started_at=run.started_at,
        ended_at=run.ended_at,
        duration_s=run.duration_s,
        seed=run.seed,
        inputs=tuple(InputBrief(**item.model_dump(include=set(InputBrief.model_fields))) for item in run.inputs),
        outputs=tuple(OutputBrief(**item.model_dump(include=set(OutputBrief.model_fields))) for item in run.outputs),
        reproduces=run.reproduces,
        verdicts=tuple(item.verdict for item in run.reproductions),
        fingerprint=run.fingerprint,
    )


def data_of(run: Run) -> RunData:
    """What a run read."""
    return RunData(run_id=run.id, name=run.name, reproduces=run.reproduces, inputs=run.inputs)


def model_data(digest: str, runs: Iterable[Run]) -> ModelData:
    """What the runs behind a model read."""
    return ModelData(model_digest=digest, runs=tuple(data_of(run) for run in runs))


def run_metrics(run_id: str, points: Sequence[MetricPoint]) -> RunMetrics:
    """Metric points as one series for each name, names in order."""
    columns: dict[str, tuple[list[int], list[Number], list[float]]] = {}
    for point in points:
        for name, value in point.values.items():
            steps, values, at = columns.setdefault(name, ([], [], []))
            steps.append(point.step)
            values.append(value if math.isfinite(value) else _NOT_FINITE[str(value)])
            at.append(point.at)
    series = (MetricSeries(name=name, steps=tuple(s), values=tuple(v), at=tuple(a)) for name, (s, v, a) in sorted(columns.items()))
    return RunMetrics(run_id=run_id, series=tuple(series))
