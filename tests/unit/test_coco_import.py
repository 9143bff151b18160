"""What the COCO importer makes of files, good and bad."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lineage.errors import InvalidSource
from pipelines.data.coco import CocoImporter

RUNS = {"counts": [5, 3, 1], "size": [48, 64]}


def encoded(seed: int, form: str = "JPEG") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 48), (seed, 90, 10)).save(buffer, form)
    return buffer.getvalue()


def box(number: int, picture: int, category: int, bbox: list[float], **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": picture, "category_id": category, "bbox": bbox, "area": 12.5, "iscrowd": 0, **more}


def said() -> dict[str, Any]:
    """Three pictures, ids with gaps, out of order: two boxes with polygons, a crowd with run lengths, a picture without boxes."""
    return {
        "info": {"year": 2017},
        "images": [
            {"id": 42, "file_name": "b.jpg", "width": 64, "height": 48},
            {"id": 7, "file_name": "sub/a.jpg", "width": 64, "height": 48},
            {"id": 9, "file_name": "empty.jpg", "width": 64, "height": 48},
        ],
        "annotations": [
            box(900100581904, 7, 90, [10.07, 2.1, 20.3, 30.25], segmentation=[[1.5, 2, 3, 4, 5, 6.25]]),
            box(2, 42, 1, [0, 0, 5, 5], segmentation=RUNS, iscrowd=1),
            box(1, 7, 17, [1, 2, 3, 4], segmentation=[], keypoints=[1, 2, 2]),
        ],
        "categories": [{"id": 90, "name": "tooth brush"}, {"id": 1, "name": "person"}, {"id": 17, "name": "cat"}],
    }


def folder_with(folder: Path, content: Any) -> Path:
    (folder / "images" / "sub").mkdir(parents=True)
    for seed, name in enumerate(("b.jpg", "sub/a.jpg", "empty.jpg")):
        (folder / "images" / name).write_bytes(encoded(seed))
    (folder / "annotations.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def rows_of(source: Path) -> list[dict[str, Any]]:
    importer = CocoImporter()
    return [importer.read(sample) for sample in importer.scan(source).samples]


def test_everything_said_of_a_box_is_kept_with_its_very_numbers(tmp_path: Path) -> None:
    """Category ids with gaps become class indices in their order; ids, crowd marks, areas, segmentations and further keys are columns."""
    source = folder_with(tmp_path, said())
    scan = CocoImporter().scan(source)
    first, second, third = rows_of(source)

    names = {column.name: column for column in scan.columns}
    assert names["labels"].class_names == ("person", "cat", "tooth brush")
    assert [first["sample_id"], second["sample_id"], third["sample_id"]] == ["b", "sub/a", "empty"]
    assert second["boxes"].tolist() == [[10.07, 2.1, 20.3, 30.25], [1, 2, 3, 4]]
    assert second["labels"].tolist() == [2, 1]
    assert second["category_ids"].tolist() == [90, 17]
    assert second["annotation_ids"].tolist() == [900100581904, 1]
    assert json.loads(second["segmentation"]) == [[[1.5, 2, 3, 4, 5, 6.25]], []]
    assert json.loads(second["more"]) == [{}, {"keypoints": [1, 2, 2]}]
    assert (first["iscrowd"].tolist(), json.loads(first["segmentation"]), first["area"].tolist()) == ([1], [RUNS], [12.5])
    assert (third["boxes"].shape, third["boxes"].dtype, third["image_id"].tolist()) == ((0, 4), np.float64, [9])
    assert all(set(row) == set(names) for row in (first, second, third))
    assert [row["images"] for row in (first, second, third)] == [encoded(0), encoded(1), encoded(2)]
    assert scan.problems == ()


@pytest.mark.parametrize("split", ["train2017", "images/train2017", "images"])
def test_the_official_folders_are_found(tmp_path: Path, split: str) -> None:
    """``annotations/instances_NAME.json`` beside its pictures; with two such files the source names one."""
    folder_with(tmp_path / "made", said())
    (tmp_path / "coco" / split).parent.mkdir(parents=True)
    (tmp_path / "made" / "images").rename(tmp_path / "coco" / split)
    (tmp_path / "coco" / "annotations").mkdir()
    train = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    (tmp_path / "made" / "annotations.json").rename(train)

    assert len(rows_of(tmp_path / "coco")) == 3
    train.with_name("instances_val2017.json").write_text("{}")
    with pytest.raises(InvalidSource, match="found 2") as caught:
        CocoImporter().scan(tmp_path / "coco")
    assert str(train) in str(caught.value.hint)
    assert len(rows_of(train)) == 3


def changed(*path: Any, value: Any) -> Any:
    """The good file with one place changed."""
    content = said()
    at: Any = content
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return content


BAD: list[tuple[str, Any, str]] = [
    ("no JSON", '{"images": [\n1,}', r"annotations.json:2: expected JSON"),
    ("a list", [], "expected a JSON object with images, annotations, categories, found a list"),
    ("no categories", {"images": [], "annotations": []}, "categories: expected a list, found only annotations, images"),
    ("empty", {"images": [], "annotations": [], "categories": [{"id": 1, "name": "x"}]}, "images: expected one or more, found none"),
    ("two categories with one id", changed("categories", 0, "id", value=1), r"categories\[1\]: expected an id of its own, found 1"),
    ("two categories with one name", changed("categories", 0, "name", value="cat"), "found 'cat' twice"),
    ("category without name", changed("categories", 0, value={"id": 3}), r"categories\[0\]: expected an object"),
    ("two pictures with one id", changed("images", 1, "id", value=42), r"images\[1\]: its id is taken.*42, as of b.jpg"),
    ("two pictures with one file", changed("images", 1, "file_name", value="b.jpg"), r"images\[1\]: its file is taken"),
    ("picture without a name", changed("images", 2, value={"id": 9}), r"images\[2\]: is no picture"),
    ("two boxes with one id", changed("annotations", 2, "id", value=2), r"annotations\[2\]: its id is taken.*annotations\[1\] has"),
    ("unknown picture", changed("annotations", 1, "image_id", value=8), r"annotations\[1\] \(id 2\): unknown picture.*found 8"),
    ("unknown category", changed("annotations", 1, "category_id", value=2), r"unknown category, expected one of 1, 17, 90, found 2"),
    ("text as id", changed("annotations", 1, "image_id", value="42"), "image_id is no whole number, expected one, found '42'"),
    ("three sides", changed("annotations", 0, "bbox", value=[1, 2, 3]), "bbox is no box"),
    ("truth as a side", changed("annotations", 0, "bbox", value=[1, 2, 3, True]), "bbox is no box"),
    ("not finite", json.dumps(said()).replace("10.07", "NaN"), "bbox is no box"),
    ("infinite polygon", json.dumps(said()).replace("6.25", "Infinity"), "holds a number that JSON does not have"),
    ("negative side", changed("annotations", 0, "bbox", value=[1, 2, -3, 4]), "a side of bbox is negative"),
    ("text as segmentation", changed("annotations", 0, "segmentation", value="abc"), "neither polygons nor run lengths"),
    ("crowd of two", changed("annotations", 0, "iscrowd", value=2), "iscrowd is neither 0 nor 1"),
    ("missing picture", changed("images", 1, "file_name", value="gone.jpg"), r"gone.jpg: picture is missing"),
    ("picture elsewhere", changed("images", 1, "file_name", value="../../etc/passwd"), "leads out of the folder"),
]


@pytest.mark.parametrize(("content", "says"), [item[1:] for item in BAD], ids=[item[0] for item in BAD])
def test_what_readers_pass_over_is_an_error_that_names_the_place(tmp_path: Path, content: Any, says: str) -> None:
    """Each kind of damage is refused and named."""
    with pytest.raises(InvalidSource, match=says):
        CocoImporter().scan(folder_with(tmp_path, content))


def test_bad_pictures_are_left_out_with_skip(tmp_path: Path) -> None:
    """A cut-off picture, a picture in another form and one with a bad box are left out; the others stay."""
    source = folder_with(tmp_path, changed("annotations", 1, "bbox", value=[1, 2, -3, 4]))
    (source / "images" / "empty.jpg").write_bytes(encoded(2, "PNG"))

    scan = CocoImporter().scan(source, on_error="skip")

    assert [sample.sample_id for sample in scan.samples] == ["sub/a"]
    assert len(scan.errors) == 2
    assert "another form than most pictures, expected JPEG" in str(scan.errors[1])


def test_what_looks_odd_is_stored_and_said(tmp_path: Path) -> None:
    """A size that is not the picture's, a box past the border and one without area are warnings."""
    content = changed("annotations", 0, "bbox", value=[60, 2, 20.5, 0])
    content["images"][1]["width"] = 640

    scan = CocoImporter().scan(folder_with(tmp_path, content))

    assert len(scan.samples) == 3
    assert [problem.severity for problem in scan.problems] == ["warning"] * 3
    text = "\n".join(map(str, scan.problems))
    assert "is 64 x 48 pixels, and the annotations say 640 x 48" in text
    assert "1 boxes reach past the border (annotation 900100581904 first)" in text
    assert "the box has no area (20.5 x 0)" in text
