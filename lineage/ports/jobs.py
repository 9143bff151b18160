"""The queue of jobs: whoever asks for one, and whoever does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lineage.model.materialisation import Happened, JobError, JobProgress, JobState, Materialisation, MaterialisationRequest, What


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs to list, newest first; ``None`` means any.

    Attributes:
        after: Go on below the job with this id.
    """

    run_id: str | None = None
    state: JobState | None = None
    after: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, newest first, and what the next page goes on from (``None`` on the last one)."""

    jobs: tuple[Materialisation, ...]
    next_cursor: str | None


class JobRequests(Protocol):
    """Asking for jobs and following them."""

    def enqueue(self, run_id: str, request: MaterialisationRequest, *, by: str, key: str | None = None) -> Materialisation:
        """Ask for a job. With a key that was used before, the job that was asked for then.

        Args:
            run_id: Whole id of the run.
            request: What is asked for.
            by: Who asks.
            key: Chosen by whoever asks; theirs alone.

        Raises:
            KeyReused: The key was used for something else.
        """

    def get(self, job_id: str) -> Materialisation:
        """The job with this whole id.

        Raises:
            NotFound: There is none.
        """

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Ids of jobs that begin with ``prefix``, at most ``limit``."""

    def find(self, query: JobQuery) -> JobPage:
        """Jobs that fit, newest first."""

    def happened(self, job_id: str, after: int, limit: int = 1_000) -> list[Happened]:
        """What happened to a job behind number ``after``: parts of its log in order, then the job when it changed.

        At most ``limit`` parts of the log; the job comes only when all of them are told.

        Raises:
            NotFound: There is no such job.
        """

    def cancel(self, job_id: str) -> Materialisation:
        """Call a job off: at once while it waits, else its worker ends it soon. One that is over stays as it is.

        Raises:
            NotFound: There is none.
        """

    def retry(self, job_id: str) -> Materialisation:
        """Queue a job again that failed or was cancelled.

        Raises:
            NotFound: There is none.
            Conflict: It is in another state.
        """

    def close(self) -> None:
        """Release what is held open."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to do a job, until its lease runs out.

    Attributes:
        job: As it was when it was claimed.
        fence: Grows with each claim of a job; whatever a worker says is refused once another one has a higher number.
    """

    job: Materialisation
    fence: int


class JobQueue(JobRequests, Protocol):
    """The worker's side. Time is the database's: clocks of workers may differ."""

    def claim(self, worker: str, kinds: Sequence[What], lease_s: float) -> Claim | None:
        """The job that has waited longest, or one whose worker's lease ran out; ``None`` when there is nothing to do.

        A job that was begun as often as is allowed ends as failed here, with code ``attempts``.

        Args:
            worker: Who takes it.
            kinds: What it can do.
            lease_s: Seconds for which it is the worker's without another word.
        """

    def heartbeat(self, claim: Claim, lease_s: float, progress: JobProgress | None = None) -> bool:
        """Say that the job is being done: renews the lease. Whether somebody called it off.

        Raises:
            LeaseLost: It is another worker's now, or over.
        """

    def note(
        self, claim: Claim, *, isolation: Sequence[str] | None = None, result_run_id: str | None = None, path: str | None = None
    ) -> None:
        """Note what became known of a job; what is not given stays.

        Raises:
            LeaseLost: It is another worker's now, or over.
        """

    def add_log(self, claim: Claim, text: str) -> None:
        """Add lines to a job's log. A log that has become too long is cut off with a word about it.

        Raises:
            LeaseLost: It is another worker's now, or over.
        """

    def finish(
        self,
        claim: Claim,
        state: JobState,
        *,
        verdict: str | None = None,
        result_run_id: str | None = None,
        path: str | None = None,
        size_bytes: int | None = None,
        error: JobError | None = None,
    ) -> Materialisation:
        """End a job: ``succeeded``, ``failed`` or ``cancelled``. Exactly one worker can.

        Raises:
            LeaseLost: It is another worker's now, or over.
        """

    def hand_back(self, claim: Claim) -> None:
        """Queue a job again that this worker cannot end now; the attempt does not count.

        Raises:
            LeaseLost: It is another worker's now, or over.
        """

    def forget_files(self, job_id: str) -> None:
        """Note that the files of a job that is over were deleted."""

    def wait(self, seconds: float, should_stop: Callable[[], bool]) -> None:
        """Wait until there may be something to do: so long at most, and no longer than until ``should_stop`` says yes."""
