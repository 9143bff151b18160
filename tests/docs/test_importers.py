"""What docs/importers.md shows works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import deeplake
import pytest
from PIL import Image

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "importers.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The page's one fenced block in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def place(repository: Path) -> Path:
    """The example in a file of its own, and a folder for it to read."""
    (repository / "table.py").write_text(block("python"))
    (repository / ".gitignore").write_text(".lineage/\npictures/\nds*/\n")
    pictures = repository / "pictures"
    pictures.mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48), (80 * number, 10, 10)).save(pictures / f"{number}.jpg")
    (pictures / "boxes.csv").write_text("0.jpg,1,2,3.5,4,van\n2.jpg,1,1,9,9,car\n0.jpg,5,6,7,8,car\n")
    return repository


def run(place: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    return subprocess.run([sys.executable, *command], cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_importer_shown_stores_what_it_reads(place: Path) -> None:
    """Named as ``module:Class``, it is found in the working folder; boxes and classes are those of the table."""
    command = str(Path(sys.executable).with_name("lineage"))  # as users start it: its folder is not the one that Python looks in
    done = run(place, command, "upload", "table:TableImporter", "pictures", "ds", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 3
    dataset = deeplake.open_read_only(str(place / "ds"))
    assert [boxes.tolist() for boxes in dataset["boxes"][:]] == [[[1, 2, 3.5, 4], [5, 6, 7, 8]], [], [[1, 1, 9, 9]]]
    assert [labels.tolist() for labels in dataset["labels"][:]] == [[1, 0], [], [0]]
    assert dataset["images"].get_bytes([0, 1, 2]) == [(place / "pictures" / f"{number}.jpg").read_bytes() for number in range(3)]


def test_the_importer_shown_names_what_is_wrong(place: Path) -> None:
    """A bad line and a cut-off picture, with file and line, and nothing stored."""
    with (place / "pictures" / "boxes.csv").open("a") as table:
        table.write("1.jpg,1,1,9,9,bus\n")
    (place / "pictures" / "2.jpg").write_bytes((place / "pictures" / "2.jpg").read_bytes()[:-90])

    done = run(place, "-m", "lineage", "upload", "table:TableImporter", "pictures", "ds")

    assert done.returncode == 7
    assert "boxes.csv:4: is no box" in done.stderr
    assert "2.jpg: cannot be decoded" in done.stderr
    assert not (place / "ds").exists()


def test_an_upload_is_a_part_of_a_run(place: Path) -> None:
    """As shown: inside ``start_run``, the new version is an output of the run, with its source."""
    shown = block("py").replace('"coco", "pictures", "s3://bucket/pictures"', '"table:TableImporter", "pictures", "ds"')
    (place / "job.py").write_text(f"import lineage\n\n{shown}print(run.id)\n")

    done = run(place, "job.py")

    assert done.returncode == 0, done.stderr
    found = json.loads(run(place, "-m", "lineage", "show", done.stdout.strip(), "--json").stdout)
    assert (found["job_type"], found["state"]) == ("dataset_upload", "finished")
    assert [(item["kind"], item["details"]["importer"], item["details"]["rows"]) for item in found["outputs"]] == [("dataset", "table", 3)]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing", "no importer 'nothing'"),
        ("nowhere:Thing", "cannot be loaded: No module named 'nowhere'"),
        ("table:Nothing", "cannot be loaded"),
        ("table:CLASSES", "cannot be loaded"),
        ("table:SourceFile", "cannot be loaded"),
        ("json:JSONDecoder", "has no name and no scan and no read"),
        ("a b:c", "expected an importer as module:Class"),
    ],
)
def test_an_importer_that_is_none_is_refused(place: Path, name: str, says: str) -> None:
    """One sentence, exit code 2, and the known ones or the page as a hint."""
    done = run(place, "-m", "lineage", "upload", name, "pictures", "ds")

    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "hint:" in done.stderr or "expected" in done.stderr


def test_columns_and_rows_must_have_the_same_names(place: Path) -> None:
    """A fault of the importer is called one, with the sample at which it shows."""
    source = (place / "table.py").read_text()
    (place / "table.py").write_text(source.replace('"labels": labels, ', ""))

    done = run(place, "-m", "lineage", "upload", "table:TableImporter", "pictures", "ds")

    assert done.returncode == 7
    assert "sample '0': expected the columns boxes, images, labels, sample_id, found boxes, images, sample_id" in done.stderr
