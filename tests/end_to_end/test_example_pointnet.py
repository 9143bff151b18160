"""examples/pointnet, with tiny settings: every command that its README shows, and what the tutorial says one then sees."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import looked, looked_up

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "pointnet"
README = (EXAMPLE / "README.md").read_text()
TINY = {"num_epoch": 1, "num_iter": 2, "num_worker": 0, "num_point": 32}

pytestmark = pytest.mark.slow


def shown(*beginnings: str) -> list[str]:
    """Commands of the README that begin so, in its order, without their comments."""
    lines = [line.strip().split("  #")[0].strip() for line in README.splitlines() if line.startswith("    ")]
    return [line for line in lines if line.startswith(beginnings)]


def run(folder: Path, *words: str, status: int = 0) -> str:
    environment = os.environ | {"WANDB_SILENT": "true", "WANDB_MODE": "offline"}
    words = (sys.executable, *words[1:]) if words[0] == "python" else words
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the example's files and its data, made by the README's own commands (with fewer meshes)."""
    folder = tmp_path_factory.mktemp("pointnet")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    ignore = re.search(r"printf '(.*)' >> .gitignore", README)
    assert ignore is not None
    (folder / ".gitignore").write_text(ignore[1].replace("\\n", "\n"))
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "the example"]):
        run(folder, "git", *words)
    (make,) = shown("python -m pipelines.data shapes")
    run(folder, *make.split(), "--train", "6", "--test", "2")
    views = shown("lineage view create")
    assert len(views) == 2
    for line in (*shown("lineage upload"), *views):
        looked(folder, *shlex.split(line)[1:])
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> Any:
    """The record of the README's quick training, with still fewer points."""
    _, quick = shown("python train.py")
    run(place, *quick.split(), "--num_point", "32", "--num_iter", "2")
    (item,) = [item for item in listed(place) if item["project"] == "torch-pointnet" and item["sweep"] is None]
    return looked_up(place, "show", item["id"])


def listed(place: Path) -> list[Any]:
    found = looked_up(place, "runs")
    return list(found["runs"] if isinstance(found, dict) else found)


def test_a_training_shows_what_the_tutorial_shows(trained: Any) -> None:
    """Every option in the config, losses and accuracy, a picture each epoch, the model, and the rows of both views."""
    assert trained["state"] == "finished"
    assert trained["config"]["lr"] == 1e-3
    assert trained["config"]["batch_size"] == 8
    assert {"Train/Loss", "Test/Loss", "Test/Accuracy"} <= trained["summary"].keys()
    kinds = {item["name"]: item["kind"] for item in trained["outputs"]}
    assert kinds["pointnet.pth"] == "model"
    assert sum(name.startswith("media/Test/Result/") for name in kinds) == 2
    assert {item["role"]: item["rows"] for item in trained["inputs"]} == {"train": 30, "test": 10}
    assert trained["trackers"]["wandb"]["project"] == "torch-pointnet"


def test_the_tutorials_sweep_runs_here(place: Path) -> None:
    """The very file, with tiny values beside its grid: a trial finds its values in wandb.config, is recorded, and is made again."""
    sweep = yaml.safe_load((place / "sweep.yaml").read_text())
    assert (sweep["program"], sweep["method"]) == ("train.py", "grid")
    assert looked(place, "sweep", "sweep.yaml").stdout.strip()
    sweep["parameters"] |= {name: {"value": value} for name, value in TINY.items()}
    (place / "tiny.yaml").write_text(yaml.safe_dump(sweep))
    made = looked(place, "sweep", "tiny.yaml", "--seed", "1").stdout.strip()
    run(place, "python", "-m", "lineage", "agent", made, "--count", "1")

    (trial,) = [looked_up(place, "show", item["id"]) for item in listed(place) if item["group"] == made]
    given = trial["sweep"]["parameters"]
    assert (trial["state"], trial["sweep"]["number"]) == ("finished", 0)
    assert (given["lr"], given["batch_size"]) in {(lr, size) for lr in (0.1, 0.01, 0.001, 0.0001) for size in (32, 64, 128, 256)}
    assert {name: trial["config"][name] for name in ("lr", "batch_size", *TINY)} == {
        name: given[name] for name in ("lr", "batch_size", *TINY)
    }
    assert "Test/Loss" in trial["summary"]
    assert {item["role"] for item in trial["inputs"]} == {"train", "test"}
    assert "Test/Loss" in looked(place, "sweep", made).stdout

    report = json.loads(run(place, "python", "-m", "lineage", "reproduce", trial["id"], "--yes", "--json"))
    assert report["verdict"] == "identical", report
