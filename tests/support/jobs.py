"""A team's store with runs to ask workers for, and workers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineage.adapters.queues.sql import SqlJobQueue
from lineage.model.materialisation import Materialisation, MaterialisationRequest, What
from lineage.ports import Ports, RunQuery
from lineage.ports.executor import Limits
from lineage.reproduce.jobs.worker import KINDS, Worker
from lineage.settings import Settings
from lineage.wiring import wire
from lineage.wiring_jobs import executor, job_queue, workshop

TRAIN = """
import json, random, sys, time
import lineage

pause, size = float(sys.argv[1]), int(sys.argv[2])
with lineage.start_run(project="parking", job_type="train", seed=7) as run:
    numbers, total = random.Random(7), 0.0
    for step in range(8):
        total += numbers.random()
        run.log({"loss": total}, step=step)
        print("step", step, flush=True)
        time.sleep(pause)
    with open("model.json", "w") as file:
        json.dump(total, file)
    with open("ballast", "wb") as file:
        for _ in range(size):
            file.write(bytes(1 << 20))
            file.flush()
            time.sleep(0.1)
    run.log_artifact("model.json", kind="model")
"""

READ = """
import sys
import lineage

with lineage.start_run(project="parking", job_type="train", seed=7) as run:
    data = run.use_dataset(sys.argv[1], role="train")
    run.log({"rows": float(len(data))})
"""


@dataclass
class Team:
    """A store, its queue, and a repository whose runs it holds.

    Attributes:
        variables: Lead a process to the store.
    """

    settings: Settings
    ports: Ports
    queue: SqlJobQueue
    repository: Path
    variables: dict[str, str]
    said: list[str] = field(default_factory=list)

    def record(self, script: str, *arguments: str) -> str:
        """Run a script of the repository; the id of the run that it recorded."""
        command = [sys.executable, script, *arguments]
        subprocess.run(command, cwd=self.repository, env=self.variables, check=True, timeout=120, stdout=subprocess.DEVNULL)
        return self.ports.runs.find(RunQuery(limit=1))[0].id

    def ask(self, run_id: str, what: What = "rerun", **options: Any) -> Materialisation:
        return self.queue.enqueue(run_id, MaterialisationRequest(what=what, **options), by="ada")

    def worker(self, should_end: Callable[[], bool] = lambda: False, limits: Limits | None = None, lease_s: float = 30.0) -> Worker:
        shop = workshop(
            self.ports,
            self.queue,
            executor("local", settings=self.settings),
            folder=self.ports.folder / "jobs",
            limits=limits or Limits(),
            lease_s=lease_s,
            settings=self.settings,
        )
        return Worker(
            shop, tuple(KINDS), should_end=should_end, say=lambda kind, text: self.said.append(f"{kind}: {text}"), on_error=_raise
        )

    @contextmanager
    def working(self, **more: Any) -> Iterator[None]:
        """A worker in a thread, for as long as this lasts."""
        ending = threading.Event()
        thread = threading.Thread(target=self.worker(ending.is_set, **more).work)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join(60)
            assert not thread.is_alive()

    def process(self, *options: str) -> subprocess.Popen[str]:
        """A worker in a process of its own."""
        command = [sys.executable, "-m", "lineage", "worker", *options]
        return subprocess.Popen(command, env=self.variables, cwd=self.repository, stderr=subprocess.PIPE, text=True)

    def until(self, job_id: str, fits: Callable[[Materialisation], bool], seconds: float = 60.0) -> Materialisation:
        """The job, as soon as it is so."""
        deadline = time.monotonic() + seconds
        while not fits(job := self.queue.get(job_id)):
            assert time.monotonic() < deadline, (job, self.log(job_id))
            time.sleep(0.05)
        return job

    def log(self, job_id: str) -> str:
        return "".join(item.text or "" for item in self.queue.happened(job_id, 0))


def _raise(error: Exception) -> None:
    raise error


@contextmanager
def team_in(folder: Path, store: str | None = None) -> Iterator[Team]:
    """A team whose store is in ``folder``, or in the database ``store``."""
    repository = folder / "repository"
    repository.mkdir(parents=True)
    (repository / "train.py").write_text(TRAIN)
    (repository / "read.py").write_text(READ)
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "first"]):
        subprocess.run(["git", *arguments], cwd=repository, check=True)
    settings = Settings(store or str(folder / "store"), folder / "store")
    variables = os.environ | {"LINEAGE_STORE": settings.store, "LINEAGE_FOLDER": str(settings.folder), "WANDB_MODE": "disabled"}
    ports, queue = wire(settings), job_queue(settings)
    try:
        yield Team(settings, ports, queue, repository, variables)
    finally:
        queue.close()
        ports.runs.close()
