"""One trial of a function, in this process, as ``wandb.agent(sweep_id, function=…)`` runs it."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from lineage.errors import LineageError, UsageError
from lineage.model.run import RunState
from lineage.model.sweep import SweepTrial
from lineage.ports.sweeps import Trial
from lineage.record import active
from lineage.record.live import LiveRun
from lineage.record.reproducing import REPRODUCES_VARIABLE, RUN_VARIABLE
from lineage.record.sinks import describe_error
from lineage.record.trial import TRIAL_VARIABLE, given_trial, place_trial
from lineage.sweeping.code import SameCode
from lineage.sweeping.program import Crew, stop_early, tell
from lineage.sweeping.result import End, Outcome, result_of
from lineage.sweeping.watching import Reason, Watching

_UNSET = ("WANDB_SWEEP_ID", RUN_VARIABLE)  # a run that records the script is another one than its trials


class TrialOver(SystemExit):
    """Raised in a function whose trial is stopped early: its run ends well."""


class TrialLost(KeyboardInterrupt):
    """Raised in a function whose trial is another agent's, or whose sweep was cancelled: its run ends as aborted."""


def repeated_trial() -> SweepTrial | None:
    """The trial that this process repeats, when it is a reproduction of one."""
    return given_trial() if os.environ.get(REPRODUCES_VARIABLE) else None


def run_function(function: Callable[[], Any]) -> Callable[[Crew, Trial, SameCode], Outcome]:
    """What runs a function for a trial, and tells the sweep what came of it."""
    return lambda crew, trial, same_code: _FunctionTrial(crew, trial, same_code).run(function)


class _FunctionTrial:
    def __init__(self, crew: Crew, trial: Trial, same_code: SameCode) -> None:
        self._crew = crew
        self._trial = trial
        self._same_code = same_code
        self._told = crew.record_of(trial)
        self._interrupting = _Interrupting()
        self._live: LiveRun | None = None
        self._watching = Watching(crew.engine, trial, crew.told_metric, self._points, self._interrupt)

    def run(self, function: Callable[[], Any]) -> Outcome:
        """Call it, once.

        Raises:
            UsageError: It began no run.
        """
        began = time.monotonic()
        files = place_trial(self._told, self._crew.ports.folder)
        error: Exception | None = None
        with _variables(self._crew.variables_of(self._told, {}) | files.variables), _told_of(self._begun):
            _forget_wandb()
            try:
                with self._watching:
                    try:
                        function()
                    finally:
                        self._interrupting.close()
            except TrialOver:
                pass
            except TrialLost:
                self._end_run(RunState.aborted, self._why_ended())  # before W&B's end ends it
            except Exception as raised:  # noqa: BLE001 - whatever a program raises, its trial failed and the next one may not
                traceback.print_exc()
                error = raised
            except BaseException:
                self._end_run(RunState.aborted, "interrupted")
                raise
            _finish_wandb(1 if error is not None else 0)
        files.remove()
        return self._outcome(error, time.monotonic() - began)

    def _outcome(self, error: Exception | None, seconds: float) -> Outcome:
        told = None if error is None else describe_error(error)
        self._end_run(RunState.finished if error is None else RunState.failed, told)
        reason = self._watching.reason
        is_lost = reason is not None and reason.kind != "early"
        if self._live is None:
            if error is not None:
                raise error
            raise UsageError(
                "the function began no run, so that nothing of the trial is recorded",
                hint="call lineage.start_run() or wandb.init() in it, without mode='disabled'",
            )
        run = self._crew.ports.runs.get(self._live.id)
        self._same_code.wrote(run)
        end: End = "failed"
        if is_lost and reason is not None:
            end = "cancelled" if reason.kind == "cancelled" else "lost"
        elif run.stopped_early is not None:
            end = "stopped"
        elif run.state is RunState.finished and error is None:
            end = "complete"
        why = told or run.error or (None if reason is None else reason.sentence)
        lines = () if error is None else (told or "",)
        return tell(
            self._crew, Outcome(self._trial, run.id, end, result_of(self._crew.ports, run, self._crew.metric), why, lines, None, seconds)
        )

    def _begun(self, live: LiveRun) -> None:
        if self._live is None and live.record.sweep == self._told:
            self._live = live
            live.inputs.before_end.append(self._before_end)
            self._same_code.check(live, self._crew.say)

    def _points(self, skip: int) -> list[Any]:
        return [] if self._live is None else self._crew.ports.runs.metrics(self._live.id, skip)

    def _before_end(self) -> None:
        """The record is about to end: from here on nothing interrupts, the last values decide, and only its owner may end it well.

        Raises:
            TrialLost: This agent is not.
        """
        self._interrupting.close()
        if self._live is None:
            return
        with suppress(LineageError):
            self._live._metrics.flush()
            self._watching.look()
            if not self._watching.still_ours():
                raise TrialLost
            stop_early(self._live, self._watching)

    def _interrupt(self, reason: Reason) -> None:
        if threading.get_ident() != self._interrupting.thread:
            self._interrupting.raise_in(TrialOver if reason.kind == "early" else TrialLost)

    def _end_run(self, state: RunState, error: str | None) -> None:
        if self._live is not None and self._live.inputs.is_open:
            try:
                self._live.finish(state, error)
            except TrialLost:  # found out as it was about to end
                self._live.finish(RunState.aborted, self._why_ended())

    def _why_ended(self) -> str | None:
        return None if self._watching.reason is None else self._watching.reason.sentence


class _Interrupting:
    """Raises an exception in the thread that made this, until it is closed. W&B's agent does it in the same way."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self._lock = threading.Lock()
        self._is_open = True

    def raise_in(self, kind: type[BaseException]) -> None:
        with self._lock:
            if self._is_open:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), ctypes.py_object(kind))

    def close(self) -> None:
        with self._lock:
            if self._is_open:
                self._is_open = False
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), None)  # not raised yet: never


@contextmanager
def _variables(told: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in (*told, *_UNSET, TRIAL_VARIABLE)}
    for name in _UNSET:
        os.environ.pop(name, None)
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _told_of(listener: Callable[[LiveRun], None]) -> Iterator[None]:
    active.when_begun(listener)
    try:
        yield
    finally:
        active.forget(listener)


def _forget_wandb() -> None:
    """W&B reads a trial's values once for each process, unless it is told to begin anew."""
    wandb = sys.modules.get("wandb")
    if wandb is not None:
        wandb.teardown()


def _finish_wandb(status: int) -> None:
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        wandb.finish(exit_code=status)
