"""A claim table in the database of the records. The table is the truth; a bell only tells workers when to look."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol

from lineage.errors import Conflict, KeyReused, LeaseLost, NotFound, UsageError
from lineage.model.digest import canonical_json, digest_of_bytes
from lineage.model.materialisation import Happened, JobError, JobProgress, JobState, Materialisation, MaterialisationRequest, What
from lineage.ports.jobs import Claim, JobPage, JobQuery

SQLITE_CLOCK = "(julianday('now') - 2440587.5) * 86400.0"
POSTGRES_CLOCK = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"
"""Seconds since the epoch, as each database counts them."""

_POLL_S = 0.5
_STOP_LOOK_S = 0.1
_ATTEMPTS = 3
_LOG_BYTES = 8 << 20
_LOG_CUT = "(the log has become too long; what follows is not kept)\n"

_COLUMNS = (
    "id, run_id, what, options, state, attempt, attempts_allowed, requested_by, requested_at, started_at, ended_at, heartbeat_at, "
    "worker, cancel_requested, progress, isolation, verdict, result_run_id, path, size_bytes, error, fence, change, number"
)
_CLOSED = "lease_until = NULL, change = change + 1"

_Execute = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


class _Database(Protocol):
    def writing(self) -> AbstractContextManager[_Execute]: ...

    def reading(self) -> AbstractContextManager[_Execute]: ...

    def close(self) -> None: ...


class Bell(Protocol):
    """Tells workers that there may be something to do. One that is not heard costs time, nothing else."""

    def ring(self, job_id: str) -> None:
        """Ring once the transaction is done that this thread has open."""

    def wait(self, seconds: float, should_stop: Callable[[], bool]) -> None:
        """Until it rings; so long at most, and no longer than until ``should_stop`` says yes."""

    def close(self) -> None:
        """Release what is held open."""


class LookingAgain:
    """No bell: whoever waits looks twice a second. See :class:`Bell`."""

    def ring(self, job_id: str) -> None:
        """Nothing to do."""

    def wait(self, seconds: float, should_stop: Callable[[], bool]) -> None:
        """A short while."""
        deadline = time.monotonic() + min(seconds, _POLL_S)
        while (left := deadline - time.monotonic()) > 0 and not should_stop():
            time.sleep(min(left, _STOP_LOOK_S))

    def close(self) -> None:
        """Nothing is open."""


class SqlJobQueue:
    """See :class:`lineage.ports.jobs.JobQueue`.

    Args:
        database: Of the records.
        clock: What tells its time, in seconds since the epoch.
        bell: Wakes workers.
    """

    def __init__(self, database: _Database, clock: str, bell: Bell | None = None) -> None:
        self._database, self._clock = database, clock
        self._bell: Bell = LookingAgain() if bell is None else bell

    def close(self) -> None:
        """Close every connection."""
        self._bell.close()
        self._database.close()

    # --- asking ---------------------------------------------------------------------------------------------------------------

    def enqueue(self, run_id: str, request: MaterialisationRequest, *, by: str, key: str | None = None) -> Materialisation:
        options = canonical_json(request.model_dump(mode="json")).decode()
        digest = digest_of_bytes(f"{run_id}\n{options}".encode())
        whole_key = None if key is None else f"{by}\n{key}"
        job_id = uuid.uuid4().hex
        with self._database.writing() as execute:
            if key is not None and (
                before := execute("SELECT id, request_digest FROM materialisations WHERE request_key = ?", (whole_key,))
            ):
                if before[0][1] != digest:
                    raise KeyReused(key)
                return _job(_row(execute, before[0][0]))
            execute(
                "INSERT INTO materialisations (id, number, run_id, what, options, state, attempt, attempts_allowed, requested_by, "
                "requested_at, fence, change, log_bytes, cancel_requested, isolation, request_key, request_digest) "
                f"SELECT ?, COALESCE(MAX(number), 0) + 1, ?, ?, ?, 'queued', 0, ?, ?, {self._clock}, 0, 1, 0, 0, '[]', ?, ? "
                "FROM materialisations",
                (job_id, run_id, request.what, options, _ATTEMPTS, by, whole_key, digest),
            )
            self._bell.ring(job_id)
            return _job(_row(execute, job_id))

    def get(self, job_id: str) -> Materialisation:
        with self._database.reading() as execute:
            return _job(_row(execute, job_id))

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        if not prefix.isascii() or not prefix.isalnum():
            return []
        with self._database.reading() as execute:
            # Ids are hexadecimal: 'g' comes behind all that begin alike.
            sql = "SELECT id FROM materialisations WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
            return [found for (found,) in execute(sql, (prefix, f"{prefix}g", limit))]

    def find(self, query: JobQuery) -> JobPage:
        conditions, parameters = ["1 = 1"], list[Any]()
        with self._database.reading() as execute:
            if query.after is not None:
                place = execute("SELECT number FROM materialisations WHERE id = ?", (query.after,))
                if not place:
                    raise UsageError("the cursor is not one that this service gave", hint="leave it out to begin with the newest job")
                conditions.append("number < ?")
                parameters.append(place[0][0])
            for column, value in (("run_id", query.run_id), ("state", query.state)):
                if value is not None:
                    conditions.append(f"{column} = ?")
                    parameters.append(str(value))
            sql = f"SELECT {_COLUMNS} FROM materialisations WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?"
            found = [_job(row) for row in execute(sql, (*parameters, query.limit + 1))]
        shown = tuple(found[: query.limit])
        return JobPage(shown, shown[-1].id if len(found) > query.limit else None)

    def happened(self, job_id: str, after: int, limit: int = 1_000) -> list[Happened]:
        with self._database.reading() as execute:
            row = _row(execute, job_id)
            change: int = row[22]
            sql = "SELECT number, text FROM materialisation_log WHERE job = ? AND number > ? AND number <= ? ORDER BY number LIMIT ?"
            told = [Happened(number=number, text=text) for number, text in execute(sql, (job_id, after, change, limit))]
        if change > after and len(told) < limit:
            told.append(Happened(number=change, job=_job(row)))
        return told

    def cancel(self, job_id: str) -> Materialisation:
        with self._database.writing() as execute:
            _row(execute, job_id)
            execute(
                f"UPDATE materialisations SET state = 'cancelled', ended_at = {self._clock}, cancel_requested = 1, {_CLOSED} "
                f"WHERE id = ? AND (state = 'queued' OR (state = 'running' AND lease_until < {self._clock}))",
                (job_id,),
            )
            execute(
                "UPDATE materialisations SET cancel_requested = 1, change = change + 1 "
                "WHERE id = ? AND state = 'running' AND cancel_requested = 0",
                (job_id,),
            )
            return _job(_row(execute, job_id))

    def retry(self, job_id: str) -> Materialisation:
        with self._database.writing() as execute:
            before = _job(_row(execute, job_id))
            if before.state not in (JobState.failed, JobState.cancelled):
                raise Conflict(f"job {job_id[:12]} is {before.state}", hint="only one that failed or was cancelled can be tried again")
            execute(
                "UPDATE materialisations SET state = 'queued', attempts_allowed = attempt + ?, ended_at = NULL, error = NULL, "
                "verdict = NULL, progress = NULL, cancel_requested = 0, change = change + 1 WHERE id = ?",
                (_ATTEMPTS, job_id),
            )
            self._bell.ring(job_id)
            return _job(_row(execute, job_id))

    # --- doing ----------------------------------------------------------------------------------------------------------------

    def claim(self, worker: str, kinds: Sequence[What], lease_s: float) -> Claim | None:
        is_open = f"(state = 'queued' OR (state = 'running' AND lease_until < {self._clock}))"
        wanted = ", ".join("?" * len(kinds))
        first = f"SELECT id FROM materialisations WHERE {is_open} AND what IN ({wanted}) ORDER BY number LIMIT 1"
        with self._database.reading() as execute:
            if not execute(first, tuple(kinds)):  # nothing to do: nobody else has to wait for this look
                return None
        with self._database.writing() as execute:
            self._end_expired(execute)
            if not (found := execute(first, tuple(kinds))):
                return None
            execute(
                "UPDATE materialisations SET state = 'running', attempt = attempt + 1, fence = fence + 1, worker = ?, progress = NULL, "
                f"isolation = '[]', started_at = {self._clock}, heartbeat_at = {self._clock}, lease_until = {self._clock} + ?, "
                "change = change + 1 WHERE id = ?",
                (worker, lease_s, found[0][0]),
            )
            row = _row(execute, found[0][0])
            return Claim(_job(row), row[21])

    def _end_expired(self, execute: _Execute) -> None:
        expired = f"state = 'running' AND lease_until < {self._clock}"
        execute(
            f"UPDATE materialisations SET state = 'cancelled', ended_at = {self._clock}, {_CLOSED} "
            f"WHERE {expired} AND cancel_requested = 1",
            (),
        )
        error = JobError(code="attempts", message="every worker that began it ended before it did", hint="its log says how far each got")
        execute(
            f"UPDATE materialisations SET state = 'failed', ended_at = {self._clock}, error = ?, {_CLOSED} "
            f"WHERE {expired} AND attempt >= attempts_allowed",
            (error.model_dump_json(),),
        )

    def heartbeat(self, claim: Claim, lease_s: float, progress: JobProgress | None = None) -> bool:
        text = None if progress is None else progress.model_dump_json()
        sets = f"heartbeat_at = {self._clock}, lease_until = {self._clock} + ?"
        parameters: list[Any] = [lease_s]
        if text is not None:
            sets += ", change = change + CASE WHEN progress IS NULL OR progress <> ? THEN 1 ELSE 0 END, progress = ?"
            parameters += [text, text]
        return bool(self._change(claim, sets, parameters))

    def note(
        self, claim: Claim, *, isolation: Sequence[str] | None = None, result_run_id: str | None = None, path: str | None = None
    ) -> None:
        told = {"isolation": None if isolation is None else json.dumps(list(isolation)), "result_run_id": result_run_id, "path": path}
        given = {name: value for name, value in told.items() if value is not None}
        self._change(claim, ", ".join([*(f"{name} = ?" for name in given), "change = change + 1"]), list(given.values()))

    def add_log(self, claim: Claim, text: str) -> None:
        plain = text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
        with self._database.writing() as execute:
            self._mine(execute, claim, "change = change + 1", ())
            number, so_far = execute("SELECT change, log_bytes FROM materialisations WHERE id = ?", (claim.job.id,))[0]
            if so_far >= _LOG_BYTES:
                return
            size = len(plain.encode())
            if so_far + size >= _LOG_BYTES:
                plain = plain[: _LOG_BYTES - so_far] + "\n" + _LOG_CUT
                size = _LOG_BYTES
            execute("UPDATE materialisations SET log_bytes = log_bytes + ? WHERE id = ?", (size, claim.job.id))
            execute("INSERT INTO materialisation_log (job, number, text) VALUES (?, ?, ?)", (claim.job.id, number, plain))

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
        if not state.is_end:
            raise ValueError(f"a job does not end as {state}")
        sets = (
            f"state = ?, ended_at = {self._clock}, verdict = ?, result_run_id = COALESCE(?, result_run_id), path = ?, size_bytes = ?, "
            f"error = ?, {_CLOSED}"
        )
        text = None if error is None else error.model_dump_json()
        with self._database.writing() as execute:
            self._mine(execute, claim, sets, (str(state), verdict, result_run_id, path, size_bytes, text))
            return _job(_row(execute, claim.job.id))

    def hand_back(self, claim: Claim) -> None:
        with self._database.writing() as execute:
            sets = (
                "state = CASE WHEN cancel_requested = 1 THEN 'cancelled' ELSE 'queued' END, "
                f"ended_at = CASE WHEN cancel_requested = 1 THEN {self._clock} ELSE NULL END, "
                f"attempt = attempt - 1, progress = NULL, {_CLOSED}"
            )
            self._mine(execute, claim, sets, ())
            self._bell.ring(claim.job.id)

    def forget_files(self, job_id: str) -> None:
        with self._database.writing() as execute:
            execute("UPDATE materialisations SET path = NULL, change = change + 1 WHERE id = ? AND lease_until IS NULL", (job_id,))

    def wait(self, seconds: float, should_stop: Callable[[], bool]) -> None:
        self._bell.wait(seconds, should_stop)

    def _change(self, claim: Claim, sets: str, parameters: Sequence[Any]) -> int:
        with self._database.writing() as execute:
            return self._mine(execute, claim, sets, parameters)

    def _mine(self, execute: _Execute, claim: Claim, sets: str, parameters: Sequence[Any]) -> int:
        """Change a job that is this worker's; whether it was called off."""
        found = execute(
            f"UPDATE materialisations SET {sets} WHERE id = ? AND fence = ? AND state = 'running' RETURNING cancel_requested",
            (*parameters, claim.job.id, claim.fence),
        )
        if not found:
            raise LeaseLost(claim.job.id)
        called_off: int = found[0][0]
        return called_off


def _row(execute: _Execute, job_id: str) -> tuple[Any, ...]:
    found = execute(f"SELECT {_COLUMNS} FROM materialisations WHERE id = ?", (job_id,))
    if not found:
        raise NotFound("job", job_id, hint="`lineage jobs list` shows them")
    return found[0]


def _job(row: tuple[Any, ...]) -> Materialisation:
    names = [name.strip() for name in _COLUMNS.split(",")]
    told = dict(zip(names, row, strict=True))
    for name in ("fence", "change", "number"):
        del told[name]
    for name in ("requested_at", "started_at", "ended_at", "heartbeat_at"):
        told[name] = None if told[name] is None else datetime.fromtimestamp(told[name], UTC)
    for name in ("options", "progress", "isolation", "error"):
        told[name] = None if told[name] is None else json.loads(told[name])
    told["cancel_requested"] = bool(told["cancel_requested"])
    has_files = told["state"] == "succeeded" and told["what"] != "rerun" and told["path"] is not None
    told["files_url"] = f"/api/v1/materialisations/{told['id']}/files" if has_files else None
    return Materialisation.model_validate(told)
