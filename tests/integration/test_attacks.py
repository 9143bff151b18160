"""Ways in which promises were once broken, or nearly: each stays closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types

import lineage
from lineage.adapters.objects.folder import FolderObjectStore
from lineage.errors import UsageError
from lineage.model.dataset import normalise_uri
from lineage.reproduce.tidy import plan_tidying, tidy
from lineage.wiring import wire


def table(folder: Path, rows: range) -> str:
    dataset = deeplake.create(str(folder), schema={"x": types.Int32(), "boxes": types.Array("float32", 2), "sample_id": types.Text()})
    dataset.append(
        {
            "x": list(rows),
            "boxes": [np.full((row % 3, 4), row, "float32") for row in rows],
            "sample_id": [f"sample {row}" for row in rows],
        }
    )
    dataset.commit("made")
    return str(folder)


@pytest.fixture
def here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (repository / ".gitignore").write_text(".lineage/\ndata*/\n*.pth\nout*/\n")
    monkeypatch.chdir(repository)
    return repository


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lineage", *words], capture_output=True, text=True, check=False)


def test_an_object_that_is_put_again_is_young_again(here: Path) -> None:
    """A run that is being recorded relies on an old orphan with the same content: clean-up leaves it alone."""
    ports = wire()
    digest = ports.objects.put_bytes(b"left by a killed run")
    path = ports.objects.path_of(digest)
    assert path is not None
    os.utime(path, (time.time() - 7200, time.time() - 7200))
    plan = plan_tidying(ports)
    assert [item[0] for item in plan.unneeded] == [digest]

    ports.objects.put_bytes(b"left by a killed run")

    assert plan_tidying(ports).unneeded == ()
    assert tidy(ports, plan) == 0
    assert ports.objects.has(digest)


def test_delete_spares_what_was_put_a_moment_ago(tmp_path: Path) -> None:
    """Between plan and deletion an object may be put again."""
    objects = FolderObjectStore(tmp_path)
    digest = objects.put_bytes(b"rows")

    assert objects.delete(digest, older_than_s=60) == 0
    assert objects.has(digest)
    assert objects.delete(digest) == 4
    assert objects.delete(digest) == 0


def test_weights_that_were_replaced_later_still_pass_their_data_on(here: Path) -> None:
    """A model fine-tuned from the third epoch's file inherits, although the run went on and replaced the file."""
    uri = table(here / "data", range(9))
    with lineage.start_run(name="base") as base:
        base.use_dataset(uri, role="train")
        for epoch in range(2):
            Path("model.pth").write_text(f"epoch {epoch}")
            base.log_artifact("model.pth", kind="model")
            if epoch == 0:
                Path("early.pth").write_text("epoch 0")
    with lineage.start_run(name="tuned") as tuned:
        tuned.use_artifact("early.pth")
        Path("tuned.pth").write_text("tuned")
        tuned.log_artifact("tuned.pth", kind="model")

    found = lineage.models_using(sample="sample 4")

    assert [item.run_name for item in found] == ["base", "tuned"]
    assert len(lineage.trained_on("tuned.pth", inherited=True)) == 1


JOINED = """
import sys, lineage
with lineage.start_run() as run:
    view = run.use_dataset("data", role="train", query=f"select * where x < {sys.argv[1]}")
    loader = lineage.training.DataLoader(view, batch_size=2, collate_fn=list, seed=1)
    for _ in range(int(sys.argv[2])):
        for batch in loader:
            pass
"""


def test_reads_of_a_command_of_several_processes_go_to_their_own_inputs(here: Path) -> None:
    """`lineage run -- sh -c 'python a; python b'`: each process's reads belong to the input it opened itself."""
    table(here / "data", range(9))
    Path("joined.py").write_text(JOINED)
    script = f"{sys.executable} joined.py 4 1; {sys.executable} joined.py 6 3"

    done = command("run", "--", "sh", "-c", script)

    assert done.returncode == 0, done.stderr
    run = lineage.runs()[0]
    assert [(item.rows, item.role) for item in run.inputs] == [(4, "train"), (6, "train")]
    assert [(read.ordinal, read.first_epoch, read.last_epoch, read.rows) for read in run.reads] == [(0, 0, 0, 4), (1, 0, 2, 6)]


def test_a_changed_row_without_a_picture_is_still_the_same_row(here: Path) -> None:
    """A relabelled row gets a new numbering and has no bytes to go by: its sample id tells that it was trained on."""
    uri = table(here / "data", range(6))
    with lineage.start_run(name="trained") as run:
        run.use_dataset(uri, role="train")
        dataset = deeplake.open(uri)
        dataset[2]["boxes"] = np.full((5, 4), 99, "float32")
        dataset.commit("relabelled")
        del dataset
        run.use_dataset(uri, role="validation", query="select * where x >= 2 and x < 4")

    report = lineage.leaks(run.id, near=False)

    assert (report.verdict, report.way("row").rows) == ("leaks", 2)
    assert not report.way("picture").checked


def test_roles_that_end_in_a_number_keep_their_own_folders(here: Path) -> None:
    """Two inputs called train and one called train-2."""
    uri = table(here / "data", range(6))
    with lineage.start_run() as run:
        for role, bound in (("train", 2), ("train", 3), ("train-2", 4)):
            run.use_dataset(uri, role=role, query=f"select * where x < {bound}")

    made = lineage.materialise(run.id, "out")

    assert len({item.path for item in made}) == 3
    assert {item.path: item.rows for item in made}["train-2"] == 4
    assert sorted(item["path"] for item in json.loads(Path("out/lineage.json").read_text())["inputs"]) == ["train", "train-2", "train-3"]


@pytest.mark.parametrize("address", ["data\0set", "data\udcffset"])
def test_an_address_that_is_no_text_is_a_usage_error(address: str) -> None:
    with pytest.raises(UsageError, match="bytes that no text has"):
        normalise_uri(address)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("models", "--sample", "a\udcff"), 2),
        (("runs", "--limit", "99999999999999999999"), 2),
        (("materialise", "0" * 32, "/proc/nowhere/out"), 5),
        (("data", "no such thing"), 5),
        (("verify", "zz"), 2),
        (("models", "--image", "/"), 5),
        (("leaks", "0" * 40), 2),
        (("impact", "--sample", "x", "--image", "y"), 2),
    ],
)
def test_bad_words_never_end_in_a_traceback(here: Path, words: tuple[str, ...], status: int) -> None:
    """One sentence and a fitting exit code."""
    done: Any = command(*words)

    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr


def test_a_damaged_archive_does_not_reassure_the_doctor(here: Path) -> None:
    """The dataset is gone, and so is an object of its archive: that is broken, not archived."""
    uri = table(here / "data", range(6))
    with lineage.start_run() as run:
        run.use_dataset(uri, role="train")
    lineage.archive(run.id)
    Path(uri).rename(here / "data-away")
    assert command("doctor").returncode == 0

    ports = wire()
    ((_, listing),) = ports.rows.archives()
    ports.objects.delete(json.loads(ports.objects.get_bytes(listing))["blocks"][0])

    done = command("doctor")
    assert done.returncode == 11
    assert "no dataset" in done.stderr
