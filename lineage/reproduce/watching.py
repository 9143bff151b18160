"""Reading along while a reproduction runs: it is stopped at the first difference, or when enough was compared."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lineage.errors import LineageError, UsageError
from lineage.lookup.results import FlatPoint, first_difference, flat_points
from lineage.lookup.steps import first_difference as first_differing_step
from lineage.model.calibration import Calibration
from lineage.model.run import Run, RunState
from lineage.model.steps import START, StepDifference
from lineage.ports import Ports
from lineage.record.step_log import StepLog, header_line, packed_size, read_log
from lineage.record.steps import FOLDER
from lineage.reproduce.stopped_trials import STOPPED, decisive

_SHARE = 10
"""Reading may take one part in so many of the time."""

_WAIT_S = 2.0
"""So long a difference in metrics waits for the step log to say where it comes from; and a run that would be over by then may end."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a reproduction was stopped.

    Attributes:
        kind: ``difference``, or ``until`` when all that was asked for was compared and equal.
        sentence: For the replica's record and for people.
    """

    kind: Literal["difference", "until"]
    sentence: str


class ReadAlong:
    """Compares what a running reproduction leaves behind with what its original left.

    Args:
        ports: Where both are.
        original: The run that is repeated. A step log of it that cannot be read is not compared.
        keep_going: Differences do not stop it.
        until_step: It is stopped when this step is done, and equal.
        until_output: It is stopped when it made the file of this name.
        tolerance: Of a run whose own repetitions differ: steps are then not compared, and metrics within the spread are no difference.

    Raises:
        UsageError: The run did not log that step.
    """

    def __init__(
        self,
        ports: Ports,
        original: Run,
        *,
        keep_going: bool = False,
        until_step: int | None = None,
        until_output: str | None = None,
        tolerance: Calibration | None = None,
    ) -> None:
        self.stopped: Stop | None = None
        self._ports = ports
        self._replica = ""
        self._keep_going = keep_going
        self._until_step = until_step
        self._until_output = until_output
        self._tolerance = tolerance
        self._is_whole = original.state is RunState.finished and original.stopped_early is None
        self._points = flat_points(decisive(original, ports.runs.metrics(original.id)))
        self._was_stopped = original.stopped_early is not None and until_step is None and until_output is None
        self._logs = _readable(ports, original, until_step)
        self._values_needed = len(self._points) if self._was_stopped else _values_needed(self._points, until_step)
        if until_step is not None:
            _check_logged(original, self._points, [log.recorded for log in self._logs], until_step)
        self._points_seen = self._values_seen = 0
        self._parted_at: float | None = None
        self._lasts_s = original.duration_s
        self._ends_at = float("inf")
        self._next_look = 0.0

    def follow(self, replica: str) -> None:
        """The reproduction has begun, under this id."""
        self._replica = replica
        if self._lasts_s is not None:
            self._ends_at = time.monotonic() + self._lasts_s
        for log in self._logs:
            log.file = self._ports.folder / FOLDER / f"{replica}-{log.rank}.steps"

    def should_stop(self) -> bool:
        """Look once more. A failure to read is no difference: the comparison at the end meets it again."""
        began = time.monotonic()
        if self.stopped is None and began >= self._next_look:
            with suppress(LineageError, OSError):
                self._look(began)
            self._next_look = time.monotonic() + _SHARE * (time.monotonic() - began)
        return self.stopped is not None

    def _look(self, now: float) -> None:
        compares_steps = self._tolerance is None
        for log in self._logs:
            log.look()
            if log.difference is not None and compares_steps and not self._keep_going:
                self._differs(log.difference, now, waits=False)
                return
        self._look_at_metrics(now)
        if self.stopped is None and self._is_enough():
            done = f"step {self._until_step} is done" if self._until_output is None else f"{self._until_output} is made"
            self.stopped = Stop("until", STOPPED if self._was_stopped else done)

    def _is_enough(self) -> bool:
        if self._until_output is not None:
            return any(item.name == self._until_output for item in self._ports.runs.get(self._replica).outputs)
        if self._was_stopped:
            return self._values_seen >= self._values_needed
        if self._until_step is None:
            return False
        if self._logs:
            return all(log.is_done for log in self._logs)
        return self._values_seen >= self._values_needed

    def _look_at_metrics(self, now: float) -> None:
        if self._keep_going and (self._until_step is None or self._logs) and not self._was_stopped:
            return
        points = self._ports.runs.metrics(self._replica, self._points_seen)
        theirs = flat_points(points)
        ours = self._points[self._values_seen : self._values_seen + len(theirs)]
        pairs = zip(ours, theirs, strict=False)
        parted = next((first_difference([a], [b]) for a, b in pairs if not self._is_same(a, b)), None)
        if parted is None and len(theirs) > len(ours) and self._is_whole and self._points:
            beyond = theirs[len(ours)]
            parted = f"it goes on where the series of the first run ends, with {beyond[1]} at step {beyond[0]}"
        if parted is None or self._keep_going:
            self._points_seen += len(points)
            self._values_seen += len(theirs)
            return
        self._differs(f"metrics: {parted}", now, waits=bool(self._logs) and self._tolerance is None)

    def _differs(self, sentence: str, now: float, *, waits: bool) -> None:
        # A run that is nearly over is compared as a whole: that tells more, and costs next to nothing.
        self._parted_at = now if self._parted_at is None else self._parted_at
        wait_s = _WAIT_S if waits or self._ends_at - self._parted_at < _WAIT_S else 0.0
        if now - self._parted_at >= wait_s:
            self.stopped = Stop("difference", sentence)

    def _is_same(self, a: FlatPoint, b: FlatPoint) -> bool:
        if a[:3] == b[:3]:
            return True
        if self._tolerance is None:
            return False
        if a[:2] != b[:2]:  # where the order of calls is left to chance only the comparison at the end can tell
            return True
        spread = self._tolerance.spread(a[1])
        return spread is not None and spread.allows(a[3], b[3])


class _Followed:
    """The growing step log of one process, beside the recorded one."""

    def __init__(self, rank: int, recorded: bytes, until_step: int | None, *, is_whole: bool) -> None:
        self.difference: str | None = None
        self.is_done = False
        self.rank = rank
        self.file = Path()
        # Equal trainings write equal bytes: as long as the growing file is a beginning of this, nothing needs to be taken apart.
        self._expected = recorded
        self._is_whole = is_whole
        self._until_step = until_step
        self._done_at = None if until_step is None else self._end_of(until_step)
        self._equal = 0

    @functools.cached_property
    def recorded(self) -> StepLog:
        """The recorded log."""
        return read_log(self._expected, "recorded step log")

    def _end_of(self, step: int) -> int:
        done = [record for record in self.recorded.records if record.step <= step]
        return len(header_line(self.recorded.header)) + sum(map(packed_size, done))

    def look(self) -> None:
        """Read what is new."""
        if self.difference is not None:
            self._look_for_end()
            return
        try:
            with self.file.open("rb") as stream:
                stream.seek(self._equal)
                new = stream.read()
        except FileNotFoundError:  # nothing was logged yet, or it is complete and part of the record
            return
        if new == self._expected[self._equal : self._equal + len(new)]:
            self._equal += len(new)
            self.is_done = self._done_at is not None and self._equal >= self._done_at
            return
        self._take_apart()

    def _take_apart(self) -> None:
        log = read_log(self.file.read_bytes(), f"step log {self.file.name}")
        self._say_done(log)
        found = first_differing_step(self.recorded, log)
        if found is not None:
            step, phase, since = found
            self.difference = StepDifference(step=step, phase=phase, since=since).sentence
        elif len(log.records) > len(self.recorded.records) and self._is_whole:
            self.difference = f"it goes on after step {self.recorded.records[-1].step}, where the step log of the first run ends"

    def _look_for_end(self) -> None:
        if self._until_step is not None and not self.is_done and self.file.is_file():
            self._say_done(read_log(self.file.read_bytes(), f"step log {self.file.name}"))

    def _say_done(self, log: StepLog) -> None:
        if self._until_step is not None and log.records:
            self.is_done = log.records[-1].step >= self._until_step


def _check_logged(run: Run, points: Sequence[FlatPoint], logs: Sequence[StepLog], step: int) -> None:
    """Raise ``UsageError`` unless the run logged this step."""
    known = [log.records[-1].step for log in logs if log.records] or ([max(point[0] for point in points)] if points else [])
    if not known:
        raise UsageError(f"--until-step {step}: run {run.id[:12]} logged neither steps nor metrics", hint="run.watch keeps a step log")
    last = min(known)
    if not 0 <= step <= last:
        raise UsageError(f"--until-step: expected a step from 0 to {last} of run {run.id[:12]}, found {step}")


def _values_needed(points: Sequence[FlatPoint], until_step: int | None) -> int:
    """How many values, from the first call on, hold every value of the wanted steps."""
    return max((number for number, point in enumerate(points, 1) if point[0] <= (START if until_step is None else until_step)), default=0)


def _readable(ports: Ports, run: Run, until_step: int | None) -> list[_Followed]:
    found = []
    for log in run.step_logs:
        with suppress(LineageError):  # the report says at its end that a log which cannot be read was not compared
            is_whole = log.torn is None and run.state is RunState.finished and run.stopped_early is None
            found.append(_Followed(log.rank, ports.objects.get_bytes(log.object), until_step, is_whole=is_whole))
    return found
