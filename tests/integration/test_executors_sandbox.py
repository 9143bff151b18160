"""What a command in the sandbox cannot reach: each thing is tried by a program inside."""

from __future__ import annotations

import json
import os
import socket
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lineage.adapters.executors import bubblewrap
from lineage.adapters.executors.local import LocalExecutor
from lineage.errors import ExecutionFailed
from lineage.ports.executor import Ending, Task

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands of the service are executed on Linux only")

PATIENCE_S = 30.0

TRY = """
import json, os, socket, sys

def attempt(action):
    try:
        return f"done: {action()}"
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"

def reach(family, address):
    with socket.socket(family) as there:
        there.settimeout(5)
        there.connect(address)
        return there.recv(9).decode()

def loopback():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        return "reached"

asked = json.loads(sys.argv[1])
told = {path: attempt(lambda: open(path).read(9)) for path in asked["read"]}
told |= {f"write {path}": attempt(lambda: open(path, "a").write("x")) for path in asked["write"]}
told |= {f"folder {path}": attempt(lambda: sorted(os.listdir(path))) for path in asked["list"]}
told["port"] = attempt(lambda: reach(socket.AF_INET, ("127.0.0.1", asked["port"])))
told["socket"] = attempt(lambda: reach(socket.AF_UNIX, asked["socket"]))
told["loopback"] = attempt(loopback)
told["processes"] = sum(name.isdigit() for name in os.listdir("/proc"))
told["variables"] = sorted(set(os.environ) - {"PWD", "LC_CTYPE"})
told["privileges"] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")]
print(json.dumps(told))
"""


@pytest.fixture
def sandbox() -> None:
    """For tests that need one."""
    found = bubblewrap.find()
    if isinstance(found, str):
        pytest.skip(f"needs a sandbox: {found}")


def ended(executor: LocalExecutor, task: Task) -> tuple[Ending, list[str], str]:
    """Its end, its isolation and its log."""
    execution = executor.start(task)
    until = time.monotonic() + PATIENCE_S
    while (ending := execution.poll()) is None:
        assert time.monotonic() < until, "it did not end"
        time.sleep(0.01)
    return ending, list(execution.isolation), task.log.read_text()


class Host:
    """A machine with an account, a store, servers and a job's folder."""

    def __init__(self, top: Path) -> None:
        self.home = top / "home"
        self.project = self.home / "project"
        self.store = self.project / ".lineage"
        self.job = self.store / "jobs" / "1"
        self.code = self.project / "code.py"
        self.secrets = [
            self.home / ".ssh" / "id_ed25519",
            self.home / ".aws" / "credentials",
            self.home / ".netrc",
            self.home / ".config" / "lineage" / "keys" / "default",
            self.store / "lineage.sqlite",
            top / "elsewhere" / "keys",
        ]
        for file in (*self.secrets, self.code, self.home / "data", self.job / "input"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("contents\n")
        self.port = socket.create_server(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0lineage-test-{os.getpid()}")
        self.abstract.listen()

    def asked(self, *outside: str) -> str:
        """What the program inside is to try; writing files of the machine only where there must be a sandbox."""
        asked = {
            "read": [*map(str, self.secrets), str(self.code), str(self.job / "input"), "/etc/shadow", "/proc/1/environ", "/proc/kcore"],
            "write": [str(self.code), str(self.job / "written"), *outside],
            "list": [str(self.home), str(self.store), "/tmp", "/var", "/run"],
            "port": self.port.getsockname()[1],
            "socket": f"\0lineage-test-{os.getpid()}",
        }
        return json.dumps(asked)

    def task(self, *outside: str, **more: Any) -> Task:
        """The program inside, as a task."""
        given: dict[str, Any] = {
            "name": "attack",
            "command": [sys.executable, "-I", "-S", "-c", TRY, self.asked(*outside)],
            "folder": self.job,
            "log": self.store / "jobs" / "1.log",
            "variables": {"HOME": str(self.home), "PATH": "/usr/bin:/bin"},
            "readable": bubblewrap.python_folders(),
        }
        return Task(**given | more)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Its account is the one that runs the worker."""
    made = Host(tmp_path)
    monkeypatch.setattr(bubblewrap, "_home", lambda: str(made.home))
    monkeypatch.setenv("LINEAGE_TOKEN", "lineage_worker_token")
    yield made
    made.port.close()
    made.abstract.close()


def closed(told: Mapping[str, Any], paths: list[Path] | list[str]) -> bool:
    """Whether each of these could neither be read nor written."""
    return all(not str(told[str(path)]).startswith("done") for path in paths)


@pytest.mark.usefixtures("sandbox")
def test_a_program_finds_its_job_and_nothing_else(host: Host) -> None:
    outside = ["/usr/bin/lineage-test", "/etc/lineage-test", "/lineage-test"]
    ending, isolation, log = ended(LocalExecutor("require"), host.task(*outside, "/tmp/lineage-test"))
    assert ending == Ending("exited", 0), log
    told = json.loads(log)
    assert closed(told, [*host.secrets, host.code])
    assert closed(told, ["/etc/shadow", "/proc/kcore", *(f"write {file}" for file in outside)])
    assert told[str(host.job / "input")] == "done: contents\n"
    assert told[f"write {host.job / 'written'}"] == told["write /tmp/lineage-test"] == "done: 1"
    assert (host.job / "written").read_text() == "x"
    assert not Path("/tmp/lineage-test").exists()
    assert host.code.read_text() == "contents\n", "whatever is written at its place stays inside"
    assert told[f"folder {host.home}"] == "done: ['project']", "only the way to the job"
    assert told[f"folder {host.store}"] == "done: ['jobs']"
    assert told["folder /run"].startswith("FileNotFoundError")
    assert told["folder /var"].startswith("FileNotFoundError")
    assert "LINEAGE_TOKEN" not in told["/proc/1/environ"]
    assert told["port"].startswith("ConnectionRefusedError")
    assert told["socket"].startswith("ConnectionRefusedError")
    assert told["loopback"] == "done: reached"
    assert told["processes"] == 2, "the first one of the sandbox, and itself"
    assert told["variables"] == ["HOME", "PATH"]
    assert told["privileges"] == ["0000000000000000"]
    assert isolation == ["network off", "files read-only", "home hidden", "processes apart"]


@pytest.mark.usefixtures("sandbox")
def test_credentials_are_hidden_in_folders_that_were_named(host: Host, tmp_path: Path) -> None:
    executor = LocalExecutor("require", hidden=[tmp_path / "elsewhere" / "keys"])
    task = host.task(readable=[*bubblewrap.python_folders(), host.home, host.project, tmp_path / "elsewhere"])
    ending, _, log = ended(executor, task)
    assert ending == Ending("exited", 0), log
    told = json.loads(log)
    assert all(
        told[str(secret)] in ("PermissionError: Permission denied", "FileNotFoundError: No such file or directory")
        for secret in host.secrets
    ), told
    assert told[str(host.code)] == "done: contents\n"
    assert told[f"write {host.code}"] == "OSError: Read-only file system"
    assert "'data'" in told[f"folder {host.home}"]
    assert told[f"write {host.job / 'written'}"] == "done: 1", "a folder inside a hidden one can be named"
    assert told[f"folder {host.store}"] == "done: ['jobs']"


@pytest.mark.usefixtures("sandbox")
def test_with_the_network_other_things_stay_closed(host: Host) -> None:
    command = [sys.executable, "-I", "-S", "-c", "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])))"]
    task = host.task(command=[*command, str(host.port.getsockname()[1])], has_network=True)
    ending, isolation, log = ended(LocalExecutor("require"), task)
    assert ending == Ending("exited", 0), log
    assert isolation[:2] == ["network on", "files read-only"]


@pytest.mark.usefixtures("sandbox")
def test_variables_of_a_task_do_not_change_the_sandbox_itself(host: Host) -> None:
    for library in ("libcap.so.2", "libc.so.6", "libselinux.so.1"):
        (host.job / library).write_bytes(b"no library")
    command = [sys.executable, "-I", "-S", "-c", "print('reached')"]
    variables = {"LD_LIBRARY_PATH": str(host.job), "LD_PRELOAD": str(host.job / "libcap.so.2"), "PYTHONHOME": "/nowhere"}
    _, _, log = ended(LocalExecutor("require"), host.task(command=command, variables=variables))
    assert "bwrap" not in log
    assert str(host.job) in log, "the program inside does load them"


@pytest.mark.usefixtures("sandbox")
def test_a_log_in_the_folder_of_its_command_stays_what_it_is(host: Host) -> None:
    """Or it would put a link in its place, and have whoever reads the log read any file of the account."""
    code = """
        import os
        def attempt(action):
            try:
                return action() or "done"
            except OSError as error:
                return type(error).__name__
        actions = (os.unlink, lambda name: os.rename(name, "other"), lambda name: os.rename("input", name), lambda name: open(name, "w"))
        print([attempt(lambda: action("log")) for action in actions])
    """
    command = [sys.executable, "-I", "-S", "-c", textwrap.dedent(code)]
    ending, _, log = ended(LocalExecutor("require"), host.task(command=command, log=host.job / "log"))
    assert (ending, log) == (Ending("exited", 0), "['OSError', 'OSError', 'OSError', 'OSError']\n")


@pytest.mark.usefixtures("sandbox")
def test_folders_that_are_named_by_way_of_links(host: Host, tmp_path: Path) -> None:
    (tmp_path / "there" / "data").mkdir(parents=True)
    (tmp_path / "there" / "data" / "row").write_text("contents\n")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "job").symlink_to(host.job)
    code = "import os, sys; print(os.getcwd()); print(open(sys.argv[1]).read()); print(open(sys.argv[2] + '/input').read())"
    data = tmp_path / "link" / "data"
    command = [sys.executable, "-I", "-S", "-c", code, str(data / "row"), str(tmp_path / "job")]
    task = host.task(command=command, folder=tmp_path / "job", readable=[*bubblewrap.python_folders(), data])
    ending, _, log = ended(LocalExecutor("require"), task)
    assert (ending, log.split()) == (Ending("exited", 0), [str(host.job), "contents", "contents"])


@pytest.mark.usefixtures("sandbox")
def test_memory_in_folders_counts_and_ends_with_the_command(host: Host) -> None:
    from lineage.ports.executor import Limits

    code = "import sys, time; open(sys.argv[1] + '/big', 'wb').write(bytes(90 << 20)); time.sleep(600)"
    for place in ("/tmp", "/dev/shm", str(host.home)):
        command = [sys.executable, "-I", "-S", "-c", code, place]
        ending, _, log = ended(LocalExecutor("require"), host.task(command=command, limits=Limits(memory_bytes=60 << 20)))
        # A folder that is full is told to the program; where there is more room than memory, the program is ended.
        assert ending.why == "memory" or "No space left" in log, place
        assert ending.status != 0


@pytest.mark.usefixtures("sandbox")
def test_a_program_outside_the_sandbox_is_told_of_before_it_starts(host: Host) -> None:
    (host.project / "tool").write_text("#!/bin/sh\n")
    (host.project / "tool").chmod(0o755)
    with pytest.raises(ExecutionFailed) as caught:
        LocalExecutor("require").start(host.task(command=[str(host.project / "tool")]))
    assert caught.value.hint == f"{host.project / 'tool'} is not in the sandbox: name its folder among those that can be read"
    with pytest.raises(ExecutionFailed) as caught:
        LocalExecutor("require").start(host.task(readable=[host.project / "gone"]))
    assert caught.value.hint == f"there is no {host.project / 'gone'}"


@pytest.fixture(params=["missing", "refused"])
def no_sandbox(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A host without bubblewrap, or where the kernel refuses what it needs."""
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    if request.param == "missing":
        return "no bubblewrap on this host"
    (tools / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    (tools / "bwrap").chmod(0o755)
    return "bubblewrap does not work on this host: No permissions to create new namespace"


def test_a_host_without_a_sandbox_says_so(host: Host, no_sandbox: str) -> None:
    with pytest.raises(ExecutionFailed) as caught:
        LocalExecutor("require").start(host.task())
    assert no_sandbox in str(caught.value.hint)
    assert "LINEAGE_SANDBOX=auto" in str(caught.value.hint)
    ending, isolation, log = ended(LocalExecutor("auto"), host.task())
    assert ending == Ending("exited", 0), log
    told = json.loads(log.splitlines()[-1])
    assert isolation[1] == f"files not isolated: {no_sandbox}"
    assert told["variables"] == ["HOME", "PATH"]
    if isolation[0] == "network off":  # the kernel gives every account a network of its own, or does not
        assert told["port"].startswith("ConnectionRefusedError")
        assert told["socket"].startswith("ConnectionRefusedError")
        assert told["loopback"] == "done: reached"
    else:
        assert isolation[0].startswith(f"network not isolated: {no_sandbox}, and ")
    host.port.settimeout(5)
    task = host.task(command=[sys.executable, "-c", "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])))"])
    network = Task(**{**vars(task), "command": [*task.command, str(host.port.getsockname()[1])], "has_network": True})
    assert ended(LocalExecutor("auto"), network)[:2] == (Ending("exited", 0), ["network on", isolation[1]])


def test_turned_off_it_says_so(host: Host) -> None:
    _, isolation, _ = ended(LocalExecutor("off"), host.task(command=["true"]))
    assert isolation == ["network not isolated: LINEAGE_SANDBOX=off", "files not isolated: LINEAGE_SANDBOX=off"]
