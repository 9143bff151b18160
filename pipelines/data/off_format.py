"""OFF files: a header, the numbers of vertices, faces and edges, one vertex a line, one face a line.

Format after Geomview's manual ("OFF files") and the files of ModelNet. Read as well, because it occurs and harms nothing:

* header and counts on one line, with or without a space (``OFF490 518 0``, hundreds of ModelNet's files);
* ``#`` comments, blank lines, CRLF, a byte order mark, no line end at the end, no number of edges;
* ``COFF``, ``NOFF``, ``STOFF`` and their combinations, and colours behind a face: colours, normals and texture coordinates are passed over;
* faces with more than three corners, which are split into a fan of triangles around their first corner (exact for convex faces only);
* faces with fewer corners, with a corner twice or without area: no point is ever sampled on them.

Refused, with file and line: no ``OFF`` word, ``4OFF``, ``nOFF`` and ``OFF BINARY`` (other geometry), wrong counts in either direction,
wrong numbers of fields, indices that no vertex has, numbers that are not finite, and meshes without a face that has an area.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from lineage.model.source import SourceProblem

_HEADER = re.compile(rb"(?P<texture>ST)?(?P<colour>C)?(?P<normal>N)?(?P<four>4)?(?P<any>n)?OFF(?P<rest>.*)", re.DOTALL)
_BOM = b"\xef\xbb\xbf"
_SHOWN = 40

Line = tuple[int, list[bytes]]
"""Number of a line, from 1, and its words."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles in space.

    Attributes:
        vertices: float64 (v, 3): the numbers nearest to what the file says, in its own unit.
        triangles: int64 (t, 3): corners as indices of vertices, in the order of the file's faces.
        polygons: Faces of the file that had more than three corners.
    """

    vertices: np.ndarray[Any, np.dtype[np.float64]]
    triangles: np.ndarray[Any, np.dtype[np.int64]]
    polygons: int = 0


class _Wrong(Exception):
    """What is wrong in a file; turned into a :class:`SourceProblem`."""

    def __init__(self, message: str, line: int | None, expected: str, found: str) -> None:
        super().__init__(message)
        self.message, self.line, self.expected, self.found = message, line, expected, found


def parse_off(content: bytes, path: Path) -> Mesh | SourceProblem:
    """Parse one OFF file.

    Args:
        content: The file's bytes.
        path: Its path, for messages.

    Returns:
        The mesh, or the first thing that is wrong. Whether it has an area is not looked at: :func:`pipelines.data.surfaces.areas`.
    """
    try:
        return _parse(content)
    except _Wrong as wrong:
        return SourceProblem(path, wrong.message, line=wrong.line, expected=wrong.expected, found=wrong.found)


def write_off(mesh: Mesh) -> bytes:
    """A mesh as an OFF file; :func:`parse_off` gives back the same bits."""
    lines = [b"OFF", b"%d %d 0" % (len(mesh.vertices), len(mesh.triangles))]
    lines += [" ".join(map(repr, vertex)).encode() for vertex in mesh.vertices.tolist()]
    lines += [b"3 %d %d %d" % tuple(triangle) for triangle in mesh.triangles.tolist()]
    return b"\n".join([*lines, b""])


def _parse(content: bytes) -> Mesh:
    lines = _lines(content)
    if not lines:
        raise _Wrong("is empty", None, "OFF, counts, vertices and faces", f"{len(content)} bytes without a word")
    fields, at = _header(lines)
    if at == len(lines):
        raise _Wrong("is cut off", lines[-1][0], "numbers of vertices, faces and edges", "the end of the file")
    count, faces = _counts(lines[at])
    body = lines[at + 1 :]
    if len(body) < count + faces:
        expected = f"{count} vertices and {faces} faces, as line {lines[at][0]} says"
        raise _Wrong("is cut off", lines[-1][0], expected, f"{len(body)} lines after it")
    if len(body) > count + faces:
        line, words = body[count + faces]
        raise _Wrong("goes on after its last face", line, f"{faces} faces, as line {lines[at][0]} says", _shown(words))
    if not count or not faces:
        raise _Wrong("holds no surface", lines[at][0], "vertices and faces", f"{count} vertices and {faces} faces")
    vertices = _vertices(body[:count], fields)
    triangles, polygons = _triangles(body[count:], count)
    return Mesh(vertices, triangles, polygons)


def _lines(content: bytes) -> list[Line]:
    text = content.removeprefix(_BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    raw = text.split(b"\n")
    if b"#" in text:
        raw = [line.partition(b"#")[0] for line in raw]
    return [(number, words) for number, line in enumerate(raw, 1) if (words := line.split())]


def _header(lines: list[Line]) -> tuple[range, int]:
    """(how many numbers a vertex may have, where the counts are); counts that stand beside the header are put on a line of their own."""
    line, words = lines[0]
    match = _HEADER.fullmatch(words[0])
    if match is None or (match["rest"] and not match["rest"][:1].isdigit()):
        raise _Wrong("is no OFF file", line, "OFF, or COFF, NOFF or STOFF, as the first word", _shown(words))
    kind = words[0][: match.start("rest")].decode()
    if match["four"] or match["any"]:
        raise _Wrong("has another dimension", line, "OFF: three coordinates", kind)
    rest = [match["rest"], *words[1:]] if match["rest"] else words[1:]
    if rest and rest[0] == b"BINARY":
        raise _Wrong("is a binary OFF file", line, "text", "OFF BINARY")
    # Four numbers of a colour, or three of them: files have either.
    least = 3 + 3 * bool(match["colour"]) + 3 * bool(match["normal"]) + 2 * bool(match["texture"])
    fields = range(least, least + 1 + bool(match["colour"]))
    if rest:
        lines[0] = (line, rest)
        return fields, 0
    return fields, 1


def _counts(line: Line) -> tuple[int, int]:
    number, words = line
    if len(words) not in (2, 3) or not all(word.isdigit() and len(word) < 10 for word in words):
        raise _Wrong("has no counts", number, "numbers of vertices, faces and edges", _shown(words))
    return int(words[0]), int(words[1])


def _vertices(lines: Sequence[Line], fields: range) -> np.ndarray[Any, np.dtype[np.float64]]:
    expected = " or ".join(map(str, fields)) + " numbers of a vertex"
    lengths = {len(words) for _, words in lines}
    if not lengths <= set(fields):
        line, words = next((line, words) for line, words in lines if len(words) not in fields)
        raise _Wrong("wrong number of fields", line, expected, f"{len(words)}: {_shown(words)}")
    if lengths == {3}:
        flat = list(chain.from_iterable(words for _, words in lines))
    else:
        flat = list(chain.from_iterable(words[:3] for _, words in lines))
        for line, words in lines:
            _numbers(words[3:], line)
    try:
        if b"_" in b"".join(flat):  # Python takes 1_0 for 10
            raise ValueError
        numbers = np.array(flat).astype(np.float64).reshape(-1, 3)
    except ValueError:
        numbers = np.array([_numbers(words[:3], line) for line, words in lines])
    if not np.isfinite(numbers).all():
        at = int(np.flatnonzero(~np.isfinite(numbers).all(axis=1))[0])
        raise _Wrong("a coordinate is not finite", lines[at][0], "finite numbers", _shown(lines[at][1]))
    return numbers


def _numbers(words: Sequence[bytes], line: int) -> list[float]:
    values = []
    for word in words:
        try:
            values.append(float(word if b"_" not in word else b""))
        except ValueError:
            raise _Wrong("is no number", line, "numbers", _shown([word])) from None
    return values


def _triangles(lines: Sequence[Line], count: int) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    if all(len(words) == 4 and words[0] == b"3" for _, words in lines):
        try:
            plain = np.array([words[1:] for _, words in lines]).astype(np.int64)
        except (ValueError, OverflowError):
            plain = np.full((1, 3), -1)  # the slow way finds the line
        if plain.min() >= 0 and plain.max() < count:
            return plain, 0
    triangles: list[tuple[int, int, int]] = []
    polygons = 0
    for line, words in lines:
        corners = _corners(line, words, count)
        triangles += _fan(corners)
        polygons += len(corners) > 3
    return np.array(triangles, np.int64).reshape(-1, 3), polygons


def _fan(corners: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    return ((corners[0], corners[number], corners[number + 1]) for number in range(1, len(corners) - 1))


def _corners(line: int, words: Sequence[bytes], count: int) -> list[int]:
    if not words[0].isdigit() or len(words[0]) > 9 or not (number := int(words[0])):
        raise _Wrong("a face has no number of corners", line, "a whole number from 1", _shown(words))
    if len(words) < 1 + number:
        raise _Wrong("a face lacks corners", line, f"{number} of them", f"{len(words) - 1}: {_shown(words)}")
    _numbers(words[1 + number :], line)  # a colour, as one number or several
    corners = []
    for word in words[1 : 1 + number]:
        if not word.isdigit() or len(word) > 9 or int(word) >= count:
            raise _Wrong("no vertex has this index", line, f"a whole number from 0 to {count - 1}", _shown([word]))
        corners.append(int(word))
    return corners


def _shown(words: Sequence[bytes]) -> str:
    text = b" ".join(words).decode("ascii", "replace")
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
