"""A run: one execution of a job, as its record tells it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, computed_field, field_validator

from lineage.errors import InvalidSource
from lineage.model.calibration import Calibration
from lineage.model.code import CodeVersion, KeptCode, LoadedCode
from lineage.model.dataset import InputRecord
from lineage.model.digest import Digest, digest_of_json
from lineage.model.dvc import DvcRecord
from lineage.model.environment import Environment, InstalledCode
from lineage.model.imported import Imported
from lineage.model.observed import Observed
from lineage.model.push import Push
from lineage.model.steps import LoaderRecord, StepLogRecord
from lineage.model.sweep import StoppedEarly, SweepTrial

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


class Signature(BaseModel):
    """A signature over a record, as far as it had got.

    Attributes:
        envelope: Object with the signed statement (``lineage.model.signing``).
        public_key: The key that made it: Ed25519, 32 bytes as hexadecimal digits. Whose it is, is not said: who trusts it knows.
        covers: Digest of the last event that it covers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    envelope: Digest
    public_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    covers: Digest


class Reproduction(BaseModel):
    """A later run that was made to repeat this one, and how it came out.

    Attributes:
        checked: The part of the run that the verdict is about, for example ``steps 0 to 99``; ``None`` for the whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    verdict: Literal["identical", "equivalent", "diverged", "inconclusive"]
    at: datetime
    checked: str | None = None

    @property
    def words(self) -> str:
        """The verdict with its scope, for people."""
        return self.verdict if self.checked is None else f"{self.verdict} ({self.checked} only)"


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
        kept_code: What else of the code is in the object store: inner repositories, contents of Git LFS files.
        loaded: Files of modules that ran and that no snapshot holds; ``None`` while that is not known.
        installed: Which loaded files of installed packages are not what was installed; wheels of packages that no index serves.
        secret_variables: Environment variables with secrets that the code names; their values are nowhere in the record.
        determinism: Settings that decide the bits: seeds taken, thread counts, deterministic algorithms, and the promise they allow.
        reads: Which rows of the inputs were really read, by epoch, as far as it was observed.
        uses: Files of other runs that it started from.
        loaders: How batches of its inputs were made.
        step_logs: One for each process of the training.
        trackers: What other systems call this run, by system.
        axes: Which metric is the horizontal axis of another, by that one's name; with ``*`` at its end of all whose names begin so.
        notes: What could not be found out or recorded, one sentence each.
        reproduces: The run that this one was made to repeat.
        repeats: The run whose recorded command this one runs with another seed.
        resumes: The run that this one goes on with, from a checkpoint of it.
        sweep: The trial of a sweep that it is.
        stopped_early: Where its sweep ended it, when it did.
        metrics_digest: Over every metric point in order, taken when the run ended.
        reproductions: Later runs made to repeat this one.
        signatures: By whom it was signed.
        observed: What was seen of its command from outside; ``None`` when it was not observed.
        dvc: The DVC repository around it, and the stage that it is, if any.
        pushes: DVC remotes that hold what it made and needs.
        calibration: How much repetitions of it differed from one another, when that was measured.
        imported: Where the record was read from, when another system made it; this layer then never saw the run.
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
    kept_code: KeptCode = KeptCode()
    loaded: LoadedCode | None = None
    environment: Environment | None = None
    installed: InstalledCode | None = None
    secret_variables: tuple[str, ...] = ()
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
    axes: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    error: str | None = None
    reproduces: str | None = None
    repeats: str | None = None
    resumes: ResumedFrom | None = None
    sweep: SweepTrial | None = None
    stopped_early: StoppedEarly | None = None
    metrics_digest: Digest | None = None
    reproductions: tuple[Reproduction, ...] = ()
    calibration: Calibration | None = None
    signatures: tuple[Signature, ...] = ()
    observed: Observed | None = None
    dvc: DvcRecord | None = None
    pushes: tuple[Push, ...] = ()
    imported: Imported | None = None

    @field_validator("schema_version")
    @classmethod
    def _is_known(cls, value: int) -> int:
        # Looked at first, and no ValueError: whatever else does not fit, this is why.
        if value > SCHEMA_VERSION:
            raise InvalidSource(
                f"the record has schema version {value}, this release reads versions up to {SCHEMA_VERSION}",
                hint="it was written by a newer release of dataset-lineage: install that one",
            )
        return value

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
                "tree": None if self.code is None else self.code.content,
                "environment": None if self.environment is None else self.environment.digest,
                "inputs": [[item.role, item.content_digest] for item in self.inputs],
                "config": self.config,
                "seed": self.seed,
                "determinism": self.determinism,
            }
            | ({"loaded": self.loaded.files} if self.loaded is not None and self.loaded.files else {})
            | (
                {"altered": [[item.path, item.digest] for item in altered]}
                if (altered := self.installed and self.installed.altered)
                else {}
            )
        )

    def code_objects(self) -> set[str]:
        """Digests of all objects that its code needs, where the repository is lost."""
        files = [*self.kept_code.large, *(() if self.loaded is None else (*self.loaded.outside, *self.loaded.inside))]
        packages = () if self.installed is None else self.installed.objects()
        return {item.digest for item in files}.union(self.code_packs, packages, *self.kept_code.inner.values())

    def packs_of(self, path: str) -> tuple[Digest, ...]:
        """Packs that hold the code of the repository at ``path`` inside the run's own; of that one itself for an empty path."""
        return self.kept_code.inner.get(path, ()) if path else self.code_packs

    def inputs_by_role(self) -> dict[str, list[InputRecord]]:
        """Inputs under their role, in the order of use."""
        roles: dict[str, list[InputRecord]] = {}
        for item in self.inputs:
            roles.setdefault(item.role, []).append(item)
        return roles
