"""The point cloud job through its command: what a training records, and that it can be made again and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lineage
from lineage.api import process
from tests.support.commands import looked_up

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, STEPS = 3, 9
OPTIONS = (
    "--data=clouds",
    f"--num_epoch={EPOCHS}",
    f"--num_iter={STEPS}",
    "--batch_size=8",
    "--points=64",
    "--lr=0.0003",
    "--num_worker=0",
    "--threads=1",
)
OURS = ("--save_period=2", "--pictures=2", "--wandb=disabled", "--device=cpu", "--json")


def real_clouds() -> dict[str, Any]:
    """Some chairs and monitors of ModelNet10, where they are; else spheres and discs."""
    named = os.environ.get("LINEAGE_TEST_DATA")
    path = (Path(named) if named else ROOT.parent / "shared" / "data") / "pointclouds_public.npz"
    if path.is_file():
        with np.load(path) as found:
            chosen = [*range(40), *range(420, 460)]
            return {"points": found["points"][chosen], "labels": found["labels"][chosen], "class_names": found["class_names"]}
    points = np.random.default_rng(0).normal(size=(80, 256, 3)).astype(np.float32)
    points[40:, :, 2] *= 0.1
    points /= np.linalg.norm(points, axis=2).max(axis=1)[:, None, None]
    return {"points": points, "labels": np.repeat([0, 1], 40), "class_names": np.array(["sphere", "disc"])}


def call(folder: Path, *words: str, status: int = 0, program: tuple[str, ...] = ("-m", "pipelines.pointcloud")) -> tuple[Any, str]:
    done = subprocess.run(
        [sys.executable, *program, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=300, env=os.environ
    )
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else None, done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the uploaded clouds and their two views."""
    folder = tmp_path_factory.mktemp("pointcloud")
    (folder / ".gitignore").write_text(".lineage/\nclouds*/\nout*/\n*.npz\nwandb/\n")
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    np.savez(folder / "clouds.npz", **real_clouds())
    looked_up(folder, "upload", "points", "clouds.npz", "clouds", "--wandb", "disabled")
    for name, query in (("train", "select * where fold < 8"), ("test", "select * where fold >= 8")):
        looked_up(folder, "view", "create", "clouds", query, "--name", name)
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> Any:
    """A whole training's result."""
    return call(place, "train", *OPTIONS, *OURS)[0]


def outputs(run: Any) -> dict[str, str]:
    return {item.name: item.digest for item in run.outputs if item.kind != "checkpoint"}


def logged(run: Any) -> list[Any]:
    """What the program logged."""
    return [point.values for point in lineage.metrics(run.id) if "Test/Loss" in point.values]


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Records are looked up in the repository's own store."""
    monkeypatch.chdir(place)
    process.wired.cache_clear()
    yield place
    process.wired.cache_clear()


def test_a_training_is_recorded_and_learns(trained: Any, here: Path) -> None:
    """Metrics under the tutorial's names, one point an epoch; the loss falls; pictures, report, checkpoints and weights are kept."""
    run = lineage.get(trained["run_id"])
    assert (run.state, run.job_type, run.seed, run.config["lr"]) == ("finished", "train", 0, 0.0003)
    assert {item.role: item.query for item in run.inputs} == {"train": "select * where fold < 8", "test": "select * where fold >= 8"}
    points = logged(run)
    assert [point["epoch"] for point in points] == list(range(EPOCHS))
    losses = [point["Train/Loss"] for point in points]
    assert losses[-1] < 0.8 * losses[0], losses
    assert run.summary["Test/Accuracy"] == points[-1]["Test/Accuracy"] == trained["Test/Accuracy"]
    assert run.step_logs[0].steps == EPOCHS * STEPS
    kinds = {item.name: item.kind for item in run.outputs}
    assert (kinds["model.pth"], kinds["report.html"]) == ("model", "report")
    assert [name for name, kind in kinds.items() if kind == "checkpoint"] == [f"checkpoint-{2 * STEPS:08d}"]
    assert trained["files"] == ["out/report.html", "out/model.pth"]
    page = (here / "out" / "report.html").read_text()
    assert all(word in page for word in ("Confusion matrix", "Curves", "Worst clouds"))


def test_a_training_is_made_again(trained: Any, here: Path) -> None:
    """Bit for bit: steps, metrics, weights, report and pictures; the files of the first are left alone."""
    kept = (here / "out" / "model.pth").stat().st_mtime_ns
    report, told = call(here, "reproduce", trained["run_id"], "--yes", "--json", program=("-m", "lineage"))
    assert report["verdict"] == "identical", told
    changes = {change["subject"] for change in report["comparison"]["changes"]}
    assert {"data train", "data test", "steps", "metrics", "output report.html", "output model.pth"} <= changes
    assert (here / "out" / "model.pth").stat().st_mtime_ns == kept


def test_a_training_that_was_killed_goes_on_to_the_same_end(trained: Any, here: Path) -> None:
    """SIGKILL after the first checkpoint, in the middle of a pass over the data; ``--resume last`` ends as the whole training did."""
    program = (
        "import os, signal; from lineage.training import Checkpoints; save = Checkpoints.save\n"
        "def kill(self): save(self); os.kill(os.getpid(), signal.SIGKILL)\n"
        "Checkpoints.save = kill\n"
        "from pipelines.pointcloud.__main__ import main; main()"
    )
    call(here, "train", *OPTIONS, *OURS, "--out_dir=out-2", status=-signal.SIGKILL, program=("-c", program))
    result, told = call(here, "train", *OPTIONS, *OURS, "--out_dir=out-2", "--resume=last")
    assert "resumed after epoch 2" in told
    whole, resumed = lineage.get(trained["run_id"]), lineage.get(result["run_id"])
    assert resumed.resumes is not None
    assert resumed.resumes.step == 2 * STEPS
    assert outputs(resumed) == outputs(whole)
    assert logged(resumed) == logged(whole)
    assert resumed.step_logs[0].head == whole.step_logs[0].head


def test_weights_are_evaluated_as_a_run_that_knows_their_data(trained: Any, here: Path) -> None:
    """The same figures as at the end of the training; the data that made the weights are data of the evaluation, too."""
    words = ("--data=clouds", "--points=64", "--batch_size=8", "--pictures=0", "--threads=1", "--out_dir=out-3", "--weights=out/model.pth")
    result, _ = call(here, "evaluate", *words, "--wandb=disabled", "--device=cpu", "--json")
    assert {name: result[name] for name in result if name.startswith("Test/")} == {
        name: trained[name] for name in trained if name.startswith("Test/")
    }
    run = lineage.get(result["run_id"])
    weights = next(item.digest for item in lineage.get(trained["run_id"]).outputs if item.kind == "model")
    assert (run.job_type, [(used.role, used.digest) for used in run.uses]) == ("evaluate", [("base", weights)])
    assert trained["run_id"] in json.dumps(looked_up(here, "data", run.id))
