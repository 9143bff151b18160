"""Programs and functions that know W&B only: ``wandb.config`` has a trial's values, as under ``wandb agent``, offline and online."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lineage.model.comparison import Verdict
from lineage.model.run import Run, RunState
from lineage.reproduce.execute import reproduce
from tests.support.sweeping import Agents, agents, trials_of, write

PROGRAM = """
    import wandb
    with wandb.init(config={"lr": 9, "epochs": 2}) as run:
        for epoch in range(wandb.config.epochs):
            wandb.log({"loss": wandb.config["lr"] * (2 - epoch)})
"""
SWEEP = """
    program: train.py
    command: ["${interpreter}", "${program}"]
    method: grid
    project: parking
    metric: {name: loss}
    parameters: {lr: {values: [1e-05, 0.5]}}
"""


@pytest.fixture
def made(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agents]:
    """Agents in a repository with a program of W&B's and a grid of two trials."""
    write(repository, train=PROGRAM, sweep=SWEEP)
    monkeypatch.chdir(repository)
    with agents() as found:
        yield found


def is_identical(found: Agents, sweep_id: str, run: Run) -> bool:
    ports = found.crew(sweep_id).ports
    report = reproduce(ports, run, variables=os.environ | {"LINEAGE_STORE": str(ports.folder)}, environment="current")
    return report.verdict is Verdict.identical


def test_offline(made: Agents) -> None:
    """Values, group and project reach W&B's own record and ours; a trial is made again with its values."""
    sweep_id = made.make()
    assert [outcome.value for outcome in made.work(sweep_id, count=1).outcomes] == [1e-05]
    (run,) = made.runs(sweep_id)
    assert run.config == {"lr": 1e-05, "epochs": 2}
    assert (run.project, run.group, run.job_type, run.state) == ("parking", sweep_id, "trial", RunState.finished)
    assert run.trackers["wandb"]["project"] == "parking"
    assert is_identical(made, sweep_id, run)


def test_online(made: Agents, monkeypatch: pytest.MonkeyPatch, wandb_server: Any) -> None:
    """A server that knows nothing of the sweep gets plain runs with the trial's values, in a group; a name of the program's own stands."""
    write(Path.cwd(), train=PROGRAM.replace("config=", "project='mine', config="))
    for name, value in wandb_server.variables.items():
        monkeypatch.setenv(name, value)
    sweep_id = made.make()
    made.work(sweep_id, count=1)
    (run,) = made.runs(sweep_id)
    there = wandb_server.state()["runs"][run.trackers["wandb"]["id"]]
    told = {key: item["value"] for key, item in json.loads(there["config"]).items()}
    assert (told["lr"], told["epochs"]) == (1e-05, 2)
    assert (there["project"], there["facts"]["groupName"], there["facts"].get("sweep")) == ("mine", sweep_id, None)
    assert [point["loss"] for point in wandb_server.history(run.trackers["wandb"]["id"])] == [2e-05, 1e-05]
    assert (run.project, run.group, run.summary["loss"]) == ("mine", sweep_id, 1e-05)


NOTEBOOK = """
    import wandb
    import lineage

    definition = {
        "method": "random",
        "run_cap": 4,
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"lr": {"min": 0.001, "max": 0.1}, "optimizer": {"values": ["adam", "sgd"]}},
    }
    sweep_id = lineage.sweep(definition, project="resnets", seed=3)
    calls = []

    def train():
        calls.append(1)
        wandb.init(config={"lr": 1, "optimizer": "none"})
        wandb.log({"loss": wandb.config.lr + len(wandb.config.optimizer)})

    lineage.agent(sweep_id, train, count=3)
    print(sweep_id, len(calls))
"""


def test_functions(made: Agents, repository: Path) -> None:
    """``lineage.sweep`` and ``lineage.agent`` in a script as in W&B's tutorials: each call is a run; one of them is made again alone."""
    write(repository, tutorial=NOTEBOOK)
    done = subprocess.run([sys.executable, "tutorial.py"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    sweep_id, calls = done.stdout.split()[-2:]
    crew_id = made.make()
    runs = trials_of(made.crew(crew_id).ports, sweep_id)
    trials = made.crew(crew_id).engine.trials(sweep_id)

    assert calls == "3"
    assert [run.config for run in runs] == [item.parameters for item in trials]
    assert [run.summary["loss"] for run in runs] == [item.value for item in trials]
    assert [run.id for run in runs] == [item.run_id for item in trials]
    assert {(run.project, run.job_type, run.process_ordinal, run.state) for run in runs} == {("resnets", "trial", 0, RunState.finished)}
    assert len({run.config["lr"] for run in runs}) == 3, "W&B keeps the values of the first trial unless it is told to forget them"
    assert is_identical(made, crew_id, runs[2])


FUNCTION = """
    import time
    import lineage

    definition = {
        "method": "grid",
        "metric": {"name": "loss"},
        "parameters": {"lr": {"values": [1, 2, 3, 4, 5, 6, 7]}},
        "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 2},
    }

    def train():
        with lineage.start_run(config={"lr": 0}) as run:
            if run.config["lr"] == 3:
                raise ValueError("too steep")
            for epoch in range(3):
                run.log({"loss": run.config["lr"] + epoch})
            while run.config["lr"] == 7:
                time.sleep(0.02)

    sweep_id = lineage.sweep(definition)
    lineage.agent(sweep_id, function=train)
    print(sweep_id)
"""


def test_functions_that_fail_or_are_stopped_early(made: Agents, repository: Path) -> None:
    """A failed call is a failed trial, and the next one goes on; one that is stopped early ends where it is, even in an endless loop."""
    write(repository, tutorial=FUNCTION)
    done = subprocess.run([sys.executable, "tutorial.py"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    sweep_id = done.stdout.split()[-1]
    crew = made.crew(made.make())
    ended = [(item.state, item.value) for item in crew.engine.trials(sweep_id)]
    runs = trials_of(crew.ports, sweep_id)
    assert ended[:4] == [("complete", 3.0), ("complete", 4.0), ("failed", None), ("complete", 6.0)]
    assert ended[5:] == [("stopped", 7.0), ("stopped", 8.0)]
    assert [run.state for run in runs] == [RunState.failed if number == 2 else RunState.finished for number in range(7)]
    assert runs[2].error == "ValueError: too steep"
    assert [None if run.stopped_early is None else run.stopped_early.value for run in runs[5:]] == [7.0, 8.0]
    assert "ValueError: too steep" in textwrap.dedent(done.stderr)
