"""What the YOLO importer makes of folders, good and bad."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lineage.errors import InvalidSource
from pipelines.data.yolo import YoloImporter


def encoded(seed: int, form: str = "JPEG", size: tuple[int, int] = (640, 480)) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, (seed, 90, 10)).save(buffer, form)
    return buffer.getvalue()


def folder_with(folder: Path, labels: dict[str, str], names: str = "names: [car, van]\n", split: str = "") -> Path:
    """Three pictures, a.jpg to c.jpg, and the given label files."""
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    for seed, stem in enumerate("abc"):
        (folder / "images" / split / f"{stem}.jpg").write_bytes(encoded(seed))
    for stem, text in labels.items():
        (folder / "labels" / split / f"{stem}.txt").write_text(text)
    if names:
        (folder / "data.yaml").write_text(names)
    return folder


def rows_of(source: Path) -> list[dict[str, Any]]:
    importer = YoloImporter()
    return [importer.read(sample) for sample in importer.scan(source).samples]


def test_shares_are_kept_as_in_the_file_and_boxes_are_pixels(tmp_path: Path) -> None:
    """The file's own numbers stay beside boxes in pixels; no label file and an empty one mean no boxes."""
    source = folder_with(tmp_path, {"a": "0 0.5 0.5 0.25 0.5\n1 0.1234567890123 0.2 1e-3 0\n", "b": ""})

    first, second, third = rows_of(source)

    assert first["shares"].tolist() == [[0.5, 0.5, 0.25, 0.5], [0.1234567890123, 0.2, 0.001, 0]]
    assert first["boxes"].tolist()[0] == [240, 120, 160, 240]
    assert (first["boxes"].dtype, first["labels"].tolist(), first["labels"].dtype) == (np.float32, [0, 1], np.uint32)
    assert (second["boxes"].shape, third["shares"].shape) == ((0, 4), (0, 4))
    assert [row["images"] for row in (first, second, third)] == [encoded(seed) for seed in range(3)]
    assert [row["sample_id"] for row in (first, second, third)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("names: [car, van]\nnc: 2\n", ("car", "van")),
        ("names:\n  0: car\n  1: 7\n", ("car", "7")),
        ("train: images\nnames: {1: van, 0: Ünï car}\n", ("Ünï car", "van")),
    ],
)
def test_class_names_are_read_by_number(tmp_path: Path, names: str, expected: tuple[str, ...]) -> None:
    """A list and a mapping, in any order."""
    columns = {column.name: column for column in YoloImporter().scan(folder_with(tmp_path, {}, names)).columns}

    assert columns["labels"].class_names == expected


def test_one_split_is_uploaded_by_its_folder_of_pictures(tmp_path: Path) -> None:
    """``images/train`` leads to ``labels/train`` and the names above; the folder that holds both splits is refused with the way out."""
    source = folder_with(tmp_path / "images of mine", {"a": "1 0.5 0.5 0.5 0.5\n"}, split="train")

    assert rows_of(source / "images" / "train")[0]["labels"].tolist() == [1]
    with pytest.raises(InvalidSource, match="found folders only") as caught:
        YoloImporter().scan(source)
    assert str(source / "images" / "train") in str(caught.value.hint)


BAD_LINES = [
    ("0 0.5 0.5 0.5", r"a.txt:2: wrong number of fields, expected 5.*found 4"),
    ("0 0.5 0.5 0.5 0.5 0.9", "a confidence behind the box"),
    ("0 0.1 0.1 0.2 0.1 0.2 0.2", "a polygon or key points"),
    ("2 0.5 0.5 0.5 0.5", r"a.txt:2: unknown class, expected a whole number from 0 to 1, found 2"),
    ("-1 0.5 0.5 0.5 0.5", "unknown class"),
    ("0.0 0.5 0.5 0.5 0.5", "unknown class"),
    ("car 0.5 0.5 0.5 0.5", "unknown class"),
    ("9" * 5000 + " 0.5 0.5 0.5 0.5", "unknown class"),
    ("0 1.01 0.5 0.5 0.5", r"x_centre is no share of the picture, expected 0 to 1, found '1.01'"),
    ("0 0.5 -0.1 0.5 0.5", "y_centre is no share"),
    ("0 0.5 0.5 nan 0.5", "width is no share"),
    ("0 0.5 0.5 0.5 1_0e-1", "height is no share"),
    ("0 0,5 0,5 0,5 0,5", "x_centre is no share"),
    ("0 0.5 0.5 0.5 \u00bd", "is no plain text"),
]


@pytest.mark.parametrize(("line", "says"), BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_bad_line_is_named_with_its_file(tmp_path: Path, line: str, says: str) -> None:
    """What readers drop or take for something else is an error with file and line."""
    with pytest.raises(InvalidSource, match=says):
        YoloImporter().scan(folder_with(tmp_path, {"a": f"0 0.5 0.5 0.1 0.1\n{line}\n"}))


BAD_NAMES = [
    ("", "expected class names in data.yaml"),
    ("names: []\n", "expected class names, as a list or by number"),
    ("train: x\n", "expected class names, as a list or by number, found nothing"),
    ("names: {0: car, 2: van}\n", "found none for 1"),
    ("names: [car, car]\n", "found 'car' twice"),
    ("names: [car]\nnc: 2\n", "nc: expected 1, the number of names, found 2"),
    ("names: [car\nnc: 2: 3\n", r"data.yaml:\d: cannot be read as YAML"),
]


@pytest.mark.parametrize(("names", "says"), BAD_NAMES, ids=range(len(BAD_NAMES)))
def test_class_names_must_be_there_and_clear(tmp_path: Path, names: str, says: str) -> None:
    """Missing, doubtful or doubled names are refused."""
    with pytest.raises(InvalidSource, match=says):
        YoloImporter().scan(folder_with(tmp_path, {}, names))


def test_odd_folders_are_named(tmp_path: Path) -> None:
    """Labels without a picture, two pictures with one stem, a stray file and another form are errors; the rest is kept with skip."""
    source = folder_with(tmp_path, {"a": "0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.1\n", "lost": ""})
    (source / "images" / "b.png").write_bytes(encoded(1, "PNG"))
    (source / "images" / "d.png").write_bytes(encoded(1, "PNG"))
    (source / "images" / "e.gif").write_bytes(b"GIF89a")

    scan = YoloImporter().scan(source, on_error="skip")

    assert [sample.sample_id for sample in scan.samples] == ["a", "c"]
    text = "\n".join(map(str, scan.errors))
    for says in ("labels without a picture", "duplicate name", "is not part of the layout", "another form than most pictures"):
        assert says in text
    assert len(scan.errors) == 4
    assert [str(problem).partition("labels")[2] for problem in scan.warnings] == ["/a.txt:2: repeats line 1; it is stored as annotated"]


def test_no_folder_no_pictures(tmp_path: Path) -> None:
    """Nothing there, a file, a folder of something else and an empty one."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "parts" / "train" / "images").mkdir(parents=True)
    (tmp_path / "parts" / "train" / "labels").mkdir()

    for name, says in {"gone": "found nothing", "file": "found a file", "parts": "expected a folder with images"}.items():
        with pytest.raises(InvalidSource, match=says):
            YoloImporter().scan(tmp_path / name)
    (tmp_path / "parts" / "data.yaml").write_text("names: [car]\n")
    with pytest.raises(InvalidSource, match="found no picture"):
        YoloImporter().scan(tmp_path / "parts" / "train")
