"""Uploads that meet, are killed, or find a changing source."""

from __future__ import annotations

import json
import os
import random
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

from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.adapters.datasets.upload_claim import UploadLock, check_claim, new_claim
from lineage.errors import Conflict, InvalidSource, Unavailable
from pipelines.data.visdrone import VisDroneImporter

SLOW = """
import sys, time
import lineage.record.upload as upload
from lineage.adapters.datasets.deeplake_write import DeepLakeWriter
upload._BATCH_ROWS, upload._COMMIT_ROWS = 4, 4
append = DeepLakeWriter.append
def slowly(self, rows):
    append(self, rows)
    print("stored", flush=True)
    time.sleep({seconds})
DeepLakeWriter.append = slowly
from lineage.cli import main
sys.argv[0] = "lineage"
main()
"""
"""The command with small commits and a pause after each, so that others come in between."""


def make_source(folder: Path, count: int) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(count):
        buffer = BytesIO()
        noise = np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(buffer, "JPEG")
        (folder / "images" / f"{number:04d}.jpg").write_bytes(buffer.getvalue())
        (folder / "annotations" / f"{number:04d}.txt").write_text(f"1,2,{10 + number % 30},25,1,4,0,0\n")
    return folder


@pytest.fixture
def source(repository: Path) -> Path:
    (repository / ".gitignore").write_text(".lineage/\nsource/\nds*/\n")
    return make_source(repository / "source", 40)


def start(folder: Path, *, seconds: float = 0.0, target: str = "ds") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW.format(seconds=seconds), "upload", "visdrone", "source", target, "--json"],
        cwd=folder,
        env={**os.environ, "WANDB_MODE": "disabled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(child: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    return json.loads(out[out.index("{") :]), err


def runs(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "lineage", "runs", "--json"], cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    listed: list[dict[str, Any]] = json.loads(done.stdout)
    return listed


def record(folder: Path, run_id: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "lineage", "show", run_id, "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout)
    return found


def stored(folder: Path) -> list[tuple[str, bytes]]:
    dataset = deeplake.open_read_only(str(folder / "ds"))
    names = list(dataset["sample_id"][:]) if len(dataset) else []
    pictures = dataset["images"].get_bytes(list(range(len(names)))) if names else []  # it has no answer for no rows
    return list(zip(names, pictures, strict=True))


def whole(source: Path) -> list[tuple[str, bytes]]:
    return [(path.stem, path.read_bytes()) for path in sorted((source / "images").iterdir())]


def test_a_second_upload_is_refused_while_the_first_goes_on(repository: Path, source: Path) -> None:
    """It ends at once with exit code 6 and names the first one's run and process; the first loses nothing."""
    first = start(repository, seconds=0.3)
    assert first.stdout is not None
    assert first.stdout.readline() == "stored\n"

    second = start(repository)
    _, err = second.communicate(timeout=60)
    made, _ = finish(first)

    assert second.returncode == 6
    assert f"is being uploaded to by run {made['run_id'][:12]} (process {first.pid} on " in err
    assert "wait until it has ended" in err
    assert made["rows"] == 40
    assert stored(repository) == whole(source)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_killed_upload_is_continued_and_both_records_say_so(repository: Path, source: Path, seed: int) -> None:
    """SIGKILL at a random moment: the record says aborted, the next upload names it and its rows, and every row is there once."""
    child = start(repository, seconds=0.05)
    assert child.stdout is not None
    for _ in range(1 if seed == 1 else random.Random(seed).randint(1, 8)):  # also before the first commit
        assert child.stdout.readline() == "stored\n"
    time.sleep(random.Random(seed).uniform(0, 0.06))
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    (killed,) = runs(repository)
    before = len(stored(repository))

    made, err = finish(start(repository))

    assert killed["state"] == "aborted"
    assert stored(repository) == whole(source)
    assert made["continued"] == {"runs": [killed["id"]], "rows": before}
    assert f"continued an interrupted upload after {before} rows (of run {killed['id'][:12]})" in err
    run = record(repository, made["run_id"])
    assert f"continued the interrupted upload of run {killed['id'][:12]} after {before} rows" in run["notes"]
    assert run["outputs"][0]["details"]["continues"] == {"runs": [killed["id"]], "rows": before}


def test_rows_that_somebody_else_adds_are_not_taken_for_the_uploads_own(repository: Path, source: Path) -> None:
    """A writer that does not ask (plain Deep Lake code) is noticed at the next commit: the upload fails and is not complete."""
    child = start(repository, seconds=0.4)
    assert child.stdout is not None
    assert child.stdout.readline() == "stored\n"
    other = deeplake.open(str(repository / "ds"))
    row = VisDroneImporter().read(VisDroneImporter().scan(source).samples[0])
    other.append({name: [value] for name, value in row.items()})
    other.commit()

    _, err = child.communicate(timeout=60)

    assert child.returncode == 6, err
    assert "somebody else wrote to" in err
    assert "lineage_upload" in other.metadata.to_dict()
    assert deeplake.open_read_only(str(repository / "ds")).metadata["lineage_upload"]["state"] == "uploading"


def test_the_record_names_every_source_file_with_its_digest(repository: Path, source: Path) -> None:
    """Who, when, from where, with which files: what ``sha256sum --check`` would read is kept with the record."""
    made, _ = finish(start(repository))

    run = record(repository, made["run_id"])
    details = run["outputs"][0]["details"]
    kept = [
        path
        for path in (repository / ".lineage" / "objects").rglob("*")
        if path.name.endswith(details["source_files"].rpartition(":")[2][2:])
    ]
    (listing,) = [path.read_text() for path in kept]
    assert run["user"]
    assert run["started_at"]
    assert run["code"]["git_sha"]
    assert details["source"] == "source"
    assert run["config"]["importer"] == "visdrone"
    checked = subprocess.run(["sha256sum", "--check", "--quiet", "-"], cwd=source, input=listing, text=True, timeout=60)
    assert checked.returncode == 0
    assert listing.count("\n") == 80
    shown = subprocess.run(
        [sys.executable, "-m", "lineage", "show", made["run_id"]], cwd=repository, capture_output=True, text=True, check=True, timeout=60
    )
    assert f"40 rows at commit {made['commit_id']}, from source (visdrone)" in shown.stdout
    assert f"80 source files, listed in {details['source_files']}" in shown.stdout


def test_a_file_that_changes_between_check_and_storing_is_an_error(tmp_path: Path) -> None:
    """Every byte that is stored is a byte that was checked."""
    source = make_source(tmp_path / "source", 2)
    importer = VisDroneImporter()
    first, second = importer.scan(source).samples
    second.files[0].write_bytes(first.files[0].read_bytes())

    assert importer.read(first)["sample_id"] == "0000"
    with pytest.raises(InvalidSource, match="changed while it was uploaded"):
        importer.read(second)
    second.files[0].unlink()
    with pytest.raises(InvalidSource, match="No such file"):
        importer.read(second)


# --- the claim ------------------------------------------------------------------------------------------------------------


def test_a_lock_is_let_go_and_taken_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One holder at a time; nothing is left behind; another address is another lock."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first = UploadLock("file:///a", new_claim("run-1"))
    other = UploadLock("file:///b", new_claim("run-2"))
    with pytest.raises(Conflict, match="is being uploaded to by run run-1"):
        UploadLock("file:///a", new_claim("run-3"))

    first.release()
    first.release()
    again = UploadLock("file:///a", new_claim("run-3"))
    again.release()
    other.release()

    (folder,) = tmp_path.iterdir()
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_hold_a_lock_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file where the folder of locks should be: one error that names it and the way out; no dataset is made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"lineage-uploads-{os.getuid()}").write_text("in the way")
    columns = VisDroneImporter().scan(make_source(tmp_path / "source", 1)).columns

    with pytest.raises(Unavailable, match="no lock can be kept in") as caught:
        DeepLakeBackend().write(f"file://{tmp_path / 'ds'}", columns, source={}, job="run-1")
    assert "TMPDIR" in str(caught.value.hint)
    assert not (tmp_path / "ds").exists()


def test_a_lock_of_a_dead_process_is_taken_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a killed process left is no lock."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lock = UploadLock("file:///a", new_claim("run-1"))
    path = lock._path
    lock.release()
    path.write_text('{"run": "run-0", "process": 1}')

    UploadLock("file:///a", new_claim("run-2")).release()


CLAIMS = [
    ({"run": "r", "host": "elsewhere", "process": 1}, 0, True),
    ({"run": "r", "host": "elsewhere", "process": 1}, 11, False),
    ({"run": "r", "process": os.getppid()}, 0, True),
    ({"run": "r", "process": os.getppid()}, 11, False),
    ({"run": "r", "process": os.getpid()}, 0, False),
    ({"run": "r", "process": 1 << 30}, 0, False),
    ({"run": "r", "process": "many"}, 0, False),
]


@pytest.mark.parametrize(("claim", "minutes", "is_refused"), CLAIMS)
def test_a_claim_in_the_dataset_holds_while_its_job_may_live(claim: dict[str, Any], minutes: int, is_refused: bool) -> None:
    """Another machine's for ten minutes after its last commit; this one's while the process lives."""
    at = np.datetime64("now") - np.timedelta64(minutes, "m")
    whole_claim = new_claim("x") | claim | {"at": f"{at}+00:00"}

    if is_refused:
        with pytest.raises(Conflict, match="is being uploaded to by run r"):
            check_claim("s3://bucket/ds", whole_claim)
    else:
        check_claim("s3://bucket/ds", whole_claim)


@pytest.mark.parametrize("claim", [{}, {"at": 7}, {"at": "yesterday"}, {"at": "2026-01-01T00:00:00"}])
def test_a_claim_that_cannot_be_read_holds_nobody_up(claim: dict[str, Any]) -> None:
    """Written by another release, or by hand."""
    check_claim("s3://bucket/ds", claim)


def test_a_fresh_claim_of_another_machine_stops_the_upload(tmp_path: Path) -> None:
    """Read from the dataset itself, which is all that two machines share."""
    columns = VisDroneImporter().scan(make_source(tmp_path / "source", 1)).columns
    uri = f"file://{tmp_path / 'ds'}"
    first = DeepLakeBackend().write(uri, columns, source={"digest": "x"}, job="run-1")
    first.close()
    dataset = deeplake.open(uri)
    mark = dataset.metadata["lineage_upload"]
    mark = mark.to_dict() if hasattr(mark, "to_dict") else dict(mark)
    mark["jobs"][0]["host"] = "elsewhere"
    dataset.metadata["lineage_upload"] = mark
    dataset.commit()

    with pytest.raises(Conflict, match=r"by run run-1 \(process \d+ on elsewhere") as caught:
        DeepLakeBackend().write(uri, columns, source={"digest": "x"}, job="run-2")
    assert "after 10 minutes without a commit of that job it continues" in str(caught.value.hint)
    UploadLock(uri, new_claim("run-3")).release()
