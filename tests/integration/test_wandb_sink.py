"""What W&B is told, read back from the files that its own client writes offline."""

from __future__ import annotations

import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from PIL import Image

from lineage.model.run import Run
from tests.support.commands import command

TRAIN = """
import lineage
names = {"project": "parking", "job_type": "train", "name": "a-name", "group": "g"}
with lineage.start_run(**names, config={"lr": 0.1, "model": {"sizes": [1, 2]}}, seed=7, trackers=("wandb",)) as run:
    run.use_dataset("ds", view="large", role="train")
    run.use_dataset("ds", query="select * where n < 3", role="validation")
    run.define_metric("iou", step_metric="epoch")
    for step in range(3):
        run.log({"loss": 1 / (step + 1), "epoch": step}, step=10 * step)
    run.log({"iou": 0.5})
    with open("model v1.pth", "w") as stream:
        stream.write("weights")
    run.log_artifact("model v1.pth", kind="model")
    run.log_artifact("train.py", kind="report", name="report")
"""


def python(folder: Path, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script)
    return command(folder, sys.executable, "script.py", *arguments, **variables)


def runs(folder: Path) -> list[Run]:
    """Records in this folder's store, oldest first."""
    done = command(folder, sys.executable, "-m", "lineage", "runs", "--json")
    ids = [item["id"] for item in json.loads(done.stdout)]
    shown = [json.loads(command(folder, sys.executable, "-m", "lineage", "show", run_id, "--json").stdout) for run_id in reversed(ids)]
    return [Run.model_validate({key: value for key, value in item.items() if key not in ("duration_s", "fingerprint")}) for item in shown]


def log_of(run: Run) -> list[dict[str, Any]]:
    """Every entry of the W&B file of a run, as W&B's own tool prints it."""
    (path,) = Path(run.trackers["wandb"]["directory"]).glob("*.wandb")
    tool = Path(sys.executable).with_name("wandb")
    done = subprocess.run([tool, "leet", "inspect", "--json", path], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def of_kind(entries: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [entry[kind] for entry in entries if entry["type"] == kind]


def config_of(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The configuration after all updates: each entry replaces whole top-level keys."""
    config: dict[str, Any] = {}
    for update in [of_kind(entries, "run")[0]["config"], *of_kind(entries, "config")]:
        config |= update["update"]
    return config


def history_of(entries: list[dict[str, Any]]) -> list[dict[str, float]]:
    return [{key: value for key, value in item["item"].items() if not key.startswith("_")} for item in of_kind(entries, "history")]


@pytest.fixture
def folder(repository: Path) -> Path:
    """A repository with a dataset of ten rows and a saved view."""
    (repository / ".gitignore").write_text(".lineage/\nds/\nscript.py\n*.pth\n")
    dataset = deeplake.create(str(repository / "ds"), schema={"n": types.Int32(), "sample_id": types.Text()})
    dataset.append({"n": list(range(10)), "sample_id": [str(number) for number in range(10)]})
    dataset.commit("all")
    dataset.query("select * where n > 3").tag("large", "m")
    return repository


def test_a_training_run_offline(folder: Path) -> None:
    """Identity of both inputs in the config, nested and flat; code, seed and configuration; every loss; model and inputs as artifacts."""
    done = python(folder, TRAIN)
    (run,) = runs(folder)
    entries = log_of(run)
    config = config_of(entries)
    train, validation = run.inputs
    started = of_kind(entries, "run")[0]

    assert "Warning" not in done.stderr
    assert (started["project"], started["run_group"], started["job_type"], started["display_name"]) == ("parking", "g", "train", "a-name")
    assert started["run_id"] == run.trackers["wandb"]["id"]
    assert run.trackers["wandb"]["mode"] == "offline"
    assert (config["lr"], config["model"]) == (0.1, {"sizes": [1, 2]})
    for item in (train, validation):
        flat = {key: config.get(f"{item.role}_{key}") for key in ("uri", "commit_id", "view_id")}
        assert flat == {"uri": item.uri, "commit_id": item.commit_id, "view_id": item.view_id}
    nested = config["lineage"]
    assert [entry["role"] for entry in nested["inputs"]] == ["train", "validation"]
    same = ("uri", "dataset_id", "branch", "commit_id", "view_id", "query", "rows", "rows_digest", "content_digest")
    for entry, item in zip(nested["inputs"], run.inputs, strict=True):
        assert {key: entry[key] for key in entry if key != "role"} == {key: getattr(item, key) for key in same}
    assert train.view_id is not None
    assert run.code is not None
    assert run.environment is not None
    assert (nested["run_id"], nested["seed"], nested["git_sha"]) == (run.id, 7, run.code.git_sha)
    assert nested["environment_digest"] == run.environment.digest
    assert config["lineage_run_id"] == run.id
    assert config["lineage_fingerprint"] == run.fingerprint
    losses = [{"loss": 1.0, "epoch": 0}, {"loss": 0.5, "epoch": 1}, {"loss": 1 / 3, "epoch": 2}]
    assert history_of(entries)[:3] == losses
    assert history_of(entries)[3] == {"iou": 0.5, "epoch": 2}, "W&B itself repeats the axis of a metric"
    assert any(metric.get("name") == "iou" for metric in of_kind(entries, "metric"))
    assert of_kind(entries, "exit")[-1].get("exit_code", 0) == 0


def test_artifacts_of_a_training_run(folder: Path) -> None:
    """The weights as a model with their digest; each input as a dataset artifact whose file and alias name commit and view."""
    python(folder, TRAIN)
    (run,) = runs(folder)
    artifacts = of_kind(log_of(run), "artifact")
    models = [item for item in artifacts if item["type"] == "model"]
    inputs = [item for item in artifacts if item["type"] == "dataset"]

    assert [item["name"] for item in models] == ["model-v1"]
    assert json.loads(models[0]["metadata"])["digest"] == run.outputs[0].digest
    assert models[0]["manifest"]["contents"][0]["path"] == "model v1.pth"
    assert [item["name"] for item in artifacts if item["type"] == "report"] == ["report"]
    assert len(inputs) == 2
    for item, used in zip(inputs, run.inputs, strict=True):
        (entry,) = item["manifest"]["contents"]
        identity = json.loads(Path(entry["local_path"]).read_text())
        assert identity == json.loads(item["metadata"])
        assert (identity["uri"], identity["content_digest"], identity["view_id"]) == (used.uri, used.content_digest, used.view_id)
        assert any(used.commit_id in alias for alias in item["aliases"])
        assert used.view_id is None or any(used.view_id in alias for alias in item["aliases"])
        assert item["use_after_commit"]
    assert inputs[0]["digest"] != inputs[1]["digest"], "two views of one dataset are two artifact versions"


def test_files_stay_with_the_records(folder: Path) -> None:
    """W&B's folder lies inside the store: nothing new in the working folder that would enter the next run's code."""
    python(folder, TRAIN)
    (run,) = runs(folder)

    assert Path(run.trackers["wandb"]["directory"]).is_relative_to(folder / ".lineage")
    assert not (folder / "wandb").exists()
    assert command(folder, "git", "status", "--porcelain", "--untracked-files=all").stdout.split() == ["M", ".gitignore"]


def test_a_failed_run_is_failed_there_too(folder: Path) -> None:
    """An exception in the training script reaches W&B as a failed run."""
    script = (
        "import lineage\ntry:\n    with lineage.start_run(trackers=('wandb',)) as run: raise RuntimeError('x')\nexcept RuntimeError: pass"
    )
    python(folder, script)
    (run,) = runs(folder)

    assert run.state == "failed"
    assert of_kind(log_of(run), "exit")[-1]["exit_code"] == 1


def test_an_active_wandb_run_is_joined(folder: Path) -> None:
    """A script that already uses W&B: its own run gets the identity, and stays open for the script to go on."""
    script = """
import lineage, wandb
own = wandb.init(project="theirs", config={"mine": 1}, dir=".lineage")
with lineage.start_run(config={"lr": 0.1}) as run:
    run.use_dataset("ds", view="large", role="train")
    run.log({"loss": 0.5})
own.log({"after": 1.0})
own.finish()
"""
    python(folder, script)
    (run,) = runs(folder)
    entries = log_of(run)
    config = config_of(entries)

    assert run.trackers["wandb"]["project"] == "theirs"
    assert (config["mine"], config["train_uri"], config["lineage_run_id"]) == (1, run.inputs[0].uri, run.id)
    assert history_of(entries) == [{"loss": 0.5}, {"after": 1.0}]
    assert len(list((folder / ".lineage" / "wandb").glob("offline-run-*"))) == 1


def test_two_runs_at_once_are_two_runs_there(folder: Path) -> None:
    """Each live run of a process has a W&B run of its own; the end of one does not end the other."""
    script = """
import lineage
with lineage.start_run(name="outer", trackers=("wandb",)) as outer:
    outer.log({"x": 1.0})
    with lineage.start_run(name="inner", trackers=("wandb",)) as inner:
        inner.log({"x": 2.0})
        outer.log({"x": 3.0})
    outer.log({"x": 4.0})
with lineage.start_run(name="later", trackers=("wandb",)) as later:
    later.log({"x": 5.0})
"""
    python(folder, script)
    logged = {run.name: [item["x"] for item in history_of(log_of(run))] for run in runs(folder)}

    assert logged == {"outer": [1.0, 3.0, 4.0], "inner": [2.0], "later": [5.0]}
    assert all(run.notes == () for run in runs(folder))


@pytest.mark.parametrize("how", ["variable", "argument"])
def test_disabled_means_nothing_is_written(folder: Path, how: str) -> None:
    """``WANDB_MODE=disabled``, or not naming it: no W&B folder, a complete record, no note."""
    trackers = "('wandb',)" if how == "variable" else "()"
    python(folder, TRAIN.replace('("wandb",)', trackers), **({"WANDB_MODE": "disabled"} if how == "variable" else {}))
    (run,) = runs(folder)

    assert (run.state, run.notes) == ("finished", ())
    assert len(run.outputs) == 2
    assert not list(folder.rglob("*.wandb"))


def test_no_secret_reaches_wandb(folder: Path) -> None:
    """W&B copies command line, configuration and git address into its files: they hold no secret there either."""
    secret = "hunter22-very-secret"
    command(folder, "git", "remote", "add", "origin", f"https://kim:{secret}@example.org/repo.git")
    script = TRAIN.replace('"lr": 0.1', f'"lr": 0.1, "api_key": "{secret}", "url": "s3://k:{secret}@b"')
    python(folder, script, "--token", secret, f"--db=postgresql://kim:{secret}@db/x", MY_TOKEN=secret)
    (run,) = runs(folder)
    files = [path for path in (folder / ".lineage").rglob("*") if path.is_file()]

    assert len(files) > 10
    assert [str(path) for path in files if secret.encode() in path.read_bytes()] == []
    assert of_kind(log_of(run), "environment")[0]["args"] == ["--token", "<redacted>", "--db=postgresql://<redacted>@db/x"]


def test_an_upload_is_a_dataset_artifact(repository: Path) -> None:
    """``lineage upload`` tells W&B of the new dataset version: an artifact that holds its address, commit and content digest."""
    (repository / ".gitignore").write_text(".lineage/\nsource/\nds/\n")
    for name in ("images", "annotations"):
        (repository / "source" / name).mkdir(parents=True)
    for number in range(3):
        stem = f"0000001_{number:05d}_d_{number:07d}"
        buffer = BytesIO()
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
        (repository / "source" / "images" / f"{stem}.jpg").write_bytes(buffer.getvalue())
        (repository / "source" / "annotations" / f"{stem}.txt").write_text("1,2,10,25,1,4,0,0\n")
    made = json.loads(command(repository, sys.executable, "-m", "lineage", "upload", "visdrone", "source", "ds", "--json").stdout)
    (run,) = runs(repository)
    entries = log_of(run)
    (artifact,) = of_kind(entries, "artifact")
    identity = json.loads(artifact["metadata"])

    assert artifact["type"] == "dataset"
    assert not artifact.get("use_after_commit", False)
    assert {key: identity[key] for key in ("uri", "commit_id", "content_digest", "rows")} == {
        "uri": made["uri"],
        "commit_id": made["commit_id"],
        "content_digest": made["content_digest"],
        "rows": 3,
    }
    assert json.loads(Path(artifact["manifest"]["contents"][0]["local_path"]).read_text()) == identity
    assert of_kind(entries, "run")[0]["job_type"] == "dataset_upload"
