"""One attempt at a job: says that it goes on, passes on its log, and knows when to stop."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal

from lineage.errors import LeaseLost, LineageError
from lineage.model.access import without_tokens
from lineage.model.materialisation import JobError, JobProgress
from lineage.ports.executor import Limits
from lineage.ports.jobs import Claim, JobQueue
from lineage.reproduce.jobs.folders import size_of

_BEAT_S = 1.0
_DISK_EVERY_S = 5.0
_LOG_BLOCK = 256 << 10
_LONGEST_TOKEN = 64
_UNSENT = 1 << 20
_JOIN_S = 60.0

Reason = Literal["cancelled", "ended", "lost", "time", "disk"]


class Stopped(Exception):
    """The attempt is not to go on.

    Attributes:
        reason: ``cancelled`` by somebody; the worker is ``ended``; the job was ``lost`` to another worker; over the limit ``time`` or
            ``disk``.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason

    def error(self, limits: Limits) -> JobError:
        """For a job that went over a limit."""
        words = {"time": f"it took more than {limits.seconds:g} s", "disk": f"it wrote more than {limits.disk_bytes} bytes"}
        return JobError(code=self.reason, message=words[self.reason], hint="ask for more, or for a worker that allows more")


class Attempt:
    """A context in which a job is done. A thread of its own renews the lease.

    Args:
        queue: Of the job.
        claim: This worker's right to it.
        folder: Of the attempt.
        lease_s: Seconds of silence after which the job is somebody else's.
        limits: Of the attempt.
        should_end: Whether the worker is to end.

    Attributes:
        folder: Of the attempt.
        log: File whose lines are passed on, those of the recorded code.
    """

    def __init__(self, queue: JobQueue, claim: Claim, folder: Path, lease_s: float, limits: Limits, should_end: Callable[[], bool]) -> None:
        self.claim, self.folder, self.limits = claim, folder, limits
        self.log = folder / "log"
        self._queue, self._lease_s, self._should_end = queue, lease_s, should_end
        self._beat_s = min(_BEAT_S, lease_s / 4)
        self._progress: JobProgress | None = None
        self._reason: Reason | None = None
        self._said: list[str] = []
        self._read, self._unsent = 0, ""
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="lineage-job", daemon=True)
        self._began = self._heard = self._measured = time.monotonic()

    def __enter__(self) -> Attempt:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(_JOIN_S)

    def progress(self, what: str, done: int, total: int) -> None:
        """Told of progress; see :class:`lineage.ports.Progress`.

        Raises:
            Stopped: The attempt is not to go on.
        """
        if self._progress is None or self._progress.what != what:
            self.say(what)
        self._progress = JobProgress(what=what, done=done, total=total)
        self.check()

    def say(self, line: str) -> None:
        """Add a line to the job's log."""
        with self._lock:
            self._said.append(f"{line}\n")

    def check(self) -> None:
        """Go on only when the attempt may.

        Raises:
            Stopped: It may not.
        """
        if self._reason is None and self._should_end():
            self._reason = "ended"
        if self._reason is None and self.limits.seconds is not None and time.monotonic() - self._began > self.limits.seconds:
            self._reason = "time"
        if self._reason is not None:
            raise Stopped(self._reason)

    def seconds_left(self) -> float | None:
        """Of its time; ``None`` for any."""
        return None if self.limits.seconds is None else max(0.1, self.limits.seconds - (time.monotonic() - self._began))

    def hold(self) -> None:
        """Make sure that the job is this worker's, and will be for a whole lease from now.

        Raises:
            LeaseLost: It is not.
        """
        self._queue.heartbeat(self.claim, self._lease_s, self._progress)

    def _work(self) -> None:
        while not self._over.wait(self._beat_s):
            self._beat()
        self._pass_on(to_the_end=True)

    def _beat(self) -> None:
        try:
            if self._queue.heartbeat(self.claim, self._lease_s, self._progress):
                self._reason = self._reason or "cancelled"
            self._heard = time.monotonic()
        except LeaseLost:
            self._reason = "lost"
        except LineageError:  # the database is away: the lease holds for a while
            if time.monotonic() - self._heard > self._lease_s:
                self._reason = "lost"
        self._pass_on()
        if self.limits.disk_bytes is not None and time.monotonic() - self._measured > _DISK_EVERY_S:
            if size_of(self.folder) > self.limits.disk_bytes:
                self._reason = self._reason or "disk"
            self._measured = time.monotonic()

    def _pass_on(self, *, to_the_end: bool = False) -> None:
        while True:
            with self._lock:
                said, self._said = "".join(self._said), []
            block = self._block()
            self._unsent += without_tokens(said + block)
            if self._unsent:
                try:
                    self._queue.add_log(self.claim, self._unsent)
                except LineageError:  # it is somebody else's now, or the database is away: the job itself does not hang on its log
                    self._unsent = self._unsent[-_UNSENT:]
                    return
                self._unsent = ""
            if not (to_the_end and block):
                return

    def _block(self) -> str:
        try:
            # Never through a link, nor from a pipe: what is read here is shown to whoever follows the job.
            handle = os.open(self.log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # there is none yet
            return ""
        try:
            block = os.pread(handle, _LOG_BLOCK, self._read) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
        finally:
            os.close(handle)
        end = block.rfind(b"\n") + 1
        if not end or self._over.is_set():  # what has no line end yet is passed on when nothing follows
            end = _before_token(block) if len(block) == _LOG_BLOCK else len(block) if self._over.is_set() else 0
        self._read += end
        return block[:end].decode("utf-8", "replace")


def _before_token(block: bytes) -> int:
    # Half a token would not look like one: whatever may be the beginning of one waits for the rest.
    begin = block.rfind(b"lin_", len(block) - _LONGEST_TOKEN)
    tail = next((size for size in (3, 2, 1) if block.endswith(b"lin_"[:size])), 0)
    return begin if begin >= 0 else len(block) - tail
