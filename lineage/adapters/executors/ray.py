"""Commands on a Ray cluster that is there already.

Ray chooses the node and starts one process there (:mod:`lineage.adapters.executors.ray_node`), which does what
:class:`lineage.adapters.executors.local.LocalExecutor` does here: sandbox, limits, log. The two sides speak through a folder beside the
task's log, so the task's folders and its log have to be on a file system that all nodes see under the same path. Ray's own interface is
HTTP, so the package ``ray`` is not needed on this side; what was tested is Ray 2.60.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from lineage.adapters.executors.local import PACKAGES, SandboxMode
from lineage.adapters.executors.local_log import open_log
from lineage.adapters.executors.ray_files import BEAT, ENDING, STARTED, TASK, overwrite, read, take, text_of, write
from lineage.errors import ExecutionFailed
from lineage.model.secrets import redact_command
from lineage.ports.executor import Ending, Task

_NODE = "import sys; sys.path.append(sys.argv[1]); from lineage.adapters.executors.ray_node import main; main(sys.argv[2])"
_ANSWER_S = 30.0
_BEAT_S = 1.0
_ASK_S = 2.0
_LAG_S = {"SUCCEEDED": 90.0}  # then there is a last word; a network file system may not show the new file at once
_OTHER_LAG_S = 5.0
_OVER = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Resources:
    """What Ray keeps free for one command.

    Attributes:
        cpus: Processors.
        gpus: GPUs; the command sees only these.
        others: Further resources that nodes of the cluster have, by name.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    others: Mapping[str, float] | None = None


class RayExecutor:
    """Starts commands on nodes of a Ray cluster.

    Args:
        address: Of its dashboard: ``http://head:8265``.
        token: Of a cluster with token authentication; never shown.
        resources: What each command is given. Its limit of memory is asked of Ray, too.
        sandbox: As for commands on this machine; the node's own bubblewrap.
        readable: Files and folders of the nodes that every command finds.
        hidden: What no command finds.
        python: Python on the nodes that has this package.
        silence_s: A node ends its command when it has not heard from this process for so long; a cluster that does not answer for so long
            counts as lost.
        grace_s: Seconds between asking a command to end and killing it. Together both must be less than what gives a job to another worker.
    """

    name = "ray"

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        resources: Resources | None = None,
        sandbox: SandboxMode = "auto",
        readable: Sequence[Path] = (),
        hidden: Sequence[Path] = (),
        python: str = sys.executable,
        silence_s: float = 15.0,
        grace_s: float = 10.0,
    ) -> None:
        self._jobs = _Jobs(address, token)
        self._resources = resources or Resources()
        self._node = {
            "sandbox": sandbox,
            "readable": [str(path) for path in readable],
            "hidden": [str(path) for path in hidden],
            "grace_s": grace_s,
        }
        self._python = python
        self._silence_s = silence_s

    def start(self, task: Task) -> RayExecution:
        """Hand a command to the cluster. It waits there until a node has room.

        Raises:
            ExecutionFailed: The cluster does not answer, or refuses it.
        """
        name = f"{task.name}-{secrets.token_hex(6)}"
        control = task.log.parent / f".{name}"
        body: dict[str, Any] = {
            "submission_id": name,
            "entrypoint": shlex.join(["exec", self._python, "-I", "-c", _NODE, str(PACKAGES), str(control)]),
            "entrypoint_num_cpus": self._resources.cpus,
            "entrypoint_num_gpus": self._resources.gpus,
            "entrypoint_resources": dict(self._resources.others or {}) or None,
            "entrypoint_memory": task.limits.memory_bytes,
        }
        try:
            control.mkdir(mode=0o700)
            # Not in the request: whoever may look at the cluster's dashboard would read the task's variables there.
            write(control / TASK, {"task": text_of(task), "node": self._node, "silence_s": self._silence_s})
            self._jobs.ask("POST", "/api/jobs/", body)
        except _Refused as error:
            shutil.rmtree(control, ignore_errors=True)
            raise _failed(task, str(error)) from None
        except OSError as error:
            shutil.rmtree(control, ignore_errors=True)
            raise _failed(task, f"{error.filename or control}: {error.strerror}") from error
        return RayExecution(self._jobs, name, task, control, self._silence_s)


class RayExecution:
    """A command of a cluster."""

    def __init__(self, jobs: _Jobs, name: str, task: Task, control: Path, silence_s: float) -> None:
        self._jobs = jobs
        self._name = name
        self._task = task
        self._control = control
        self._silence_s = silence_s
        self._isolation: tuple[str, ...] = ()
        self._ending: Ending | None = None
        self._stopped_at: float | None = None
        self._beats = 0
        self._beat_at = self._ask_at = 0.0
        self._answered_at = time.monotonic()
        self._over_at: float | None = None

    @property
    def isolation(self) -> Sequence[str]:
        """What holds for it; before a node has taken it, nobody knows."""
        if not self._isolation:
            told = read(self._control / STARTED)
            self._isolation = tuple(told["isolation"]) if told else ()
        return self._isolation or ("waits for a node of the cluster" if self._ending is None else "was not started",)

    def poll(self) -> Ending | None:
        """How it ended, or ``None``. The node ends the command when nobody has called this for a while."""
        if self._ending is not None:
            return self._ending
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat()
        if (told := read(self._control / ENDING)) is not None:
            if error := told.get("error"):
                self._tell(error)
            return self._end(Ending(told["why"], told["status"]))
        if now < self._ask_at:
            return None
        self._ask_at = now + _ASK_S
        with suppress(OSError):
            os.listdir(self._control)  # has a network file system look for new files
        try:
            job = self._jobs.ask("GET", f"/api/jobs/{self._name}")
        except _Refused as error:
            if now - self._answered_at > self._silence_s:
                return self._lost(str(error))
            return None
        self._answered_at = now
        if job.get("status") not in _OVER:
            return self._insist()
        self._over_at = self._over_at or now
        if now - self._over_at < _LAG_S.get(job["status"], _OTHER_LAG_S):
            return None
        if self._stopped_at is not None:
            return self._end(Ending("stopped", None))
        return self._lost(job.get("message") or f"Ray says {job.get('status')}")

    def stop(self) -> None:
        if self._ending is None and self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self._beat()

    def _beat(self) -> None:
        self._beats += 1
        self._beat_at = time.monotonic() + _BEAT_S
        with suppress(OSError):  # a file system that is away for a moment
            overwrite(self._control / BEAT, {"beat": self._beats, "stop": self._stopped_at is not None})

    def _insist(self) -> Ending | None:
        """End what was asked to end and did not: it still waits for a node, which may take for ever, or its node is in trouble."""
        if self._stopped_at is None:
            return None
        is_withdrawn = take(self._control)
        if is_withdrawn or time.monotonic() - self._stopped_at > self._silence_s:
            with suppress(_Refused):  # Ray keeps one that waits on its list for a quarter of an hour all the same
                self._jobs.ask("POST", f"/api/jobs/{self._name}/stop")
        return self._end(Ending("stopped", None)) if is_withdrawn else None

    def _lost(self, why: str) -> Ending:
        self._tell(why)
        return self._end(Ending("lost", None))

    def _tell(self, why: str) -> None:
        with suppress(OSError):
            log = open_log(str(self._task.log))
            try:
                os.write(log, f"[{why.strip()}]\n".encode(errors="replace"))
            finally:
                os.close(log)

    def _end(self, ending: Ending) -> Ending:
        _ = self.isolation  # read before the folder goes
        self._ending = ending
        shutil.rmtree(self._control, ignore_errors=True)
        return ending


class _Refused(Exception):
    """The cluster does not answer, or says no."""


class _Jobs:
    def __init__(self, address: str, token: str | None) -> None:
        self._address = address
        self._token = token

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One request: no proxy and no redirection, since both would be given the token.

        Raises:
            _Refused: No answer, or one that says no.
        """
        there = self._there()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._token}"} if self._token else {})
        kind = http.client.HTTPSConnection if there.scheme == "https" else http.client.HTTPConnection
        connection = kind(there.hostname or "", there.port, timeout=_ANSWER_S)
        try:
            connection.request(method, there.path.rstrip("/") + path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except http.client.HTTPException:
            raise _Refused(f"what answers at {there.hostname}:{there.port} is not the dashboard of a Ray cluster") from None
        except OSError as error:
            raise _Refused(f"the Ray cluster at {there.hostname}:{there.port} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status in (401, 403):
            raise _Refused(f"the Ray cluster at {there.hostname} refuses the token, or needs one (RAY_AUTH_TOKEN): {response.status}")
        if response.status != 200:
            last = text.strip().splitlines()[-1:] or [""]
            raise _Refused(f"the Ray cluster at {there.hostname} answers {response.status}: {last[0][:500]}")
        try:
            told = json.loads(text or "{}")
        except ValueError:
            raise _Refused(f"what answers at {there.hostname}:{there.port} is not the dashboard of a Ray cluster") from None
        return told if isinstance(told, dict) else {}

    def _there(self) -> SplitResult:
        try:
            there = urlsplit(self._address)
            is_right = there.scheme in ("http", "https") and bool(there.hostname) and (there.port or True)
        except ValueError:
            is_right = False
        if not is_right:
            raise _Refused("the address of the Ray cluster is not of the form http://head:8265, as its dashboard has it")
        return there


def _failed(task: Task, why: str) -> ExecutionFailed:
    return ExecutionFailed(" ".join(redact_command(task.command)), 127, hint=why)
