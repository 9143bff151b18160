"""What a live run goes on to capture beside its training: code that was loaded, installed packages, DVC stage, what the machine does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lineage.model.event import Event
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.dvc_stage import DvcStage
from lineage.record.event_files import EventFileMetrics
from lineage.record.installed import InstalledRecord
from lineage.record.loose_code import CodeRecord
from lineage.record.recording import Recording
from lineage.record.system import SystemRecord


class Capture(Protocol):
    """Something that began with the run."""

    def close(self) -> None:
        """Record what was found, once; called when the run ends."""


def captures(
    ports: Ports,
    run: Run,
    original: Run | None,
    append: Callable[[Event], Run],
    note: Callable[[str], None],
    *,
    keeps: bool,
    loads_here: bool,
) -> tuple[Capture, ...]:
    """Begin every capture, in the order in which they are to be closed.

    Args:
        ports: The outside world.
        run: The record.
        original: The run that it repeats.
        append: Adds an event to the record.
        note: Adds a sentence to it.
        keeps: Whether this process began the record.
        loads_here: Whether the code runs in this process.
    """
    recording = Recording(ports, run, original, append, note)
    return (
        CodeRecord(recording, keeps=keeps, loads_here=loads_here),
        InstalledRecord(recording, loads_here=loads_here),
        DvcStage(recording, keeps=keeps),
        EventFileMetrics(recording, loads_here=loads_here),
        SystemRecord(recording, keeps=keeps, loads_here=loads_here),
    )
