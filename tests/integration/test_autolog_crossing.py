"""Plain code in worker processes, in reproductions, and as the playbook's script."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import lineage
from lineage.model.run import Run
from tests.support.followed import named, only, rows_read


def reproduced(plain_code: Any, run: Run, *options: str) -> tuple[int, str]:
    status, told = plain_code.python("-m", "lineage", "reproduce", run.id, *options)
    return int(status), str(told)


WORKERS = """
import torch
class Own(torch.utils.data.Dataset):
    def __init__(self, ds): self.ds = ds
    def __len__(self): return len(self.ds)
    def __getitem__(self, i): return torch.tensor(self.ds[i]["boxes"][0])
class Lazy(Own):
    def __init__(self, rows): self.rows, self.ds = rows, None
    def __len__(self): return self.rows
    def __getitem__(self, i):
        import deeplake
        self.ds = self.ds or deeplake.open_read_only(TRAIN)
        return super().__getitem__(i)
def first_box(row): return torch.tensor(row["boxes"][0])
def load(data, how):
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2, multiprocessing_context=how)
    return [len(batch) for batch in loader][:2]
"""


def test_reads_of_forked_loader_workers_are_known_and_those_of_fresh_processes_reported(plain_code: Any) -> None:
    plain_code.run(
        """
        def small(): return deeplake.open_read_only(TRAIN).query("select * where boxes[0,0] < 20")
        with lineage.start_run(name="fork, class of its own"):
            load(torch.utils.data.Subset(Own(small()), [1, 3]), "fork")
        with lineage.start_run(name="fork, Deep Lake's own"):
            load(small().pytorch(transform=first_box), "fork")
        with lineage.start_run(name="fork, opened in the worker"):
            load(torch.utils.data.Subset(Lazy(12), [0, 1]), "fork")
        with lineage.start_run(name="spawn"):
            load(small().pytorch(transform=first_box), "spawn")
        """,
        begin=f"import warnings\nwarnings.simplefilter('ignore')\nlineage.autolog()\n{WORKERS}",
    )
    runs = {run.name: run for run in lineage.runs()}
    assert rows_read(runs["fork, class of its own"], 0) == [1, 3]
    assert rows_read(runs["fork, Deep Lake's own"], 0) == [0, 1, 2, 3, 4]
    for name in ("fork, class of its own", "fork, Deep Lake's own"):
        assert not any("not pinned" in note for note in runs[name].notes)
    assert named(runs["fork, opened in the worker"]) == [("train", "scenes-train", 12)]
    assert any("a worker process read" in note and "opened the dataset itself" in note for note in runs["fork, opened in the worker"].notes)
    assert named(runs["spawn"]) == [("train", "scenes-train", 5)]
    assert any("a worker process read" in note and "unpickled" in note for note in runs["spawn"].notes)


READS_ALL = """
with lineage.start_run(seed=1) as run:
    train = deeplake.open(TRAIN).query("select * where boxes[0,0] < 20")
    run.log({"sum": sum(float(row["boxes"].sum()) for row in train)})
"""


def test_a_reproduction_reads_what_was_recorded_after_the_dataset_has_moved_on(plain_code: Any) -> None:
    plain_code.run(READS_ALL)
    run = only()
    plain_code.append_row()
    status, told = reproduced(plain_code, run)
    assert status == 0, told
    again = next(item for item in lineage.runs() if item.reproduces == run.id)
    assert [item.content_digest for item in again.inputs] == [item.content_digest for item in run.inputs]


def test_a_reproduction_that_unpickles_says_what_was_not_checked_and_differs_when_other_rows_were_read(plain_code: Any) -> None:
    plain_code.run(
        """
        import pickle
        with lineage.start_run(seed=1) as run:
            text = pickle.dumps(deeplake.open_read_only(TRAIN))
            train = pickle.loads(text)
            run.log({"rows": sum(1 for row in train)})
        """
    )
    run = only()
    plain_code.append_row()
    status, told = reproduced(plain_code, run)
    assert status == 1, told
    assert "other rows were read" in told
    assert "was pickled: " in told.partition("not checked")[2]


def test_a_dataset_that_moved_is_read_at_the_address_that_is_given(plain_code: Any, tmp_path: Path) -> None:
    plain_code.run(READS_ALL)
    run = only()
    os.rename(plain_code.train.removeprefix("file://"), tmp_path / "moved")
    status, told = reproduced(plain_code, run, "--data", f"train={tmp_path / 'moved'}")
    assert status == 0, told


PLAYBOOK = """
import torch, wandb
ds_train = deeplake.open_read_only(TRAIN)
train_view = ds_train.query("select * where boxes[0,0] < 15")
run = wandb.init(project="parking", job_type="train", group="g", name="first", tags=["night"], config={"width": 160})
wandb.config.update({"batch_size": 2})
run.config.epochs = 2
loader = torch.utils.data.DataLoader(train_view.pytorch(transform=lambda row: torch.tensor(row["boxes"][0])), batch_size=2)
model = torch.nn.Linear(4, 1, bias=False)
torch.nn.init.constant_(model.weight, 0.5)
wandb.watch(model, log="all", log_freq=50)
wandb.define_metric("epoch")
wandb.define_metric("validation_iou", step_metric="epoch")
for epoch in range(2):
    for boxes in loader:
        wandb.log({"loss": model(boxes).mean().detach(), "nested": {"text": "no number", "size": len(boxes)}})
    run.log({"epoch": epoch, "validation_iou": 0.1 * epoch})
torch.save(model.state_dict(), "weights.pth")
model_artifact = wandb.Artifact("object_detection_model", "model")
model_artifact.add_file("weights.pth")
run.log_artifact(model_artifact)
run.finish()
"""


def test_the_playbooks_script_is_recorded_whole_told_to_wandb_once_and_reproduced(plain_code: Any) -> None:
    (plain_code.repository / ".gitignore").write_text("*.pth\n")
    plain_code.run(PLAYBOOK)
    found = only()
    assert (found.project, found.job_type, found.group, found.name, found.tags) == ("parking", "train", "g", "first", ("night",))
    assert found.config == {"width": 160, "batch_size": 2, "epochs": 2}
    (item,) = found.inputs
    assert (item.role, item.rows, item.query) == ("train", 3, "select * where boxes[0,0] < 15")
    points = [(point.step, point.values) for point in lineage.metrics(found.id)]
    assert [step for step, _ in points] == [0, 1, 2, 3, 4, 5]
    assert points[1:3] == [(1, {"loss": 28.0, "nested.size": 1.0}), (2, {"epoch": 0.0, "validation_iou": 0.0})]
    (made,) = found.outputs
    assert (made.name, made.kind, made.path) == ("weights.pth", "model", "weights.pth")

    (folder,) = (plain_code.folder.parent / "wandb" / "wandb").glob("offline-run-*")
    told = subprocess.run(
        ["wandb", "leet", "inspect", "--json", str(folder)], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert sum('"history"' in line for line in told.splitlines()) == len(points)  # ours did not come back as further ones
    assert item.commit_id in told
    assert item.uri in told

    status, report = reproduced(plain_code, found)
    assert status == 0, report
    assert "verdict: identical" in report
