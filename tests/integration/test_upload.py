"""``lineage upload visdrone`` on real folders and real Deep Lake datasets, through the command line."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from PIL import Image

Command = subprocess.CompletedProcess[str]


def lineage(folder: Path, *arguments: str | Path) -> Command:
    """The command as a user starts it, in ``folder``."""
    return subprocess.run(
        [sys.executable, "-m", "lineage", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "WANDB_MODE": "disabled"},
    )


def picture(seed: int, *, form: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, form)
    return buffer.getvalue()


def make_source(folder: Path, count: int = 5) -> Path:
    """A small VisDrone folder: ``count`` pictures of 64 x 48 pixels with two objects each."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(count):
        stem = f"{number // 3:07d}_{number:05d}_d_{number:07d}"
        (folder / "images" / f"{stem}.jpg").write_bytes(picture(number))
        (folder / "annotations" / f"{stem}.txt").write_text(f"1,2,{10 + number % 30},25,1,4,0,0\n30,20,12,12,1,1,0,1\n")
    return folder


@pytest.fixture
def source(repository: Path) -> Path:
    (repository / ".gitignore").write_text(".lineage/\nsource/\nds/\n")
    return make_source(repository / "source")


def first(source: Path, kind: str = "annotations") -> Path:
    return sorted((source / kind).iterdir())[0]


def test_every_byte_and_field_comes_back(repository: Path, source: Path) -> None:
    """Pictures are stored byte for byte with boxes, labels, file name, sample id and sequence; the job is a recorded run."""
    done = lineage(repository, "upload", "visdrone", "source", "ds", "--json")

    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    dataset = deeplake.open_read_only(made["uri"])
    files = sorted((source / "images").iterdir())
    assert dataset["images"].get_bytes(list(range(5))) == [path.read_bytes() for path in files]
    assert dataset["filename"][:] == [path.name for path in files]
    assert dataset["sample_id"][:] == [path.stem for path in files]
    assert dataset["sequence"][:] == ["0000000"] * 3 + ["0000001"] * 2
    assert dataset["boxes"][1].tolist() == [[1, 2, 11, 25], [30, 20, 12, 12]]
    assert dataset["labels"][1].tolist() == [4, 1]
    assert dataset["labels"].metadata["class_names"][4] == "car"
    assert made["commit_id"] == dataset.version
    run = json.loads(lineage(repository, "show", made["run_id"], "--json").stdout)
    assert (run["job_type"], run["state"]) == ("dataset_upload", "finished")
    assert run["outputs"][0]["details"]["commit_id"] == made["commit_id"]


def no_annotations_folder(source: Path) -> None:
    shutil.rmtree(source / "annotations")


def no_files(source: Path) -> None:
    for path in (*(source / "images").iterdir(), *(source / "annotations").iterdir()):
        path.unlink()


def picture_alone(source: Path) -> None:
    first(source).unlink()


def annotations_alone(source: Path) -> None:
    first(source, "images").unlink()


def truncated(source: Path) -> None:
    path = first(source, "images")
    path.write_bytes(path.read_bytes()[:-200])


def empty_picture(source: Path) -> None:
    first(source, "images").write_bytes(b"")


def png(source: Path) -> None:
    first(source, "images").write_bytes(picture(1, form="PNG"))


def garbage(source: Path) -> None:
    first(source, "images").write_bytes(b"\xff\xd8" + b"garbage" * 40)


def second_ending(source: Path) -> None:
    path = first(source, "images")
    path.with_suffix(".jpeg").write_bytes(path.read_bytes())


def past_the_border(source: Path) -> None:
    first(source).write_text("60,2,10,25,1,4,0,0\n")


def text_field(source: Path) -> None:
    first(source).write_text("1,2,ten,25,1,4,0,0\n")


def stray_file(source: Path) -> None:
    (source / "images" / "notes.doc").write_text("x")


BAD: list[tuple[Any, str]] = [
    (no_annotations_folder, "expected a folder with images/*.jpg and annotations/*.txt"),
    (no_files, "found no file"),
    (picture_alone, "picture without annotations"),
    (annotations_alone, "annotations without a picture"),
    (truncated, "cannot be decoded"),
    (empty_picture, "is no JPEG picture, expected a file that starts with ff d8, found an empty file"),
    (png, "found a PNG"),
    (garbage, "cannot be decoded"),
    (second_ending, "duplicate name"),
    (past_the_border, "reaches past the picture's border"),
    (text_field, "width is no whole number"),
    (stray_file, "is not part of the layout"),
]


@pytest.mark.parametrize(("damage", "says"), BAD, ids=[damage.__name__ for damage, _ in BAD])
def test_a_bad_source_is_one_clear_error_and_nothing_is_stored(repository: Path, source: Path, damage: Any, says: str) -> None:
    """Each kind of damage is named with its file, exit code 7, and neither the dataset nor a leftover exists afterwards."""
    damage(source)

    done = lineage(repository, "upload", "visdrone", "source", "ds")

    assert done.returncode == 7
    assert says in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    assert not (repository / "ds").exists()
    assert not list(repository.glob(".ds.*"))


def test_skip_leaves_bad_samples_out_and_names_them(repository: Path, source: Path) -> None:
    """With --on-error skip the good samples are stored and each bad one is reported, in the run's record too."""
    truncated(source)
    sorted((source / "annotations").iterdir())[2].write_text("1,2,3\n")

    done = lineage(repository, "upload", "visdrone", "source", "ds", "--on-error", "skip", "--json")

    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["rows"] == 3
    assert len(made["skipped"]) == 2
    run = json.loads(lineage(repository, "show", made["run_id"], "--json").stdout)
    assert run["summary"]["skipped"] == 2
    assert any("cannot be decoded" in note for note in run["notes"])


def test_grey_pictures_and_boxes_without_area_are_stored_as_they_are(repository: Path, source: Path) -> None:
    """A grey JPEG and a box without height, as in the official release, are accepted; the box is warned about."""
    first(source, "images").write_bytes(picture(9, mode="L"))
    first(source).write_text("1,2,4,0,1,4,0,0\n")

    done = lineage(repository, "upload", "visdrone", "source", "ds")

    assert done.returncode == 0, done.stderr
    assert "the box has no area (4 x 0)" in done.stderr
    dataset = deeplake.open_read_only(str(repository / "ds"))
    assert dataset["images"].get_bytes([0]) == [first(source, "images").read_bytes()]
    assert dataset["boxes"][0].tolist() == [[1, 2, 4, 0]]


def test_an_existing_target_is_never_touched(repository: Path, source: Path) -> None:
    """A finished upload, another dataset, a folder of files and a file are refused with exit code 6 and stay as they were."""
    assert lineage(repository, "upload", "visdrone", "source", "ds").returncode == 0
    other = deeplake.create(str(repository / "other"), schema={"x": deeplake.types.Text()})
    other.append({"x": ["kept"]})
    other.commit()
    (repository / "folder").mkdir()
    (repository / "folder" / "file").write_text("kept")
    (repository / "plain").write_text("kept")

    again = lineage(repository, "upload", "visdrone", "source", "ds")
    refused = [lineage(repository, "upload", "visdrone", "source", target) for target in ("other", "folder", "plain")]

    assert again.returncode == 6
    assert "holds a finished upload of this source already" in again.stderr
    assert [done.returncode for done in refused] == [6, 6, 6]
    kept = deeplake.open_read_only(str(repository / "other"))
    assert kept["x"][:] == ["kept"]
    assert (repository / "folder" / "file").read_text() == (repository / "plain").read_text() == "kept"


def test_another_source_does_not_continue_an_upload(repository: Path, source: Path) -> None:
    """A changed source is told apart from an interrupted upload of the same one."""
    assert lineage(repository, "upload", "visdrone", "source", "ds").returncode == 0
    first(source).write_text("1,2,3,4,1,5,0,0\n")

    done = lineage(repository, "upload", "visdrone", "source", "ds")

    assert done.returncode == 6
    assert "from another source or from other files" in done.stderr


@pytest.mark.slow
def test_a_killed_upload_continues_without_losing_or_doubling_a_row(repository: Path) -> None:
    """SIGKILL at random moments, then the same command again: all rows once, in order, equal to the files."""
    (repository / ".gitignore").write_text(".lineage/\nsource/\nds*/\n.ds*\n")
    source = make_source(repository / "source", count=400)
    names = [path.stem for path in sorted((source / "images").iterdir())]
    moments = random.Random(5)
    # Small commits, so that a kill falls between them: the batch size is a constant of the module, set for this process only.
    program = (
        "import sys, lineage.record.upload as u; u._BATCH_ROWS, u._COMMIT_ROWS = 8, 8\n"
        "from lineage.cli import main; sys.argv[0] = 'lineage'; main()"
    )
    command = [sys.executable, "-c", program, "upload", "visdrone", "source", "ds"]
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    killed = 0
    for attempt in range(12):
        child = subprocess.Popen(command, cwd=repository, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if attempt < 10:
            # Wait until storing may have begun, then a random moment more.
            limit = time.monotonic() + 5
            while child.poll() is None and not (repository / "ds").exists() and time.monotonic() < limit:
                time.sleep(0.002)
            time.sleep(moments.uniform(0, 0.15))
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                killed += 1
        out, err = child.communicate()
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL, err
    assert child.returncode == 0, err
    assert killed >= 1
    dataset = deeplake.open_read_only(str(repository / "ds"))
    assert dataset["sample_id"][:] == names
    assert dataset["images"].get_bytes(list(range(400))) == [(source / "images" / f"{name}.jpg").read_bytes() for name in names]
    states = {run["state"] for run in json.loads(lineage(repository, "runs", "--json").stdout)}
    assert states == {"aborted", "finished"}
    del out


def test_an_upload_that_stops_before_it_is_verified_is_verified_by_the_next(repository: Path, source: Path) -> None:
    """Killed between storing and reading back, the same command again verifies, completes and records; no row is stored twice."""
    program = (
        "import os, signal, sys, lineage.record.upload as u\n"
        "u.record_input = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from lineage.cli import main; sys.argv[0] = 'lineage'; main()"
    )
    command = [sys.executable, "-c", program, "upload", "visdrone", "source", "ds"]
    killed = subprocess.run(command, cwd=repository, capture_output=True, check=False, env={**os.environ, "WANDB_MODE": "disabled"})
    assert killed.returncode == -signal.SIGKILL

    again = lineage(repository, "upload", "visdrone", "source", "ds", "--json")

    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["rows"] == 5
    assert "continued an interrupted upload after 5 rows" in again.stderr
    assert lineage(repository, "upload", "visdrone", "source", "ds").returncode == 6
