"""What people ask workers for: data, a workspace or a re-run of a recorded run. Pure values."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

What = Literal["data", "workspace", "rerun"]

_ONLY: dict[str, tuple[str, ...]] = {
    "format": ("data",),
    "role": ("data",),
    "until_step": ("rerun",),
    "environment": ("workspace", "rerun"),
    "network": ("rerun",),
}
_MOST_BYTES = 2**50


class JobState(StrEnum):
    """Where a job is. The last three are ends."""

    queued = "queued"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether nothing more happens unless somebody asks for it."""
        return self not in (JobState.queued, JobState.running)


class MaterialisationRequest(BaseModel):
    """What is asked for.

    Attributes:
        what: `data`: the rows as files or a dataset; `workspace`: code, environment and data, ready to run; `rerun`: run it and compare.
        format: Of the data.
        role: Only inputs of this role.
        until_step: Stop when this step is done; the verdict is then about the steps up to it.
        environment: `recorded`: built again; `current`: the worker's; `auto`: the current one where it is the recorded one, else recorded.
        network: Let the run reach the network.
        seconds: Time it may take; never more than the worker allows, as the two after it.
        memory_bytes: Memory the run may use.
        disk_bytes: What it may write.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: What = Field(examples=["rerun"])
    format: Literal["deeplake", "visdrone", "coco", "yolo"] = "deeplake"
    role: str | None = Field(None, max_length=40, min_length=1)
    until_step: int | None = Field(None, ge=0, lt=2**53)
    environment: Literal["recorded", "current", "auto"] = "auto"
    network: bool = False
    seconds: int | None = Field(None, ge=1, le=10**9)
    memory_bytes: int | None = Field(None, ge=1, le=_MOST_BYTES)
    disk_bytes: int | None = Field(None, ge=1, le=_MOST_BYTES)

    @model_validator(mode="after")
    def _check(self) -> MaterialisationRequest:
        for name, kinds in _ONLY.items():
            if self.what not in kinds and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"'{name}' goes with {' and '.join(kinds)}, not with {self.what}")
        return self


class JobError(BaseModel):
    """Why a job failed.

    Attributes:
        code: For programs: a code of our errors, or `time`, `memory`, `disk`, `lost`, `blocked`, `attempts`, `internal`.
        message: For people.
        hint: What to do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    message: str
    hint: str | None = None


class JobProgress(BaseModel):
    """How far one part of a job has got."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    done: int
    total: int


class Materialisation(BaseModel):
    """A job: what was asked for, and what became of it. Times are the database's.

    Attributes:
        options: What was asked for.
        attempt: How often a worker began it.
        attempts_allowed: A worker that dies has its job done by another, so often at most.
        requested_by: Token or address.
        heartbeat_at: When its worker last said that it is at work.
        worker: Host, process and name of the worker that has it, or had it.
        isolation: What held for the recorded code while it ran.
        verdict: Of a re-run.
        result_run_id: The run that a re-run made.
        path: Folder of the result where the worker put it.
        files_url: Where the result can be downloaded; `null` where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    run_id: str
    what: What
    options: MaterialisationRequest
    state: JobState
    attempt: int = 0
    attempts_allowed: int = 3
    requested_by: str
    requested_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    heartbeat_at: datetime | None = None
    worker: str | None = None
    cancel_requested: bool = False
    progress: JobProgress | None = None
    isolation: tuple[str, ...] = ()
    verdict: str | None = None
    result_run_id: str | None = None
    path: str | None = None
    size_bytes: int | None = None
    files_url: str | None = None
    error: JobError | None = None


class Happened(BaseModel):
    """Something of a job, for those who follow it.

    Attributes:
        number: Grows with each change of a job; go on behind it.
        job: The job as it is now, for a change of state.
        text: Lines of its log.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    job: Materialisation | None = None
    text: str | None = None
