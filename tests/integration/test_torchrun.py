"""One training in two processes, as ``torchrun`` starts them: one record, one order, shared by definition; killed, resumed, repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import lineage
from lineage.api import process
from lineage.lookup.steps import read_steps
from lineage.record.order import epoch_order
from lineage.record.step_log import StepLog
from lineage.wiring import wire
from pipelines.data.scenes.write import write_scenes

pytestmark = pytest.mark.slow

ROWS, BATCH, EPOCHS, SEED = 7, 2, 2, 3
STEPS = EPOCHS * 2  # 7 rows in steps of 2 x 2

CONFIG = f"""
epochs: {EPOCHS}
batch_size: {BATCH}
seed: {SEED}
threads: 1
device: cpu
wandb: disabled
transform: {{width: 64, height: 64, min_area: 1}}
model:
  architecture: fasterrcnn_resnet18_fpn
  backbone_stages: 2
  fpn_channels: 16
  anchor_sizes_px: [8, 16, 32]
  representation_size: 32
  rpn_pre_nms_top_n_train: 50
  rpn_post_nms_top_n_train: 20
  rpn_pre_nms_top_n_test: 50
  rpn_post_nms_top_n_test: 20
  box_batch_size_per_image: 16
optimizer: {{learning_rate: 0.01, clip_norm: 5}}
checkpoints: {{every_steps: 1}}
pictures: {{each_epoch: 1, worst: 1}}
"""

# The second process dies without a word when the checkpoint of step 1 is made; the launcher then ends the first.
KILLED = """
import os, signal
from lineage.training import Checkpoints
from pipelines.detection.__main__ import main

step, done = Checkpoints.step, []

def dying(self):
    kept = step(self)
    done.append(kept)
    if os.environ["RANK"] == "1" and len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return kept

Checkpoints.step = dying
main()
"""


def run_of(*words: str | Path, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False, timeout=240)
    assert expect is None or done.returncode == expect, done.stderr
    return done


TRAIN = ("pipelines.detection", "train", "--config", "tiny.yaml", "--train", "train", "--validation", "validation", "--json")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with uploaded data, and with the record of one finished training of two processes."""
    folder = tmp_path_factory.mktemp("torchrun")
    (folder / "tiny.yaml").write_text(CONFIG)
    (folder / "killed.py").write_text(KILLED)
    (folder / ".gitignore").write_text(".lineage/\ndrawn/\ntrain/\nvalidation/\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "first"]):
            subprocess.run(["git", *words], check=True)
        write_scenes(folder / "drawn", train=ROWS, validation=3, size=(160, 120), seed=5, recipe="parking", defects=[])
        for part in ("train", "validation"):
            run_of("-m", "lineage", "upload", "visdrone", f"drawn/{part}", part)
        (folder / ".lineage" / "result.json").write_text(run_of(*TORCHRUN, "-m", *TRAIN).stdout)
    return folder


@pytest.fixture
def whole(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The record of the finished training."""
    monkeypatch.chdir(place)
    yield lineage.get(json.loads((place / ".lineage" / "result.json").read_text())["run_id"])
    process.wired.cache_clear()


def logs_of(run: Any) -> list[StepLog]:
    ports = wire()
    found = [read_steps(ports, run, rank) for rank in (0, 1)]
    ports.runs.close()
    return found


def test_one_run_is_recorded(whole: Any) -> None:
    """Two processes, one record: one pair of inputs, a loader with the world's size, a step log each, one result on stdout."""
    runs = lineage.runs(job_type="train")
    assert [run.id for run in runs if run.state == "finished"][-1] == whole.id
    assert [(item.role, item.rows) for item in whole.inputs] == [("train", ROWS), ("validation", 3)]
    (loader,) = (item for item in whole.loaders if item.ordinal == 0 and item.rank == 0)
    assert (loader.world_size, loader.batch_size, loader.shuffle) == (2, BATCH, True)
    assert whole.determinism["world_size"] == 2
    assert [(log.rank, log.steps, log.torn) for log in whole.step_logs] == [(0, STEPS, None), (1, STEPS, None)]
    assert "--nproc-per-node=2" in whole.command
    assert len([item for item in whole.outputs if item.kind == "model"]) == 1
    made = [item.name for item in whole.outputs if item.kind == "checkpoint"]
    assert {f"checkpoint-{step + 1:08d}" for step in range(STEPS)} == set(made)


def test_each_process_has_its_share_of_the_defined_order(whole: Any) -> None:
    """In no step do two processes read a row together; one after the other they read the order that follows from seed and epoch."""
    shares = [[list(chain(*(rows.positions for rows in record.rows))) for record in log.records[1:]] for log in logs_of(whole)]
    for epoch in range(EPOCHS):
        steps = [[share[step] for share in shares] for step in (2 * epoch, 2 * epoch + 1)]
        assert all(set(first).isdisjoint(second) for first, second in steps)
        order = epoch_order(ROWS, SEED, epoch).tolist()
        assert list(chain(*chain(*steps))) == [*order, order[0]], "seven rows for eight places: the epoch's first fills up the last"


def test_both_processes_have_the_same_weights_after_every_step(whole: Any) -> None:
    """Gradients are averaged: the digests of gradients and parameters agree, those of inputs do not."""
    first, second = (log.records for log in logs_of(whole))
    assert [record.gradient for record in first[1:]] == [record.gradient for record in second[1:]]
    assert all(ours.input != theirs.input for ours, theirs in zip(first[1:], second[1:], strict=True))


def test_a_killed_training_goes_on_in_as_many_processes(whole: Any) -> None:
    """One process is killed, the launcher ends the other; fewer are refused; as many end with weights and step logs of a whole one."""
    assert run_of(*TORCHRUN, "killed.py", *TRAIN[1:], expect=None).returncode != 0
    killed = lineage.runs(job_type="train")[0]
    assert lineage.get(killed.id).state in ("aborted", "failed")

    fewer = run_of("-m", *TRAIN, "--resume", killed.id, expect=11)
    assert "error: the record was made with 2 processes, found 1" in fewer.stderr
    assert "hint: torchrun --nproc-per-node 2" in fewer.stderr
    assert "Traceback" not in fewer.stderr

    resumed = lineage.get(json.loads(run_of(*TORCHRUN, "-m", *TRAIN, "--resume", killed.id).stdout)["run_id"])
    assert resumed.resumes is not None
    assert resumed.resumes.run_id == killed.id
    assert [log.head for log in resumed.step_logs] == [log.head for log in whole.step_logs]
    weights = [next(item.digest for item in run.outputs if item.kind == "model") for run in (whole, resumed)]
    assert weights[0] == weights[1]


def test_it_reproduces_with_the_recorded_number_of_processes(whole: Any) -> None:
    """The recorded command starts the launcher again: same weights, and a log of each process to compare with."""
    done = run_of("-m", "lineage", "reproduce", whole.id, "--json", expect=None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["verdict"] == "identical"
