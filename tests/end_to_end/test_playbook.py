"""The playbook's own script, ported: everything that its text says W&B then shows is there, and the training can be made again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lineage.adapters.trackers.wandb_log import WandbLog, read_log
from tests.support.commands import looked_up

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "playbook"
SMALL = ("--batch-size", "4", "--workers", "0", "--weights", "none")

pytestmark = pytest.mark.slow


def run(folder: Path, *words: str | Path | int, status: int = 0) -> str:
    done = subprocess.run(
        [*map(str, words)], cwd=folder, env=os.environ | {"WANDB_SILENT": "true"}, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def ask(folder: Path, *words: str | Path, status: int = 0) -> Any:
    return json.loads(run(folder, sys.executable, "-m", "lineage", *words, "--json", status=status))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the two scripts; datasets copied, views saved, and two trainings that differ in their resolution."""
    folder = tmp_path_factory.mktemp("playbook")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    (folder / ".gitignore").write_text("*/\n*.pth\n")
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "the playbook"]):
        run(folder, "git", *words)
    make = ("-m", "pipelines.data", "scenes", "scenes", "--train", "10", "--validation", "4", "--size", "240x180", "--seed", "7")
    run(folder, sys.executable, *make, "--recipe", "parking")
    for split in ("train", "validation"):
        run(folder, sys.executable, "-m", "lineage", "upload", "visdrone", f"scenes/{split}", f"source-{split}")
    python = (sys.executable, "-W", "error::UserWarning:lineage")
    run(folder, *python, "upload.py", "source-train", "source-validation", "visdrone-train", "visdrone-validation")
    for size, epochs in (
        (("--width", "64", "--height", "48", "--min-area", "4"), 2),
        (("--width", "96", "--height", "72", "--min-area", "9"), 1),
    ):
        run(folder, *python, "train.py", "visdrone-train", "visdrone-validation", *size, "--epochs", epochs, *SMALL)
    return folder


@pytest.fixture(scope="module")
def runs(place: Path) -> list[Any]:
    """Records of the W&B runs, the oldest first."""
    found = looked_up(place, "runs")
    listed = found["runs"] if isinstance(found, dict) else found
    return [looked_up(place, "show", item["id"]) for item in reversed(listed) if item["project"] == "deeplake-demos"]


def log_of(record: Any) -> WandbLog:
    (path,) = Path(record["trackers"]["wandb"]["directory"]).glob("*.wandb")
    return read_log(path)


def of_kind(log: WandbLog, kind: str, *, used: bool) -> list[Any]:
    return [
        json.loads(item.metadata) | {"name": item.name} for item in log.artifacts if item.type == kind and item.use_after_commit is used
    ]


def test_each_uploaded_dataset_is_an_artifact_of_its_run(runs: list[Any], place: Path) -> None:
    upload = runs[0]
    made = {item["uri"]: item for item in of_kind(log_of(upload), "dataset", used=False)}
    assert upload["job_type"] == "dataset_upload"
    assert set(made) == {f"file://{place / name}" for name in ("visdrone-train", "visdrone-validation")}
    outputs = {item["details"]["uri"]: item["details"]["commit_id"] for item in upload["outputs"]}
    assert {uri: item["commit_id"] for uri, item in made.items()} == outputs


def test_a_training_tells_uri_commit_and_view_of_its_data(runs: list[Any], place: Path) -> None:
    config = log_of(runs[1]).config
    inputs = {item["role"]: item for item in runs[1]["inputs"]}
    for role in ("train", "validation"):
        assert config[f"{role}_uri"] == inputs[role]["uri"] == f"file://{place / f'visdrone-{role}'}"
        assert config[f"{role}_commit_id"] == inputs[role]["commit_id"]
        assert config[f"{role}_view_id"] == inputs[role]["view_id"] is not None
        assert 0 < inputs[role]["rows"] < inputs[role]["rows_total"]


def test_a_training_consumes_the_artifacts_of_the_upload(runs: list[Any]) -> None:
    made = {item["uri"]: item["name"] for item in of_kind(log_of(runs[0]), "dataset", used=False)}
    used = {item["uri"]: item["name"] for item in of_kind(log_of(runs[1]), "dataset", used=True)}
    assert used == made


def test_parameters_losses_and_the_model_are_in_both_places(runs: list[Any]) -> None:
    log, record = log_of(runs[1]), runs[1]
    assert {name: log.config[name] for name in record["config"]} == record["config"]
    assert record["config"]["width"] == 64
    losses = [values["loss"] for _, values in log.history if "loss" in values]
    assert record["summary"]["loss"] == losses[-1]
    (model,) = [item for item in log.artifacts if item.type == "model"]
    (output,) = [item for item in record["outputs"] if item["kind"] == "model"]
    assert model.name == "object_detection_model"
    assert output["size_bytes"] == sum(entry.size for entry in model.manifest.contents)


def test_two_trainings_are_compared(runs: list[Any], place: Path) -> None:
    difference = looked_up(place, "diff", runs[1]["id"], runs[2]["id"])
    assert {"config.width", "config.height", "config.min_area"} <= {change["name"] for change in difference["configuration"]}
    assert difference["results"]["is_same"] is False


def test_the_training_is_made_again(runs: list[Any], place: Path) -> None:
    report = ask(place, "reproduce", runs[1]["id"])
    assert report["verdict"] == "identical", report
    changes = {change["subject"]: change for change in report["comparison"]["changes"]}
    assert {"data train", "data validation", "metrics", "output model_weights_wandb.pth"} <= set(changes)
