"""What a run logs: taken in microseconds, written by a thread a few times a second."""

from __future__ import annotations

import operator
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from lineage.errors import LineageError
from lineage.model.plain import plain
from lineage.model.run import MetricPoint
from lineage.model.secrets import redact_values
from lineage.ports import RunStore

FLUSH_S = 0.25
"""Seconds between writes: about what a killed process can lose."""

NOT_COMPARED = ("timing/", "system/")
"""Metrics whose names begin so depend on the machine's speed: recorded, never compared."""


class MetricBuffer:
    """Collects metric points of one run and appends them to the store.

    A store that cannot be written is reported once; the points stay in memory and are tried again, so training goes on.
    """

    def __init__(self, store: RunStore, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._waiting: deque[tuple[int, dict[str, float], float]] = deque()
        self._wake = threading.Event()
        self._writing = threading.Lock()
        self._adding = threading.Lock()
        self._stop = False
        self._thread: threading.Thread | None = None
        self._next_step = 0
        self._added = 0
        self.failure: str | None = None
        self._pid = os.getpid()

    def _begin_in_child(self) -> None:
        # After a fork there is no thread here, and what waits is the parent's to write.
        self._pid = os.getpid()
        self._waiting.clear()
        self._wake, self._writing, self._adding, self._thread = threading.Event(), threading.Lock(), threading.Lock(), None

    def add(self, values: Mapping[str, Any], step: int | None) -> tuple[dict[str, float], int]:
        """Take one point; returns it as numbers, and its step.

        Raises:
            TypeError: A name is no text, a value is not a number (or a one-element tensor), or the step is no whole number of 64 bits.
        """
        numbers: dict[str, float] = {}
        for name, value in values.items():
            if not isinstance(name, str):
                raise TypeError(f"metric {name!r}: expected a text as its name, found {type(name).__name__}")
            numbers[str(name)] = value if type(value) is float else _number(name, value)
        if step is not None:
            step = _step(step)
        if self._pid != os.getpid():
            self._begin_in_child()
        with self._adding:
            if step is None:
                step = self._next_step
            self._next_step = step + 1
            self._added += 1
            self._waiting.append((step, numbers, time.time()))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="lineage-metrics", daemon=True)
                self._thread.start()
        return numbers, step

    @property
    def position(self) -> tuple[int, int]:
        """Points taken so far, and the number of the next step."""
        return self._added, self._next_step

    def go_on(self, added: int, next_step: int) -> None:
        """Count from here: points before were taken over from another run."""
        with self._adding:
            self._added, self._next_step = added, next_step

    def _work(self) -> None:
        while not self._stop:
            self._wake.wait(FLUSH_S)
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        with self._writing:
            points = []
            while self._waiting:
                step, values, at = self._waiting.popleft()
                points.append(MetricPoint(step=step, values=values, at=at))
            if not points:
                return
            try:
                self._store.add_metrics(self._run_id, points)
                self.failure = None
            except Exception as error:  # noqa: BLE001 - no failure of a store may stop training or lose the points
                self._waiting.extendleft((point.step, point.values, point.at) for point in reversed(points))
                if self.failure is None:
                    warnings.warn(f"lineage: metrics cannot be written now and are kept in memory: {error}", stacklevel=2)
                self.failure = str(error)

    def close(self) -> None:
        """Write what waits and end the thread.

        Raises:
            LineageError: The store still refuses; the number of lost points is named.
        """
        self._stop = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()
        if self._waiting:
            raise LineageError(
                f"{len(self._waiting)} metric points could not be written: {self.failure}", hint="free space in the store's folder"
            )


def _number(name: str, value: Any) -> float:
    try:
        # Tensors and NumPy scalars tell their one value by item(); float() of a tensor that needs a gradient warns.
        found = value.item() if hasattr(value, "item") else value
        if not isinstance(found, str | bytes):
            return float(found)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"metric '{name}': expected a number, found {type(value).__name__}") from error
    raise TypeError(f"metric '{name}': expected a number, found {type(value).__name__}")


def _step(step: Any) -> int:
    try:
        found = operator.index(step)
    except TypeError:
        raise TypeError(f"step: expected a whole number, found {type(step).__name__}") from None
    if not -(2**63) <= found < 2**63:
        raise TypeError(f"step: expected a number of 64 bits, found {found}")
    return found


def recordable(summary: Mapping[str, Any], note: Callable[[str], None]) -> dict[str, Any]:
    """What of a summary can be recorded; the rest is noted: the end of a run is too late to ask for another value."""
    kept: dict[str, Any] = {}
    for name, value in summary.items():
        try:
            kept |= plain({name: value}, "summary")
        except TypeError as error:
            note(f"not recorded: {error}")
            warnings.warn(f"lineage: not recorded: {error}", stacklevel=4)
    return redact_values(kept)
