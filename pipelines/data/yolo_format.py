"""YOLO label files: one box a line, ``class x_centre y_centre width height``, the last four as shares of the picture from 0 to 1.

Format after the Ultralytics documentation of detection datasets. What its reader does silently is said here: it drops repeated lines and
pictures with a number outside 0 to 1, and takes lines with more than five fields for polygons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lineage.errors import InvalidSource
from lineage.model.source import SourceProblem

FIELDS = ("class", "x_centre", "y_centre", "width", "height")
_PLACES = 4
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class YoloBoxes:
    """The objects of one picture.

    Attributes:
        labels: uint32 (n,): class numbers.
        shares: float64 (n, 4): centre x, centre y, width, height, each the number nearest to what the file says.
    """

    labels: np.ndarray[Any, np.dtype[np.uint32]]
    shares: np.ndarray[Any, np.dtype[np.float64]]

    def pixels(self, width: int, height: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Left, top, width, height in pixels, float32 (n, 4), rounded to a ten-thousandth: label files rarely say more than a hundredth."""
        size = np.array([width, height], np.float64)
        sides = self.shares[:, 2:] * size
        corners = self.shares[:, :2] * size - sides / 2
        return (np.round(np.concatenate([corners, sides], axis=1), _PLACES) + 0.0).astype(np.float32)  # no -0


def parse_labels(content: bytes, path: Path, classes: int) -> tuple[YoloBoxes, list[SourceProblem]]:
    """Parse one label file.

    Args:
        content: The file's bytes.
        path: Its path, for messages.
        classes: Number of classes.

    Returns:
        (boxes of the lines without errors, problems). A file with an error must not be used.
    """
    problems: list[SourceProblem] = []
    try:
        text = content.removeprefix(_BOM).decode("ascii")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problems.append(SourceProblem(path, "is no plain text", line=line, expected="digits", found=f"byte 0x{content[error.start]:02x}"))
        text = ""
    labels: list[int] = []
    shares: list[list[float]] = []
    seen: dict[tuple[float, ...], int] = {}
    for number, raw in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        words = raw.split()
        if not words:
            continue
        found = _box(words, path, number, classes)
        if isinstance(found, SourceProblem):
            problems.append(found)
            continue
        label, box = found
        first = seen.setdefault((label, *box), number)
        if first != number:
            problems.append(_warning(path, f"repeats line {first}; it is stored as annotated", number))
        if box[2] == 0 or box[3] == 0:
            problems.append(_warning(path, f"the box has no area ({words[3]} x {words[4]}); it is stored as annotated", number))
        labels.append(label)
        shares.append(box)
    return YoloBoxes(np.array(labels, np.uint32), np.array(shares, np.float64).reshape(-1, 4)), problems


def _box(words: Sequence[str], path: Path, line: int, classes: int) -> tuple[int, list[float]] | SourceProblem:
    if len(words) != len(FIELDS):
        kind = {6: " (a confidence behind the box? these are results, not annotations)"}.get(len(words), "")
        if len(words) > 6:
            kind = " (a polygon or key points? only boxes can be stored)"
        return SourceProblem(
            path, "wrong number of fields", line=line, expected=f"{len(FIELDS)}: {' '.join(FIELDS)}", found=f"{len(words)}{kind}"
        )
    if not words[0].isdecimal() or int(words[0][:20]) >= classes:
        return SourceProblem(path, "unknown class", line=line, expected=f"a whole number from 0 to {classes - 1}", found=words[0][:40])
    box: list[float] = []
    for name, word in zip(FIELDS[1:], words[1:], strict=True):
        try:
            value = float(word) if "_" not in word else math.nan
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            return SourceProblem(path, f"{name} is no share of the picture", line=line, expected="0 to 1", found=repr(word[:40]))
        box.append(value)
    return int(words[0]), box


def _warning(path: Path, message: str, line: int) -> SourceProblem:
    return SourceProblem(path, message, severity="warning", line=line)


def read_names(path: Path, content: bytes) -> tuple[str, ...]:
    """Class names by number, of a ``data.yaml`` (``names`` as a list or a mapping) or a ``classes.txt`` (one a line).

    Raises:
        InvalidSource: There are none, a number has no name, or two classes have one name.
    """
    try:
        text = content.decode("utf-8-sig")
        said = {"names": [line.strip() for line in text.split("\n") if line.strip()]} if path.suffix == ".txt" else yaml.safe_load(text)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise InvalidSource(
            f"{where}: cannot be read as {'text' if path.suffix == '.txt' else 'YAML'}: {str(error).splitlines()[0]}"
        ) from error
    names = said.get("names") if isinstance(said, dict) else None
    if isinstance(names, dict):
        missing = [number for number in range(len(names)) if number not in names]
        if missing:
            raise InvalidSource(f"{path}: names: expected a name for each number from 0 to {len(names) - 1}, found none for {missing[0]}")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        found = "nothing" if names is None else repr(names)[:40]
        raise InvalidSource(f"{path}: names: expected class names, as a list or by number, found {found}")
    texts = [name if isinstance(name, str) else str(name) for name in names]
    twice = [name for name in texts if texts.count(name) > 1]
    if twice:
        # Deep Lake's queries answer for the first of two classes with one name, without a word.
        raise InvalidSource(f"{path}: names: expected a name of its own for each class, found '{twice[0]}' twice")
    count = said.get("nc")
    if count is not None and count != len(texts):
        raise InvalidSource(f"{path}: nc: expected {len(texts)}, the number of names, found {count}")
    return tuple(texts)
