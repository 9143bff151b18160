"""The process between a worker and a command: it starts the command, holds it to its limits, and leaves nothing of it behind.

A process of its own, because that is what survives a worker that is killed: the end of its input tells it so, and it ends the command.
It adopts whatever the command's children leave behind, so that no process can get away from it. Standard library only: it starts in
the time that Python takes.

It reads one line of JSON (:class:`Orders`), then possibly a line ``stop``. It answers with lines of JSON: ``started`` or ``error``, then
``why`` and ``status``. Its standard error is the log of the command.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any, NamedTuple

from lineage.adapters.executors.limits import descendants, held, used_memory
from lineage.adapters.executors.local_log import pump

PACE_S = 0.25
_TICK_S = 0.1
_DISK_PACE_S = 1.0
_CLEAR_S = 10.0
_SPARE_BYTES = 1 << 20
_SET_DEATH_SIGNAL, _ADOPT = 1, 36  # of prctl(2)


class Orders(NamedTuple):  # a dataclass brings a third of the time to start
    """What to do.

    Attributes:
        command: Program and arguments.
        arguments: Further arguments for the program, that nobody sees in a list of processes: it is told their descriptor (``--args``).
        variables: The program's whole environment.
        folder: Working directory.
        seconds: Limit of time.
        memory_bytes: Limit of memory.
        disk_bytes: Limit of what is written below ``folders``.
        folders: Where disk is counted.
        wrappers: How many processes, each the child of the one before, stand before the command itself.
        in_memory: Folders that are kept in memory, as the command names them.
        leaves_network: Take the network from it.
        grace_s: Between asking it to end and killing it.
    """

    command: list[str]
    arguments: list[str] | None
    variables: dict[str, str]
    folder: str
    seconds: float | None
    memory_bytes: int | None
    disk_bytes: int | None
    folders: list[str]
    wrappers: int
    in_memory: list[str]
    leaves_network: bool
    grace_s: float

    def line(self) -> bytes:
        """As it is read by the process."""
        return json.dumps(self._asdict()).encode() + b"\n"


class _Keeper:
    def __init__(self, orders: Orders, main: int, at_start: int) -> None:
        self.orders = orders
        self.main = main
        self.status: int | None = None
        self.why: str | None = None
        self.began = time.monotonic()
        self._kill_at: float | None = None
        self._memory_at = 0.0
        self._disk_at = 0.0
        self._at_start = self._on_disk = at_start
        self._measuring: threading.Thread | None = None

    def end(self, why: str, grace_s: float) -> None:
        """End the command; the first reason counts, the shortest time holds."""
        kill_at = time.monotonic() + grace_s
        self._kill_at = kill_at if self._kill_at is None else min(kill_at, self._kill_at)
        if self.why is None:
            self.why = why
            if grace_s:
                self._signal(signal.SIGTERM, self.orders.wrappers)

    def is_running(self) -> bool:
        """Enforce the limits, reap what ended, and say whether the command goes on."""
        now = time.monotonic()
        orders = self.orders
        if orders.seconds is not None and now - self.began > orders.seconds:
            self.end("time", orders.grace_s)
        if orders.memory_bytes is not None and now >= self._memory_at:
            if self._memory(orders.memory_bytes) > orders.memory_bytes:
                self.end("memory", 0)
            self._memory_at = now + max(PACE_S, 5 * (time.monotonic() - now))
        if orders.disk_bytes is not None:
            self._look_at_disk(orders.disk_bytes)
        if self._kill_at is not None and now >= self._kill_at:
            self._signal(signal.SIGKILL, 0)
        self.reap()
        return self.status is None

    def reap(self) -> None:
        """Take note of what ended."""
        with suppress(ChildProcessError):
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if process == 0:
                    return
                if process == self.main:
                    self.status = os.waitstatus_to_exitcode(status)

    def clear(self) -> None:
        """Kill what the command left behind."""
        until = time.monotonic() + _CLEAR_S
        while descendants(os.getpid()) and time.monotonic() < until:
            self._signal(signal.SIGKILL, 0)
            time.sleep(0.005)
            self.reap()

    def ending(self) -> dict[str, Any]:
        """What is told of it."""
        if self.why is None and self.orders.disk_bytes is not None and held(self.orders.folders) - self._at_start > self.orders.disk_bytes:
            self.why = "disk"  # written too quickly to be seen, or stopped by the size that a file may have
        status = self.status
        if status is not None and self.orders.wrappers and 128 < status <= 128 + 64:
            status = 128 - status  # the sandbox tells of a signal as shells do
        return {"why": self.why or "exited", "status": status}

    def _memory(self, limit: int) -> int:
        processes = [process for process, _ in descendants(os.getpid())]
        inside = processes[self.orders.wrappers : self.orders.wrappers + 1]
        places = [f"/proc/{inside[0]}/root{place}" for place in self.orders.in_memory] if inside else []
        return used_memory(processes, limit, places)

    def _look_at_disk(self, limit: int) -> None:
        if self._on_disk - self._at_start > limit:
            self.end("disk", 0)
        if time.monotonic() < self._disk_at or (self._measuring is not None and self._measuring.is_alive()):
            return

        def measure() -> None:
            began = time.monotonic()
            self._on_disk = held(self.orders.folders)
            self._disk_at = time.monotonic() + max(_DISK_PACE_S, 10 * (time.monotonic() - began))

        self._measuring = threading.Thread(target=measure, name="disk", daemon=True)  # a hundred thousand files take a second
        self._measuring.start()

    def _signal(self, kind: signal.Signals, deeper_than: int) -> None:
        processes = descendants(os.getpid())
        for process in [process for process, depth in processes if depth > deeper_than] or [process for process, _ in processes]:
            with suppress(OSError):
                os.kill(process, kind)


def _start(orders: Orders, output: int) -> tuple[int, str]:
    """Its number, and what became of the network.

    Raises:
        OSError: It cannot be started.
    """
    reading, writing = os.pipe()
    given = None if orders.arguments is None else _as_file(orders.arguments)
    parent = os.getpid()
    main = os.fork()
    if main == 0:
        try:
            os.setsid()
            network = _leave_network() if orders.leaves_network else ""
            ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)  # behind it: a change of privileges takes it back
            if os.getppid() != parent:
                os._exit(1)
            _limit(orders)
            os.chdir(orders.folder)
            command = list(orders.command)
            if given is not None:
                os.set_inheritable(given, True)
                command[1:1] = ["--args", str(given)]
            nothing = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((nothing, 0), (output, 1), (output, 2)):
                os.dup2(source, target, inheritable=True)
            for kind in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so in the program
                signal.signal(kind, signal.SIG_DFL)
            os.write(writing, json.dumps({"network": network}).encode() + b"\n")
            os.execvpe(command[0], command, orders.variables)
        except OSError as error:
            os.write(writing, json.dumps({"errno": error.errno, "text": error.strerror}).encode() + b"\n")
        finally:
            os._exit(127)
    os.close(writing)
    with open(reading, encoding="utf-8") as stream:
        told = [json.loads(line) for line in stream]
    if not told or "errno" in told[-1]:
        os.waitpid(main, 0)
        raise OSError(told[-1]["errno"], told[-1]["text"]) if told else OSError(0, "it ended before it was started")
    return main, told[0]["network"]


def _leave_network() -> str:
    from lineage.adapters.executors.local_network import leave_network, why_it_cannot

    return why_it_cannot() or leave_network()


def _as_file(arguments: list[str]) -> int:
    file = os.memfd_create("arguments")
    os.write(file, b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in arguments))
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _limit(orders: Orders) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if orders.disk_bytes is not None:
        most = orders.disk_bytes + _SPARE_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
        stream.write("1000")  # when the machine runs out of memory, this goes, and not the worker


def main() -> None:
    """Do what standard input says, and answer on standard output."""
    worker = os.getppid()
    answers = os.dup(1)  # not inheritable: the command has an output of its own
    log = os.dup(2)  # errors of this process stand in the log, too
    os.dup2(2, 1)
    wake_reading, wake_writing = os.pipe()
    for end in (wake_reading, wake_writing):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_writing, warn_on_full_buffer=False)
    asked: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(kind, lambda number, _: asked.append(number))

    def answer(**told: Any) -> None:
        with suppress(OSError):  # the worker is gone
            os.write(answers, json.dumps(told).encode() + b"\n")

    text = b""
    while not text.endswith(b"\n"):
        part = os.read(0, 1 << 16)
        if not part:
            return
        text += part
    orders = Orders(**json.loads(text))
    ctypes.CDLL(None).prctl(_ADOPT, 1, 0, 0, 0)
    source, output = os.pipe()
    try:
        at_start = held(orders.folders) if orders.disk_bytes is not None else 0
        number, network = _start(orders, output)
    except OSError as error:
        answer(error=error.strerror or str(error))
        return
    os.close(output)
    keeper = _Keeper(orders, number, at_start)
    answer(started=number, network=network)
    pumping = threading.Thread(target=pump, args=(source, log), name="log", daemon=True)
    pumping.start()
    is_heard = True
    while keeper.is_running():
        ready, _, _ = select.select([wake_reading, *([0] if is_heard else [])], [], [], _TICK_S)
        if wake_reading in ready:
            with suppress(BlockingIOError):
                os.read(wake_reading, 4096)
        if 0 in ready:
            is_heard = bool(os.read(0, 4096))
            keeper.end("stopped", orders.grace_s)  # a word, or the end of all words: the worker is gone
        if asked or os.getppid() != worker:
            keeper.end("stopped", orders.grace_s)
    keeper.clear()
    pumping.join(5)
    answer(**keeper.ending())


if __name__ == "__main__":
    main()
    sys.exit()
