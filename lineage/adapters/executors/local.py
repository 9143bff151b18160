"""Commands on this machine: in a sandbox where there is one, held to limits, and never left behind."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal

from lineage.adapters.executors import bubblewrap
from lineage.adapters.executors.local_keeper import PACE_S, Orders
from lineage.adapters.executors.local_log import open_log
from lineage.errors import ExecutionFailed
from lineage.model.secrets import redact_command
from lineage.model.words import size_in_words
from lineage.ports.executor import Ending, Limits, Task

SandboxMode = Literal["require", "auto", "off"]

# Appended: a module beside the package must not stand for one of Python's own.
_KEEPER = "import sys; sys.path.append(sys.argv[1]); from lineage.adapters.executors.local_keeper import main; main()"
_START_S = 60.0
PACKAGES = Path(__file__).parents[3]
"""Folder in which this package is."""


class LocalExecution:
    """A command of this machine, and the process that stands over it."""

    def __init__(self, keeper: subprocess.Popen[bytes], isolation: Sequence[str]) -> None:
        self._keeper = keeper
        self._isolation = tuple(isolation)
        self._ending: Ending | None = None

    @property
    def isolation(self) -> Sequence[str]:
        return self._isolation

    def poll(self) -> Ending | None:
        """How it ended. Its limits hold whether this is called or not."""
        if self._ending is None and self._keeper.poll() is not None:
            assert self._keeper.stdout is not None
            lines = self._keeper.stdout.read().splitlines()
            told = json.loads(lines[-1]) if lines else {}
            self._ending = Ending(told.get("why", "lost"), told.get("status"))
            _close(self._keeper)
        return self._ending

    def stop(self) -> None:
        if self._ending is None and self._keeper.stdin is not None:
            with suppress(OSError):  # it has just ended
                self._keeper.stdin.write(b"stop\n")


class LocalExecutor:
    """Starts commands as children of this process.

    Args:
        sandbox: ``auto``: in a sandbox where this host has one; ``require``: not without; ``off``: without.
        readable: Files and folders that every command finds, besides the system's own and what its task names.
        hidden: What no command finds, even inside a folder that it is shown: the store, a folder of keys.
        grace_s: Seconds between asking a command to end and killing it.
    """

    name = "local"

    def __init__(
        self, sandbox: SandboxMode = "auto", *, readable: Sequence[Path] = (), hidden: Sequence[Path] = (), grace_s: float = 10.0
    ) -> None:
        self._sandbox = sandbox
        self._readable = tuple(readable)
        self._hidden = tuple(hidden)
        self._grace_s = grace_s

    def start(self, task: Task) -> LocalExecution:
        """Start a command. It ends with this process, even when that one is killed.

        Raises:
            ExecutionFailed: It cannot be started, or there is no sandbox and there must be one.
        """
        if sys.platform != "linux":
            raise _failed(task, "commands of the service are executed on Linux only")
        sandbox: bubblewrap.Sandbox | str = "LINEAGE_SANDBOX=off" if self._sandbox == "off" else bubblewrap.find()
        if isinstance(sandbox, str) and self._sandbox == "require":
            hint = "install bubblewrap and allow user namespaces, or set LINEAGE_SANDBOX=auto; docs/sandbox.md says more"
            raise _failed(task, f"there is no sandbox, and there must be one: {sandbox}; {hint}")
        # Looked for in the folders of the task's own PATH, and a relative name from its folder, not from this process's.
        found = shutil.which(_from(task.folder, task.command[0]), path=task.variables.get("PATH", os.defpath))
        if found is None:
            raise _failed(task, f"{task.command[0]}: no such program")
        for path in (task.folder, *task.writable, *self._readable, *task.readable):
            if not path.exists():
                raise _failed(task, f"there is no {path}")
        if isinstance(sandbox, str):
            keeper, told = _start(task, self._open(task, found))
            isolation = [_network(task, sandbox, self._sandbox, told["network"]), f"files not isolated: {sandbox}"]
        else:
            keeper, _ = _start(task, self._closed(task, found, sandbox))
            isolation = ["network on" if task.has_network else "network off", "files read-only", "home hidden", "processes apart"]
        return LocalExecution(keeper, [*isolation, *_limits(task.limits)])

    def _open(self, task: Task, found: str) -> Orders:
        leaves_network = not task.has_network and self._sandbox != "off"
        return _orders(task, [found, *task.command[1:]], grace_s=self._grace_s, leaves_network=leaves_network)

    def _closed(self, task: Task, found: str, sandbox: bubblewrap.Sandbox) -> Orders:
        readable = (*self._readable, *task.readable)
        for program in dict.fromkeys((Path(found).parent.resolve() / Path(found).name, Path(found).resolve())):  # and what a link leads to
            if not bubblewrap.is_shown(program, (task.folder, *task.writable, *readable)):
                raise _failed(task, f"{program} is not in the sandbox: name its folder among those that can be read")
        log = task.log.resolve()
        if any(log.is_relative_to(folder.resolve()) for folder in (task.folder, *task.writable)):
            # It could put a link in its place otherwise, and have whoever reads the log read any file of the account.
            readable = (*readable, log)
        arguments, in_memory = bubblewrap.arguments(
            sandbox,
            folder=task.folder,
            writable=task.writable,
            readable=readable,
            hidden=self._hidden,
            variables=dict(task.variables),
            has_network=task.has_network,
            memory_bytes=task.limits.memory_bytes,
        )
        command = [sandbox.program, "--", found, *task.command[1:]]
        return _orders(task, command, grace_s=self._grace_s, arguments=arguments, wrappers=bubblewrap.WRAPPERS, in_memory=in_memory)


def _orders(task: Task, command: list[str], **more: Any) -> Orders:
    closed = more.get("arguments") is not None
    given: dict[str, Any] = {"arguments": None, "wrappers": 0, "in_memory": [], "leaves_network": False} | more
    return Orders(
        command=command,
        # Bubblewrap itself gets none of the task's: a library that they name would be loaded outside the sandbox.
        variables={} if closed else dict(task.variables),
        folder="/" if closed else str(task.folder),
        seconds=task.limits.seconds,
        memory_bytes=task.limits.memory_bytes,
        disk_bytes=task.limits.disk_bytes,
        folders=[str(folder) for folder in dict.fromkeys((task.folder, *task.writable))],
        **given,
    )


def _start(task: Task, orders: Orders) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    try:
        log = open_log(str(task.log))
    except OSError as error:
        raise _failed(task, f"its log {task.log} cannot be opened: {error.strerror}") from error
    try:
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _KEEPER, str(PACKAGES)],
            cwd="/",
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise _failed(task, f"{sys.executable}: {error.strerror}") from error
    finally:
        os.close(log)
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        with suppress(BrokenPipeError):  # it answers nothing then
            _write(keeper.stdin, orders.line())
        ready, _, _ = select.select([keeper.stdout], [], [], _START_S)
        line = keeper.stdout.readline() if ready else b""
        told: dict[str, Any] = json.loads(line) if line else {"error": f"nothing was heard of it within {_START_S:.0f} s"}
    except BaseException:
        keeper.kill()
        _close(keeper)
        raise
    if "error" in told:
        keeper.kill()
        _close(keeper)
        raise _failed(task, f"{task.command[0]}: {told['error']}")
    return keeper, told


def _write(stream: IO[bytes], text: bytes) -> None:
    while text:
        text = text[stream.write(text) :]


def _close(keeper: subprocess.Popen[bytes]) -> None:
    keeper.wait()
    for stream in (keeper.stdin, keeper.stdout):
        if stream is not None:
            stream.close()


def _network(task: Task, why_open: str, mode: SandboxMode, why_network: str) -> str:
    if task.has_network:
        return "network on"
    if mode == "off":
        return f"network not isolated: {why_open}"
    return f"network not isolated: {why_open}, and {why_network}" if why_network else "network off"


def _from(folder: Path, program: str) -> str:
    return str(folder / program) if os.sep in program else program


def _limits(limits: Limits) -> list[str]:
    words = []
    if limits.seconds is not None:
        words.append(f"time {limits.seconds:g} s")
    if limits.memory_bytes is not None:
        words.append(f"memory {size_in_words(limits.memory_bytes)}, measured every {PACE_S:g} s")
    if limits.disk_bytes is not None:
        words.append(f"disk {size_in_words(limits.disk_bytes)}, measured every second")
    return words


def _failed(task: Task, why: str) -> ExecutionFailed:
    return ExecutionFailed(" ".join(redact_command(task.command)), 127, hint=why)
