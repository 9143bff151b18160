"""Starts a Ray cluster of two nodes in a network namespace of its own, and plays scenes on it. A program: one JSON object is printed.

    unshare --net --pid --fork --kill-child --mount-proc python ray_scenes.py RAY_BIN FOLDER

Outside a namespace a cluster listens on every address of the machine. Its processes are ended by number: ``ray stop`` would end those of
others.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lineage.adapters.executors import bubblewrap
from lineage.adapters.executors.limits import descendants
from lineage.adapters.executors.local_network import leave_network
from lineage.adapters.executors.ray import RayExecution, RayExecutor, Resources
from lineage.errors import ExecutionFailed
from lineage.ports.executor import Limits, Task

PORT, DASHBOARD = 6399, 8266
ADDRESS = f"http://127.0.0.1:{DASHBOARD}"
TOKEN = "5f0c1c0f9d7e4a8c9b1e" * 3
PATIENCE_S = 300.0

HOLD = """
import fcntl, signal, sys, time
def asked(*_):
    print("asked", flush=True)
    sys.exit(5)
signal.signal(signal.SIGTERM, asked)
lock = open("lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
open("ready", "w").close()
time.sleep(600)
"""


def until(what: Callable[[], Any], why: str) -> Any:
    """What it answers, as soon as that is something."""
    end = time.monotonic() + PATIENCE_S
    while not (found := what()):
        if time.monotonic() > end:
            raise SystemExit(f"in vain: {why}")
        time.sleep(0.2)
    return found


def _command_line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


class Cluster:
    """A head and a second node."""

    def __init__(self, ray: Path, folder: Path) -> None:
        self._ray = ray
        self._folder = folder
        self.temporary = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # names of sockets must be short
        common = ["--disable-usage-stats", "--object-store-memory=100000000"]
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._join(
            "head", f"--port={PORT}", "--head", "--num-cpus=0", f"--dashboard-port={DASHBOARD}", f"--temp-dir={self.temporary}", *common
        )
        self._join("second", f"--address=127.0.0.1:{PORT}", '--resources={"second": 1}', "--num-cpus=1", *common)

    def _join(self, name: str, *options: str) -> None:
        variables = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        variables.pop("PYTHONDONTWRITEBYTECODE", None)  # Ray gives up on processes that take long to start
        log = self._folder / name
        for _ in range(3):  # it gives up after 30 seconds, which is little on a busy machine
            with log.open("wb") as stream:
                node = subprocess.Popen([self._ray, "start", "--block", *options], stdout=stream, stderr=stream, env=variables)
            until(lambda node=node: node.poll() is not None or "Ray runtime started" in log.read_text(), f"{name} does not start")  # type: ignore[misc]
            if node.poll() is None:
                self.nodes.append(node)
                return
        raise SystemExit(f"{name} does not start: {log.read_text()[-2000:]}")

    def kill(self, node: int) -> None:
        """Kill all of its processes but what this project started there, which then hears nothing any more."""
        processes = [self.nodes[node].pid, *(process for process, _ in descendants(self.nodes[node].pid))]
        ours = {process for process in processes if b"ray_node" in _command_line(process)}
        ours |= {below for process in ours for below, _ in descendants(process)}
        for process in processes:
            if process not in ours:
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)


class Scenes:
    """Each returns what it saw."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self._folder = folder
        self._cluster = cluster

    def _executor(self, **more: Any) -> RayExecutor:
        given: dict[str, Any] = {"token": TOKEN, "resources": Resources(cpus=0.5, others={"second": 0.1})}
        return RayExecutor(ADDRESS, **given | more)

    def _task(self, name: str, code: str, **more: Any) -> Task:
        folder = self._folder / name
        folder.mkdir()
        command = [sys.executable, "-I", "-S", "-u", "-c", textwrap.dedent(code)]
        return Task(name, command, folder, self._folder / f"{name}.log", {"WEIGHT": "s3cr3t"}, bubblewrap.python_folders(), **more)

    def _ended(self, execution: RayExecution, task: Task) -> dict[str, Any]:
        ending = until(execution.poll, f"{task.name} does not end")
        left = [file.name for file in self._folder.iterdir() if file.name.startswith(f".{task.name}")]
        log = task.log.read_text() if task.log.exists() else ""
        return {"why": ending.why, "status": ending.status, "log": log, "left": left, "isolation": list(execution.isolation)}

    def _released(self, task: Task) -> bool:
        def free() -> bool:
            with (task.folder / "lock").open("a") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True

        return bool(until(free, "a process of the command lives on"))

    def ends(self) -> dict[str, Any]:
        """A command that prints and ends."""
        code = "import os, sys; print(sorted(set(os.environ) - {'PWD', 'LC_CTYPE'})); print('two', file=sys.stderr); sys.exit(3)"
        task = self._task("ends", code)
        began = time.monotonic()
        execution = self._executor().start(task)
        first = list(execution.isolation)
        told = self._ended(execution, task)
        return told | {"first": first, "seconds": round(time.monotonic() - began, 1)}

    def stopped(self) -> dict[str, Any]:
        """One that is asked to end."""
        task = self._task("stopped", HOLD)
        execution = self._executor().start(task)
        until(lambda: execution.poll() or (task.folder / "ready").exists(), "it does not begin")
        execution.stop()
        return self._ended(execution, task) | {"released": self._released(task)}

    def waiting(self) -> dict[str, Any]:
        """One that waits for a node that does not come, and is not wanted any more."""
        task = self._task("waiting", "open('ran', 'w')")
        execution = self._executor(resources=Resources(cpus=1, others={"third": 1})).start(task)
        until(lambda: execution.poll() is None, "it waits")
        execution.stop()
        return self._ended(execution, task) | {"ran": (task.folder / "ran").exists()}

    def too_long(self) -> dict[str, Any]:
        """One over a limit."""
        task = self._task("long", HOLD, limits=Limits(seconds=2))
        return self._ended(self._executor().start(task), task)

    def silent(self) -> dict[str, Any]:
        """One whose worker is not heard of any more."""
        task = self._task("silent", HOLD)
        execution = self._executor(silence_s=6.0).start(task)
        until(lambda: execution.poll() or (task.folder / "ready").exists(), "it does not begin")
        return {"released": self._released(task), "log": task.log.read_text()}

    def refused(self) -> dict[str, Any]:
        """Calls that the cluster, or nobody, takes."""
        told = {}
        for name, address, token in (
            ("token", ADDRESS, "wr0ng" * 8),
            ("none", "http://127.0.0.1:9", TOKEN),
            ("form", "ray://127.0.0.1:10001", TOKEN),
            ("other", f"http://127.0.0.1:{PORT}", TOKEN),
        ):
            task = self._task(f"refused-{name}", "open('ran', 'w')")
            try:
                RayExecutor(address, token=token).start(task)
            except ExecutionFailed as error:
                told[name] = f"{error} {error.hint}"
        return told | {"left": [file.name for file in self._folder.iterdir() if file.name.startswith(".refused")]}

    def missing(self) -> dict[str, Any]:
        """A program that the node does not have."""
        task = self._task("missing", "")
        return self._ended(self._executor().start(Task(**{**vars(task), "command": ["no-such-program"]})), task)

    def rerun(self) -> dict[str, Any]:
        """A recorded run, run again by a worker that sends it to the cluster."""
        repository = self._folder / "repository"
        repository.mkdir()
        code = "import lineage\nwith lineage.start_run(project='parking', seed=7) as run:\n    run.log({'loss': 0.25})\n"
        (repository / "train.py").write_text(code)
        variables = os.environ | {"LINEAGE_STORE": str(self._folder / "store"), "RAY_AUTH_TOKEN": TOKEN, "WANDB_MODE": "disabled"}

        def output(*command: str) -> str:
            done = subprocess.run(command, cwd=repository, env=variables, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=True)
            return done.stdout

        output("git", "init", "--quiet")
        output("git", "add", "--all")
        output("git", "-c", "user.name=Test", "-c", "user.email=test@example.invalid", "commit", "--quiet", "--message", "train")
        output(sys.executable, "train.py")
        lineage = (sys.executable, "-m", "lineage")
        (run,) = json.loads(output(*lineage, "runs", "--json"))
        job = json.loads(output(*lineage, "request", run["id"], "--what", "rerun", "--env", "current", "--json"))
        output(*lineage, "worker", "--once", "--executor", "ray", "--address", ADDRESS)
        told = json.loads(output(*lineage, "jobs", "show", job["id"], "--json"))
        return {name: told[name] for name in ("state", "verdict", "isolation", "error")}

    def sweep(self) -> dict[str, Any]:
        """A sweep, by two agents that the cluster runs."""
        folder = self._folder / "sweep"
        folder.mkdir()
        (folder / "train.py").write_text("import sys\nprint(f'epoch 0 loss={float(sys.argv[1][5:])}')\n")
        (folder / "sweep.yaml").write_text(
            "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {lr: {values: [0.4, 0.1, 0.3, 0.2]}}\n"
        )
        variables = os.environ | {"LINEAGE_STORE": str(self._folder / "sweeps"), "RAY_AUTH_TOKEN": TOKEN, "WANDB_MODE": "disabled"}

        def lineage(*words: str) -> str:
            command = [sys.executable, "-m", "lineage", *words]
            return subprocess.run(
                command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=True
            ).stdout

        sweep_id = lineage("sweep", "sweep.yaml").strip()
        lineage("agent", sweep_id, "--agents", "2", "--executor", "ray", "--address", ADDRESS, "--cpus", "0.4")
        told = json.loads(lineage("sweep", sweep_id, "--json"))
        return {
            "state": told["state"],
            "trials": [(item["state"], item["value"]) for item in told["trials"]],
            "best": told["best"],
        }

    def lost(self) -> dict[str, Any]:
        """One whose node goes. The last scene."""
        task = self._task("lost", HOLD)
        execution = self._executor().start(task)
        until(lambda: execution.poll() or (task.folder / "ready").exists(), "it does not begin")
        began = time.monotonic()
        self._cluster.kill(1)
        told = self._ended(execution, task)
        return told | {"seconds": round(time.monotonic() - began, 1), "released": self._released(task)}


def main(ray: str, folder: str) -> None:
    """Play all scenes."""
    why = leave_network()  # a second time: it also switches loopback on
    if why:
        raise SystemExit(why)
    cluster = Cluster(Path(ray), Path(folder))
    scenes = Scenes(Path(folder), cluster)
    order = (
        scenes.ends,
        scenes.stopped,
        scenes.waiting,
        scenes.too_long,
        scenes.silent,
        scenes.refused,
        scenes.missing,
        scenes.rerun,
        scenes.sweep,
        scenes.lost,
    )
    try:
        told = {}
        for scene in order:
            told[scene.__name__] = scene()
        sys.stdout.write(json.dumps(told))
    finally:
        for node in (1, 0):
            cluster.kill(node)
            cluster.nodes[node].wait()
        shutil.rmtree(cluster.temporary, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
