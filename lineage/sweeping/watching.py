"""Watching over a trial while it runs: its lease is renewed, its values are told, and there is a reason to end it or none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from lineage.errors import LeaseLost, LineageError
from lineage.model.run import MetricPoint
from lineage.model.sweep import StoppedEarly
from lineage.ports.sweeps import SweepEngine, Trial

_BEATS = 4
"""In the time of a lease it is renewed so many times."""

_LOOK_S = 0.3
_SHARE = 10
"""Looking at values may take one part in so many of the time."""

_SILENT = 0.8
"""Without an answer for this part of the lease the trial counts as lost: by then another agent may be about to get it."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a trial is ended before its program is done.

    Attributes:
        kind: ``early``: by early termination; ``cancelled``: the whole sweep is; ``lost``: the trial is another agent's.
        sentence: For people and the record.
    """

    kind: Literal["early", "cancelled", "lost"]
    sentence: str


class Watching:
    """Watches over a trial; use it in a ``with`` block around its program.

    Args:
        engine: Whose trial it is.
        trial: The trial.
        metric: Name of the metric whose values are told; ``None``: none are.
        points: Gives the run's metric points without the first so many; ``None`` while there is no run.
        on_end: Called once, by a thread, when there is a reason to end the trial.
    """

    def __init__(
        self,
        engine: SweepEngine,
        trial: Trial,
        metric: str | None,
        points: Callable[[int], Sequence[MetricPoint]],
        on_end: Callable[[Reason], None] | None = None,
    ) -> None:
        self.reason: Reason | None = None
        self.stopped: StoppedEarly | None = None
        self._engine = engine
        self._trial = trial
        self._metric = metric
        self._points = points
        self._on_end = on_end
        self._seen = self._iterations = 0
        self._looking = threading.Lock()
        self._over = threading.Event()
        self._answered_at = time.monotonic()
        self._threads = [threading.Thread(target=self._keep_lease, name="lineage-lease", daemon=True)]
        if metric is not None:
            self._threads.append(threading.Thread(target=self._follow, name="lineage-values", daemon=True))

    def __enter__(self) -> Watching:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def should_stop(self) -> bool:
        """Whether its program is to be ended."""
        return self.reason is not None

    def look(self) -> None:
        """Tell what was logged since; also when the program is done, or the last values would decide nothing.

        Raises:
            Unavailable: The store or the sweep's storage cannot be reached.
        """
        with self._looking:
            if self._metric is None or self.stopped is not None or (self.reason is not None and self.reason.kind != "early"):
                return
            for point in self._points(self._seen):
                self._seen += 1
                value = point.values.get(self._metric)
                if value is None:
                    continue
                self._iterations += 1
                try:
                    should_stop = self._engine.report(self._trial, self._iterations, value)
                except LeaseLost as error:
                    self._end(Reason("lost", error.message))
                    return
                if should_stop:
                    self.stopped = StoppedEarly(points=self._seen, step=point.step, iteration=self._iterations, value=value)
                    self._end(
                        Reason(
                            "early",
                            f"stopped early by its sweep: value {self._iterations} of {self._metric}, {value:g} at step {point.step}",
                        )
                    )
                    return

    def still_ours(self) -> bool:
        """Renew the lease a last time, before what only its owner may do. False: there is a reason by now."""
        if self.reason is not None and self.reason.kind != "early":
            return False
        if not self._engine.beat(self._trial):
            self.reason = self._why_not()
            return False
        return True

    def _keep_lease(self) -> None:
        while not self._over.wait(self._trial.lease_s / _BEATS):
            try:
                if not self._engine.beat(self._trial):
                    self._end(self._why_not())
                    return
                self._answered_at = time.monotonic()
            except LineageError as error:
                if time.monotonic() - self._answered_at > _SILENT * self._trial.lease_s:
                    self._end(
                        Reason("lost", f"the sweep's storage did not answer for so long that the trial is another agent's: {error.message}")
                    )
                    return

    def _follow(self) -> None:
        pause_s = _LOOK_S
        while not self._over.wait(pause_s) and self.reason is None:
            began = time.monotonic()
            with suppress(LineageError):  # looked at once more at the end, where it is told
                self.look()
            pause_s = max(_LOOK_S, _SHARE * (time.monotonic() - began))

    def _why_not(self) -> Reason:
        if self._engine.get(self._trial.sweep_id).state == "cancelled":
            return Reason("cancelled", "the sweep was cancelled")
        return Reason("lost", "its lease ran out: the trial is another agent's")

    def _end(self, reason: Reason) -> None:
        if self.reason is None:
            self.reason = reason
            if self._on_end is not None:
                self._on_end(reason)
