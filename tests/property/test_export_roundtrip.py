"""What the exporters write is what is read back, over boxes, classes and names that nobody chose."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from lineage.model.digest import digest_of_picture, digest_of_row
from lineage.model.source import Column
from lineage.wiring import exporter
from pipelines.data.export.names import picture_name
from pipelines.data.export.numbers import decimal_text, nine_digits, plain_numbers
from pipelines.data.visdrone import COLUMNS, VisDroneImporter

Row = dict[str, Any]
BY_NAME = {column.name: column for column in COLUMNS}
SIZES = [(2000, 1500), (1360, 765), (64, 48), (1, 1)]


def encoded(size: tuple[int, int], form: str = "JPEG") -> bytes:
    buffer = BytesIO()
    Image.new("L", size, 90).save(buffer, form)
    return buffer.getvalue()


PICTURES = {size: encoded(size) for size in SIZES}
STEMS = st.text("abcXYZ019-_ é中", min_size=1, max_size=12).map(str.strip).filter(bool)


@contextmanager
def exported(layout: str, rows: Sequence[Row], columns: Mapping[str, Column] = BY_NAME) -> Iterator[tuple[Path, list[Path]]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield folder, exporter(layout).write(folder, iter(rows), columns, total=len(rows))


def visdrone_row(stem: str, size: tuple[int, int], objects: Sequence[tuple[int, ...]], ending: str = ".jpg") -> Row:
    """A row as the importer makes it; objects are left, top, width, height, score, class, truncation, occlusion."""
    table = np.array(objects, dtype=np.int64).reshape(-1, 8)
    return {
        "images": PICTURES[size],
        "boxes": table[:, :4].astype(np.float32),
        "labels": table[:, 5].astype(np.uint32),
        "truncation": table[:, 6].astype(np.int32),
        "occlusion": table[:, 7].astype(np.int32),
        "score": table[:, 4].astype(np.int32),
        "filename": stem + ending,
        "sample_id": stem,
        "sequence": stem.partition("_")[0],
    }


@st.composite
def visdrone_rows(draw: st.DrawFn) -> list[Row]:
    rows = []
    for stem in draw(st.lists(STEMS, min_size=1, max_size=4, unique=True)):
        width, height = size = draw(st.sampled_from(SIZES))
        objects = []
        for _ in range(draw(st.integers(0, 6))):
            left, top = draw(st.integers(0, width)), draw(st.integers(0, height))
            sides = draw(st.integers(0, width - left)), draw(st.integers(0, height - top))
            rest = draw(st.tuples(st.integers(0, 1), st.integers(0, 11), st.integers(0, 1), st.integers(0, 2)))
            objects.append((left, top, *sides, *rest))
        rows.append(visdrone_row(stem, size, objects, draw(st.sampled_from([".jpg", ".jpeg", ".JPG"]))))
    return rows


def row_digest(row: Row) -> bytes:
    pictures = {name: digest_of_picture(value) for name, value in row.items() if isinstance(value, bytes)}
    return digest_of_row({name: value for name, value in row.items() if name not in pictures}, pictures)


@settings(deadline=None)
@given(visdrone_rows())
def test_a_visdrone_folder_is_imported_as_the_rows_it_was_made_from(rows: list[Row]) -> None:
    """The importer finds no error in an exported folder, and every row has the digest it had before, by name."""
    with exported("visdrone", rows) as (folder, _):
        importer = VisDroneImporter()
        found = {sample.sample_id: row_digest(importer.read(sample)) for sample in importer.scan(folder).samples}

    assert found == {row["sample_id"]: row_digest(row) for row in rows}


@settings(deadline=None)
@given(visdrone_rows())
def test_coco_says_everything_but_the_order_of_files(rows: list[Row]) -> None:
    """Every box, class, attribute, size and name can be read back from annotations.json, in order."""
    with exported("coco", rows) as (folder, paths):
        said = json.loads((folder / "annotations.json").read_bytes())
        assert [path.read_bytes() for path in paths] == [row["images"] for row in rows]

    assert [picture["id"] for picture in said["images"]] == list(range(1, len(rows) + 1))
    assert [item["id"] for item in said["annotations"]] == list(range(1, len(said["annotations"]) + 1))
    names = {category["id"]: category["name"] for category in said["categories"]}
    for picture, path, row in zip(said["images"], paths, rows, strict=True):
        items = [item for item in said["annotations"] if item["image_id"] == picture["id"]]
        assert np.array_equal(np.array([item["bbox"] for item in items], np.float32).reshape(-1, 4), row["boxes"])
        assert [names[item["category_id"]] for item in items] == [BY_NAME["labels"].class_names[label] for label in row["labels"]]
        for name in ("truncation", "occlusion", "score"):
            assert [item[name] for item in items] == row[name].tolist()
        assert PICTURES[picture["width"], picture["height"]] == row["images"]
        assert (picture["file_name"], picture["sample_id"], picture["sequence"]) == (path.name, row["sample_id"], row["sequence"])


SIDES = st.floats(0, 1, width=32)


@settings(deadline=None)
@given(
    st.sampled_from(SIZES), st.lists(st.tuples(st.tuples(SIDES, SIDES, SIDES, SIDES), st.integers(0, 2)), max_size=8), st.sampled_from("fd")
)
def test_yolo_boxes_come_back_within_a_thousandth_of_a_pixel(
    size: tuple[int, int], objects: list[tuple[tuple[float, ...], int]], kind: str
) -> None:
    """Boxes inside the picture with an area are read back, as float32 and as float64, in order with their classes; no others are there."""
    width, height = size
    table = [(a * width, b * height, c * (1 - a) * width, d * (1 - b) * height) for (a, b, c, d), _ in objects]
    boxes = np.array(table, dtype=f"float{32 if kind == 'f' else 64}").reshape(-1, 4)
    labels = np.array([label for _, label in objects], dtype=np.uint32)
    columns = {
        "picture": Column("picture", "image"),
        "boxes": Column("boxes", "array"),
        "kind": Column("kind", "class_labels", class_names=("a", "b", "c")),
    }
    with exported("yolo", [{"picture": PICTURES[size], "boxes": boxes, "kind": labels}], columns) as (folder, (path,)):
        text = (folder / "labels" / f"{path.stem}.txt").read_text()
        names = yaml.safe_load((folder / "data.yaml").read_text())["names"]

    wide = boxes.astype(np.float64)
    clipped = np.minimum(wide[:, :2] + wide[:, 2:], size) - wide[:, :2]  # rounding to float32 may have pushed a box past the border
    kept = (clipped > 0).all(axis=1)
    assert "e" not in text
    for kind_read in ("float32", "float64"):
        read = np.array([line.split() for line in text.splitlines()], dtype=kind_read).reshape(-1, 5)
        assert [names[int(number)] for number in read[:, 0]] == ["abc"[label] for label in labels[kept]]
        assert ((read[:, 1:] >= 0) & (read[:, 1:] <= 1)).all()
        sides = read[:, 3:].astype(np.float64) * size
        corners = read[:, 1:3].astype(np.float64) * size - sides / 2
        assert np.abs(np.concatenate([corners, sides], axis=1) - np.concatenate([wide[:, :2], clipped], axis=1)[kept]).max(initial=0) < 1e-3


@given(
    npst.arrays(
        st.sampled_from(["float16", "float32", "float64"]), st.integers(0, 4), elements={"allow_nan": False, "allow_infinity": False}
    )
)
def test_numbers_as_text_read_back_to_the_same_value(values: np.ndarray[Any, Any]) -> None:
    """In the array's own precision, through the text layouts and through JSON; whole numbers have no point, none has an exponent."""
    numbers = plain_numbers(values)
    texts = [decimal_text(number) for number in numbers]

    assert np.array_equal(np.array(json.loads(json.dumps(numbers)), dtype=values.dtype), values)
    assert np.array_equal(np.array([float(text) for text in texts], dtype=values.dtype), values)
    assert all(("." in text) == (not float(value).is_integer()) and "e" not in text for text, value in zip(texts, values, strict=True))


@given(st.floats(0, 1, width=32))
def test_nine_digits_hold_a_float32(value: float) -> None:
    """A share of a picture written with nine digits is read back to the same float32, and has no exponent."""
    text = nine_digits(value)

    assert np.float32(text) == np.float32(value)
    assert "e" not in text


@given(st.lists(st.text(max_size=300), max_size=2), st.integers(0, 99), st.sampled_from(["JPEG", "PNG"]))
def test_any_name_becomes_one_plain_file_name(candidates: list[str], number: int, form: str) -> None:
    """Whatever a dataset says, the file lies in the folder, is not hidden, is short enough, and its ending fits the bytes."""
    name, _ = picture_name(candidates, number, form)

    assert Path(name).name == name
    assert not name.startswith(".")
    assert not set(name) & set('/\\\0\n<>:"|?*')
    assert len(name.encode()) <= 210
    assert Path(name).suffix.lower() in ({".jpg", ".jpeg"} if form == "JPEG" else {".png"})
    assert Path(name).stem


@pytest.mark.parametrize(
    ("candidates", "form", "expected"),
    [
        (["0000001_02999_d_0000005.jpg", "x"], "JPEG", ("0000001_02999_d_0000005.jpg", False)),
        (["a.JPEG"], "JPEG", ("a.JPEG", False)),
        (["sample.7"], "JPEG", ("sample.7.jpg", False)),
        (["../../x.jpg"], "JPEG", ("x.jpg", True)),
        (["/etc/passwd"], "JPEG", ("etc_passwd.jpg", True)),
        (["train/1.jpg"], "JPEG", ("train_1.jpg", True)),
        (["C:\\pictures\\1.jpg"], "JPEG", ("C__pictures_1.jpg", True)),
        (["a\0b.jpg"], "JPEG", ("a_b.jpg", True)),
        (["a.jpg"], "PNG", ("a.png", True)),
        (["..", "s"], "JPEG", ("s.jpg", True)),
        ([".jpg", "s"], "JPEG", ("jpg.jpg", True)),
        (["..", "/"], "WEBP", ("row-0000007.webp", True)),
        ([], "JPEG", ("row-0000007.jpg", False)),
    ],
)
def test_names_are_kept_where_they_can_be(candidates: list[str], form: str, expected: tuple[str, bool]) -> None:
    """A good name is used as it is; what must change is changed as little as possible and reported."""
    assert picture_name(candidates, 7, form) == expected


def test_long_names_that_begin_alike_stay_apart() -> None:
    """Cutting keeps two names different."""
    left, right = (picture_name([f"{'é' * 150}{end}.jpg"], 0, "JPEG") for end in "ab")

    assert left[0] != right[0]
    assert left[1]
