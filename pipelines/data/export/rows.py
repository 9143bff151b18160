"""Rows of any dataset, checked, one at a time, their pictures written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lineage.errors import InvalidSource
from pipelines.data.export.columns import ChosenColumns
from pipelines.data.export.names import picture_name
from pipelines.data.export.picture import PictureHeader, read_header

_LARGEST = 1 << 30  # far beyond any picture; keeps products of numbers finite
_SHOWN = 100  # characters of a name in a message
_MOST_CLASSES = 1 << 16  # of a dataset that does not name them: -1, stored unsigned, would ask for four thousand million


@dataclass(frozen=True, slots=True)
class Objects:
    """The boxes of one picture.

    Attributes:
        boxes: Real and finite, shape (n, 4), in the dataset's own element type: left, top, width, height in pixels.
        labels: Class indices, int64, shape (n,).
        attributes: Name to one real, finite number for each box, shape (n,).
    """

    boxes: np.ndarray[Any, Any]
    labels: np.ndarray[Any, np.dtype[np.int64]]
    attributes: Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """A row whose picture is in the folder.

    Attributes:
        picture: The file.
        is_renamed: Its name differs from the one the dataset gives.
        place: The row as messages name it.
    """

    picture: Path
    is_renamed: bool
    place: str
    header: PictureHeader
    objects: Objects
    texts: Mapping[str, str]


def written_rows(
    folder: Path,
    rows: Iterable[Mapping[str, Any]],
    chosen: ChosenColumns,
    *,
    layout: str,
    one_stem: bool,
    forms: tuple[str, ...] | None = None,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[WrittenRow]:
    """Check each row, write its picture byte for byte into ``folder``, and give it on. One row is held at a time.

    Args:
        folder: Is made.
        rows: Column to value.
        chosen: What to read.
        layout: Its name, for messages.
        one_stem: Names must differ before their endings too, because another file of the layout has the same stem.
        forms: Picture formats the layout knows; any without.
        total: Number of rows, for ``progress``.
        progress: Told when the caller is done with a row.

    Raises:
        InvalidSource: A row cannot be said in the layout; it is named.
    """
    folder.mkdir()
    owners: dict[str, str] = {}
    for number, row in enumerate(rows):
        texts = {name: value for name in chosen.texts if isinstance(value := row.get(name), str)}
        sample = texts.get("sample_id") or texts.get("filename")
        place = f"row {number}" + (f" (sample {sample[:_SHOWN]!r})" if sample else "")
        content = row.get(chosen.picture)
        if not isinstance(content, bytes):
            raise InvalidSource(f"{place}: expected an encoded picture in column '{chosen.picture}', found {_kind(content)}")
        header = read_header(content, f"{place}, column '{chosen.picture}'")
        if forms is not None and header.form not in forms:
            raise InvalidSource(
                f"{place}: pictures in layout {layout} are {' or '.join(forms)}, found {header.form}",
                hint="pictures are never encoded anew; layouts coco and yolo take any format",
            )
        objects = read_objects(row, chosen, place)
        names = [texts[name] for name in ("filename", "sample_id") if texts.get(name)]
        name, is_renamed = picture_name(names, number, header.form)
        path = folder / name
        owner = owners.setdefault(path.stem if one_stem else name, place)
        if owner != place:
            raise _taken(owner, place, f"{folder.name}/{name}")
        write_new(path, content, place)
        yield WrittenRow(path, is_renamed, place, header, objects, texts)
        if progress is not None:
            progress(number + 1, total)


def write_new(path: Path, content: bytes, place: str) -> None:
    """Write a file of a row, never over another.

    Raises:
        InvalidSource: There is one: names that differ in case, where the file system does not tell them apart.
    """
    try:
        with path.open("xb") as stream:
            stream.write(content)
    except FileExistsError as error:
        raise _taken("an earlier row", place, f"{path.parent.name}/{path.name}") from error


def read_objects(row: Mapping[str, Any], chosen: ChosenColumns, place: str) -> Objects:
    """Boxes, classes and attributes of a row.

    Raises:
        InvalidSource: Their shapes or types do not fit, a number is not finite, or a class has no name.
    """
    boxes = _numbers(row, chosen.boxes, place)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InvalidSource(f"{place}: expected boxes of shape (n, 4) in column '{chosen.boxes}', found {boxes.shape}")
    if bool(np.any(np.abs(boxes.astype(np.float64)) > _LARGEST)):
        found = boxes[np.argmax(np.abs(boxes).max(axis=1))].tolist()
        raise InvalidSource(f"{place}: expected pixels of -{_LARGEST} to {_LARGEST} in column '{chosen.boxes}', found the box {found}")
    count = len(boxes)
    labels = _one_each(_numbers(row, chosen.labels, place), chosen.labels, count, place)
    if labels.dtype.kind == "f" and count:
        raise InvalidSource(f"{place}: expected class indices in column '{chosen.labels}', found {labels.dtype}")
    named = len(chosen.class_names) or _MOST_CLASSES
    wrong = labels[(labels < 0) | (labels >= named)]
    if wrong.size:
        raise InvalidSource(f"{place}: expected class indices of 0 to {named - 1} in column '{chosen.labels}', found {wrong[0]}")
    attributes = {name: _one_each(_numbers(row, name, place), name, count, place) for name in chosen.attributes}
    return Objects(boxes, labels.astype(np.int64), attributes)


def _numbers(row: Mapping[str, Any], name: str, place: str) -> np.ndarray[Any, Any]:
    value = row.get(name)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise InvalidSource(f"{place}: expected numbers in column '{name}', found {_kind(value)}")
    if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
        found = array[~np.isfinite(array)].ravel()[0]
        raise InvalidSource(f"{place}: expected finite numbers in column '{name}', found {found}")
    return array


def _one_each(array: np.ndarray[Any, Any], name: str, count: int, place: str) -> np.ndarray[Any, Any]:
    if array.size == 0:
        array = array.reshape(0)
    if array.shape != (count,):
        raise InvalidSource(f"{place}: expected one value for each of {count} boxes in column '{name}', found shape {array.shape}")
    return array


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


def _taken(owner: str, place: str, name: str) -> InvalidSource:
    return InvalidSource(
        f"{owner} and {place} want the same file {name}",
        hint="rows of this layout need names of their own; export a view that holds one of them",
    )
