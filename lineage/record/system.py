"""What a run's machine and processes used, sampled by a thread of their own while it went on.

The samples are metrics whose names begin with ``system/``: no reproduction compares them. They are no points of the program's: they are not
counted with its steps, and a resumed run does not take them over. Their step is the number of seconds since the run began.
"""

from __future__ import annotations

import os
import threading
import time

from lineage.model.run import MetricPoint
from lineage.ports.usage import UsageMeter
from lineage.record.recording import Recording
from lineage.record.sinks import describe_error

FIRST_S = 1.0
"""The first sample is taken after so long: what measures is imported by then only, and a short run does not pay for it. The next ones
follow at twice the distance of the one before, up to the interval."""
_PATIENCE_S = 2.0


class _Sampling:
    """Held while a sample is taken and written: a child that is forked meanwhile would inherit half an import, or somebody's lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._holds = False
        os.register_at_fork(before=self._close, after_in_parent=self._open, after_in_child=self._renew)

    def _close(self) -> None:
        # Not for ever: a driver or a store that hangs must not keep the program from forking.
        self._holds = self.lock.acquire(timeout=_PATIENCE_S)

    def _open(self) -> None:
        if self._holds:
            self._holds = False
            self.lock.release()

    def _renew(self) -> None:
        self.lock, self._holds = threading.Lock(), False


_SAMPLING = _Sampling()


class SystemRecord:
    """Samples from now until it is closed.

    Args:
        recording: The record.
        keeps: Whether this process began the record: others leave it to that one.
        loads_here: Whether the code runs in this process; otherwise in those that it starts.
    """

    def __init__(self, recording: Recording, *, keeps: bool, loads_here: bool) -> None:
        self._ports, self._run, self._note = recording.ports, recording.run, recording.note
        self._counts_root = loads_here
        self._pid = os.getpid()
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._is_closed = False
        self._lost: str | None = None
        self._usage = recording.ports.usage
        self._thread: threading.Thread | None = None
        if keeps and self._usage is not None and self._usage.every_s > 0:
            self._thread = threading.Thread(target=self._work, name="lineage-system", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no thread is to be had, or the interpreter is on its way out
                self._thread = None

    def close(self) -> None:
        """Take a last sample and end the thread; one that hangs is left behind, and writes no more."""
        if self._thread is None or os.getpid() != self._pid:
            return
        self._over.set()
        self._thread.join(_PATIENCE_S)
        with self._writing:  # what comes after the record's end would not be under its digest
            self._is_closed = True
        self._thread = None
        if self._lost is not None:
            self._note(f"not every sample of what the machine used is recorded: {self._lost}")

    def _work(self) -> None:
        assert self._usage is not None
        every_s = self._usage.every_s
        if self._over.wait(min(FIRST_S, every_s)):
            return
        try:
            with _SAMPLING.lock:
                # Of a distributed training on one host: whoever started all its processes.
                root = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else self._pid
                meter = self._usage.meter(root, self._counts_root)
            is_over = self._over.wait(min(0.1, every_s))  # rates need some time to be rates
            apart_s = FIRST_S
            while self._counts_root or not is_over:  # a command that is over uses nothing any more
                with _SAMPLING.lock:
                    self._write(meter)
                if is_over:
                    return
                is_over = self._over.wait(min(apart_s, every_s))
                apart_s *= 2  # a short run has a curve, too
        except Exception as error:  # noqa: BLE001 - nobody asked for it: it may be missing, and the training must not notice
            if not self._over.is_set():
                self._note(f"what the machine used is not recorded: {describe_error(error)}")

    def _write(self, meter: UsageMeter) -> None:
        values = meter.sample()
        at = time.time()
        step = round(at - self._run.started_at.timestamp())
        with self._writing:
            if self._is_closed:
                return
            try:
                self._ports.runs.add_metrics(self._run.id, [MetricPoint(step=step, values=values, at=at)])
            except Exception as error:  # noqa: BLE001 - a store that cannot be written may take the next one
                self._lost = self._lost or describe_error(error)
