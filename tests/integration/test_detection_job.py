"""The detection job through its command: what a training records, and what becomes of one that is killed or goes wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import deeplake
import numpy as np
import pytest
from PIL import Image

import lineage
from lineage.api import process
from lineage.lookup.steps import read_steps
from lineage.wiring import wire
from pipelines.data.scenes.write import write_scenes

TRAIN_ROWS, VALIDATION_ROWS, BATCH = 6, 3, 2
STEPS = TRAIN_ROWS // BATCH

CONFIG = f"""
project: parking
epochs: 1
batch_size: {BATCH}
seed: 3
threads: 1
device: cpu
wandb: disabled
classes: [car, van, truck]
transform: {{width: 64, height: 64, min_area: 1}}
model: {{architecture: fasterrcnn_resnet18_fpn, backbone_stages: 2, fpn_channels: 16, anchor_sizes_px: [8, 16, 32], representation_size: 32,
        rpn_pre_nms_top_n_train: 50, rpn_post_nms_top_n_train: 20, rpn_pre_nms_top_n_test: 50, rpn_post_nms_top_n_test: 20,
        box_batch_size_per_image: 16}}
optimizer: {{learning_rate: 0.01, clip_norm: 5}}
pictures: {{each_epoch: 2, worst: 3}}
"""

# Imports once, then forks a process for each command: a training takes a second or two in place of ten.
ZYGOTE = """
import json, os, signal, sys
import torch, deeplake, matplotlib
import lineage.cli, lineage.training, lineage.adapters.datasets.deeplake, lineage.adapters.frameworks.torch
import pipelines.detection.__main__, pipelines.detection.job
from lineage.training import Checkpoints

def kill_after(checkpoints):
    made = []
    def counted(save):
        def counting(self):
            made.extend([kept for kept in [save(self)] if kept is not None])
            if len(made) == checkpoints:
                os.kill(os.getpid(), signal.SIGKILL)
        return counting
    Checkpoints.step, Checkpoints.epoch_done = counted(Checkpoints.step), counted(Checkpoints.epoch_done)

for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for name, number in (("out", 1), ("err", 2)):
                os.dup2(os.open(job[name], os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
            os.environ.clear(), os.environ.update(job["environment"]), os.chdir(job["folder"])
            if job["kill_after"]:
                kill_after(job["kill_after"])
            sys.argv = job["argv"]
            (lineage.cli if sys.argv[0] == "lineage" else pipelines.detection.__main__).main()
            status = 0
        except SystemExit as error:
            status = error.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Ended(NamedTuple):
    """A command that is over."""

    status: int
    stdout: str
    stderr: str

    @property
    def result(self) -> Any:
        assert self.status == 0, self.stderr
        return json.loads(self.stdout)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Ended]]:
    """Runs a command in a fork of a process that has imported everything."""
    folder = tmp_path_factory.mktemp("zygote")
    (folder / "zygote.py").write_text(ZYGOTE)
    with (folder / "talk").open("w") as talk:
        words = [sys.executable, "-W", "ignore", str(folder / "zygote.py")]
        zygote = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=talk, text=True)
        assert zygote.stdin is not None
        assert zygote.stdout is not None
        requests, answers, out, err = zygote.stdin, zygote.stdout, folder / "out", folder / "err"

        def run(*argv: str | Path, kill_after: int = 0) -> Ended:
            place = {"folder": os.getcwd(), "environment": dict(os.environ), "out": str(out), "err": str(err)}
            requests.write(json.dumps({"argv": [*map(str, argv)], "kill_after": kill_after, **place}) + "\n")
            requests.flush()
            status = int(answers.readline())
            return Ended(status, out.read_text(), err.read_text())

        yield run
        requests.close()
        zygote.wait(30)
        answers.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, command: Callable[..., Ended]) -> Path:
    """Datasets ``train`` and ``validation``, uploaded from drawn scenes; each has the view ``all``."""
    folder = tmp_path_factory.mktemp("detection")
    write_scenes(folder / "drawn", train=TRAIN_ROWS, validation=VALIDATION_ROWS, size=(160, 120), seed=5, recipe="parking", defects=[])
    for part in ("train", "validation"):
        for words in (
            ["upload", "visdrone", folder / "drawn" / part, folder / part],
            ["view", "create", folder / part, "select *", "--name=all"],
        ):
            done = command("lineage", *words)
            assert done.status == 0, done.stderr
    return folder


def with_row(data: Path, name: str, boxes: list[list[float]], labels: list[int], *, is_cut_off: bool = False) -> Path:
    """A copy of the training data with a seventh row, the sample ``added``; its picture ends after the header where it is cut off."""
    folder = data / name
    shutil.copytree(data / "train", folder)
    picture = min((data / "drawn" / "train" / "images").iterdir()).read_bytes()
    dataset = deeplake.open(str(folder))
    row: dict[str, Any] = {column.name: dataset[0][column.name] for column in dataset.schema.columns} | {"sample_id": "added"}
    row |= {name: np.zeros(len(boxes), row[name].dtype) for name in ("truncation", "occlusion", "score")}
    row |= {"boxes": np.array(boxes, row["boxes"].dtype), "labels": np.array(labels, row["labels"].dtype)}
    row["images"] = picture[: picture.index(b"\xff\xda")] if is_cut_off else picture
    dataset.append({name: [value] for name, value in row.items()})
    dataset.commit("one more")
    return folder


@pytest.fixture(scope="module")
def spoilt(data: Path) -> Path:
    return with_row(data, "spoilt", [[5, 5, 40, 30]], [4], is_cut_off=True)


@pytest.fixture(scope="module")
def with_region(data: Path) -> Path:
    """The seventh row has an ignored region, and a car beside it."""
    return with_row(data, "with-region", [[0, 0, 80, 120], [100, 40, 40, 40]], [0, 4])


@pytest.fixture
def train(repository: Path, data: Path, command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ended]]:
    """``python -m pipelines.detection train`` on the drawn data; options are given as on the command line."""
    monkeypatch.chdir(repository)
    (repository / "tiny.yaml").write_text(CONFIG)

    def job(*options: str | Path, kill_after: int = 0, train: Path = data / "train", view: str | None = "all") -> Ended:
        named = [] if view is None else ["--view", view]
        words = ["detection", "train", "--config", "tiny.yaml", "--train", train, "--validation", data / "validation", *named]
        return command(*words, "--json", *options, kill_after=kill_after)

    yield job
    process.wired.cache_clear()


def content(run: Any, name: str) -> bytes:
    (digest,) = (item.digest for item in run.outputs if item.name == name)
    ports = wire()
    found = ports.objects.get_bytes(digest)
    ports.runs.close()
    return found


def points(run_id: str) -> list[dict[str, float]]:
    ports = wire()
    found = [point.values for point in ports.runs.metrics(run_id)]
    ports.runs.close()
    return found


def lasting(run: Any) -> dict[str, Any]:
    """What must not depend on whether a training was ever stopped, nor on the time it took."""
    logged = [{name: value for name, value in values.items() if not name.startswith("timing/")} for values in points(run.id)]
    return {"outputs": {item.name: item.digest for item in run.outputs}, "head": run.step_logs[0].head, "metrics": logged}


def test_a_training_records_everything(train: Callable[..., Ended]) -> None:
    """Configuration, both inputs, loaders, steps, losses, an evaluation, a checkpoint, pictures, tables and weights."""
    ended = train("--name", "first", "--set", "optimizer.momentum=0.8")
    run = lineage.get(ended.result["run_id"])

    assert (run.state, run.name, run.project, run.job_type, run.seed) == ("finished", "first", "parking", "train", 3)
    assert (run.config["optimizer"]["momentum"], run.config["optimizer"]["learning_rate"]) == (0.8, 0.01)
    assert [(item.role, item.rows, item.view_name) for item in run.inputs] == [("train", 6, "all"), ("validation", 3, "all")]
    loaders = [(item.ordinal, item.shuffle, item.batch_size, item.code_missing) for item in run.loaders]
    assert loaders == [(0, True, BATCH, None), (1, False, BATCH, None)]
    assert run.determinism["promise"]
    assert [(log.rank, log.steps, log.torn) for log in run.step_logs] == [(0, STEPS, None)]
    assert {(item.ordinal, item.first_epoch, item.rows) for item in run.reads} >= {(0, 0, TRAIN_ROWS), (1, 0, VALIDATION_ROWS)}

    reports = ("predictions-epoch-01.png", "worst-pictures.png", "per-class.csv", "per-picture.csv")
    expected = {f"checkpoint-{STEPS:08d}": "checkpoint", "model.pth": "model"} | dict.fromkeys(reports, "report")
    expected[f"media/predictions/{STEPS}.json"] = "media"
    assert {item.name: item.kind for item in run.outputs} == expected
    for name in reports[:2]:
        with Image.open(io.BytesIO(content(run, name))) as sheet:
            assert (sheet.format, sheet.width > 480) == ("PNG", True)
    classes = list(csv.DictReader(io.StringIO(content(run, "per-class.csv").decode())))
    assert [row["class"] for row in classes] == ["car", "van", "truck"]
    assert len(content(run, "per-picture.csv").decode().splitlines()) == 1 + VALIDATION_ROWS

    *steps, evaluation = points(run.id)
    assert len(steps) == STEPS
    assert all({"loss", "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"} <= set(values) for values in steps)
    named = {"epoch", "validation_iou", "validation_corrected_iou", "validation_AP", "validation_AP50", "detections_per_picture"}
    assert named <= set(evaluation)
    assert {name: run.summary[name] for name in named - {"epoch"}} == {name: evaluation[name] for name in named - {"epoch"}}
    assert ended.result["validation_iou"] == evaluation["validation_iou"]
    assert "epoch 1/1  loss" in ended.stderr
    assert "promise: " in ended.stderr
    assert ended.stdout.count("\n") == 1, "stdout is the result alone"


def test_killed_and_resumed_it_ends_the_same(train: Callable[..., Ended]) -> None:
    """SIGKILL after the first checkpoint, then ``--resume last``: weights, step log, metrics, pictures and tables of a whole run."""
    options = ("--epochs", "2", "--set", "checkpoints.every_steps=2")
    whole = lineage.get(train(*options).result["run_id"])
    assert train(*options, kill_after=1).status == -9
    killed = lineage.runs(project="parking")[0]
    assert killed.id != whole.id

    ended = train(*options, "--resume", "last")
    resumed = lineage.get(ended.result["run_id"])
    assert lineage.get(killed.id).state == "aborted"
    assert resumed.resumes is not None
    assert (resumed.resumes.run_id, resumed.resumes.step, resumed.resumes.changed) == (killed.id, 2, ())
    assert lasting(resumed) == lasting(whole)
    assert "resumed at epoch 1, step 2" in ended.stderr


def test_only_the_same_training_goes_on(train: Callable[..., Ended], data: Path) -> None:
    """Changed fields are named with both values; those that decide nothing may change, and others when allowed by name."""
    assert train("--epochs", "2", kill_after=1).status == -9
    for change, told in [
        (("--epochs", "3"), "resume: configuration field epochs was 2 and is 3"),
        (("--epochs", "2", "--learning-rate", "0.02"), "resume: configuration field optimizer.learning_rate was 0.01 and is 0.02"),
        (("--epochs", "2", "--batch-size", "3"), "resume: configuration field batch_size was 2 and is 3"),
        (("--epochs", "2", "--seed", "4"), "resume: the seed is 4, the run's 3"),
    ]:
        ended = train(*change, "--resume", "last")
        assert (ended.status, ended.stdout) == (2, "")
        assert told in ended.stderr
        assert "Traceback" not in ended.stderr

    ended = train("--epochs", "3", "--resume", "last", "--allow-changed", "epochs", "--name", "longer")
    run = lineage.get(ended.result["run_id"])
    assert run.resumes is not None
    assert "epochs" in run.resumes.changed
    assert run.step_logs[0].steps == 3 * STEPS


def test_nothing_to_resume_is_said(train: Callable[..., Ended]) -> None:
    """``last`` without a training that was broken off (a finished one does not count), and a run that is not there."""
    train()
    for name, told in (("last", "no training of this project was broken off after a checkpoint"), ("0123abcd", "no run '0123abcd'")):
        ended = train("--resume", name)
        assert ended.status == 5
        assert told in ended.stderr


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (["--set", "classes=[car, zeppelin]"], 2, "no class named 'zeppelin'; it has ignored regions, pedestrian, people, bicycle, car"),
        (["--set", "classes=[others]"], 2, "no box of any class of interest in the 6 rows of "),
        (["--view", "none"], 5, "no view 'none': in "),
        (["--base-weights", "nowhere.pth"], 5, "no weights file 'nowhere.pth'"),
    ],
)
def test_a_training_that_cannot_go_on_says_why(train: Callable[..., Ended], options: list[str], status: int, told: str) -> None:
    """One sentence, an exit code of its own, no traceback; the record says that it failed and why."""
    ended = train(*options)
    assert (ended.status, ended.stdout) == (status, "")
    assert told in ended.stderr.partition("error: ")[2]
    assert "Traceback" not in ended.stderr
    run = lineage.runs(project="parking")[0]
    assert run.state == "failed"
    assert run.error is not None
    assert told in run.error


def test_a_loss_that_is_not_finite_stops_the_training(train: Callable[..., Ended]) -> None:
    """The error names the step, its losses, and the rows of the batch that the recorded order has there; no weights are kept."""
    ended = train("--learning-rate", "1e30", "--set", "optimizer.clip_norm=null")
    spoilt, whole = lineage.runs(project="parking")[0], lineage.get(train().result["run_id"])
    assert (ended.status, ended.stdout, spoilt.state, spoilt.step_logs[0].steps) == (10, "", "failed", 1)

    ports = wire()
    (rows,) = read_steps(ports, whole).records[2].rows  # the first record is the state before the first step
    ports.runs.close()
    named = ", ".join(map(str, rows.positions))
    assert f"step 1: the loss is not finite in the batch of rows {named}: loss " in ended.stderr
    assert "hint: lower optimizer.learning_rate" in ended.stderr
    assert not any(item.kind in ("model", "checkpoint") for item in spoilt.outputs)


def test_a_picture_that_is_none_stops_the_training_by_name(train: Callable[..., Ended], spoilt: Path) -> None:
    """``fail``: the row is named, with the name of its sample."""
    ended = train(train=spoilt, view=None)
    assert ended.status == 7
    assert "row 6 (added) of " in ended.stderr
    assert "the picture cannot be decoded" in ended.stderr
    assert lineage.runs(project="parking")[0].state == "failed"


def test_a_picture_that_is_none_can_be_skipped(train: Callable[..., Ended], spoilt: Path) -> None:
    """``skip``: the training goes on with the others, and the record says which row was left out and why."""
    run = lineage.get(train("--set", "on_error=skip", train=spoilt, view=None).result["run_id"])
    assert run.state == "finished"
    assert run.loaders[0].on_error == "skip"
    assert any("row 6 (added)" in note and "cannot be decoded" in note for note in run.notes), run.notes
    assert next(item.rows for item in run.reads if item.ordinal == 0) == TRAIN_ROWS


def test_masked_regions_change_the_training(train: Callable[..., Ended], with_region: Path) -> None:
    """The option reaches pictures and record: other weights where a picture has such a region, and the same again when repeated."""
    ways = ("keep", "mask", "mask")
    runs = [lineage.get(train("--set", f"ignored_regions={way}", train=with_region, view=None).result["run_id"]) for way in ways]
    kept, masked, again = (next(item.digest for item in run.outputs if item.kind == "model") for run in runs)
    assert kept != masked == again
    assert [run.config["ignored_regions"] for run in runs] == list(ways)
