"""Keeping what runs need: verify, materialise, archive, clean up, and what the doctor says."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from PIL import Image
from typer.testing import CliRunner

import lineage
from lineage.cli import app
from lineage.errors import Conflict, IntegrityError, LineageError, NotFound
from lineage.model.digest import digest_of_bytes, digest_of_file
from lineage.wiring import wire

ROWS = 12
SCHEMA = {
    "images": types.Image(sample_compression="jpeg"),
    "boxes": types.Array("float32", 2),
    "labels": types.ClassLabel(types.Array("uint32", 1)),
    "weight": types.Float64(),
    "sample_id": types.Text(),
}


def picture(number: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def columns(first: int, count: int) -> dict[str, list[Any]]:
    rows = range(first, first + count)
    return {
        "images": [picture(row) for row in rows],
        "boxes": [np.array([[1 + row, 2, 10, 5 + i] for i in range(row % 3)], "float32").reshape(-1, 4) for row in rows],
        "labels": [np.array([i % 2 for i in range(row % 3)], "uint32") for row in rows],
        "weight": [float("nan") if row == 3 else row / 7 for row in rows],
        "sample_id": [f"frame_{row:03d}" for row in rows],
    }


@pytest.fixture
def dataset(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = repository / "pictures"
    handle = deeplake.create(str(folder), schema=SCHEMA)
    handle["labels"].metadata["class_names"] = ["car", "van"]
    handle.append(columns(0, ROWS))
    handle.commit("made")
    (repository / ".gitignore").write_text(".lineage/\npictures*/\nout*/\n")
    monkeypatch.chdir(repository)
    return folder


@pytest.fixture
def run_id(dataset: Path) -> str:
    with lineage.start_run(project="parking", name="train", seed=1) as run:
        run.use_dataset(dataset, role="train", query="select * where row_number() < 8")
        run.use_dataset(dataset, role="validation", query="select * where row_number() >= 8 order by weight desc")
        Path("model.pth").write_text("weights")
        run.log_artifact("model.pth", kind="model")
    return run.id


def invoke(*words: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, list(words))
    if isinstance(result.exception, LineageError):
        raise result.exception
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if "--json" in words else result.stdout


def damage(folder: Path, needle: bytes) -> Path:
    """Flip one byte in the middle of ``needle`` in a stored file, with its old times put back: a disk's bit flip."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and (content := file.read_bytes()).find(needle) >= 0:
            state = file.stat()
            place = content.find(needle) + len(needle) // 2
            file.chmod(0o644)
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
            return file
    raise AssertionError("no file holds it")


# --- verify -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["quick", "full"])
def test_what_is_whole_is_intact(run_id: str, level: Any) -> None:
    """Record, code, data and objects of a run that nobody touched; also after later commits."""
    handle = deeplake.open("pictures")
    handle.append(columns(50, 3))
    handle.delete(0)
    handle.commit("later")
    del handle

    found = lineage.verify(run_id, level=level)

    assert found.is_intact, found
    assert [check.subject for check in found.checks] == ["record", "code", "data train", "data validation", "objects"]
    assert invoke("verify", run_id, "--json")["intact"]
    assert invoke("verify", "--all", f"--{level}", "--json")["runs"][0]["run_id"] == run_id


def test_a_flipped_bit_in_a_picture_is_found_by_a_full_check(dataset: Path, run_id: str) -> None:
    """The quick check reads no pictures and says what it looked at; the full one names row and sample."""
    damage(dataset, picture(5))

    quick, full = lineage.verify(run_id, level="quick"), lineage.verify(run_id)

    assert {check.subject: check.status for check in full.checks}["data train"] == "changed"
    assert "row 5 (frame_005: picture)" in full.checks[2].detail[0]
    assert full.checks[3].status == "intact"
    assert quick.checks[2].found == "names, counts, columns and log equal"
    told = invoke("verify", run_id, "--json", code=9)
    assert not told["intact"]


def test_training_stops_at_a_row_that_was_damaged_after_the_check(dataset: Path, run_id: str) -> None:
    """A flip between the check and the read is found when the row is read, and named."""
    view = lineage.open_recorded(run_id)
    assert view[5]["sample_id"] == "frame_005"
    damage(dataset, picture(6))

    again = lineage.open_recorded(run_id, level="quick")
    assert again[5]["sample_id"] == "frame_005"
    with pytest.raises(IntegrityError, match=r"row 6 \(frame_006\)"):
        again[6]
    with pytest.raises(IntegrityError, match="picture of row 6"):
        again.read([6], ["images"])


@pytest.mark.parametrize("what", ["rows_object", "ledger_object"])
@pytest.mark.parametrize("how", ["lost", "changed"])
def test_lost_and_changed_objects_are_found(run_id: str, what: str, how: str) -> None:
    """A missing object is found quickly, a changed one by reading it."""
    objects = wire().objects
    path = objects.path_of(getattr(lineage.get(run_id).inputs[0], what))
    assert path is not None
    path.chmod(0o644)
    if how == "lost":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"x")

    full, quick = lineage.verify(run_id), lineage.verify(run_id, level="quick")

    assert full.checks[-1].status == ("missing" if how == "lost" else "changed")
    assert not full.is_intact
    if how == "lost":
        assert quick.checks[-1].status == "missing"


def test_a_changed_record_is_found(run_id: str) -> None:
    """One altered event breaks the chain."""
    import sqlite3

    connection = sqlite3.connect(".lineage/lineage.sqlite")
    with connection:
        connection.execute("UPDATE events SET payload = replace(payload, '\"parking\"', '\"harbour\"') WHERE number = 0")
    connection.close()

    found = lineage.verify(run_id, level="quick")
    assert {check.subject: check.status for check in found.checks}["record"] == "changed"


def test_a_changed_metric_is_found(dataset: Path) -> None:
    """Logged values belong to the record from its end on: one that was altered later is found, and nothing is reproduced from it."""
    import sqlite3

    with lineage.start_run(project="parking", seed=1) as run:
        run.log({"loss": 0.5})
        run.log({"loss": 0.25})
    assert lineage.verify(run.id, level="quick").is_intact
    connection = sqlite3.connect(".lineage/lineage.sqlite")
    with connection:
        connection.execute("UPDATE metrics SET payload = replace(payload, '0.25', '0.24')")
    connection.close()

    assert {check.subject: check.status for check in lineage.verify(run.id, level="quick").checks}["record"] == "changed"
    assert "logged values" in CliRunner().invoke(app, ["reproduce", run.id, "--plan"]).output


# --- materialise --------------------------------------------------------------------------------------------------------------


def test_a_materialised_dataset_has_the_same_content(run_id: str) -> None:
    """Every row's digest, class names and order are those of the record: as an input it has the same content digest."""
    made = lineage.materialise(run_id, "out")

    assert [(item.role, item.rows, item.origin) for item in made] == [("train", 8, "dataset"), ("validation", 4, "dataset")]
    for item, recorded in zip(made, lineage.get(run_id).inputs, strict=True):
        with lineage.start_run(project="parking") as run:
            again = run.use_dataset(f"out/{item.path}", role=item.role)
        assert again.record.content_digest == recorded.content_digest
    assert json.loads(Path("out/lineage.json").read_text())["run_id"] == run_id


@pytest.mark.parametrize("layout", ["visdrone", "coco", "yolo"])
def test_materialised_pictures_are_byte_for_byte_the_recorded_ones(run_id: str, layout: str) -> None:
    """Each folder holds exactly the run's pictures."""
    invoke("materialise", run_id, "out", "--format", layout)

    for role, rows in {"train": range(8), "validation": range(8, 12)}.items():
        found = {digest_of_file(path) for path in Path("out", role).rglob("*.jpg")}
        assert found == {f"sha256:{hashlib.sha256(picture(row)).hexdigest()}" for row in rows}


def test_nothing_is_left_where_materialising_failed(dataset: Path, run_id: str) -> None:
    """A damaged row, or a folder that holds something: an error, and no half of a dataset under the final name or beside it."""
    Path("out-full").mkdir()
    Path("out-full/mine.txt").write_text("mine")
    with pytest.raises(Conflict, match="not an empty folder"):
        lineage.materialise(run_id, "out-full")
    with pytest.raises(NotFound, match="no input 'test'"):
        lineage.materialise(run_id, "out", role="test")
    damage(dataset, picture(7))
    with pytest.raises(IntegrityError, match="row 7"):
        lineage.materialise(run_id, "out", "visdrone")

    assert Path("out-full/mine.txt").read_text() == "mine"
    assert not [path.name for path in Path().glob("*out*") if path.name != "out-full"]
    assert not list(Path().glob(".out*"))


# --- archive --------------------------------------------------------------------------------------------------------------------


def test_an_archived_run_outlives_its_dataset(dataset: Path, run_id: str) -> None:
    """The dataset is deleted: the same rows are opened, verified, materialised, and it is said where they come from."""
    before = [sample for view in (lineage.open_recorded(run_id), lineage.open_recorded(run_id, "validation")) for sample in view]
    assert [item.was_kept for item in lineage.archive(run_id)] == [False, False]
    assert [item.was_kept for item in lineage.archive(run_id)] == [True, True]
    shutil.rmtree(dataset)

    views = [lineage.open_recorded(run_id), lineage.open_recorded(run_id, "validation")]

    assert [view.origin for view in views] == ["archive", "archive"]
    for left, right in zip(before, [sample for view in views for sample in view], strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            np.testing.assert_array_equal(value, right[name])
            assert np.asarray(value).dtype == np.asarray(right[name]).dtype
    found = lineage.verify(run_id)
    assert found.is_intact
    assert "read from the archive" in found.checks[2].detail
    assert [item.origin for item in lineage.materialise(run_id, "out")] == ["archive", "archive"]
    assert "the rows that 1 runs" in invoke_doctor()


def test_other_data_at_the_recorded_address_are_not_materialised(run_id: str, dataset: Path) -> None:
    """One byte of a picture was changed in the store, names, sizes and times are as they were: the kept rows are written."""
    invoke("archive", run_id)
    damage(dataset, picture(5))

    made = lineage.materialise(run_id, "out", "visdrone")

    assert {item.role: item.origin for item in made} == {"train": "archive", "validation": "dataset"}  # its own rows are whole
    written = {digest_of_file(file) for file in Path("out/train").rglob("*.jpg")}
    assert written == {digest_of_bytes(picture(row)) for row in range(8)}


def test_no_archive_stands_in_for_an_address_that_was_given(dataset: Path, run_id: str) -> None:
    """Who names a copy wants that copy: when it holds other rows it is refused, although an archive has the right ones."""
    lineage.archive(run_id)
    shutil.copytree(dataset, "pictures-copy")
    damage(Path("pictures-copy"), picture(5))

    with pytest.raises(IntegrityError, match="row 5"):
        lineage.open_recorded(run_id, uri="pictures-copy")
    assert lineage.open_recorded(run_id).origin == "dataset"


def test_an_archive_works_in_worker_processes(dataset: Path, run_id: str) -> None:
    """Rows of an archive reach a spawned worker as they reach this process."""
    lineage.archive(run_id)
    shutil.rmtree(dataset)
    view = lineage.open_recorded(run_id)

    loader = lineage.training.DataLoader(view, batch_size=2, num_workers=1, multiprocessing_context="spawn", collate_fn=list)

    assert [sample["sample_id"] for batch in loader for sample in batch] == [f"frame_{row:03d}" for row in range(8)]


def test_pictures_are_archived_once(run_id: str, dataset: Path) -> None:
    """Views that share pictures share their objects."""
    lineage.archive(run_id)
    with lineage.start_run(project="parking") as run:
        run.use_dataset(dataset, role="train")
    before = {digest for digest, _, _ in wire().objects.all()}

    lineage.archive(run.id)

    added = {digest for digest, _, _ in wire().objects.all()} - before
    assert not added & {f"sha256:{hashlib.sha256(picture(row)).hexdigest()}" for row in range(ROWS)}


def test_a_changed_dataset_cannot_be_archived(run_id: str, dataset: Path) -> None:
    """What is no longer what was recorded is not kept as if it were."""
    damage(dataset, picture(2))

    with pytest.raises(IntegrityError, match="row 2"):
        lineage.archive(run_id)
    assert wire().rows.archives() == []


def test_a_damaged_archive_is_refused(run_id: str, dataset: Path) -> None:
    """Dataset gone and one archived picture changed: an error before the first row that says both."""
    lineage.archive(run_id)
    shutil.rmtree(dataset)
    damage(Path(".lineage/objects"), picture(4))

    with pytest.raises(IntegrityError) as caught:
        lineage.open_recorded(run_id)
    assert "no dataset" in caught.value.message
    assert "archive" in caught.value.message


# --- doctor and gc ----------------------------------------------------------------------------------------------------------------


def invoke_doctor() -> str:
    result = CliRunner().invoke(app, ["doctor"])
    return result.output


def test_the_doctor_reports_what_runs_need_and_is_gone(run_id: str, dataset: Path) -> None:
    """A deleted view is told (rows still open), a deleted dataset is an error, a lost object too."""
    invoke("view", "create", "pictures", "select * where row_number() > 9", "--name", "last")
    with lineage.start_run(project="parking") as run:
        run.use_dataset(dataset, view="last", role="train")
    assert "can be opened" in invoke_doctor()

    handle = deeplake.open(str(dataset))
    handle.tags["last"].delete()
    del handle
    assert "view 'last'" in invoke_doctor()
    assert [sample["sample_id"] for sample in lineage.open_recorded(run.id)] == ["frame_010", "frame_011"]

    dataset.rename(dataset.with_name("pictures-away"))
    assert "no dataset" in invoke_doctor()
    invoke("doctor", "--json", code=11)
    with pytest.raises(IntegrityError, match="no dataset"):
        lineage.open_recorded(run_id)


def orphan(age_s: float) -> str:
    objects = wire().objects
    digest = objects.put_bytes(f"left by nobody {age_s}".encode())
    path = objects.path_of(digest)
    assert path is not None
    os.utime(path, (time.time() - age_s, time.time() - age_s))
    return digest


def test_clean_up_takes_only_what_no_record_needs(run_id: str, dataset: Path) -> None:
    """Old orphans go, young ones stay; afterwards everything is intact, archives included."""
    lineage.archive(run_id)
    old, young = orphan(7200), orphan(60)
    for digest, _, _ in wire().objects.all():
        path = wire().objects.path_of(digest)
        if path is not None and digest != young:
            os.utime(path, (time.time() - 7200, time.time() - 7200))

    plan = invoke("gc", "--plan", "--json")
    assert [item[0] for item in plan["unneeded"]] == [old]
    assert (plan["young"], plan["freed_bytes"]) == (1, 0)
    assert wire().objects.has(old)

    assert invoke("gc", "--json")["freed_bytes"] == plan["unneeded_bytes"] > 0
    assert not wire().objects.has(old)
    assert wire().objects.has(young)
    shutil.rmtree(dataset)
    assert lineage.verify(run_id).is_intact


def test_clean_up_refuses_when_a_ledger_is_lost(run_id: str) -> None:
    """What a lost listing led to is not known, so nothing is deleted."""
    old = orphan(7200)
    path = wire().objects.path_of(str(lineage.get(run_id).inputs[0].ledger_object))
    assert path is not None
    path.unlink()

    with pytest.raises(NotFound, match="no object"):
        invoke("gc")
    assert wire().objects.has(old)


def test_a_killed_materialisation_leaves_nothing_under_the_final_name(run_id: str, tmp_path: Path) -> None:
    """SIGKILL in the middle; the next call succeeds."""
    program = (
        "import os, signal, sys\nimport lineage\n"
        "lineage.materialise(sys.argv[1], 'out', 'visdrone', progress=lambda what, done, total: "
        "os.kill(os.getpid(), signal.SIGKILL) if what.startswith('writing') and done == 3 else None)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, run_id], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert not Path("out").exists()

    lineage.materialise(run_id, "out", "visdrone")
    assert len(list(Path("out/train/images").iterdir())) == 8
    assert not list(Path().glob(".out*"))
