"""Runs that are in progress in this process, and who wants to know when one begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lineage.record.live import LiveRun

_runs: list[LiveRun] = []
_listeners: list[Callable[[LiveRun], None]] = []


def began(live: LiveRun) -> None:
    """A run began, or this process joined one."""
    _runs[:] = [run for run in _runs if run.inputs.is_open] + [live]
    for listener in list(_listeners):
        listener(live)


def current(besides: LiveRun | None = None) -> LiveRun | None:
    """The run that began last and goes on, other than ``besides``."""
    return next((run for run in reversed(_runs) if run.inputs.is_open and run is not besides), None)


def when_begun(listener: Callable[[LiveRun], None]) -> None:
    """Tell ``listener`` of every run that begins from now on."""
    _listeners.append(listener)


def forget(listener: Callable[[LiveRun], None]) -> None:
    """Tell ``listener`` no more."""
    _listeners.remove(listener)
