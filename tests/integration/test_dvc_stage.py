"""A run that DVC starts as a stage: its record says which stage, which lock, and what the dependencies held when they were read."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

import lineage
from lineage.adapters.datasets.choose import is_tracked
from lineage.adapters.datasets.dvc_stage import DvcStages, StageReading
from lineage.model.run import Run
from lineage.ports import RunQuery
from lineage.record.dvc_stage import DvcStage
from lineage.settings import Settings
from lineage.wiring import wire

PATIENCE_S = 120

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

TRAIN = """
import pathlib, sys
data = pathlib.Path("../data")
pathlib.Path("m.pt").write_text(data.joinpath("a.csv").read_text() + sys.argv[1])
if pathlib.Path("../edit").exists():
    data.joinpath("a.csv").write_text("edited meanwhile")
"""
PIPELINE = """
vars: [../params.yaml]
stages:
  train:
    wdir: ${folder}
    cmd: lineage run --job-type train -- python train.py ${lr}
    deps: [train.py, ../data/a.csv, ../data/d]
    params:
    - ../params.yaml: [lr, login.password]
    outs: [m.pt]
"""


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC repository whose pipeline is in ``flow/`` and whose stage works in ``models/``."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet")
    Repo.init(str(folder)).close()
    files = {
        "data/a.csv": "1,2\n",
        "data/d/x": "x",
        "data/d/y": "y",
        "models/train.py": TRAIN,
        "flow/dvc.yaml": PIPELINE,
        "params.yaml": "lr: 0.1\nfolder: ../models\nlogin: {password: hunter2hunter2}\n",
        ".gitignore": ".lineage/\n",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def repro(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def newest(folder: Path) -> Run:
    ports = wire(Settings(str(folder / ".lineage"), folder / ".lineage"))
    try:
        return ports.runs.find(RunQuery(limit=1))[0]
    finally:
        ports.runs.close()


def locked(folder: Path) -> dict[str, Any]:
    from dvc.utils.serialize import load_yaml

    stage: dict[str, Any] = load_yaml(str(folder / "flow" / "dvc.lock"))["stages"]["train"]
    return stage


def test_a_stage_records_itself_and_what_dvc_locks_without_secrets(project: Path) -> None:
    repro(project, "flow/dvc.yaml")
    run = newest(project)
    assert run.dvc is not None
    assert run.dvc.dependencies is not None
    assert (run.dvc.root, run.dvc.stage, run.dvc.working_directory) == (".", "flow/dvc.yaml:train", "models")
    lock = locked(project)
    recorded = {item.path: (item.md5, item.size_bytes, item.files) for item in run.dvc.dependencies}
    assert recorded == {
        os.path.normpath(Path("models", item["path"])): (item["md5"], item["size"], item.get("nfiles")) for item in lock["deps"]
    }
    assert run.dvc.outputs == ("models/m.pt",)
    assert run.dvc.lock_digest is None  # there was none when the run began
    assert run.dvc.params["params.yaml"]["lr"] == 0.1
    assert "hunter2" not in run.model_dump_json()


def test_the_second_run_names_the_lock_and_what_differs_from_it(project: Path) -> None:
    repro(project, "flow/dvc.yaml")
    before = locked(project)
    digest = hashlib.sha256((project / "flow/dvc.lock").read_bytes()).hexdigest()
    (project / "data/d/x").write_text("another")
    repro(project, "flow/dvc.yaml")
    run = newest(project)
    assert run.dvc is not None
    assert run.dvc.lock == "flow/dvc.lock"
    assert run.dvc.lock_digest == f"sha256:{digest}"
    by_path = {item.path: item for item in run.dvc.dependencies or ()}
    old = next(item["md5"] for item in before["deps"] if item["path"] == "../data/d")
    assert by_path["data/d"].locked_md5 == old != by_path["data/d"].md5
    assert by_path["data/a.csv"].locked_md5 == by_path["data/a.csv"].md5
    (note,) = [note for note in run.notes if "dvc.lock named" in note]
    assert note.startswith("data/d:")


def test_diff_names_the_dependency_and_the_parameter_that_changed(project: Path) -> None:
    repro(project, "flow/dvc.yaml")
    first = newest(project)
    (project / "data/a.csv").write_text("3,4\n")
    (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("0.1", "0.2"))
    repro(project, "flow/dvc.yaml")
    second = newest(project)
    done = subprocess.run(
        ["lineage", "diff", first.id, second.id, "--json"], cwd=project, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    changed = {item["name"]: (item["a"], item["b"]) for item in json.loads(done.stdout)["configuration"]}
    assert changed["dvc.param params.yaml:lr"] == (0.1, 0.2)
    assert changed["dvc.dependency data/a.csv"][1] == md5(project / "data/a.csv")
    assert "dvc.dependency data/d" not in changed
    shown = subprocess.run(["lineage", "show", second.id], cwd=project, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert f"data/a.csv: md5 {md5(project / 'data/a.csv')}" in shown.stdout


def test_an_edit_in_the_first_moments_is_said_to_hide_what_was_read(project: Path) -> None:
    (project / "edit").touch()
    repro(project, "flow/dvc.yaml")
    (note,) = [note for note in newest(project).notes if note.startswith("data/a.csv was")]
    assert "what was read is not known" in note or "was edited while the run was going" in note


@pytest.mark.parametrize("content", ["3,4\n", "1,2\n"])
def test_an_edit_during_the_run_is_found_though_the_lock_hides_it(project: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    was = md5(project / "data/a.csv")
    monkeypatch.setenv("DVC_STAGE", "flow/dvc.yaml:train")
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.chdir(project / "models")
    with lineage.start_run() as live:
        stage = next(capture for capture in live._captures if isinstance(capture, DvcStage))
        assert isinstance(stage._reading, StageReading)
        stage._reading._process.wait(PATIENCE_S)
        (project / "data/a.csv").write_text(content)
    assert live.record.dvc is not None
    assert {item.path: item.md5 for item in live.record.dvc.dependencies or ()}["data/a.csv"] == was
    notes = [note for note in live.record.notes if note.startswith("data/a.csv")]
    if content == "1,2\n":  # the same bytes again are no difference
        assert notes == []
    else:
        assert "was edited while the run was going" in notes[0]
        assert md5(project / "data/a.csv") in notes[0]


def test_bytes_count_though_size_and_times_say_nothing_changed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repro(project, "flow/dvc.yaml")
    file = project / "data/a.csv"
    before, status = md5(file), file.stat()
    with file.open("r+") as stream:  # the same inode, size and time of change: DVC's own list of MD5s calls it unchanged
        stream.write("9")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_size == status.st_size
    monkeypatch.setenv("DVC_STAGE", "flow/dvc.yaml:train")
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.chdir(project / "models")
    with lineage.start_run() as live:
        pass
    assert live.record.dvc is not None
    (found,) = [item for item in live.record.dvc.dependencies or () if item.path == "data/a.csv"]
    assert (found.md5, found.locked_md5) == (md5(file), before)
    assert found.md5 != found.locked_md5


def _interrupt_when_waiting(thread: int) -> None:
    """Ctrl-C while that thread waits for DVC, and not before: elsewhere it would end the tests."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        frame = sys._current_frames().get(thread)
        while frame is not None:
            if frame.f_code.co_filename.endswith("adapters/datasets/dvc_stage.py"):
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGINT)
                return
            frame = frame.f_back
        time.sleep(0.01)


def test_ctrl_c_does_not_wait_for_dependencies_to_be_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "flow/dvc.yaml:train")
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.chdir(project / "models")
    live = lineage.start_run()
    stage = next(capture for capture in live._captures if isinstance(capture, DvcStage))
    assert isinstance(stage._reading, StageReading)
    reader = stage._reading._process
    os.kill(reader.pid, signal.SIGSTOP)  # as if it had a lot to read
    interrupter = threading.Thread(target=_interrupt_when_waiting, args=(threading.get_ident(),))
    interrupter.start()
    run = live.finish()
    interrupter.join(PATIENCE_S)
    assert run.state.value == "finished"
    assert any("reading it was interrupted" in note for note in run.notes)
    assert reader.poll() is not None


def test_outside_a_stage_the_lock_is_recorded_and_outputs_with_folders_of_their_own_are_tracked(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_tracked(project / "models" / "m.pt")
    repro(project, "flow/dvc.yaml")
    assert is_tracked(project / "models" / "m.pt")
    assert not is_tracked(project / "models" / "train.py")
    monkeypatch.chdir(project / "flow")
    with lineage.start_run() as live:
        pass
    assert live.record.dvc is not None
    assert live.record.dvc.stage is None
    assert live.record.dvc.dependencies is None
    assert live.record.dvc.lock == "flow/dvc.lock"


def test_outside_of_dvc_nothing_is_recorded(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    with lineage.start_run() as live:
        pass
    assert live.record.dvc is None


def test_a_stage_of_another_repository_is_not_taken_for_ones_own(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    found = DvcStages().around(project)
    assert found is not None
    assert found.stage is None


def test_a_stage_that_dvc_cannot_find_is_a_note(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "nowhere")
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.chdir(project)
    with lineage.start_run() as live:
        pass
    assert live.record.dvc is not None
    assert live.record.dvc.dependencies is None
    assert any("expected one stage 'nowhere', found none" in note for note in live.record.notes)
