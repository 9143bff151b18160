"""``dvc repro pipelines/dvc.yaml`` in a clone: every stage a record, lock and records agree, and only what has to run runs."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lineage.model.run import Run
from lineage.ports import RunQuery
from lineage.settings import Settings
from lineage.wiring import wire

ROOT = Path(__file__).parents[2]
PATIENCE_S = 400
STAGES = ["generate", "upload", "view", "train", "evaluate"]


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def repro(folder: Path) -> list[str]:
    """The stages that ran, in order."""
    return re.findall(r"Running stage '.*?:(\w+)'", run(folder, sys.executable, "-m", "dvc", "repro", "pipelines/dvc.yaml"))


def locked(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "pipelines" / "dvc.lock").read_text())["stages"]
    return found


def md5s(stage: dict[str, Any], kind: str) -> dict[str, str]:
    return {item["path"]: item["md5"] for item in stage[kind]}


def records(folder: Path) -> dict[str, list[Run]]:
    """By stage, oldest first."""
    ports = wire(Settings(str(folder / ".lineage"), folder / ".lineage"))
    try:
        found: dict[str, list[Run]] = {}
        for item in reversed(ports.runs.find(RunQuery())):
            assert item.dvc is not None
            assert item.dvc.stage is not None
            found.setdefault(item.dvc.stage.partition(":")[2], []).append(item)
        return found
    finally:
        ports.runs.close()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pipelines in a git repository of their own, after `dvc init`."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "pipelines", folder / "pipelines", ignore=shutil.ignore_patterns("__pycache__", "dvc.lock"))
    shutil.copy(ROOT / ".gitignore", folder)
    run(folder, "git", "init", "--quiet")
    run(folder, sys.executable, "-m", "dvc", "init", "--quiet")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "first")
    return folder


@pytest.mark.slow
def test_the_pipeline_records_each_stage_and_reruns_what_depends_on_a_change(clone: Path) -> None:
    assert repro(clone) == STAGES
    lock, made = locked(clone), records(clone)
    assert list(made) == STAGES
    for stage in STAGES:
        for record in made[stage]:
            assert record.state.value == "finished"
            assert record.dvc is not None
            assert {item.path: item.md5 for item in record.dvc.dependencies or ()} == md5s(lock[stage], "deps")
            assert [note for note in record.notes if "dvc.lock named" in note or "edited" in note] == []

    # What came out: DVC's MD5 and our SHA-256 are of the same bytes, and the data are those of the facts that DVC tracks.
    weights = (clone / ".pipeline" / "model" / "model.pth").read_bytes()
    (train,), (evaluate,) = made["train"], made["evaluate"]
    digest = f"sha256:{hashlib.sha256(weights).hexdigest()}"
    assert md5s(lock["train"], "outs")[".pipeline/model/model.pth"] == hashlib.md5(weights, usedforsecurity=False).hexdigest()
    assert {item.name: item.digest for item in train.outputs}["model.pth"] == digest
    assert [item.digest for item in evaluate.uses] == [digest]
    uploaded = json.loads((clone / ".pipeline" / "uploaded.json").read_text())
    facts = json.loads((clone / ".pipeline" / "view.json").read_text())
    assert [item.outputs[0].digest for item in made["upload"]] == [uploaded[part]["content_digest"] for part in ("train", "validation")]
    assert {item.role: item.rows for item in train.inputs} == {part: facts[part]["rows"] for part in facts}
    assert {item.view_name for item in train.inputs} == {facts["train"]["view"]}

    assert repro(clone) == []

    params = clone / "pipelines" / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 1", "epochs: 0"))
    assert repro(clone) == ["train", "evaluate"]
    changed = records(clone)["train"][-1]
    assert changed.dvc is not None
    assert changed.dvc.params["pipelines/params.yaml"]["train"]["epochs"] == 0

    label = sorted((clone / ".pipeline" / "scenes" / "train" / "annotations").glob("*.txt"))[0]
    lines = label.read_text().splitlines()
    label.unlink()
    label.write_text("\n".join(lines[:-1]) + "\n")
    run(clone, sys.executable, "-m", "dvc", "commit", "--force", "pipelines/dvc.yaml:generate")
    assert repro(clone) == STAGES[1:]
    again = records(clone)
    assert len(again["generate"]) == 1
    assert len(again["upload"]) == 3  # the validation part was stored before
    assert {item.role: item.content_digest for item in again["train"][-1].inputs} != {
        item.role: item.content_digest for item in train.inputs
    }
