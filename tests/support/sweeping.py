"""Sweeps for tests: small programs, agents in this process, and what is recorded of their trials."""

from __future__ import annotations

import contextlib
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lineage.api.sweeping import read_definition
from lineage.model.run import Run
from lineage.ports import Ports, RunQuery
from lineage.settings import load_settings
from lineage.sweeping.agent import Worked, work
from lineage.sweeping.create import create_sweep
from lineage.sweeping.program import Crew
from lineage.wiring_agents import crew_of

TRAIN = """
    import argparse, os, time
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    parser.add_argument("--width", type=int, default=1)
    given = parser.parse_args()
    if "HELD" in os.environ:
        with open(os.environ["HELD"] + ".part", "w") as stream:
            stream.write(str(os.getpid()))
        os.rename(os.environ["HELD"] + ".part", os.environ["HELD"])
        while True:
            time.sleep(0.05)
    for epoch in range(3):
        print(f"epoch {epoch} loss={(given.lr - 0.3) ** 2 + given.width / 100 + 1 / (epoch + 1)!r}")
"""


def write(folder: Path, **files: str) -> None:
    """Files of a program (``train`` for ``train.py``) and of a sweep (``sweep`` for ``sweep.yaml``), committed."""
    for name, text in files.items():
        (folder / (f"{name}.yaml" if name == "sweep" else f"{name}.py")).write_text(textwrap.dedent(text))
    for words in (["add", "--all"], ["commit", "--quiet", "--allow-empty", "--message", "more"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


class Agents:
    """Makes sweeps and works on them in this process, as agents do; all of one store."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._crews: list[Crew] = []

    def make(self, file: str = "sweep.yaml", *, seed: int = 1) -> str:
        """A sweep of a file of the current folder; its id."""
        crew = self._crews[0] if self._crews else None
        from lineage.wiring import wire
        from lineage.wiring_sweeps import sweep_engine

        engine = sweep_engine() if crew is None else crew.engine
        ports = wire() if crew is None else crew.ports
        made = create_sweep(
            engine, ports.objects, read_definition(Path(file)), project=None, default_project="default", seed=seed, parallel=4
        )
        self._crews.append(crew_of(made.id, self._say, settings=load_settings(), ports=ports, engine=engine, lease_s=20))
        return made.id

    def crew(self, sweep_id: str) -> Crew:
        """What an agent of the sweep works with."""
        return next(crew for crew in self._crews if crew.sweep.id == sweep_id)

    def work(self, sweep_id: str, **options: Any) -> Worked:
        """Work on a sweep until it has no more trials."""
        return work(self.crew(sweep_id), **options)

    def runs(self, sweep_id: str) -> list[Run]:
        """The recorded attempts of a sweep's trials, in the order in which they began."""
        return trials_of(self.crew(sweep_id).ports, sweep_id)

    def close(self) -> None:
        """Release what is open."""
        if self._crews:
            self._crews[0].engine.close()
            self._crews[0].ports.runs.close()

    def _say(self, kind: str, text: str) -> None:
        self.said.append(f"{kind}: {text}")


def trials_of(ports: Ports, sweep_id: str) -> list[Run]:
    """The recorded attempts of a sweep's trials, in the order in which they began."""
    runs = [run for run in ports.runs.find(RunQuery(group=sweep_id)) if run.reproduces is None]
    return sorted(runs, key=lambda run: run.started_at)


@contextlib.contextmanager
def agents() -> Iterator[Agents]:
    """Agents of this process."""
    made = Agents()
    try:
        yield made
    finally:
        made.close()


def is_over(process: int) -> bool:
    """Whether a process is gone, or nobody asked yet how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: It does not in time.
    """
    import time

    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
