"""A run: one execution of a job, as its record tells it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, computed_field, field_validator

from lineage.model.code import CodeVersion
from lineage.model.dataset import InputRecord
from lineage.model.digest import Digest, digest_of_json
from lineage.model.environment import Environment
from lineage.model.steps import LoaderRecord, StepLogRecord

SCHEMA_VERSION = 1
FindEnvironment = Callable[[str], Environment]
"""Finds an environment by its digest: stores keep each once, and the digest in the record."""


class RunState(StrEnum):
    """Where a run stands. ``aborted``: its process ended without a word (killed, interrupted, power lost)."""

    running = "running"
    finished = "finished"
    failed = "failed"
    aborted = "aborted"


class Artifact(BaseModel):
    """A file a run made, kept in the object store under its digest.

    Attributes:
        name: Unique within the run.
        kind: ``model``, ``dataset``, ``report``, ``file``.
        path: Where the run had it; relative to the repository when it was inside.
        details: Free facts, for example the identity of an uploaded dataset version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: str
    path: str
    digest: Digest
    size_bytes: int
    details: dict[str, Any] = {}


class UsedArtifact(BaseModel):
    """A file that another run made (or nobody recorded), which this run started from: base weights, for example.

    Attributes:
        role: What it was used for, for example ``base``.
        kind: ``model``, ``file``.
        path: Where it was read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    kind: str
    path: str
    digest: Digest
    size_bytes: int
    used_at: datetime


class RowsRead(BaseModel):
    """Which rows of an input were really read, in a range of epochs that read the same ones.

    Attributes:
        ordinal: Number of the input in the run's record, counted from 0.
        first_epoch: First epoch of the range; ``None`` for reads outside an epoch.
        last_epoch: Last epoch of the range, included.
        rows: How many different rows.
        positions_object: Object with the positions in the view (``lineage.record.reads``); ``None`` when every row was read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ordinal: int
    first_epoch: int | None
    last_epoch: int | None
    rows: int
    positions_object: Digest | None = None


class ResumedFrom(BaseModel):
    """Where a run goes on that another began.

    Attributes:
        run_id: The run that was broken off.
        step: Optimizer steps done before; the next one has this number.
        checkpoint: Digest of the checkpoint's file.
        metric_points: How many of its metric points belong to the steps before, and were taken over.
        changed: Names of configuration fields that differ, allowed by whoever resumed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    step: int
    checkpoint: Digest
    metric_points: int
    changed: tuple[str, ...] = ()


class Reproduction(BaseModel):
    """A later run that was made to repeat this one, and how it came out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    verdict: Literal["identical", "equivalent", "diverged", "inconclusive"]
    at: datetime


class MetricPoint(BaseModel):
    """One call of ``run.log``: all its values at one step.

    Attributes:
        step: Counted from 0 in the order of the calls, unless the caller gave one.
        values: Metric name to value. A value that is not finite is kept as ``nan``, ``inf`` or ``-inf``.
        at: Seconds since the epoch (UTC).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    step: int
    values: dict[str, float]
    at: float


class Run(BaseModel):
    """A run's record.

    Attributes:
        id: 32 random hexadecimal digits; a unique prefix is enough wherever a run is named.
        command: The command line, ``python`` standing for the recorded interpreter.
        working_directory: Where it was started, relative to the repository's top folder when inside it.
        process_ordinal: How many runs its process had begun before it.
        code_packs: Objects that hold the code's snapshot, for when its repository is lost.
        determinism: Settings that decide the bits: seeds taken, thread counts, deterministic algorithms, and the promise they allow.
        reads: Which rows of the inputs were really read, by epoch, as far as it was observed.
        uses: Files of other runs that it started from.
        loaders: How batches of its inputs were made.
        step_logs: One for each process of the training.
        trackers: What other systems call this run, by system.
        notes: What could not be found out or recorded, one sentence each.
        reproduces: The run that this one was made to repeat.
        resumes: The run that this one goes on with, from a checkpoint of it.
        metrics_digest: Over every metric point in order, taken when the run ended.
        reproductions: Later runs made to repeat this one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    id: str
    name: str
    project: str
    group: str | None = None
    job_type: str
    tags: tuple[str, ...] = ()
    state: RunState = RunState.running
    started_at: datetime
    ended_at: datetime | None = None
    command: tuple[str, ...] = ()
    working_directory: str = "."
    process_ordinal: int = 0
    code: CodeVersion | None = None
    code_packs: tuple[Digest, ...] = ()
    environment: Environment | None = None
    host: str = ""
    user: str = ""
    inputs: tuple[InputRecord, ...] = ()
    reads: tuple[RowsRead, ...] = ()
    uses: tuple[UsedArtifact, ...] = ()
    loaders: tuple[LoaderRecord, ...] = ()
    step_logs: tuple[StepLogRecord, ...] = ()
    config: dict[str, Any] = {}
    seed: int | None = None
    determinism: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    outputs: tuple[Artifact, ...] = ()
    trackers: dict[str, dict[str, Any]] = {}
    notes: tuple[str, ...] = ()
    error: str | None = None
    reproduces: str | None = None
    resumes: ResumedFrom | None = None
    metrics_digest: Digest | None = None
    reproductions: tuple[Reproduction, ...] = ()

    @field_validator("environment", mode="before")
    @classmethod
    def _environment_by_digest(cls, value: Any, info: ValidationInfo) -> Any:
        find: FindEnvironment | None = (info.context or {}).get("find_environment")
        return find(value) if isinstance(value, str) and find is not None else value

    @computed_field  # type: ignore[prop-decorator]  # pydantic documents this stacking; mypy cannot express it
    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end, ``None`` while it runs."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def fingerprint(self) -> str:
        """Digest of everything that should decide the result: equal fingerprints should give equal results."""
        return digest_of_json(
            {
                "command": list(self.command),
                "working_directory": self.working_directory,
                "tree": None if self.code is None else self.code.tree_sha,
                "environment": None if self.environment is None else self.environment.digest,
                "inputs": [[item.role, item.content_digest] for item in self.inputs],
                "config": self.config,
                "seed": self.seed,
                "determinism": self.determinism,
            }
        )

    def inputs_by_role(self) -> dict[str, list[InputRecord]]:
        """Inputs under their role, in the order of use."""
        roles: dict[str, list[InputRecord]] = {}
        for item in self.inputs:
            roles.setdefault(item.role, []).append(item)
        return roles
