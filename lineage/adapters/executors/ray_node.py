"""What Ray starts on a node: it executes one task there, as long as the worker that asked for it is heard of."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

from lineage.adapters.executors.local import LocalExecutor
from lineage.adapters.executors.ray_files import BEAT, ENDING, STARTED, TASK, read, take, task_of, write
from lineage.errors import ExecutionFailed
from lineage.ports.executor import Ending, Task

_PACE_S = 0.25
_GIVEN_BY_RAY = ("CUDA_VISIBLE_DEVICES",)  # which of the node's GPUs are this job's


def main(folder: str) -> None:
    """Execute the task of this folder, and leave its ending there."""
    control = Path(folder)
    told = read(control / TASK)
    if told is None:
        raise SystemExit(f"there is no task in {control}: do all nodes see this folder under the same path?")
    worker = _Worker(control / BEAT, told["silence_s"])
    if not worker.is_heard() or not take(control):
        raise SystemExit("the worker that asked for this is gone, or does not want it any more: it is not started")
    task = task_of(told["task"])
    given = {name: os.environ[name] for name in _GIVEN_BY_RAY if name in os.environ}
    task = Task(**{**vars(task), "variables": {**task.variables, **given}})
    node = told["node"]
    hidden = [control, *map(Path, node["hidden"])]  # it may lie in the task's folder, and decides over the task
    readable = [Path(path) for path in node["readable"]]
    executor = LocalExecutor(node["sandbox"], readable=readable, hidden=hidden, grace_s=node["grace_s"])
    try:
        execution = executor.start(task)
    except ExecutionFailed as error:
        write(control / ENDING, {"why": "exited", "status": error.status, "error": error.hint})
        return
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    write(control / STARTED, {"isolation": [*execution.isolation, f"on {socket.gethostname()}"]})
    while (ending := execution.poll()) is None:
        if asked or worker.wants_an_end():
            execution.stop()
        time.sleep(_PACE_S)
    write(control / ENDING, _ending(ending))


def _ending(ending: Ending) -> dict[str, Any]:
    return {"why": ending.why, "status": ending.status}


class _Worker:
    """Whoever asked for the task: its word changes as long as it is there. Clocks of two machines are not compared."""

    def __init__(self, file: Path, silence_s: float) -> None:
        self._file = file
        self._silence_s = silence_s
        self._word = read(file)
        self._heard_at = time.monotonic()

    def is_heard(self) -> bool:
        """Whether it says something new in time; a job may have waited for days before it came to a node."""
        first = self._word
        while time.monotonic() - self._heard_at < self._silence_s:
            self._listen()
            if self._word is not None and self._word != first:
                return not self._word["stop"]
            time.sleep(_PACE_S)
        return False

    def wants_an_end(self) -> bool:
        """Whether it said so, or nothing any more."""
        self._listen()
        return bool(self._word and self._word["stop"]) or time.monotonic() - self._heard_at > self._silence_s

    def _listen(self) -> None:
        word = read(self._file)
        if word is not None and word != self._word:
            self._word, self._heard_at = word, time.monotonic()
