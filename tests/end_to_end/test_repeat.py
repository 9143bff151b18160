"""``lineage repeat``: other seeds in the recorded code, environment and rows, as runs of their own that can each be made again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.commands import command, looked, looked_up

PATIENCE_S = 120

# Randomness by the run's seed; rows of a folder that is no part of the repository; base weights that git ignores.
TRAIN = """
import os
import pathlib
import sys
import time

import numpy as np

import lineage

with lineage.start_run(project="lines", job_type="train", name="fit", group="mine", config={"seed": 7, "rate": 0.1}, seed=7) as run:
    rows = run.use_dataset(pathlib.Path(sys.argv[1]), role="train")
    run.use_artifact("base.npy")
    random = np.random.default_rng(run.seed)
    weights = np.load("base.npy") + len(rows)
    for step in range(20):
        weights += random.normal(size=3)
        run.log({"loss": float(np.abs(weights).sum())})
    np.save("weights.npy", weights)
    run.log_artifact("weights.npy", kind="model")
    pathlib.Path("out.txt").write_text("of this workspace")
    if os.environ.get("GATE") and run.seed == 3:
        pathlib.Path(os.environ["GATE"]).touch()
        time.sleep(300)
print(run.id)
"""


@pytest.fixture
def place(repository: Path) -> Path:
    """A repository with the training, a folder of data beside it, and base weights that git ignores."""
    (repository / ".gitignore").write_text(".lineage/\n*.npy\nout.txt\n")
    (repository / "train.py").write_text(TRAIN)
    np.save(repository / "base.npy", np.ones(3))
    for number in range(3):
        file = repository.parent / "data" / f"{number}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"row {number}")
    for words in (["add", "--all"], ["commit", "--quiet", "--message", "training"]):
        subprocess.run(["git", *words], cwd=repository, check=True, timeout=60)
    return repository


def record(place: Path, *words: str | Path) -> str:
    """Run the script by its whole path, as an IDE does; the id that it prints."""
    script = [sys.executable, str(place / "train.py"), *map(str, words)]
    return command(place, *script, WANDB_MODE="disabled").stdout.split()[-1]


def repeat(place: Path, *words: str, status: int = 0, **variables: str) -> dict[str, Any]:
    done = command(place, sys.executable, "-m", "lineage", "repeat", *words, "--json", status=status, WANDB_MODE="disabled", **variables)
    return dict(json.loads(done.stdout)) if done.stdout else {"said": done.stderr}


def losses(place: Path, run_id: str) -> list[float]:
    from lineage.settings import Settings
    from lineage.wiring import wire

    ports = wire(Settings(str(place / ".lineage"), place / ".lineage"))
    try:
        return [point.values["loss"] for point in ports.runs.metrics(run_id) if "loss" in point.values]
    finally:
        ports.runs.close()


def test_other_seeds_give_other_runs_that_each_reproduce_identical(place: Path) -> None:
    """In the recorded code and rows or not at all; each run tells its seed and whose run it repeats, and has a result of its own."""
    original = record(place, "../data")
    (place.parent / "data" / "3.txt").write_text("came later")
    (place / "train.py").write_text("raise SystemExit('the script of today')\n")
    (place / "out.txt").unlink()

    made = looked_up(place, "repeat", original, "--seeds", "1-2,11", status=4)
    assert any("train" in line for line in made["plan"]["blockers"])  # a folder has no past
    assert made["missing"] == [1, 2, 11]
    (place.parent / "data" / "3.txt").unlink()
    assert "nothing stands in the way of 3 repetitions" in looked(place, "repeat", original, "--seeds", "1-2,11", "--plan").stdout

    made = repeat(place, original, "--seeds", "1-2,11")
    runs = [looked_up(place, "show", item["run_id"]) for item in made["repetitions"]]
    assert [run["seed"] for run in runs] == [1, 2, 11]
    assert {(run["repeats"], run["reproduces"], run["group"], run["project"]) for run in runs} == {
        (original, None, f"fit-{original[:6]}-repeats", "lines")
    }
    assert {run["inputs"][0]["content_digest"] for run in runs} == {looked_up(place, "show", original)["inputs"][0]["content_digest"]}
    assert len({tuple(losses(place, run["id"])) for run in runs}) == 3
    assert not (place / "out.txt").exists()
    assert any("the program gave the seed 7; 11 took its place" in note for note in runs[2]["notes"])
    for run, seed in zip(runs, (1, 2, 11), strict=True):
        expected = np.abs(np.ones(3) + 3 + np.cumsum(np.random.default_rng(seed).normal(size=(20, 3)), axis=0)).sum(axis=1)
        assert losses(place, run["id"]) == pytest.approx(list(expected))

    (metric,) = [item for item in made["statistics"]["metrics"] if item["name"] == "loss"]
    last = [losses(place, run["id"])[-1] for run in runs]
    assert metric["end"]["mean"] == pytest.approx(np.mean(last))
    assert metric["end"]["std"] == pytest.approx(np.std(last, ddof=1))
    assert made["statistics"]["difference"]["sentence"] == "these 3 runs differ only in the seed"

    done = command(place, sys.executable, "-m", "lineage", "reproduce", runs[2]["id"], WANDB_MODE="disabled")
    assert "verdict: identical" in done.stdout
    assert looked_up(place, "group", made["group"])["runs"] == 3  # a reproduction does not count
    looked(place, "bundle", runs[0]["id"], "one.lineage")  # with the base weights, though its workspace is gone


def test_it_goes_on_after_a_kill_with_what_is_missing(place: Path, tmp_path: Path) -> None:
    """Killed in the second repetition: the one before stays, the second is made again, and once more nothing is left to do."""
    original = record(place, "../data")
    gate = tmp_path / "gate"
    words = [sys.executable, "-m", "lineage", "repeat", original, "--seeds", "1,3,4", "--group", "several"]
    process = subprocess.Popen(words, cwd=place, env={**os.environ, "GATE": str(gate), "WANDB_MODE": "disabled"}, start_new_session=True)
    try:
        end = time.monotonic() + PATIENCE_S
        while not gate.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE_S)

    made = repeat(place, original, "--seeds", "1,3,4", "--group", "several")
    assert [(item["seed"], item["is_new"], item["state"]) for item in made["repetitions"]] == [
        (1, False, "finished"),
        (3, True, "finished"),
        (4, True, "finished"),
    ]
    states = sorted(run["state"] for run in looked_up(place, "runs", "--group", "several"))
    assert states == ["aborted", "finished", "finished", "finished"]
    again = looked_up(place, "repeat", original, "--seeds", "1,3,4", "--group", "several")
    assert [item["is_new"] for item in again["repetitions"]] == [False] * 3
    assert again["statistics"]["runs"] == 3


OPTION = """
import argparse
import json
import pathlib
import random

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int)
parser.add_argument("--data-seed", type=int, default=3)
options = parser.parse_args()
random.seed(options.seed)
for step in range(3):
    print(f"step {step} loss={random.random()}")
pathlib.Path("result.json").write_text(json.dumps(options.data_seed))
"""


def test_a_seed_in_the_command_line_is_replaced_there(repository: Path) -> None:
    """A program that knows nothing of runs: only its ``--seed`` changes, and the record says the command that was executed."""
    (repository / "train.py").write_text(OPTION)
    (repository / ".gitignore").write_text(".lineage/\n*.json\n")
    words = [sys.executable, "-m", "lineage", "run", "--", "python", "train.py", "--seed", "3", "--data-seed", "3"]
    command(repository, *words)
    original = looked_up(repository, "runs")[0]["id"]

    made = repeat(repository, original, "-n", "2", "--seeds", "5,6")
    runs = [looked_up(repository, "show", item["run_id"]) for item in made["repetitions"]]
    assert [run["command"] for run in runs] == [["python", "train.py", "--seed", seed, "--data-seed", "3"] for seed in ("5", "6")]
    assert [run["seed"] for run in runs] == [5, 6]
    assert made["statistics"]["difference"]["sentence"] == "these 2 runs differ only in the seed"


FIXED = """
import random
import sys

import lineage

seed = None if sys.argv[1] == "none" else int(sys.argv[1])
random.seed(7)
with lineage.start_run(seed=seed) as run:
    if sys.argv[1] == "none":
        random.seed()
    for step in range(3):
        run.log({"loss": random.random()})
print(run.id)
"""


def test_it_says_when_a_seed_cannot_change_anything(repository: Path) -> None:
    """Without a seed it refuses; a seed that does not reach the program is found out by the first repetition; chance may be repeated."""
    (repository / "train.py").write_text(FIXED)
    fixed, free = (record(repository, word) for word in ("7", "none"))

    refused = looked(repository, "repeat", free, status=2)
    assert "has no seed" in refused.stderr
    assert "--unseeded" in refused.stderr
    assert "has a seed" in looked(repository, "repeat", fixed, "--unseeded", status=2).stderr
    assert "named twice" in looked(repository, "repeat", fixed, "--seeds", "1,1", status=2).stderr
    assert "expected whole numbers" in looked(repository, "repeat", fixed, "--seeds", "1,x", status=2).stderr

    made = repeat(repository, fixed, status=3)
    assert [item["seed"] for item in made["repetitions"]] == [8]
    assert made["missing"] == [9, 10, 11, 12]
    assert "the seed does not reach the program's random numbers" in made["reason"]

    repeat(repository, free, "-n", "1", "--unseeded")
    made = repeat(repository, free, "-n", "2", "--unseeded")
    assert [item["is_new"] for item in made["repetitions"]] == [False, True]
    assert len({tuple(losses(repository, item["run_id"])) for item in made["repetitions"]}) == 2


TRIAL = """
import random

import lineage

with lineage.start_run(config={"rate": 0.5, "deep": {"width": 1}}, seed=1, group="by the program") as run:
    numbers = random.Random(run.seed)
    for step in range(3):
        run.log({"loss": run.config["rate"] * run.config["deep"]["width"] + numbers.random()})
print(run.id)
"""


def test_the_best_trial_of_a_sweep_is_repeated_with_its_parameters(repository: Path) -> None:
    """The program gets the trial's values again; the repetitions are no trials, and each can be made again."""
    from lineage.model.sweep import SweepTrial
    from lineage.record.trial import place_trial

    (repository / "train.py").write_text(TRIAL)
    trial = SweepTrial(sweep="abcd1234", number=3, parameters={"rate": 8.0, "deep": {"width": 2}}, definition="sha256:" + "a" * 64)
    told = place_trial(trial, repository / ".lineage")
    original = command(repository, sys.executable, "train.py", **told.variables).stdout.strip()
    assert looked_up(repository, "show", original)["sweep"]["number"] == 3

    made = repeat(repository, original, "--seeds", "4,5")
    runs = [looked_up(repository, "show", item["run_id"]) for item in made["repetitions"]]
    assert [(run["sweep"], run["seed"], run["group"] == made["group"] != "abcd1234") for run in runs] == [(None, 4, True), (None, 5, True)]
    assert [run["config"] for run in runs] == [{"rate": 8.0, "deep": {"width": 2}}] * 2
    assert min(losses(repository, runs[0]["id"])) > 16
    assert "it repeats a trial of a sweep" in looked(repository, "bundle", runs[0]["id"], "trial.lineage", status=None).stderr
    done = command(repository, sys.executable, "-m", "lineage", "reproduce", runs[1]["id"])
    assert "verdict: identical" in done.stdout
