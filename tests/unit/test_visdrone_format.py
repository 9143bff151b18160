from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineage.errors import InvalidSource
from pipelines.data.visdrone import VisDroneImporter
from pipelines.data.visdrone_format import CLASS_NAMES, parse_annotations

FILE = Path("annotations/0000001_00001_d_0000001.txt")


def parse(text: str | bytes, **size: int) -> tuple[list[list[float]], list[str]]:
    content = text if isinstance(text, bytes) else text.encode()
    objects, problems = parse_annotations(content, FILE, **size)
    return objects.boxes.tolist(), [f"{problem.severity}: {problem}" for problem in problems]


def test_the_class_names_are_the_official_list() -> None:
    """Index and name of the classes that the playbook names agree with the official ids."""
    assert len(CLASS_NAMES) == 12
    assert (CLASS_NAMES[0], CLASS_NAMES[4], CLASS_NAMES[8], CLASS_NAMES[11]) == ("ignored regions", "car", "awning-tricycle", "others")


def test_every_field_arrives_in_its_column() -> None:
    """Eight integers become box, score, label, truncation and occlusion, with the types that are stored."""
    objects, problems = parse_annotations(b"684,8,273,116,0,11,1,2\n", FILE)

    assert problems == []
    assert objects.boxes.tolist() == [[684, 8, 273, 116]]
    assert (objects.score.tolist(), objects.labels.tolist()) == ([0], [11])
    assert (objects.truncation.tolist(), objects.occlusion.tolist()) == ([1], [2])
    assert [array.dtype for array in (objects.boxes, objects.labels, objects.score)] == [np.float32, np.uint32, np.int32]


def test_an_empty_file_has_no_objects() -> None:
    """A picture without objects gives arrays of length zero with two-dimensional boxes."""
    objects, problems = parse_annotations(b"", FILE)

    assert problems == []
    assert objects.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("text", "boxes", "says"),
    [
        ("1,2,3,4,1,4,0,0,\n5,6,7,8,1,4,0,0,\n", 2, "2 lines end with a comma"),
        ("1,2,3,4,1,4,0,0\r\n", 1, "Windows line ends"),
        (b"\xef\xbb\xbf1,2,3,4,1,4,0,0\n", 1, "byte order mark"),
        ("1,2,3,4,1,4,0,0\n\n5,6,7,8,1,4,0,0\n", 2, ":2: is blank"),
        ("1,2,3,4,1,4,0,0\n\n", 1, ":2: is blank"),
        ("\n\n1,2,3,4,1,4,0,0\n", 1, ":1: 2 lines are blank"),
        ("611,158,4,0,1,4,0,0\n", 1, ":1: the box has no area (4 x 0)"),
    ],
)
def test_what_the_official_release_and_editors_do_is_accepted_with_a_warning(text: str | bytes, boxes: int, says: str) -> None:
    """Trailing commas, Windows line ends, a byte order mark, blank lines and boxes without area are stored and reported once."""
    found, problems = parse(text)

    assert len(found) == boxes
    assert len(problems) == 1
    assert problems[0].startswith("warning: ")
    assert says in problems[0]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("1,2,3,4,1,4,0\n", 1, "wrong number of fields, expected 8"),
        ("1,2,3,4,1,4,0,0,0\n", 1, "wrong number of fields"),
        ("1,2,3,4,1,4,0,0\n1,2,car,4,1,4,0,0\n", 2, "width is no whole number, expected digits, found 'car'"),
        ("1,2,3.5,4,1,4,0,0\n", 1, "width is no whole number"),
        ("1,2,,4,1,4,0,0\n", 1, "width is no whole number"),
        ("1,2,-3,4,1,4,0,0\n", 1, "width of the box is negative, expected 0 or more, found -3"),
        ("1,2,3,4,1,12,0,0\n", 1, "category is out of range, expected 0 to 11, found 12"),
        ("1,2,3,4,2,4,0,0\n", 1, "score is out of range"),
        ("1,2,3,4,1,4,2,0\n", 1, "truncation is out of range"),
        ("1,2,3,4,1,4,0,3\n", 1, "occlusion is out of range"),
        ("98,2,3,4,1,4,0,0\n", 1, "reaches past the picture's border, expected a box inside 100 x 50 pixels, found 98,2 to 101,6"),
        ("1,47,3,4,1,4,0,0\n", 1, "reaches past the picture's border"),
        ("-1,2,3,4,1,4,0,0\n", 1, "reaches past the picture's border"),
        ("99999999999999999999,2,3,4,1,4,0,0\n", 1, "left is out of range"),
        ("\N{ARABIC-INDIC DIGIT ONE},2,3,4,1,4,0,0\n", 1, "is no plain text"),
        ("9" * 5000 + ",2,3,4,1,4,0,0\n", 1, "left is out of range"),
        ("1,2,3,4,1,4,0,0\x0c5,6,7,8,1,4,0,0\n", 1, "wrong number of fields"),
        (b"1,2,3,4\x00,1,4,0,0\n", 1, "height is no whole number"),
    ],
)
def test_anything_else_is_one_error_that_names_file_line_and_field(text: str | bytes, line: int, says: str) -> None:
    """Each kind of wrong line is one error with its place, what was expected and what was found."""
    _, problems = parse(text, width=100, height=50)

    assert len(problems) == 1
    assert problems[0].startswith(f"error: {FILE}:{line}: ")
    assert says in problems[0]


def test_a_box_may_end_exactly_at_the_border() -> None:
    """Boxes with x+w equal to the width are common in the official files and right."""
    assert parse("90,40,10,10,1,4,0,0\n", width=100, height=50) == ([[90, 40, 10, 10]], [])


def folder_with(tmp_path: Path, picture: bytes) -> Path:
    """A VisDrone folder with one picture and one object."""
    for name in ("images", "annotations"):
        (tmp_path / name).mkdir()
    (tmp_path / "images" / f"{FILE.stem}.jpg").write_bytes(picture)
    (tmp_path / "annotations" / FILE.name).write_text("1,2,3,4,1,4,0,0\n")
    return tmp_path


def noise_jpeg(**options: bool) -> bytes:
    buffer = BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=75, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("rest", ["nothing", "zeros"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_picture_that_was_cut_off_is_an_error(tmp_path: Path, share: float, rest: str, progressive: bool) -> None:
    """A file that ends early is refused wherever it ends, also when zeros fill it up to its full length (an interrupted download)."""
    whole = noise_jpeg(progressive=progressive)
    kept = int(share * len(whole))
    source = folder_with(tmp_path, whole[:kept] + (bytes(len(whole) - kept) if rest == "zeros" else b""))

    with pytest.raises(InvalidSource, match=rf"{FILE.stem}\.jpg: (is cut off|cannot be decoded)"):
        VisDroneImporter().scan(source)


@pytest.mark.parametrize("more", [b"", b"\0" * 64, b"written by a camera \xff\xda"])
def test_bytes_after_the_end_of_a_picture_are_kept(tmp_path: Path, more: bytes) -> None:
    """Cameras append data after the end marker: such a picture is whole, and is stored byte for byte."""
    content = noise_jpeg() + more
    importer = VisDroneImporter()

    scan = importer.scan(folder_with(tmp_path, content))

    assert [sample.sample_id for sample in scan.samples] == [FILE.stem]
    assert importer.read(scan.samples[0])["images"] == content
