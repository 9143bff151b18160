"""Answers of the API that are not records themselves. Times are UTC, ISO 8601; names carry their units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lineage.lookup.data import Inherited
from lineage.lookup.graph import Hop
from lineage.lookup.models import ModelUse
from lineage.lookup.rows import Exposure, Occurrence
from lineage.model.dataset import InputRecord
from lineage.model.listing import RunBrief
from lineage.model.run import MetricPoint, Run
from lineage.model.steps import StepRowsShown

Number = float | Literal["nan", "inf", "-inf"]
"""A float; JSON has no number for the three that are not finite."""

_NOT_FINITE: dict[str, Literal["nan", "inf", "-inf"]] = {"nan": "nan", "inf": "inf", "-inf": "-inf"}


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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


class StepOfRun(_Answer):
    """One step of a training. Digests are hexadecimal, `null` where none was taken.

    Attributes:
        step: Counted from 0; -1 is the state before the first.
        rows: What was read for it.
        losses: One for each tensor that `backward` was called on.
        batch: Digest of what the loader yielded.
        input: Digest of what the model got.
        gradient: Digest of the gradients as the optimizer saw them.
        parameters: Digest of parameters and buffers after it.
    """

    step: int
    rows: tuple[StepRowsShown, ...]
    losses: tuple[Number, ...]
    batch: str | None
    input: str | None
    gradient: str | None
    parameters: str | None


class RunSteps(_Answer):
    """The step log of one process of a run, a page at a time.

    Attributes:
        every: Gradients and parameters were digested every so many steps.
        steps: Number of steps of the whole log.
        head: Chain digest of its last line: equal heads mean equal logs.
        torn: What was cut off at its end.
    """

    run_id: str
    rank: int
    every: int
    steps: int
    head: str
    torn: str | None
    records: tuple[StepOfRun, ...]
    next_cursor: str | None


class Models(_Answer):
    """Models, newest first; then those that were fine-tuned from them."""

    models: tuple[ModelSeen, ...]


class Spread(_Answer):
    """The last values of a metric over the runs of a group.

    Attributes:
        metric: Its name.
        count: Runs that have a finite one.
        std: Standard deviation of the sample; `null` for a single value.
    """

    metric: str
    count: int
    mean: float
    std: float | None
    min: float
    max: float


class RunGroup(_Answer):
    """Runs that share some values.

    Attributes:
        values: What they share, in the order of `by`.
        runs: How many they are.
        run_ids: The newest of them, a hundred at most.
    """

    values: tuple[Any, ...]
    runs: int
    run_ids: tuple[str, ...]
    metrics: tuple[Spread, ...]


class RunGroups(_Answer):
    """Runs put together, the largest group first.

    Attributes:
        by: What they are put together by.
        runs: How many runs were looked at, newest first.
        is_whole: Whether these are all that fit.
    """

    by: tuple[str, ...]
    runs: int
    is_whole: bool
    groups: tuple[RunGroup, ...]


class Health(_Answer):
    """The service answers, and its store does."""

    status: Literal["ok"] = "ok"
    version: Annotated[str, Field(description="Release of dataset-lineage.")]


def hops(path: Iterable[Hop]) -> tuple[HopBrief, ...]:
    """Steps of fine-tuning."""
    return tuple(HopBrief(**asdict(hop)) for hop in path)


_TOLD = tuple(name for name in InputSeen.model_fields if name != "rows")
_told_of = attrgetter(*_TOLD)


def seen(exposures: Iterable[Exposure], models: Iterable[ModelUse]) -> Seen:
    """Runs and models that saw something."""

    @cache  # thousands of runs may have seen one row
    def row_seen(row: Occurrence) -> RowSeen:
        return RowSeen(row=row.row, sample_id=row.sample_id, picture_digest=row.picture_digest)

    runs = (
        InputSeen(**dict(zip(_TOLD, _told_of(item.sighting), strict=True)), rows=tuple(map(row_seen, item.occurrences)))
        for item in exposures
    )
    return Seen(runs=tuple(runs), models=models_seen(models))


def models_seen(models: Iterable[ModelUse]) -> tuple[ModelSeen, ...]:
    """Models that saw something."""
    return tuple(
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
