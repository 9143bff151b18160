"""``lineage upload coco`` and ``yolo`` through the command line, into real Deep Lake datasets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from PIL import Image


def lineage(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    command = [sys.executable, "-m", "lineage", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120)


def uploaded(folder: Path, *arguments: str) -> dict[str, Any]:
    done = lineage(folder, "upload", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def picture(seed: int, form: str) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture
def place(repository: Path) -> Path:
    (repository / ".gitignore").write_text(".lineage/\nsource/\nds*/\nout*/\n")
    (repository / "source" / "images").mkdir(parents=True)
    return repository


def test_a_coco_folder_is_stored_with_its_numbers_and_names(place: Path) -> None:
    """Pictures byte for byte, boxes as float64 bits, class names as metadata, a query by class name; both files are in the record."""
    for number in range(3):
        (place / "source" / "images" / f"{number}.jpg").write_bytes(picture(number, "JPEG"))
    said = {
        "images": [{"id": 10 + number, "file_name": f"{number}.jpg"} for number in range(3)],
        "annotations": [
            {
                "id": 5,
                "image_id": 12,
                "category_id": 90,
                "bbox": [0.1, 0.2, 20.3, 30.7],
                "segmentation": {"counts": "a\u00e9", "size": [1, 2]},
            },
            {"id": 6, "image_id": 10, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 7.25, "iscrowd": 1},
        ],
        "categories": [{"id": 90, "name": "car"}, {"id": 3, "name": "van"}],
    }
    (place / "source" / "annotations.json").write_text(json.dumps(said))

    made = uploaded(place, "coco", "source", "ds")

    dataset = deeplake.open_read_only(made["uri"])
    assert dataset["images"].get_bytes([0, 1, 2]) == [picture(number, "JPEG") for number in range(3)]
    assert list(dataset["labels"].metadata["class_names"]) == ["van", "car"]
    assert dataset["boxes"][2].tolist() == [[0.1, 0.2, 20.3, 30.7]]
    assert json.loads(dataset["segmentation"][2]) == [{"counts": "a\u00e9", "size": [1, 2]}]
    assert np.isnan(dataset["area"][2][0])
    assert (dataset["area"][0].tolist(), dataset["iscrowd"][0].tolist()) == ([7.25], [1])
    view = lineage(place, "view", "create", "ds", "select * where any(labels == 'car')", "--name", "cars", "--json")
    assert json.loads(view.stdout)["rows"] == 1
    (output,) = json.loads(lineage(place, "show", made["run_id"], "--json").stdout)["outputs"]
    assert output["size_bytes"] == sum(path.stat().st_size for path in (place / "source").rglob("*") if path.is_file())
    (place / "source" / "annotations.json").write_text(json.dumps(said | {"info": "changed"}))
    again = lineage(place, "upload", "coco", "source", "ds")
    assert (again.returncode, "from another source or from other files" in again.stderr) == (6, True)


@pytest.mark.parametrize(("form", "ending"), [("PNG", "png"), ("JPEG", "jpeg")])
def test_a_yolo_folder_is_stored_and_its_pictures_can_be_decoded(place: Path, form: str, ending: str) -> None:
    """PNG pictures get a column that decodes them; a picture without a label file has no boxes."""
    source = place / "source"
    (source / "labels").mkdir()
    for number in range(3):
        (source / "images" / f"{number}.{ending}").write_bytes(picture(number, form))
    (source / "labels" / "1.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    (source / "data.yaml").write_text("names: {0: car, 1: van}\n")

    made = uploaded(place, "yolo", "source", "ds")

    dataset = deeplake.open_read_only(made["uri"])
    assert dataset["images"].get_bytes([0, 1, 2]) == [picture(number, form) for number in range(3)]
    assert dataset["images"][1].shape == (48, 64, 3)
    assert [boxes.tolist() for boxes in dataset["boxes"][:]] == [[], [[24, 12, 16, 24]], []]
    assert dataset["shares"][1].tolist() == [[0.5, 0.5, 0.25, 0.5]]


@pytest.mark.parametrize("layout", ["coco", "yolo"])
def test_what_a_run_read_can_be_written_out_and_uploaded_again(place: Path, layout: str) -> None:
    """``lineage materialise --format`` and ``lineage upload`` are each other's inverse: the same pictures and boxes."""
    source = place / "source"
    (source / "labels").mkdir()
    for number in range(3):
        (source / "images" / f"{number}.jpg").write_bytes(picture(number, "JPEG"))
    (source / "labels" / "1.txt").write_text("1 0.5 0.5 0.25 0.5\n0 0.125 0.25 0.125 0.25\n")
    (source / "data.yaml").write_text("names: [car, van]\n")
    uploaded(place, "yolo", "source", "ds1")
    (place / "train.py").write_text(
        "import lineage\nwith lineage.start_run() as run:\n    run.use_dataset('ds1', role='train')\nprint(run.id)\n"
    )
    trained = subprocess.run([sys.executable, "train.py"], cwd=place, capture_output=True, text=True, check=True, timeout=120)
    written = lineage(place, "materialise", trained.stdout.strip(), "out", "--format", layout)
    assert written.returncode == 0, written.stderr

    folder = next(path.parent for path in (place / "out").rglob("images"))
    uploaded(place, layout, str(folder), "ds2")

    first, second = (deeplake.open_read_only(str(place / name)) for name in ("ds1", "ds2"))
    assert second["images"].get_bytes([0, 1, 2]) == first["images"].get_bytes([0, 1, 2])
    for name in ("boxes", "labels"):
        assert [value.tolist() for value in second[name][:]] == [value.tolist() for value in first[name][:]]
    assert list(second["labels"].metadata["class_names"]) == ["car", "van"]
