"""Answers of the API that are not records themselves. Times are UTC, ISO 8601; names carry their units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lineage.lookup.data import Inherited
from lineage.lookup.graph import Hop, Relative
from lineage.lookup.models import ModelUse
from lineage.lookup.rows import Exposure
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
        verdicts: How reproductions of the whole run came out, oldest first.
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


class HopBrief(_Answer):
    """One step of fine-tuning: `to_run_id` started from a file that `from_run_id` made."""

    from_run_id: str
    from_run_name: str
    name: str
    digest: str
    to_run_id: str
    to_run_name: str


class InheritedData(_Answer):
    """What came with base weights: inputs of the run that made them, and the way, in the direction of time."""

    run_id: str
    name: str
    path: tuple[HopBrief, ...]
    inputs: tuple[InputRecord, ...]


class RunData(_Answer):
    """What a run read, each input with its role, in the order of use.

    Attributes:
        inherited: What it has from the models it was fine-tuned from, nearest first.
    """

    run_id: str
    name: str
    reproduces: str | None
    inputs: tuple[InputRecord, ...]
    inherited: tuple[InheritedData, ...]


class ModelData(_Answer):
    """The runs that made a model, newest first, and what each of them read."""

    model_digest: str
    runs: tuple[RunData, ...]


class RowOfRun(_Answer):
    """One row that a run read.

    Attributes:
        input: Number of the input in the run's record.
        position: In the view, from 0.
        row: In the dataset version, from 0.
        picture_digest: SHA-256 of the picture's encoded bytes, as `sha256sum` prints it for the file; `null` without a picture.
        row_digest: SHA-256 of the whole row.
        epochs: Ranges `[first, last]` in which it was read; `null` when nobody watched.
    """

    role: str
    input: int
    position: int
    row: int
    sample_id: str | None
    sequence: str | None
    picture_digest: str | None
    row_digest: str
    epochs: tuple[tuple[int, int], ...] | None


class RunRows(_Answer):
    """Rows that a run read, a page at a time, in view order, one input after the other."""

    run_id: str
    items: tuple[RowOfRun, ...]
    next_cursor: str | None


class RelativeBrief(_Answer):
    """A run that is connected through files, and the way, in the direction of time."""

    run_id: str
    run_name: str
    path: tuple[HopBrief, ...]
    inputs: tuple[InputBrief, ...]


class RunLineage(_Answer):
    """Where a run's result comes from and where it went.

    Attributes:
        inputs: What it read itself.
        ancestors: Runs whose models it started from, nearest first, and what those read.
        descendants: Runs that started from its models, nearest first.
        reproductions: Ids of runs made to repeat it.
    """

    run_id: str
    run_name: str
    inputs: tuple[InputBrief, ...]
    outputs: tuple[OutputBrief, ...]
    ancestors: tuple[RelativeBrief, ...]
    descendants: tuple[RelativeBrief, ...]
    reproduces: str | None
    reproductions: tuple[str, ...]


class RowSeen(_Answer):
    """A row that holds what was asked for."""

    row: int
    sample_id: str | None
    picture_digest: str | None


class InputSeen(_Answer):
    """A run's input that holds what was asked for."""

    run_id: str
    run_name: str
    started_at: str
    ordinal: int
    role: str
    uri: str
    commit_id: str
    view_id: str | None
    view_name: str | None
    rows: tuple[RowSeen, ...]


class ModelSeen(_Answer):
    """A model that was made from what was asked for; with a `path`, it inherits it from the model it was fine-tuned from."""

    run_id: str
    run_name: str
    started_at: str
    reproduces: str | None
    name: str
    digest: str
    path: tuple[HopBrief, ...]


class Seen(_Answer):
    """Runs and models that saw a picture, a sample or a dataset version, newest first."""

    runs: tuple[InputSeen, ...]
    models: tuple[ModelSeen, ...]


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
        inputs=inputs_of(run.inputs),
        outputs=_outputs_of(run),
        reproduces=run.reproduces,
        verdicts=tuple(item.verdict for item in run.reproductions if item.checked is None),
        fingerprint=run.fingerprint,
    )


def inputs_of(inputs: Iterable[InputRecord]) -> tuple[InputBrief, ...]:
    """Inputs in short."""
    return tuple(InputBrief(**item.model_dump(include=set(InputBrief.model_fields))) for item in inputs)


def _outputs_of(run: Run) -> tuple[OutputBrief, ...]:
    return tuple(OutputBrief(**item.model_dump(include=set(OutputBrief.model_fields))) for item in run.outputs)


def run_lineage(run: Run, older: Iterable[Inherited], newer: Iterable[tuple[Relative, Run]]) -> RunLineage:
    """Where a run's result comes from and where it went."""
    return RunLineage(
        run_id=run.id,
        run_name=run.name,
        inputs=inputs_of(run.inputs),
        outputs=_outputs_of(run),
        ancestors=tuple(
            RelativeBrief(run_id=item.run_id, run_name=item.run_name, path=hops(item.path), inputs=inputs_of(item.inputs)) for item in older
        ),
        descendants=tuple(
            RelativeBrief(run_id=item.run_id, run_name=item.run_name, path=hops(item.path), inputs=inputs_of(other.inputs))
            for item, other in newer
        ),
        reproduces=run.reproduces,
        reproductions=tuple(item.run_id for item in run.reproductions),
    )


def hops(path: Iterable[Hop]) -> tuple[HopBrief, ...]:
    """Steps of fine-tuning."""
    return tuple(HopBrief(**asdict(hop)) for hop in path)


def seen(exposures: Iterable[Exposure], models: Iterable[ModelUse]) -> Seen:
    """Runs and models that saw something."""
    return Seen(
        runs=tuple(
            InputSeen(
                **{name: getattr(item.sighting, name) for name in InputSeen.model_fields if name != "rows"},
                rows=tuple(RowSeen(row=row.row, sample_id=row.sample_id, picture_digest=row.picture_digest) for row in item.occurrences),
            )
            for item in exposures
        ),
        models=tuple(
            ModelSeen(
                run_id=item.run_id,
                run_name=item.run_name,
                started_at=item.started_at,
                reproduces=item.reproduces,
                name=item.model_name,
                digest=item.model_digest,
                path=hops(item.path),
            )
            for item in models
        ),
    )


def data_of(run: Run, inherited: Iterable[Inherited] = (), role: str | None = None) -> RunData:
    """What a run read, all of it or in one role."""

    def chosen(inputs: Iterable[InputRecord]) -> tuple[InputRecord, ...]:
        return tuple(item for item in inputs if role in (None, item.role))

    return RunData(
        run_id=run.id,
        name=run.name,
        reproduces=run.reproduces,
        inputs=chosen(run.inputs),
        inherited=tuple(
            InheritedData(run_id=item.run_id, name=item.run_name, path=hops(item.path), inputs=chosen(item.inputs)) for item in inherited
        ),
    )


def model_data(digest: str, runs: Iterable[tuple[Run, Iterable[Inherited]]]) -> ModelData:
    """What the runs behind a model read."""
    return ModelData(model_digest=digest, runs=tuple(data_of(run, inherited) for run, inherited in runs))


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
