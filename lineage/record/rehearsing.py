"""Repeating a run that was not the first of its process: those before it are executed again, too, and leave no record.

They may have drawn random numbers, written files or warmed up what the repeated one meets. Whether they matter nobody knows beforehand, so
all of them run; their records go to a folder that is deleted when the process ends.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from lineage.errors import UsageError
from lineage.record.live import LiveRun
from lineage.record.reproducing import REPRODUCES_VARIABLE, RUN_VARIABLE
from lineage.record.start import begun_here
from lineage.record.steps import whole_number

LATER_VARIABLE = "LINEAGE_LATER_RUN"
"""``ORDINAL:RUN``: the run to add to (as in LINEAGE_RUN_ID), once so many runs of the process have begun."""

_repeated: list[tuple[int, str, LiveRun]] = []


def variables(ordinal: int, run_id: str) -> dict[str, str]:
    """Environment of a process whose run number ``ordinal`` (from 0) adds to the record ``run_id``."""
    return {RUN_VARIABLE: run_id} if ordinal == 0 else {LATER_VARIABLE: f"{ordinal}:{run_id}"}


def place_for_rehearsal() -> Path | None:
    """Where the run that is about to begin is recorded when its turn has not come; ``None`` when it is recorded as usual.

    Raises:
        SystemExit: The run that this process was to repeat has ended: what comes after it is no part of it.
        UsageError: The process is one of several of a distributed training.
    """
    named = os.environ.get(LATER_VARIABLE)
    if named is None:
        if RUN_VARIABLE not in os.environ and any(_is_over(*item) for item in _repeated):
            raise SystemExit(0)
        return None
    ordinal, _, run_id = named.partition(":")
    if whole_number("WORLD_SIZE", 1) > 1:
        raise UsageError(
            f"run {run_id[:12]} repeats run number {int(ordinal) + 1} of a process that trained together with others",
            hint="only the first run of such a process can be repeated",
        )
    if begun_here() >= int(ordinal):
        os.environ[RUN_VARIABLE] = run_id
        del os.environ[LATER_VARIABLE]
        return None
    folder = Path(tempfile.mkdtemp(prefix="lineage-rehearsal-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def repeats_one_of_several(live: LiveRun) -> None:
    """Note that a run of this process, begun just now, is the one that it was to repeat; nothing when it is another.

    A run that ``lineage run`` watched from outside is its whole command, further runs of its process included.
    """
    original = live.reproduced
    if original is not None and os.environ.get(REPRODUCES_VARIABLE) == original.id and original.observed is None:
        _repeated.append((os.getpid(), original.id, live))


def _is_over(process: int, original: str, live: LiveRun) -> bool:
    return process == os.getpid() and os.environ.get(REPRODUCES_VARIABLE) == original and not live.inputs.is_open
