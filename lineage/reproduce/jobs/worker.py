"""The worker's loop: take a job, do it, say how it came out; tidy up; wait."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lineage.errors import InvalidSource, LeaseLost, LineageError, NoSpace, Unavailable
from lineage.model.access import without_tokens
from lineage.model.materialisation import JobError, JobState, What
from lineage.ports.executor import Limits
from lineage.ports.jobs import Claim
from lineage.reproduce.jobs import folders
from lineage.reproduce.jobs.attempt import Attempt, Stopped
from lineage.reproduce.jobs.data import data, workspace
from lineage.reproduce.jobs.rerun import rerun
from lineage.reproduce.jobs.workshop import Outcome, Workshop

_WAIT_S = 5.0
_TIDY_EVERY_S = 600.0
_AWAY_S = 2.0
_MOST_WORDS = 2_000

KINDS: Mapping[What, Callable[[Workshop, Attempt], Outcome]] = {"data": data, "workspace": workspace, "rerun": rerun}


class Worker:
    """Does jobs, one at a time.

    Args:
        shop: What it works with.
        kinds: What it does.
        should_end: Whether it is to end; the job that it has is then handed back.
        say: Told, in words, of what it does: (``done``, ``warning`` or ``error``, text).
        on_error: Told of an error that nobody foresaw.
        keep_days: So long results stay.
    """

    def __init__(
        self,
        shop: Workshop,
        kinds: Sequence[What],
        *,
        should_end: Callable[[], bool],
        say: Callable[[str, str], None],
        on_error: Callable[[Exception], None],
        keep_days: float = 7.0,
    ) -> None:
        self._shop, self._kinds, self._should_end, self._say, self._on_error = shop, kinds, should_end, say, on_error
        self._keep_days = keep_days
        self._tidied: float | None = None

    def work(self, *, once: bool = False) -> int:
        """Until it is to end, or with ``once`` until there is nothing to do; how many jobs it ended.

        Raises:
            Unavailable: With ``once``: the queue cannot be used.
        """
        ended = 0
        while not self._should_end():
            try:
                self._tidy()
                claim = self._shop.queue.claim(self._shop.name, self._kinds, self._shop.lease_s)
                if claim is None:
                    if once:
                        break
                    self._shop.queue.wait(_WAIT_S, self._should_end)
                else:
                    ended += self._do(claim)
            except Unavailable as error:
                if once:
                    raise
                self._say("warning", error.message)
                deadline = time.monotonic() + _AWAY_S
                while time.monotonic() < deadline and not self._should_end():
                    time.sleep(0.1)
        return ended

    def _tidy(self) -> None:
        if self._tidied is None or time.monotonic() - self._tidied > _TIDY_EVERY_S:
            for job_id in folders.tidy(self._shop.folder, self._shop.queue, self._keep_days):
                self._say("done", f"the folder of job {job_id[:12]} is deleted")
            self._tidied = time.monotonic()

    def _do(self, claim: Claim) -> bool:
        """Whether the job is over now."""
        shop, job = self._shop, claim.job
        self._say("done", f"job {job.id[:12]}: {job.what} of run {job.run_id[:12]}, attempt {job.attempt}")
        limits = shop.limits_of(job.options)
        attempt: Attempt | None = None
        try:
            attempt = Attempt(shop.queue, claim, folders.new_folder(shop.folder, job, claim.fence), shop.lease_s, limits, self._should_end)
            with attempt:
                outcome = KINDS[job.what](shop, attempt)
        except Stopped as stopped:
            return self._stopped(claim, stopped, limits)
        except LeaseLost as error:
            self._say("warning", error.message)
            return False
        except LineageError as error:
            problems = error.problems if isinstance(error, InvalidSource) else ()
            message = "; ".join([error.message, *problems[:3]])
            outcome = Outcome(error=JobError(code=error.code, message=message, hint=error.hint))
        except OSError as error:
            code = NoSpace.code if error.errno in (errno.ENOSPC, errno.EDQUOT) else Unavailable.code
            outcome = Outcome(error=JobError(code=code, message=f"the folder of the job cannot be used: {error.strerror}"))
        except Exception as error:  # noqa: BLE001 - one job that breaks must not end the worker, nor be begun for ever
            self._on_error(error)
            message = f"an error that nobody foresaw ({type(error).__name__}); the worker's log has the details"
            outcome = Outcome(error=JobError(code="internal", message=message))
        except BaseException:  # the process is told to end at once
            shop.queue.hand_back(claim)
            raise
        return self._finish(claim, outcome)

    def _stopped(self, claim: Claim, stopped: Stopped, limits: Limits) -> bool:
        if stopped.reason == "cancelled":
            return self._finish(claim, Outcome(), JobState.cancelled)
        if stopped.reason in ("time", "disk"):
            return self._finish(claim, Outcome(error=stopped.error(limits)))
        if stopped.reason == "ended":
            self._shop.queue.hand_back(claim)
            self._say("done", f"job {claim.job.id[:12]} is handed back")
        else:
            self._say("warning", f"job {claim.job.id[:12]} is another worker's now")
        return False

    def _finish(self, claim: Claim, outcome: Outcome, state: JobState | None = None) -> bool:
        state = state or (JobState.succeeded if outcome.error is None else JobState.failed)
        wrong = None if outcome.error is None else _shown(outcome.error)
        try:
            self._shop.queue.finish(
                claim,
                state,
                verdict=outcome.verdict,
                result_run_id=outcome.result_run_id,
                path=None if outcome.path is None else str(outcome.path),
                size_bytes=outcome.size_bytes,
                error=wrong,
            )
        except LeaseLost as error:
            self._say("warning", error.message)
            return False
        told = wrong.message if wrong is not None else outcome.verdict or str(outcome.path or "")
        self._say("error" if wrong is not None else "done", f"job {claim.job.id[:12]}: {state}{f': {told}' if told else ''}")
        if outcome.path is None:
            folders.delete(self._shop.folder, claim.job.id)
        else:
            _keep_result_alone(outcome.path)
        return True


def _shown(error: JobError) -> JobError:
    # Some of it may be the recorded code's own words, which are in every list of jobs from now on.
    hint = None if error.hint is None else without_tokens(error.hint)[:_MOST_WORDS]
    return JobError(code=error.code, message=without_tokens(error.message)[:_MOST_WORDS], hint=hint)


def _keep_result_alone(result: Path) -> None:
    for other in result.parent.iterdir():
        if other != result:
            if other.is_dir() and not other.is_symlink():
                shutil.rmtree(other, ignore_errors=True)
            else:
                other.unlink(missing_ok=True)
