"""A detector made again when nothing is left but the store and the dataset: the demo's job, with everything else taken away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deeplake
import pytest

ROOT = Path(__file__).resolve().parents[2]
# Read before the tests get a home of their own: packages come from the cache that installing the project has filled.
UV_CACHE = Path(os.environ.get("UV_CACHE_DIR") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv")
QUERY = "select * where not any(logical_and(logical_or(boxes[:,2]<20, boxes[:,3]<20), labels == 'car'))"
LEARNING = (*("--config", "demo", "--set", "classes=[car, van, truck]", "--width", "64", "--height", "64"), "--epochs", "2", "--seed", "7")


@dataclass(frozen=True)
class Place:
    """A folder of a team: what is shared, and what one person works in."""

    folder: Path

    @property
    def clone(self) -> Path:
        return self.folder / "clone"

    @property
    def environment(self) -> Path:
        return self.folder / "environment"

    def command(
        self, *words: str | Path, where: Path | None = None, status: int = 0, cores: set[int] | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone, offline; it must end with ``status``."""
        done = subprocess.run(
            [*map(str, words)],
            cwd=where or self.clone,
            env=os.environ | self.variables() | variables,
            capture_output=True,
            text=True,
            timeout=300,
            preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
        )
        assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    def variables(self) -> Mapping[str, str]:
        return {
            "LINEAGE_STORE": str(self.folder / "store"),
            "UV_CACHE_DIR": str(UV_CACHE),
            "UV_OFFLINE": "1",
            "WANDB_MODE": "disabled",
            "TQDM_DISABLE": "1",
        }

    def lineage(self, *words: str | Path, status: int = 0, cores: set[int] | None = None) -> Any:
        """A command of the installation that the tests run in; its answer as JSON."""
        return json.loads(self.command(sys.executable, "-m", "lineage", *words, "--json", status=status, cores=cores).stdout)

    def git(self, *words: str, where: Path | None = None) -> str:
        return self.command("git", *words, where=where).stdout.strip()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A repository of this project's own files, cloned from where the team keeps it, and an environment installed from its lock."""
    if not (UV_CACHE / "archive-v0").is_dir():
        pytest.skip(f"no packages to install from without a network in {UV_CACHE}: 'make setup' with uv's cache fills it")
    place = Place(tmp_path)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip(f"{ROOT} is no git repository")
    origin = tmp_path / "origin"
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, origin / name)
    place.git("init", "--quiet", where=origin)
    place.git("add", "--all", where=origin)
    place.git("commit", "--quiet", "--message", "what the team shares", where=origin)
    place.git("clone", "--quiet", str(origin), str(place.clone), where=tmp_path)
    uv = shutil.which("uv")
    assert uv is not None
    place.command(uv, "venv", "--quiet", "--python", sys.executable, place.environment)
    install = (uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", place.environment / "bin" / "python")
    place.command(*install, "--requirement", "requirements.lock")
    place.command(*install, "--no-build-isolation", "--editable", ".")
    return place


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the number of cores that a process sees cannot be set here")
def test_a_detector_is_made_again_from_its_record_alone(place: Place) -> None:
    data = place.folder / "data"
    uri = {split: f"file://{data / split}" for split in ("train", "validation")}
    python = place.environment / "bin" / "python"
    place.git("switch", "--quiet", "--create", "idea")
    configuration = place.clone / "pipelines/detection/configs/demo.yaml"
    configuration.write_text(configuration.read_text().replace("learning_rate: 0.02", "learning_rate: 0.015"))
    place.git("commit", "--quiet", "--all", "--message", "a lower rate, never shared")
    configuration.write_text(configuration.read_text().replace("warmup_steps: 20", "warmup_steps: 3"))  # and never committed

    make = (python, "-m", "pipelines.data", "scenes", data / "scenes", "--train", "10", "--validation", "4", "--size", "240x180")
    place.command(*make, "--recipe", "parking", "--seed", "7")
    for split in ("train", "validation"):
        place.command(python, "-m", "lineage", "upload", "visdrone", data / "scenes" / split, uri[split])
        place.command(python, "-m", "lineage", "view", "create", uri[split], QUERY, "--name", "cars-20px")
    inputs = ("--train", uri["train"], "--validation", uri["validation"], "--view", "cars-20px")
    train = (python, "-m", "pipelines.detection", "train", *inputs, *LEARNING, "--json")
    run = json.loads(place.command(*train).stdout)["run_id"]
    place.command(python, "-m", "lineage", "archive", run)
    record = place.lineage("show", run)
    assert record["config"]["optimizer"] | {"learning_rate": 0.015, "warmup_steps": 3} == record["config"]["optimizer"]

    shutil.rmtree(place.clone)
    place.git("clone", "--quiet", str(place.folder / "origin"), str(place.clone), where=place.folder)
    place.git("gc", "--quiet", "--prune=now")
    with pytest.raises(AssertionError, match="Not a valid object name"):
        place.git("cat-file", "-e", record["code"]["git_sha"] + "^{commit}")
    shutil.rmtree(place.environment)
    dataset = deeplake.open(str(data / "train"))
    dataset.append({name: [dataset[0][name]] for name in [column.name for column in dataset.schema.columns]})
    dataset.commit("a picture more")
    for tag in list(dataset.tags.names()):
        dataset.tags[tag].delete()
    del dataset
    assert place.lineage("data", run)  # the record knows what it was all the same

    one_core = {min(os.sched_getaffinity(0))}
    report = place.lineage("reproduce", run, "--env", "recorded", cores=one_core)
    assert report["verdict"] == "identical", report
    changes = {change["subject"]: change for change in report["comparison"]["changes"]}
    assert changes["steps"]["original"] == "4 steps"
    assert changes["output model.pth"]["same"]
    found = {ingredient["name"]: ingredient["found"] for ingredient in report["plan"]["ingredients"]}
    assert "its repository is lost" in found["code"]
    assert "rebuilt from the record" in found["environment"]
    replica = place.lineage("show", report["replica_id"])
    assert replica["environment"]["cpu_count"] == 1
    assert record["environment"]["cpu_count"] == len(os.sched_getaffinity(0))
