"""Where a job's command runs: this machine, in a sandbox or not, or a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True)
class Limits:
    """What a command may use; ``None``: as much as there is.

    Attributes:
        seconds: Time on the clock, from the command's start.
        memory_bytes: Memory of the command and all its children together.
        disk_bytes: What it may write below the task's folders.
    """

    seconds: float | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None


@dataclass(frozen=True)
class Task:
    """One command to execute.

    Attributes:
        name: Says what it is to people, and names it on a cluster: letters, digits and ``-``.
        command: Program and arguments.
        folder: Working directory; the command may write in it.
        log: File that takes what the command prints, both streams in the order they were written. Appended to.
        variables: The command's whole environment.
        readable: Files and folders that must be there besides the system's own; read only.
        writable: Further folders that the command may write in.
        has_network: Without it the command reaches nothing but itself, where the host can enforce that.
        limits: What it may use.
    """

    name: str
    command: Sequence[str]
    folder: Path
    log: Path
    variables: Mapping[str, str]
    readable: Sequence[Path] = ()
    writable: Sequence[Path] = ()
    has_network: bool = False
    limits: Limits = field(default_factory=Limits)


Ended = Literal["exited", "stopped", "time", "memory", "disk", "lost"]


@dataclass(frozen=True)
class Ending:
    """How an execution ended.

    Attributes:
        why: ``exited`` by itself; ``stopped`` by :meth:`Execution.stop`; over a limit (``time``, ``memory``, ``disk``); ``lost``:
            whoever executed it is gone (a node of a cluster).
        status: Exit status, or the negative number of the signal; ``None`` where nobody knows it.
    """

    why: Ended
    status: int | None


class Execution(Protocol):
    """A command that was started."""

    @property
    def isolation(self) -> Sequence[str]:
        """What holds for it, in words for people and records: ``network off``, ``files read-only``, ``memory 2.0 GiB``."""
        ...

    def poll(self) -> Ending | None:
        """How it ended, or ``None`` while it runs. Enforces the limits: call it at least every second."""
        ...

    def stop(self) -> None:
        """End it and everything it started: asked to first, killed after ten seconds. Returns at once; ``poll`` tells."""
        ...


class Executor(Protocol):
    """Starts commands."""

    name: str

    def start(self, task: Task) -> Execution:
        """Start a command.

        Raises:
            ExecutionFailed: It cannot be started.
        """
        ...
