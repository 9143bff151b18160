"""Commands on this machine: limits, what is printed, and that nothing is left behind; with and without a sandbox."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lineage.adapters.executors import bubblewrap
from lineage.adapters.executors.limits import descendants
from lineage.adapters.executors.local import LocalExecution, LocalExecutor, SandboxMode
from lineage.adapters.executors.local_log import pump
from lineage.errors import ExecutionFailed, UsageError
from lineage.ports.executor import Ending, Limits, Task
from lineage.settings import load_settings
from lineage.wiring_jobs import executor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands of the service are executed on Linux only")

PATIENCE_S = 30.0
MIB = 1 << 20

Start = Callable[..., tuple[LocalExecution, Path]]


@pytest.fixture(params=["off", "require"])
def mode(request: pytest.FixtureRequest) -> SandboxMode:
    """Both ways to execute; the second one where this host has a sandbox."""
    found = bubblewrap.find()
    if request.param == "require" and isinstance(found, str):
        pytest.skip(f"needs a sandbox: {found}")
    chosen: SandboxMode = request.param
    return chosen


OTHERS: set[int] = set()


@pytest.fixture(autouse=True)
def _others() -> None:
    """Children that other tests of this process left running: a database, a service."""
    OTHERS.clear()
    OTHERS.update(pid for pid, _ in descendants(os.getpid()))


def own_children() -> list[tuple[int, int]]:
    return [child for child in descendants(os.getpid()) if child[0] not in OTHERS]


@pytest.fixture
def start(mode: SandboxMode, tmp_path: Path) -> Start:
    """Starts Python code in a folder of its own, and returns what runs and its log."""
    (tmp_path / "folder").mkdir()

    def started(code: str, *, variables: Mapping[str, str] | None = None, **more: Any) -> tuple[LocalExecution, Path]:
        command = [sys.executable, "-I", "-S", "-u", "-c", textwrap.dedent(code)]
        readable = bubblewrap.python_folders()
        task = Task("test", command, tmp_path / "folder", tmp_path / "log", variables or {}, readable, **more)
        return LocalExecutor(mode, grace_s=1.5).start(task), tmp_path / "log"

    return started


def ended(execution: LocalExecution) -> Ending:
    """Its end, waited for."""
    until = time.monotonic() + PATIENCE_S
    while (ending := execution.poll()) is None:
        assert time.monotonic() < until, "it did not end"
        time.sleep(0.01)
    return ending


def released(lock: Path) -> bool:
    """Whether whoever holds this lock ends, and does so in time."""
    until = time.monotonic() + PATIENCE_S
    with lock.open("a") as stream:
        while time.monotonic() < until:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.02)
            else:
                return True
    return False


def appears(file: Path) -> bool:
    """Whether the file appears in time."""
    until = time.monotonic() + PATIENCE_S
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return file.exists()


DAEMON = """
import fcntl, os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        lock = open("lock", "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        open("ready", "w").close()
        time.sleep(600)
    os._exit(0)
while not os.path.exists("ready"):
    time.sleep(0.01)
"""
"""Leaves a process behind that has a session of its own, no parent, and no ear for a signal."""


def test_output_order_variables_and_status(start: Start) -> None:
    code = """
        import os, sys
        print("one"); print("two", file=sys.stderr); print("three")
        print(sorted(name for name in os.environ if name not in ("PWD", "LC_CTYPE")), sys.stdin.read() == "", os.path.basename(os.getcwd()))
        sys.exit(7)
    """
    for _ in range(2):
        execution, log = start(code, variables={"WEIGHT": "7"})
        assert ended(execution) == Ending("exited", 7)
    assert log.read_text().splitlines() == ["one", "two", "three", "['WEIGHT'] True folder"] * 2


def test_a_signal_is_a_negative_status(start: Start) -> None:
    execution, _ = start("import os; os.abort()")
    assert ended(execution) == Ending("exited", -signal.SIGABRT)


def test_over_time_it_is_asked_first(start: Start) -> None:
    code = """
        import signal, sys, time
        def asked(*_):
            print("asked")
            sys.exit(3)
        signal.signal(signal.SIGTERM, asked)
        time.sleep(600)
    """
    execution, log = start(code, limits=Limits(seconds=1.0))
    assert ended(execution) == Ending("time", 3)
    assert log.read_text() == "asked\n"
    assert "time 1 s" in execution.isolation


def test_one_that_does_not_hear_is_killed_with_all_it_started(start: Start, tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + DAEMON + "time.sleep(600)"
    execution, _ = start(code)
    assert appears(tmp_path / "folder" / "ready")
    began = time.monotonic()
    execution.stop()
    execution.stop()
    assert time.monotonic() - began < 1, "stop() waits"
    assert ended(execution) == Ending("stopped", -signal.SIGKILL)
    assert time.monotonic() - began > 1.5
    assert released(tmp_path / "folder" / "lock")
    execution.stop()  # of what is over: nothing happens


def test_nothing_outlives_a_command_that_ends_by_itself(start: Start, tmp_path: Path) -> None:
    execution, _ = start(DAEMON)
    assert ended(execution) == Ending("exited", 0)
    assert released(tmp_path / "folder" / "lock")
    assert own_children() == [], "a process, or a zombie, was left"


def test_memory_of_all_processes_together(start: Start, tmp_path: Path) -> None:
    code = f"""
        import os, time
        for _ in range(4):
            if os.fork() == 0:
                held = b"x" * (50 * {MIB})
                time.sleep(600)
        time.sleep(600)
    """
    execution, _ = start(code, limits=Limits(memory_bytes=150 * MIB))
    assert ended(execution).why == "memory"
    assert any(line.startswith("memory 150.0 MiB") for line in execution.isolation)
    assert own_children() == []


def test_memory_that_processes_share_counts_once(start: Start) -> None:
    code = f"""
        import mmap, os, time
        held = b"x" * (40 * {MIB})
        shared = mmap.mmap(-1, 40 * {MIB})
        shared.write(held)
        for _ in range(6):
            if os.fork() == 0:
                assert shared.find(b'y') == held.find(b'y') == -1
                time.sleep(1.5)
                os._exit(0)
        for _ in range(6):
            os.wait()
    """
    execution, log = start(code, limits=Limits(memory_bytes=150 * MIB))
    assert ended(execution) == Ending("exited", 0), log.read_text()


@pytest.mark.parametrize("files", [1, 60], ids=["one file", "many files"])
def test_disk(start: Start, tmp_path: Path, files: int) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "folder" / "before").write_bytes(bytes(range(256)) * 4 * 8192)  # 8 MiB that it did not write
    code = f"""
        import time
        for number in range({files}):
            for part in range(60 // {files}):
                with open({str(tmp_path / "more")!r} + f"/{{number}}", "ab") as stream:
                    stream.write(b"x" * {MIB})
            time.sleep(0.05)
    """
    execution, log = start(code, writable=[tmp_path / "more"], limits=Limits(disk_bytes=20 * MIB))
    assert ended(execution).why == "disk", log.read_text()


def test_within_its_limits_nothing_happens(start: Start, tmp_path: Path) -> None:
    (tmp_path / "folder" / "before").write_bytes(b"x" * (20 * MIB))
    code = f"held = b'x' * (20 * {MIB}); open('file', 'wb').write(held); import time; time.sleep(1.2)"
    execution, _ = start(code, limits=Limits(seconds=60, memory_bytes=100 * MIB, disk_bytes=30 * MIB))
    assert ended(execution) == Ending("exited", 0)


def test_a_killed_worker_leaves_nothing_behind(mode: SandboxMode, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    code = DAEMON + "time.sleep(600)"
    worker = f"""
        import sys, threading, time
        from pathlib import Path
        from lineage.adapters.executors import bubblewrap
        from lineage.adapters.executors.local import LocalExecutor
        from lineage.ports.executor import Task
        top = Path({str(tmp_path)!r})
        task = Task("t", [sys.executable, "-I", "-S", "-c", {code!r}], top / "folder", top / "log", {{}}, bubblewrap.python_folders())
        kept = []
        starting = threading.Thread(target=lambda: kept.append(LocalExecutor({mode!r}).start(task)))
        starting.start()
        starting.join()  # the thread that started it ends; the command must not
        time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(worker)]) as child:
        assert appears(tmp_path / "folder" / "ready"), (tmp_path / "log").read_text()
        child.send_signal(signal.SIGKILL)
    assert released(tmp_path / "folder" / "lock")


def test_one_that_nobody_stands_over_any_more_is_lost(start: Start, tmp_path: Path) -> None:
    code = "import fcntl, time; fcntl.flock(lock := open('lock', 'w'), fcntl.LOCK_EX); open('ready', 'w'); time.sleep(600)"
    execution, _ = start(code)
    assert appears(tmp_path / "folder" / "ready")
    os.kill(own_children()[0][0], signal.SIGKILL)
    assert ended(execution) == Ending("lost", None)
    assert released(tmp_path / "folder" / "lock")


def test_a_log_that_is_too_long_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with (tmp_path / "log").open("wb") as log:
        pumping = threading.Thread(target=pump, args=(reading, log.fileno(), 1000))
        pumping.start()
        with os.fdopen(writing, "wb") as stream:
            for number in range(200_000):
                stream.write(b"%9d\n" % number)
        pumping.join()
    os.close(reading)
    text = (tmp_path / "log").read_bytes()
    assert text.startswith(b"".join(b"%9d\n" % number for number in range(100)) + b"\n[the log is full: 1000 bytes are above")
    assert text.endswith(b"%9d\n" % 199_999)
    assert len(text) < 70_000


def test_one_that_prints_without_end_never_waits(start: Start) -> None:
    execution, log = start("import os\nfor _ in range(1100): os.write(1, b'x' * 65536)")
    assert ended(execution) == Ending("exited", 0)
    assert 64 * MIB < log.stat().st_size < 65 * MIB


def test_a_log_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "log").symlink_to(tmp_path / "mine")
    with pytest.raises(ExecutionFailed) as caught:
        LocalExecutor("off").start(Task("t", ["true"], tmp_path, tmp_path / "log", {}))
    assert "log" in str(caught.value.hint)
    assert (tmp_path / "mine").read_text() == "precious"


def test_what_cannot_be_started_is_told_without_secrets(mode: SandboxMode, tmp_path: Path) -> None:
    task = Task("t", ["no-such-program", "--token", "s3cr3t-s3cr3t"], tmp_path, tmp_path / "log", {"PATH": "/usr/bin"})
    with pytest.raises(ExecutionFailed) as caught:
        LocalExecutor(mode).start(task)
    assert caught.value.hint == "no-such-program: no such program"
    assert "s3cr3t" not in str(caught.value)
    (tmp_path / "broken").write_text("neither a script nor a program")
    (tmp_path / "broken").chmod(0o755)
    with pytest.raises(ExecutionFailed, match="status 127"):
        LocalExecutor("off").start(Task("t", ["./broken"], tmp_path, tmp_path / "log", {}))
    assert own_children() == []


def test_settings_choose_the_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("LINEAGE_SANDBOX", "off")
    running = executor("local").start(Task("t", ["true"], tmp_path, tmp_path / "log", {}))
    assert "files not isolated: LINEAGE_SANDBOX=off" in running.isolation
    assert ended(running) == Ending("exited", 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LINEAGE_SANDBOX", "require")
    with pytest.raises(ExecutionFailed):
        executor("local").start(Task("t", ["/bin/true"], tmp_path, tmp_path / "log", {}))
    monkeypatch.setenv("LINEAGE_SANDBOX", "yes")
    with pytest.raises(UsageError, match="LINEAGE_SANDBOX is 'yes'") as caught:
        load_settings()
    assert "require, auto or off" in str(caught.value.hint)
    monkeypatch.delenv("LINEAGE_SANDBOX")
    assert load_settings().sandbox == "auto"
    with pytest.raises(UsageError, match="no address of a Ray cluster"):
        executor("ray")
    with pytest.raises(UsageError, match="no executor 'slurm'"):
        executor("slurm")
