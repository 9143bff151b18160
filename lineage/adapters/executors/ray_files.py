"""The folder through which a worker and a node of a cluster speak."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lineage.ports.executor import Limits, Task

TASK, BEAT, STARTED, ENDING = "task", "beat", "started", "ending"
_TAKEN = "taken"


def write(file: Path, told: dict[str, Any]) -> None:
    """Write it at once: nobody reads half of it, and only this account can.

    Raises:
        OSError: It cannot be written.
    """
    part = file.with_name(f"{file.name}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        json.dump(told, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def overwrite(file: Path, told: dict[str, Any]) -> None:
    """Write it into the file that is there; it may be seen empty for a moment.

    On a network file system whoever opens a file again sees what is new in it; of a new file under an old name that is not said.

    Raises:
        OSError: It cannot be written.
    """
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        json.dump(told, stream)


def read(file: Path) -> dict[str, Any] | None:
    """What it says; ``None`` while it says nothing, or is not there."""
    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told


def take(folder: Path) -> bool:
    """Whether the task is now the caller's: a node takes it before it starts it, the worker takes it back while no node has."""
    try:
        os.close(os.open(folder / _TAKEN, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError:
        return False
    return True


def text_of(task: Task) -> dict[str, Any]:
    """A task as JSON; :func:`task_of` reads it."""
    return {
        "name": task.name,
        "command": list(task.command),
        "folder": str(task.folder),
        "log": str(task.log),
        "variables": dict(task.variables),
        "readable": [str(path) for path in task.readable],
        "writable": [str(path) for path in task.writable],
        "has_network": task.has_network,
        "limits": asdict(task.limits),
    }


def task_of(told: dict[str, Any]) -> Task:
    """The task that was written with :func:`text_of`."""
    paths = {name: Path(told[name]) for name in ("folder", "log")}
    lists = {name: tuple(map(Path, told[name])) for name in ("readable", "writable")}
    return Task(**{**told, **paths, **lists, "command": tuple(told["command"]), "limits": Limits(**told["limits"])})
