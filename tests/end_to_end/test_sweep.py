"""A sweep as a team runs it: several agents, one of them killed in the middle of a trial; the same again; trials made again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lineage.model.run import RunState
from lineage.reproduce.execute import reproduce
from tests.support.commands import looked
from tests.support.sweeping import TRAIN, agents, is_over, trials_of, wait_for, write

SWEEP = """
    program: train.py
    method: bayes
    run_cap: 9
    metric: {name: loss, goal: minimize}
    parameters:
      lr: {min: 0.001, max: 1.0, distribution: log_uniform_values}
      width: {values: [1, 2, 4]}
"""


def test_four_agents_one_of_them_killed(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each trial is finished exactly once; the same seed proposes the same again; trials picked by chance are made again, bit for bit."""
    write(repository, train=TRAIN, sweep=SWEEP)
    monkeypatch.chdir(repository)
    sweep_id = looked(repository, "sweep", "sweep.yaml", "--seed", "7").stdout.strip()
    words = [sys.executable, "-m", "lineage", "agent", sweep_id, "--lease", "5"]
    held = tmp_path / "held"

    victim = subprocess.Popen(words, env=os.environ | {"HELD": str(held)}, start_new_session=True)
    wait_for(held.is_file)
    program = int(held.read_text())
    others = subprocess.Popen([*words, "--agents", "3"], stderr=subprocess.PIPE, text=True)
    victim.send_signal(signal.SIGKILL)
    victim.wait(30)
    wait_for(lambda: is_over(program))
    talk = others.communicate(timeout=200)[1]
    assert others.returncode == 0, talk
    assert "3 agents are done" in talk

    with agents() as made:
        again = made.make(seed=7)
        made.work(again)
        engine, ports = made.crew(again).engine, made.crew(again).ports
        first, second = engine.trials(sweep_id), engine.trials(again)
        runs = [run for run in trials_of(ports, again) + trials_of(ports, sweep_id) if run.sweep is not None]
        ended = Counter((run.group, run.sweep.number) for run in runs if run.sweep is not None and run.state is RunState.finished)
        aborted = [run.sweep for run in runs if run.state is RunState.aborted]

        assert engine.get(sweep_id).state == "finished"
        assert [(item.number, item.parameters, item.value) for item in first] == [
            (item.number, item.parameters, item.value) for item in second
        ]
        assert [item.state for item in first] == ["complete"] * 9
        assert ended == {(name, number): 1 for name in (sweep_id, again) for number in range(9)}
        assert [(trial.sweep, trial.attempt) for trial in aborted if trial is not None] == [(sweep_id, 1)]
        assert [item.attempt for item in first if item.attempt > 1] == [2], "the killed agent's trial was handed on"
        assert {item.agent for item in first} != {first[0].agent}, "several agents took part"

        for item in random.Random(7).sample(first, 3):
            assert item.run_id is not None
            run = ports.runs.get(item.run_id)
            report = reproduce(ports, run, variables=os.environ | {"LINEAGE_STORE": str(ports.folder)}, environment="current")
            assert (report.verdict, run.config) == ("identical", item.parameters)
