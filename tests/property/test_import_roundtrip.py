"""What is exported as COCO or YOLO is imported as the rows it was made from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lineage.model.source import Column
from lineage.wiring import exporter, importer
from pipelines.data.visdrone import COLUMNS

Row = dict[str, Any]
SIZES = [(2000, 1500), (1360, 765), (64, 48), (1, 1)]
NAMES = ("ignored regions", "a", "b", "c")


def encoded(size: tuple[int, int]) -> bytes:
    buffer = BytesIO()
    Image.new("L", size, 90).save(buffer, "JPEG")
    return buffer.getvalue()


PICTURES = {size: encoded(size) for size in SIZES}
STEMS = st.text("abcXYZ019-_ é中", min_size=1, max_size=12).map(str.strip).filter(bool)


@contextmanager
def imported(layout: str, folder: Path) -> Iterator[tuple[list[Row], dict[str, Column]]]:
    reader = importer(layout)
    scan = reader.scan(folder)
    yield [reader.read(sample) for sample in scan.samples], {column.name: column for column in scan.columns}


@contextmanager
def there_and_back(layout: str, rows: Sequence[Row], columns: Mapping[str, Column]) -> Iterator[tuple[list[Row], dict[str, Column]]]:
    with tempfile.TemporaryDirectory() as name:
        exporter(layout).write(Path(name), iter(rows), columns, total=len(rows))
        with imported(layout, Path(name)) as found:
            yield found


def same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        return bool(left.shape == right.shape and left.dtype == right.dtype and left.tobytes() == right.tobytes())
    return bool(left == right)


FLOATS = st.floats(0, 3000, allow_nan=False, width=64)
RUNS = st.fixed_dictionaries({"counts": st.lists(st.integers(0, 9), max_size=3), "size": st.just([4, 4])})
POLYGONS = st.lists(st.lists(FLOATS, min_size=6, max_size=6), max_size=2)


@st.composite
def coco_files(draw: st.DrawFn) -> dict[str, Any]:
    categories = draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=4, unique=True))
    stems = draw(st.lists(STEMS, min_size=1, max_size=4, unique=True))
    pictures = draw(st.lists(st.integers(0, 1 << 40), min_size=len(stems), max_size=len(stems), unique=True))
    count = draw(st.integers(0, 6))
    with_marks = draw(st.booleans())
    boxes = [
        {
            "id": draw(st.integers(0, 9)) * 10 + number,
            "image_id": draw(st.sampled_from(pictures)),
            "category_id": draw(st.sampled_from(categories)),
            "bbox": draw(st.lists(FLOATS, min_size=4, max_size=4)),
            "area": draw(FLOATS),
            "iscrowd": draw(st.integers(0, 1)),
            "segmentation": draw(POLYGONS | RUNS),
            **({"truncation": draw(st.integers(0, 1)), "score": draw(st.floats(0, 1) | st.just(1))} if with_marks else {}),
        }
        for number in range(count)
    ]
    return {
        "images": [{"id": number, "file_name": f"{stem}.jpg"} for number, stem in zip(pictures, stems, strict=True)],
        "annotations": boxes,
        "categories": [{"id": number, "name": f"class of {number}"} for number in categories],
    }


@settings(deadline=None)
@given(coco_files(), st.sampled_from(SIZES))
def test_coco_keeps_every_number_and_mark(said: dict[str, Any], size: tuple[int, int]) -> None:
    """A file is imported, exported and imported again: the same bits, but for ids, which an export numbers anew."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "images").mkdir()
        for picture in said["images"]:
            (Path(name) / "images" / picture["file_name"]).write_bytes(PICTURES[size])
        (Path(name) / "annotations.json").write_text(json.dumps(said))
        with imported("coco", Path(name)) as (rows, columns), there_and_back("coco", rows, columns) as (again, columns_again):
            assert len(rows) == len(said["images"])
            assert columns_again == columns
            for row, back, picture in zip(rows, again, said["images"], strict=True):
                boxes = [item for item in said["annotations"] if item["image_id"] == picture["id"]]
                assert row["boxes"].tolist() == [item["bbox"] for item in boxes]
                assert json.loads(row["segmentation"]) == [item["segmentation"] for item in boxes]
                assert row.keys() == back.keys()
                numbered = {"category_ids", "annotation_ids", "image_id"}
                assert {key for key in row if not same(row[key], back[key])} <= numbered


@st.composite
def visdrone_rows(draw: st.DrawFn) -> list[Row]:
    rows = []
    for stem in draw(st.lists(STEMS, min_size=1, max_size=4, unique=True)):
        width, height = size = draw(st.sampled_from(SIZES))
        table = []
        for _ in range(draw(st.integers(0, 6))):
            left, top = draw(st.integers(0, width)), draw(st.integers(0, height))
            sides = draw(st.integers(0, width - left)), draw(st.integers(0, height - top))
            rest = draw(st.tuples(st.integers(0, 1), st.integers(0, 11), st.integers(0, 1), st.integers(0, 2)))
            table.append((left, top, *sides, *rest))
        objects = np.array(table, dtype=np.int64).reshape(-1, 8)
        rows.append(
            {
                "images": PICTURES[size],
                "boxes": objects[:, :4].astype(np.float32),
                "labels": objects[:, 5].astype(np.uint32),
                "truncation": objects[:, 6].astype(np.int32),
                "occlusion": objects[:, 7].astype(np.int32),
                "score": objects[:, 4].astype(np.int32),
                "filename": f"{stem}.jpg",
                "sample_id": stem,
                "sequence": stem.partition("_")[0] or "0",
            }
        )
    return rows


@settings(deadline=None)
@given(visdrone_rows())
def test_visdrone_rows_come_back_from_coco(rows: list[Row]) -> None:
    """Every column of VisDrone is there again with the same values, in order; classes have their official numbers."""
    columns = {column.name: column for column in COLUMNS}
    with there_and_back("coco", rows, columns) as (again, found):
        assert found["labels"].class_names == columns["labels"].class_names
        has_boxes = any(len(row["boxes"]) for row in rows)
        for row, back in zip(rows, again, strict=True):
            assert np.array_equal(back["boxes"], row["boxes"])
            kept = set(row) - {"boxes"} - (set() if has_boxes else {"truncation", "occlusion", "score"})
            assert [name for name in sorted(kept) if not same(row[name], back[name])] == []


@settings(deadline=None)
@given(st.lists(STEMS, min_size=1, max_size=4, unique=True), st.data())
def test_yolo_boxes_on_a_grid_come_back_to_the_bit(stems: list[str], data: st.DataObject) -> None:
    """Boxes with an area inside the picture, in steps of an eighth of a pixel, have the same bits after export and import."""
    rows = []
    for stem in sorted(stems):
        width, height = size = data.draw(st.sampled_from(SIZES))
        boxes = []
        for _ in range(data.draw(st.integers(0, 5))):
            left, top = data.draw(st.integers(0, 8 * width - 1)), data.draw(st.integers(0, 8 * height - 1))
            boxes.append((left, top, data.draw(st.integers(1, 8 * width - left)), data.draw(st.integers(1, 8 * height - top))))
        labels = data.draw(st.lists(st.integers(1, 3), min_size=len(boxes), max_size=len(boxes)))
        rows.append(
            {
                "images": PICTURES[size],
                "boxes": (np.array(boxes, np.float64).reshape(-1, 4) / 8).astype(np.float32),
                "labels": np.array(labels, np.uint32),
                "filename": f"{stem}.jpg",
                "sample_id": stem,
            }
        )
    columns = [
        Column("images", "image"),
        Column("boxes", "array", "float32", 2),
        Column("labels", "class_labels", "uint32", class_names=NAMES),
        Column("filename", "text"),
        Column("sample_id", "text"),
    ]
    with there_and_back("yolo", rows, {column.name: column for column in columns}) as (again, found):
        assert found["labels"].class_names == NAMES[1:]
        for row, back in zip(rows, again, strict=True):
            assert same(back["labels"] + np.uint32(1), row["labels"])
            assert [name for name in ("images", "boxes", "filename", "sample_id") if not same(row[name], back[name])] == []
