"""What the OFF parser takes, and what it says of everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lineage.model.source import SourceProblem
from pipelines.data.off_format import Mesh, parse_off

PATH = Path("chair_0001.off")
CORNERS = "0 0 0\n1 0 0\n0 1 0\n"
TRIANGLE = f"OFF\n3 1 0\n{CORNERS}3 0 1 2\n"
VERTICES = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]


def parsed(text: str | bytes) -> Mesh:
    found = parse_off(text.encode() if isinstance(text, str) else text, PATH)
    assert isinstance(found, Mesh), str(found)
    return found


@pytest.mark.parametrize(
    "text",
    [
        TRIANGLE,
        f"OFF3 1 0\n{CORNERS}3 0 1 2",  # header and counts on one line, no line end at the end: both occur in ModelNet
        f"OFF 3 1 0\n{CORNERS}3 0 1 2\n",
        f"OFF\n3 1\n{CORNERS}3 0 1 2\n",
        f"# made by hand\nOFF # a word\n\n3 1 0\n{CORNERS}# faces\n3 0 1 2 # the only one\n\n",
        TRIANGLE.replace("\n", "\r\n"),
        "\ufeff" + TRIANGLE,
        f"OFF\n3 1 0\n{CORNERS}3 0 1 2 255 128 0\n",
        f"OFF\n3 1 0\n{CORNERS}3 0 1 2 0.5 0.5 0.5 1\n",
        "COFF\n3 1 0\n0 0 0 255 0 0 255\n1 0 0 255 0 0 255\n0 1 0 255 0 0\n3 0 1 2\n",
        "NOFF\n3 1 0\n0 0 0 0 0 1\n1 0 0 0 0 1\n0 1 0 0 0 1\n3 0 1 2\n",
        "STCNOFF\n3 1 0\n" + "".join(f"{corner} 0 0 1 9 9 9 0.5 0.5\n" for corner in CORNERS.splitlines()) + "3 0 1 2\n",
        f"OFF\n3 1 0\n{CORNERS.replace('1', '1.0e+00')}3 0 1 2\n",
    ],
)
def test_forms_that_occur_are_one_triangle(text: str) -> None:
    """Whatever stands around it, it is the same mesh; colours, normals and texture coordinates are passed over."""
    found = parsed(text)
    assert (found.vertices.tolist(), found.triangles.tolist(), found.polygons) == (VERTICES, [[0, 1, 2]], 0)
    assert (found.vertices.dtype, found.triangles.dtype) == (np.float64, np.int64)


def test_polygons_become_fans_and_faces_without_area_stay() -> None:
    """A pentagon is three triangles around its first corner; a line and a point have none; a corner twice is kept."""
    found = parsed("OFF\n5 4 0\n0 0 0\n1 0 0\n2 1 0\n1 2 0\n0 1 0\n5 4 0 1 2 3\n2 0 1\n1 3\n3 2 2 4\n")
    assert found.triangles.tolist() == [[4, 0, 1], [4, 1, 2], [4, 2, 3], [2, 2, 4]]
    assert found.polygons == 1


FAULTS = [
    ("", None, "is empty, expected OFF, counts, vertices and faces, found 0 bytes without a word"),
    ("# nothing\n\n", None, "is empty"),
    ("ply\nformat ascii 1.0\n", 1, "is no OFF file, expected OFF, or COFF, NOFF or STOFF, as the first word, found 'ply'"),
    ("OFFICE 3 1 0\n", 1, "is no OFF file"),
    ("3 1 0\n" + CORNERS, 1, "is no OFF file"),
    ("OFF BINARY\n\0\0\0\3", 1, "is a binary OFF file"),
    ("4OFF\n3 1 0\n", 1, "has another dimension, expected OFF: three coordinates, found 4OFF"),
    ("nOFF\n5\n3 1 0\n", 1, "has another dimension"),
    ("OFF\n", 1, "is cut off, expected numbers of vertices, faces and edges, found the end of the file"),
    ("OFF\n3 one 0\n", 2, "has no counts, expected numbers of vertices, faces and edges, found '3 one 0'"),
    ("OFF\n-3 1 0\n", 2, "has no counts"),
    ("OFF\n0 0 0\n", 2, "holds no surface, expected vertices and faces, found 0 vertices and 0 faces"),
    (f"OFF\n3 0 0\n{CORNERS}", 2, "holds no surface"),
    (TRIANGLE[: TRIANGLE.index("3 0 1 2")], 5, "is cut off, expected 3 vertices and 1 faces, as line 2 says, found 3 lines after it"),
    (f"OFF\n999999999 999999999 0\n{CORNERS}", 5, "is cut off"),
    (TRIANGLE + "3 2 1 0\n", 7, "goes on after its last face, expected 1 faces, as line 2 says, found '3 2 1 0'"),
    (TRIANGLE.replace("1 0 0", "1 0"), 4, "wrong number of fields, expected 3 numbers of a vertex, found 2: '1 0'"),
    (TRIANGLE.replace("1 0 0", "1 0 0 255"), 4, "wrong number of fields"),
    (TRIANGLE.replace("1 0 0", "1 O 0"), 4, "is no number, expected numbers, found 'O'"),
    (TRIANGLE.replace("1 0 0", "1_0 0 0"), 4, "is no number, expected numbers, found '1_0'"),
    (TRIANGLE.replace("1 0 0", "nan 0 0"), 4, "a coordinate is not finite, expected finite numbers, found 'nan 0 0'"),
    (TRIANGLE.replace("1 0 0", "1 0 -1e999"), 4, "a coordinate is not finite"),
    (TRIANGLE.replace("3 0 1 2", "3 0 1 3"), 6, "no vertex has this index, expected a whole number from 0 to 2, found '3'"),
    (TRIANGLE.replace("3 0 1 2", "3 0 1 -1"), 6, "no vertex has this index"),
    (TRIANGLE.replace("3 0 1 2", "3 0 1 2.0"), 6, "no vertex has this index"),
    (TRIANGLE.replace("3 0 1 2", f"3 0 1 {2**64}"), 6, "no vertex has this index"),
    (TRIANGLE.replace("3 0 1 2", "3 0 1"), 6, "a face lacks corners, expected 3 of them, found 2: '3 0 1'"),
    (TRIANGLE.replace("3 0 1 2", "0"), 6, "a face has no number of corners"),
    (TRIANGLE.replace("3 0 1 2", "x 0 1 2"), 6, "a face has no number of corners"),
    (TRIANGLE.replace("3 0 1 2", "3 0 1 2 red"), 6, "is no number, expected numbers, found 'red'"),
]


@pytest.mark.parametrize(("text", "line", "told"), FAULTS)
def test_each_fault_is_one_sentence_with_its_line(text: str, line: int | None, told: str) -> None:
    """File, line, what was expected and what was found."""
    found = parse_off(text.encode(), PATH)
    assert isinstance(found, SourceProblem)
    assert (found.path, found.line, found.severity) == (PATH, line, "error")
    assert told in str(found)
    assert None not in (found.expected, found.found)


def test_bytes_that_are_no_text_are_told_too() -> None:
    """A picture under the wrong name is refused, not decoded."""
    assert "is no OFF file" in str(parse_off(b"\x89PNG\r\n\x1a\n\0\0", PATH))
