"""What Deep Lake 3's own W&B integration got wrong, as measured, each as a behaviour that holds here; and what else must hold beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import deeplake
import pytest
from deeplake import types

COMMON = """
import json, time
from pathlib import Path
import wandb
import lineage
from lineage.adapters.trackers.wandb_log import read_log
from lineage.errors import InvalidSource
def told(run):
    (path,) = Path(run.record.trackers["wandb"]["directory"]).glob("*.wandb")
    for _ in range(600):  # the client's own process writes the last part after its run has ended
        try:
            if (log := read_log(path)).exit_code is not None:
                return log
        except InvalidSource:
            pass
        time.sleep(0.05)
    raise SystemExit("the log was not completed")
def names(values):
    return sorted(name for name in values if not name.startswith("_"))
def show(**values):
    print(json.dumps(values))
"""


def python(folder: Path, script: str, **variables: str) -> Any:
    (folder / "script.py").write_text(COMMON + script)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **variables}, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def folder(repository: Path) -> Path:
    """A repository with a dataset of ten rows and two saved views."""
    (repository / ".gitignore").write_text(".lineage/\nds/\nscript.py\n*.pth\n")
    dataset = deeplake.create(str(repository / "ds"), schema={"n": types.Int32()})
    dataset.append({"n": list(range(10))})
    dataset.commit("all")
    dataset.query("select * where n > 3").tag("large", "m")
    dataset.query("select * where n < 3").tag("small", "m")
    return repository


def test_every_later_read_reaches_the_log(folder: Path) -> None:
    """A part of a dataset, then the whole, then other parts: there, everything after the second read was lost from the log."""
    found = python(
        folder,
        """
with lineage.start_run(trackers=("wandb",)) as run:
    run.use_dataset("ds", query="select * where n < 2", role="train")
    run.use_dataset("ds", role="train")
    run.use_dataset("ds", view="small", role="validation")
    run.use_dataset("ds", view="large", role="test")
log = told(run)
show(config=log.config, edges=[item.use_after_commit for item in log.artifacts], views=[item.view_id for item in run.record.inputs])
""",
    )
    config = found["config"]

    assert [item["role"] for item in config["lineage"]["inputs"]] == ["train", "train", "validation", "test"]
    assert len(config["input_datasets"]) == 4
    assert found["edges"] == [True] * 4
    assert [item.get("View ID") for item in config["input_datasets"]] == found["views"]


def test_a_view_read_row_by_row_is_one_entry(folder: Path) -> None:
    """There, iterating over a saved view wrote one entry for each sample."""
    found = python(
        folder,
        """
with lineage.start_run(trackers=("wandb",)) as run:
    view = run.use_dataset("ds", view="large", role="train")
    for epoch in range(2):
        for position in range(len(view)):
            view[position]
log = told(run)
show(config=log.config, rows=len(view))
""",
    )

    assert found["rows"] == 6
    assert len(found["config"]["input_datasets"]) == len(found["config"]["lineage"]["inputs"]) == 1


def test_a_view_has_its_commit_id(folder: Path) -> None:
    """There, a view's entry said ``Commit ID: null``. The words are those that dashboards of that time filter by."""
    found = python(
        folder,
        """
with lineage.start_run(trackers=("wandb",)) as run:
    run.use_dataset("ds", view="large", role="train")
(item,) = run.record.inputs
show(config=told(run).config, uri=item.uri, commit_id=item.commit_id, view_id=item.view_id, query=item.query)
""",
    )

    assert found["commit_id"]
    assert found["config"]["input_datasets"] == [
        {"Dataset": found["uri"], "Commit ID": found["commit_id"], "Query": found["query"], "View ID": found["view_id"]}
    ]


def test_what_failed_is_no_input_and_no_output(folder: Path) -> None:
    """There, a failed append was logged as an input. A view that is not there, or an upload that fails, leaves no trace in W&B."""
    found = python(
        folder,
        """
from lineage.errors import LineageError
with lineage.start_run(trackers=("wandb",)) as run:
    for arguments in ({"view": "nobody"}, {"query": "select * where nothing = 1"}, {"commit_id": "0" * 20}):
        try:
            run.use_dataset("ds", role="train", **arguments)
        except LineageError:
            continue
        raise SystemExit("it was opened")
log = told(run)
show(config=log.config, artifacts=len(log.artifacts))
""",
    )

    assert found["artifacts"] == 0
    assert "input_datasets" not in found["config"]
    assert "inputs" not in found["config"]["lineage"]


def test_a_script_s_own_order_is_kept(folder: Path) -> None:
    """Where the script logs to W&B itself, its points and ours stay in the order in which they were made; so does its summary axis."""
    found = python(
        folder,
        """
own = wandb.init(project="theirs", dir=".lineage", settings=wandb.Settings(silent=True))
own.define_metric("epoch")
own.define_metric("iou", step_metric="epoch")
with lineage.start_run() as run:
    for step in range(50):
        run.log({"ours": step})
        own.log({"theirs": step})
    own.log({"epoch": 1, "iou": 0.5})
own.finish()
show(names=[names(values) for _, values in told(run).history], joined=run.record.trackers["wandb"])
""",
    )

    assert found["names"] == [["ours"], ["theirs"]] * 50 + [["epoch", "iou"]]
    assert found["joined"]["joined"] is True


def test_what_came_from_wandb_does_not_go_back(folder: Path) -> None:
    """An observer of the client sees that we speak, and what it records is not said again; two observers do not go round in circles."""
    found = python(
        folder,
        """
from lineage.ports.telling import heard_from, is_telling
own = wandb.init(project="theirs", dir=".lineage", settings=wandb.Settings(silent=True))
seen = []
original = type(own).log
def log(self, data, *arguments, **named):
    seen.append((sorted(data), is_telling()))
    original(self, data, *arguments, **named)
    if not is_telling():
        with heard_from("wandb"):
            run.log(data)
type(own).log = log
with lineage.start_run() as run:
    run.log({"ours": 1})
    own.log({"theirs": 2})
own.finish()
show(seen=seen, history=[names(values) for _, values in told(run).history], summary=run.summary)
""",
    )

    assert found["seen"] == [[["ours"], True], [["theirs"], False]]
    assert found["history"] == [["ours"], ["theirs"]]
    assert found["summary"] == {"ours": 1.0, "theirs": 2.0}


def test_pictures_with_boxes_and_a_watched_model(folder: Path) -> None:
    """Boxes by kind with classes and scores; W&B's own histograms of gradients and parameters beside our points, none of them lost."""
    found = python(
        folder,
        """
import numpy, torch
from lineage.ports import BoxedPicture, ShownBox
model = torch.nn.Linear(2, 1)
with lineage.start_run(trackers=("wandb",)) as run:
    wandb.watch(model, log="all", log_freq=1)
    run.define_metric("iou", step_metric="epoch")
    for step in range(3):
        model(torch.ones(4, 2)).sum().backward()
        run.log({"loss": step})
    boxes = {"truth": [ShownBox((1, 2, 30, 20), 1)], "predictions": [ShownBox((2, 2, 31, 22), 2, 0.75)]}
    picture = BoxedPicture(numpy.zeros((40, 50, 3), "uint8"), boxes, "row 7")
    run.log_pictures("predictions", [picture], {1: "car", 2: "bus"})
    run.log({"iou": 0.5, "epoch": 1})
log = told(run)
points = [values for _, values in log.history]
shown = next(values["predictions"] for values in points if "predictions" in values)
folder = Path(run.record.trackers["wandb"]["directory"]) / "files"
boxes = [json.loads((folder / item["predictions"]["path"]).read_text()) for item in shown["all_boxes"]]
histograms = sorted({name for values in points for name in values if name.startswith(("gradients/", "parameters/"))})
losses = [values["loss"] for values in points if "loss" in values]
show(losses=losses, shown=shown, boxes=boxes, histograms=histograms, notes=run.record.notes)
""",
    )
    ((box,),) = [item["box_data"] for item in found["boxes"]]

    assert found["losses"] == [0, 1, 2]
    assert found["shown"]["captions"] == ["row 7"]
    assert sorted(found["shown"]["all_boxes"][0]) == ["predictions", "truth"]
    assert (box["class_id"], box["scores"], box["box_caption"]) == (2, {"score": 0.75}, "bus 0.75")
    assert box["position"] == {"minX": 2, "minY": 2, "maxX": 31, "maxY": 22}
    assert found["histograms"] == ["gradients/bias", "gradients/weight", "parameters/bias", "parameters/weight"]
    assert found["notes"] == []
