"""What W&B is told, read back from the real client's own offline log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.model.source import Column

SCRIPT = """
import lineage

with lineage.start_run(project="parking", job_type="train", group="g", config={"rate": 0.1}, seed=7, trackers=("wandb",)) as run:
    run.define_metric("validation_iou", step_metric="epoch")
    run.use_dataset("train-ds", view="large", role="train")
    run.use_dataset("validation-ds", role="validation")
    for step in range(3):
        run.log({"loss": 1.0 / (step + 1)})
    run.log({"epoch": 0, "validation_iou": 0.25})
    with open("model.pth", "wb") as stream:
        stream.write(b"weights")
    run.log_artifact("model.pth", kind="model")
print(run.id)
"""


def make_dataset(folder: Path, name: str) -> None:
    backend = DeepLakeBackend()
    uri = f"file://{folder / name}"
    columns = [Column("boxes", "array", dtype="float32", ndim=2), Column("sample_id", "text")]
    writer = backend.write(uri, columns, source={"name": name})
    writer.append(
        {"boxes": [np.full((1 + row % 2, 4), row, "float32") for row in range(6)], "sample_id": [f"{name}-{row}" for row in range(6)]}
    )
    writer.complete("made")
    backend.save_view(uri, "select * where any(boxes[:,2] > 2)", "large", "test")


def start(folder: Path, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )


def show(folder: Path, run_id: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "lineage", "show", run_id, "--json"], cwd=folder, capture_output=True, text=True, check=True
    )
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def records(directory: str) -> list[dict[str, Any]]:
    """Every record of an offline run, by W&B's own reader."""
    log = next(Path(directory).glob("*.wandb"))
    tool = Path(sys.executable).parent / "wandb"
    done = subprocess.run([tool, "leet", "inspect", "--json", log], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def merged_config(found: list[dict[str, Any]]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for record in found:
        for holder in (record.get("run", {}).get("config"), record.get("config")):
            config |= (holder or {}).get("update", {})
    return config


@pytest.fixture
def place(repository: Path) -> Path:
    (repository / ".gitignore").write_text(".lineage/\n*-ds/\n*.pth\n")
    make_dataset(repository, "train-ds")
    make_dataset(repository, "validation-ds")
    return repository


def test_a_training_run_is_whole_in_wandb_offline(place: Path) -> None:
    """Config has URI, commit id and view id of both roles; history the losses and the IoU; the model is an artifact with its digest."""
    done = start(place, SCRIPT)
    assert done.returncode == 0, done.stderr
    run = show(place, done.stdout.strip())
    called = run["trackers"]["wandb"]
    assert called["mode"] == "offline"

    found = records(called["directory"])

    config = merged_config(found)
    for item in run["inputs"]:
        for key in ("uri", "commit_id", "view_id"):
            assert config[f"{item['role']}_{key}"] == item[key]
    assert [entry["role"] for entry in config["lineage"]["inputs"]] == ["train", "validation"]
    assert config["lineage"]["inputs"][0]["content_digest"] == run["inputs"][0]["content_digest"]
    assert (config["rate"], config["lineage_run_id"], config["lineage"]["git_sha"]) == (0.1, run["id"], run["code"]["git_sha"])
    history = [record["history"]["item"] for record in found if "history" in record]
    assert [item["loss"] for item in history if "loss" in item] == [1.0, 0.5, 1.0 / 3]
    assert [item["validation_iou"] for item in history if "validation_iou" in item] == [0.25]
    artifacts = [record["artifact"] for record in found if "artifact" in record]
    assert [item["type"] for item in artifacts] == ["dataset", "dataset", "model"]
    metadata = json.loads(artifacts[2]["metadata"])
    assert metadata["digest"] == run["outputs"][0]["digest"]
    described = next(record["run"] for record in found if "run" in record)
    assert (described["project"], described["job_type"], described["run_group"]) == ("parking", "train", "g")
    assert next(record for record in found if "exit" in record)["exit"].get("exit_code", 0) == 0


def test_an_upload_is_a_dataset_artifact(repository: Path) -> None:
    """lineage upload tells W&B of the new version: a dataset artifact that holds its identity in a file, under the commit as alias."""
    from tests.integration.test_upload import make_source

    (repository / ".gitignore").write_text(".lineage/\nsource/\nds/\n")
    make_source(repository / "source")
    command = [sys.executable, "-m", "lineage", "upload", "visdrone", "source", "ds", "--json"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)

    found = records(show(repository, made["run_id"])["trackers"]["wandb"]["directory"])

    artifact = next(record["artifact"] for record in found if "artifact" in record)
    assert artifact["type"] == "dataset"
    assert f"commit-{made['commit_id']}" in artifact["aliases"]
    assert [entry["path"] for entry in artifact["manifest"]["contents"]] == ["lineage.json"]
    kept = json.loads(Path(artifact["manifest"]["contents"][0]["local_path"]).read_text())
    assert (kept["uri"], kept["content_digest"]) == (made["uri"], made["content_digest"])


def test_an_unreachable_wandb_server_is_noted_and_stops_nothing(place: Path) -> None:
    """When W&B's server refuses, the run is recorded whole, with one warning and a note that says why."""
    nobody_listens = {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "WANDB_INIT_TIMEOUT": "2"}

    done = start(place, SCRIPT, **nobody_listens)

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("lineage: wandb could not be started") == 1
    run = show(place, done.stdout.strip())
    assert (run["state"], len(run["inputs"]), len(run["outputs"])) == ("finished", 2, 1)
    assert any("wandb could not be started" in note for note in run["notes"])
    assert run["trackers"] == {}


def test_disabled_wandb_is_told_nothing(place: Path) -> None:
    """With WANDB_MODE=disabled the record is complete and no offline folder appears."""
    done = start(place, SCRIPT, WANDB_MODE="disabled")

    assert done.returncode == 0, done.stderr
    run = show(place, done.stdout.strip())
    assert (run["state"], len(run["inputs"]), len(run["outputs"])) == ("finished", 2, 1)
    assert not list((place / ".lineage").glob("wandb/offline-run-*"))
