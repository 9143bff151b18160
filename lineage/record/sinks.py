"""Trackers of a run, such as W&B: told what happens, never in the way.

Each is told on a thread of its own, from a queue: the training spends microseconds on it, whatever the tracker does meanwhile. Only
where the script itself speaks to the tracker, too, metrics are told at once, so that the order stays the script's.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

from lineage.model.event import Event, TrackerTold
from lineage.model.run import Run
from lineage.model.secrets import redact_text
from lineage.ports import Tracker
from lineage.ports.telling import telling, was_heard_from

MOST_WAITING = 100_000
"""Metric points that wait for one tracker; further ones are counted, and left out."""
_IN_ORDER = ("logged", "metric_defined", "pictures_logged", "table_logged", "histogram_logged")
_Item = tuple[str, tuple[Any, ...]]


class Sinks:
    """All trackers of one run. One that fails is named once, in a warning and in the record; training goes on.

    Args:
        trackers: Those that started.
        note: Adds a sentence to the record.
        append: Adds an event to the record.
    """

    def __init__(self, trackers: Sequence[Tracker], note: Callable[[str], None], append: Callable[[Event], Any]) -> None:
        self._lines = [_Line(tracker) for tracker in trackers]
        self._note = note
        self._append = append
        self._pid = os.getpid()

    def add(self, tracker: Tracker) -> None:
        """Tell one more from now on."""
        self._lines.append(_Line(tracker))

    def tell(self, method: str, *arguments: Any) -> None:
        """Call a method of :class:`lineage.ports.Tracker` on each; ``ended`` waits, no longer than each tracker's own patience."""
        if not self._lines or os.getpid() != self._pid:  # a client belongs to the process that began it
            return
        origin = was_heard_from()
        for line in self._lines:
            if line.tracker.name != origin or method == "ended":
                line.tell(method, arguments)
            if method == "ended":
                self._end(line, arguments[0])
            if line.error is not None and not line.is_reported:
                line.is_reported = True
                self._say(f"{line.tracker.name} failed and is not complete for this run: {describe_error(line.error)}")

    def _end(self, line: _Line, run: Run) -> None:
        name, left = line.tracker.name, line.wait()
        if line.left_out:
            self._say(f"{name} was not told of {line.left_out} metric points: it could not keep up")
        if left is not None:
            self._say(
                f"{name} had not taken everything {line.tracker.patience_s:.0f} s after the run's end ({left}); `lineage sync` goes on"
            )
        elif facts := line.told:
            self._append(TrackerTold(at=datetime.now(UTC), tracker=name, facts=facts))
            if problem := facts.get("problem"):
                self._say(f"{name} has not got everything: {problem}; `lineage sync {run.id[:12]}` sends it")

    def _say(self, message: str) -> None:
        self._note(message)
        warnings.warn(f"lineage: {message}", stacklevel=5)


class _Line:
    """One tracker, its queue and its thread."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.error: Exception | None = None
        self.is_reported = False
        self.left_out = 0
        self.told: dict[str, Any] = {}
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_at_end = threading.Event()
        self._is_over = threading.Event()

    def tell(self, method: str, arguments: tuple[Any, ...]) -> None:
        if self.tracker.is_shared and method in _IN_ORDER:
            self._call(method, arguments)
        elif method == "logged" and self._queue.qsize() >= MOST_WAITING:
            self.left_out += 1
        else:
            self._queue.put((method, arguments))
            if self._thread is None:
                self._start()

    def wait(self) -> str | None:
        """After ``ended``: ``None`` when everything was told in time, else what was left."""
        # Twice the patience: one for what waited, one for the end itself, which may wait for a server.
        if not self._is_at_end.wait(self.tracker.patience_s):
            return f"{self._queue.qsize()} messages wait"
        return None if self._is_over.wait(self.tracker.patience_s + 5) else "it is still ending its run"

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._work, name=f"lineage-{self.tracker.name}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is on its way out and starts no threads any more
            self._work()

    def _work(self) -> None:
        while not self._is_over.is_set():
            method, arguments = self._queue.get()
            if method == "ended":
                self._is_at_end.set()
            self._call(method, arguments)
            if method == "ended":
                self._is_over.set()

    def _call(self, method: str, arguments: tuple[Any, ...]) -> None:
        try:
            with telling(self.tracker.name):
                answer = getattr(self.tracker, method)(*arguments)
        except Exception as error:  # noqa: BLE001 - a tracker is a guest: whatever it raises must not stop a run
            self.error = self.error or error
        else:
            if method == "ended":
                self.told = answer or {}


def describe_error(error: BaseException) -> str:
    """An exception in one line, without secrets."""
    text = str(error).strip().splitlines()
    return redact_text(f"{type(error).__name__}: {text[0]}" if text else type(error).__name__)
