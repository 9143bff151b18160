"""A run as a list shows it. Stores keep it ready beside the record: reading fifty of them parses no whole record."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from lineage.model.dataset import InputRecord
from lineage.model.run import Artifact, Run, RunState


class _Brief(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputBrief(_Brief):
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


class OutputBrief(_Brief):
    """An artifact in short."""

    name: str
    kind: str
    digest: str
    size_bytes: int


class RunBrief(_Brief):
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
        outputs=outputs_of(run.outputs),
        reproduces=run.reproduces,
        verdicts=tuple(item.verdict for item in run.reproductions if item.checked is None),
        fingerprint=run.fingerprint,
    )


def inputs_of(inputs: Iterable[InputRecord]) -> tuple[InputBrief, ...]:
    """Inputs in short."""
    return tuple(InputBrief(**{name: getattr(item, name) for name in InputBrief.model_fields}) for item in inputs)


def outputs_of(outputs: Iterable[Artifact]) -> tuple[OutputBrief, ...]:
    """Artifacts in short."""
    return tuple(OutputBrief(**{name: getattr(item, name) for name in OutputBrief.model_fields}) for item in outputs)
