"""VisDrone-DET annotation files: one object a line, eight integers.

``left,top,width,height,score,category,truncation,occlusion``: pixels, from the top left corner. Format after the README of the official
toolkit (VisDrone/VisDrone2018-DET-toolkit). What the official release contains is accepted and reported as a warning: boxes without width
or height, and a comma at the end of a line. So are a byte order mark, Windows line ends and blank lines, which editors add. Everything
else is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lineage.model.source import SourceProblem

CLASS_NAMES = (
    "ignored regions",
    "pedestrian",
    "people",
    "bicycle",
    "car",
    "van",
    "truck",
    "tricycle",
    "awning-tricycle",
    "bus",
    "motor",
    "others",
)
"""The official names; the index is the official category id."""

FIELDS = ("left", "top", "width", "height", "score", "category", "truncation", "occlusion")
_ALLOWED = {"score": (0, 1), "category": (0, len(CLASS_NAMES) - 1), "truncation": (0, 1), "occlusion": (0, 2)}
_LARGEST = 1 << 20  # far beyond any picture; keeps every number within 32 bits
_MOST_DIGITS = 40
_SPACE = " \t"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Annotations:
    """The objects of one picture.

    Attributes:
        boxes: float32 (n, 4): left, top, width, height in pixels of the picture.
        labels: uint32 (n,): category ids, see :data:`CLASS_NAMES`.
        truncation: int32 (n,): 0 none, 1 partly outside the picture.
        occlusion: int32 (n,): 0 none, 1 less than half, 2 more.
        score: int32 (n,): 1 counts in evaluation, 0 does not.
    """

    boxes: np.ndarray[Any, np.dtype[np.float32]]
    labels: np.ndarray[Any, np.dtype[np.uint32]]
    truncation: np.ndarray[Any, np.dtype[np.int32]]
    occlusion: np.ndarray[Any, np.dtype[np.int32]]
    score: np.ndarray[Any, np.dtype[np.int32]]

    def __len__(self) -> int:
        return len(self.labels)


def parse_annotations(
    content: bytes, path: Path, *, width: int | None = None, height: int | None = None
) -> tuple[Annotations, list[SourceProblem]]:
    """Parse one annotation file.

    Args:
        content: The file's bytes.
        path: Its path, for messages.
        width: Width of the picture in pixels, to find boxes past its border; unchecked without one.
        height: Height of the picture in pixels.

    Returns:
        (objects of the lines without errors, problems). A file with an error must not be used.
    """
    problems: list[SourceProblem] = []
    if content.startswith(_BOM):
        content = content[len(_BOM) :]
        problems.append(_warning(path, "starts with a byte order mark, which is ignored", line=1))
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problems.append(_error(path, "is no plain text", line, "digits and commas", f"byte 0x{content[error.start]:02x}"))
        return _arrays([]), problems
    if "\r" in text:
        problems.append(_warning(path, "has Windows line ends, which are accepted"))
    rows: list[tuple[int, ...]] = []
    with_comma: list[int] = []
    blank: list[int] = []
    for number, raw in enumerate(_lines(text), 1):
        stripped = raw.strip(_SPACE)
        if not stripped:
            blank.append(number)
            continue
        words = stripped.split(",")
        if len(words) == len(FIELDS) + 1 and not words[-1].strip(_SPACE):
            words.pop()
            with_comma.append(number)
        row, wrong = _row(words, path, number)
        if row is not None:
            wrong = _box_problems(row, path, number, width, height)
            if not any(problem.severity == "error" for problem in wrong):
                rows.append(row)
        problems += wrong
    if with_comma:
        lines = f"{len(with_comma)} lines end" if len(with_comma) > 1 else f"line {with_comma[0]} ends"
        problems.append(_warning(path, f"{lines} with a comma, which is ignored", line=with_comma[0]))
    if blank:
        says = f"{len(blank)} lines are blank and ignored" if len(blank) > 1 else "is blank and ignored"
        problems.append(_warning(path, says, line=blank[0]))
    return _arrays(rows), problems


def _lines(text: str) -> list[str]:
    """Lines as editors number them. ``str.splitlines`` would also split at form feeds and separators, which no editor shows as a line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def _row(words: list[str], path: Path, line: int) -> tuple[tuple[int, ...] | None, list[SourceProblem]]:
    if len(words) != len(FIELDS):
        return None, [_error(path, "wrong number of fields", line, f"{len(FIELDS)}: {','.join(FIELDS)}", str(len(words)))]
    values: list[int] = []
    for name, word in zip(FIELDS, words, strict=True):
        digits = word.strip(_SPACE)
        if not digits.removeprefix("-").isdecimal():
            return None, [_error(path, f"{name} is no whole number", line, "digits", repr(digits[:40]))]
        low, high = _ALLOWED.get(name, (-_LARGEST, _LARGEST))
        # Python refuses to convert thousands of digits, so what is too long for any picture is not converted.
        value = int(digits) if len(digits) <= _MOST_DIGITS else None
        if value is None or not low <= value <= high:
            return None, [_error(path, f"{name} is out of range", line, f"{low} to {high}", digits[:_MOST_DIGITS])]
        values.append(value)
    return tuple(values), []


def _box_problems(row: tuple[int, ...], path: Path, line: int, width: int | None, height: int | None) -> list[SourceProblem]:
    left, top, box_width, box_height = row[:4]
    for name, value in (("width", box_width), ("height", box_height)):
        if value < 0:
            return [_error(path, f"{name} of the box is negative", line, "0 or more", str(value))]
    right, bottom = left + box_width, top + box_height
    if left < 0 or top < 0 or (width is not None and right > width) or (height is not None and bottom > height):
        inside = f"a box inside {width} x {height} pixels" if width is not None else "left and top of 0 or more"
        return [_error(path, "the box reaches past the picture's border", line, inside, f"{left},{top} to {right},{bottom}")]
    if box_width == 0 or box_height == 0:
        return [_warning(path, f"the box has no area ({box_width} x {box_height}); it is stored as annotated", line=line)]
    return []


def _arrays(rows: list[tuple[int, ...]]) -> Annotations:
    table = np.asarray(rows, dtype=np.int64).reshape(-1, len(FIELDS))
    return Annotations(
        boxes=table[:, :4].astype(np.float32),
        labels=table[:, 5].astype(np.uint32),
        truncation=table[:, 6].astype(np.int32),
        occlusion=table[:, 7].astype(np.int32),
        score=table[:, 4].astype(np.int32),
    )


def _error(path: Path, message: str, line: int, expected: str, found: str) -> SourceProblem:
    return SourceProblem(path, message, line=line, expected=expected, found=found)


def _warning(path: Path, message: str, line: int | None = None) -> SourceProblem:
    return SourceProblem(path, message, severity="warning", line=line)
