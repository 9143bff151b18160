"""COCO instances: one JSON file with pictures, categories and boxes, checked as a whole.

Format after cocodataset.org ("data format"). What its reader does silently is an error here: of two pictures, boxes or categories with
one id it keeps the last, and it passes over boxes of pictures that are not listed. Everything that is said of a box is kept.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lineage.errors import InvalidSource
from lineage.model.source import SourceProblem

ATTRIBUTES = ("truncation", "occlusion", "score")
"""What VisDrone says of a box besides; a column each when every box of the file has it."""

_PARTS = ("images", "annotations", "categories")
_OF_A_BOX = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation")
_LARGEST_32 = 1 << 31
_LARGEST = 1 << 53  # JSON numbers beyond it are not whole in every reader


@dataclass(frozen=True, slots=True)
class CocoPicture:
    """One picture and its boxes.

    Attributes:
        facts: What the file says of it: ``id``, ``file_name`` and more.
        boxes: What the file says of each of its boxes, in the order of the file.
    """

    facts: Mapping[str, Any]
    boxes: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class CocoFile:
    """A checked file.

    Attributes:
        path: The file.
        pictures: In the order of the file; those with an error are not there.
        categories: Id to name, in the order of ids. The position in it is the class index.
        attributes: Those of :data:`ATTRIBUTES` that every box has, to the NumPy name of their type.
        has_more: Some box says something that has no column of its own.
        problems: What is wrong, and what looks odd.
    """

    path: Path
    pictures: tuple[CocoPicture, ...]
    categories: Mapping[int, str]
    attributes: Mapping[str, str]
    has_more: bool
    problems: tuple[SourceProblem, ...]


def parse_coco(content: bytes, path: Path) -> CocoFile:
    """Parse and check a file.

    Raises:
        InvalidSource: It is no COCO instances file at all, or its categories cannot be told apart.
    """
    said = _load(content, path)
    categories = _categories(said["categories"], path)
    problems: list[SourceProblem] = []
    pictures = _pictures(said["images"], path, problems)
    boxes: dict[int, list[Mapping[str, Any]]] = {number: [] for number in pictures}
    bad: set[int] = set()
    seen: dict[int, int] = {}
    for number, item in enumerate(said["annotations"]):
        place = f"annotations[{number}]"
        problem = _check_box(item, place, path, categories, boxes)
        if problem is None and (first := seen.setdefault(item["id"], number)) != number:
            problem = _error(path, f"{place}: its id is taken", "an id of its own", f"{item['id']}, which annotations[{first}] has")
        if problem is not None:
            problems.append(problem)
            if isinstance(item, dict) and isinstance(item.get("image_id"), int):
                bad.add(item["image_id"])
            continue
        if item["bbox"][2] == 0 or item["bbox"][3] == 0:
            sides = f"{item['bbox'][2]} x {item['bbox'][3]}"
            problems.append(SourceProblem(path, f"{place}: the box has no area ({sides}); it is stored as annotated", severity="warning"))
        boxes[item["image_id"]].append(item)
    kept = [CocoPicture(facts, tuple(boxes[number])) for number, facts in pictures.items() if number not in bad]
    everything = [item for picture in kept for item in picture.boxes]
    attributes = {
        name: "int32" if all(float(item[name]).is_integer() and abs(item[name]) < _LARGEST_32 for item in everything) else "float64"
        for name in ATTRIBUTES
        if everything and all(_is_number(item.get(name)) for item in everything)
    }
    known = {*_OF_A_BOX, *attributes}
    return CocoFile(path, tuple(kept), categories, attributes, any(item.keys() - known for item in everything), tuple(problems))


def box_columns(picture: CocoPicture, file: CocoFile) -> dict[str, Any]:
    """What one picture's boxes say, column to value.

    ``boxes`` float64 (n, 4): left, top, width, height in pixels, the very numbers of the file; ``labels`` uint32 (n,); ``category_ids`` and
    ``annotation_ids`` int64 (n,); ``iscrowd`` int32 (n,); ``area`` float64 (n,), NaN where the file says none; ``segmentation``: JSON, a
    list with one entry for each box, polygons or run lengths as they are; ``more``: JSON, what else is said of each box.
    """
    items = picture.boxes
    index = {number: place for place, number in enumerate(file.categories)}
    ids = [item["category_id"] for item in items]
    columns: dict[str, Any] = {
        "boxes": np.array([item["bbox"] for item in items], np.float64).reshape(-1, 4),
        "labels": np.array([index[number] for number in ids], np.uint32),
        "category_ids": np.array(ids, np.int64),
        "annotation_ids": np.array([item["id"] for item in items], np.int64),
        "iscrowd": np.array([item.get("iscrowd", 0) for item in items], np.int32),
        "area": np.array([item.get("area", math.nan) for item in items], np.float64),
        "segmentation": _text([item.get("segmentation", []) for item in items]),
    }
    for name, kind in file.attributes.items():
        columns[name] = np.array([item[name] for item in items], kind)
    if file.has_more:
        known = {*_OF_A_BOX, *file.attributes}
        columns["more"] = _text([{key: value for key, value in item.items() if key not in known} for item in items])
    return columns


def _load(content: bytes, path: Path) -> dict[str, list[Any]]:
    try:
        said = json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        where = f"{path}:{error.lineno}" if isinstance(error, json.JSONDecodeError) else str(path)
        raise InvalidSource(f"{where}: expected JSON, found something else: {error}", hint="is the file whole?") from error
    if not isinstance(said, dict):
        raise InvalidSource(f"{path}: expected a JSON object with {', '.join(_PARTS)}, found a {type(said).__name__}")
    for part in _PARTS:
        if not isinstance(said.get(part), list):
            found = f"{type(said[part]).__name__} there" if part in said else f"only {', '.join(sorted(said)[:8]) or 'nothing'}"
            raise InvalidSource(
                f"{path}: {part}: expected a list, found {found}", hint="COCO instances hold images, annotations, categories"
            )
    return said


def _categories(items: Sequence[Any], path: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for number, item in enumerate(items):
        place = f"{path}: categories[{number}]"
        if not isinstance(item, dict) or not _is_id(item.get("id")) or not isinstance(item.get("name"), str):
            raise InvalidSource(f"{place}: expected an object with a whole number as id and a text as name, found {_shown(item)}")
        if item["id"] in found:
            raise InvalidSource(f"{place}: expected an id of its own, found {item['id']}, which '{found[item['id']]}' has")
        found[item["id"]] = item["name"]
    twice = [name for name, count in Counter(found.values()).items() if count > 1]
    if twice:
        raise InvalidSource(f"{path}: categories: expected a name of its own for each, found '{twice[0]}' twice", hint="rename one of them")
    if not found:
        raise InvalidSource(f"{path}: categories: expected one or more, found none")
    return dict(sorted(found.items()))


def _pictures(items: Sequence[Any], path: Path, problems: list[SourceProblem]) -> dict[int, Mapping[str, Any]]:
    found: dict[int, Mapping[str, Any]] = {}
    names: dict[str, int] = {}
    twice: set[int] = set()
    for number, item in enumerate(items):
        place = f"images[{number}]"
        if not isinstance(item, dict) or not _is_id(item.get("id")) or not isinstance(item.get("file_name"), str) or not item["file_name"]:
            problems.append(_error(path, f"{place}: is no picture", "a whole number as id and a text as file_name", _shown(item)))
            continue
        if item["id"] in found:
            twice.add(item["id"])
            problems.append(
                _error(path, f"{place}: its id is taken", "an id of its own", f"{item['id']}, as of {found[item['id']]['file_name']}")
            )
            continue
        if (first := names.setdefault(item["file_name"], number)) != number:
            problems.append(_error(path, f"{place}: its file is taken", "a file of its own", f"{item['file_name']}, as in images[{first}]"))
            continue
        found[item["id"]] = item
    return {number: item for number, item in found.items() if number not in twice}  # of two, neither is known to be meant


def _check_box(item: Any, place: str, path: Path, categories: Mapping[int, str], pictures: Mapping[int, Any]) -> SourceProblem | None:
    if not isinstance(item, dict):
        return _error(path, f"{place}: is no annotation", "an object", _shown(item))
    place = f"{place} (id {item.get('id')})"
    for name in ("id", "image_id", "category_id"):
        if not _is_id(item.get(name)):
            return _error(path, f"{place}: {name} is no whole number", "one", _shown(item.get(name)))
    if item["image_id"] not in pictures:
        return _error(path, f"{place}: unknown picture", "the id of one of images", str(item["image_id"]))
    if item["category_id"] not in categories:
        shown = ", ".join(map(str, list(categories)[:12])) + (" …" if len(categories) > 12 else "")
        return _error(path, f"{place}: unknown category", f"one of {shown}", str(item["category_id"]))
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(side) for side in box):
        return _error(path, f"{place}: bbox is no box", "[left, top, width, height] in pixels", _shown(box))
    if box[2] < 0 or box[3] < 0:
        return _error(path, f"{place}: a side of bbox is negative", "0 or more", _shown(box))
    if item.get("iscrowd", 0) not in (0, 1):
        return _error(path, f"{place}: iscrowd is neither 0 nor 1", "0 or 1", _shown(item["iscrowd"]))
    if "area" in item and not _is_number(item["area"]):
        return _error(path, f"{place}: area is no number", "pixels", _shown(item["area"]))
    if not isinstance(item.get("segmentation", []), list | dict):
        return _error(
            path, f"{place}: segmentation is neither polygons nor run lengths", "a list or an object", _shown(item["segmentation"])
        )
    wrong = next(_not_finite(item), None)
    return None if wrong is None else _error(path, f"{place}: holds a number that JSON does not have", "finite numbers", wrong)


def _not_finite(value: Any) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield str(value)
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _not_finite(part)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:60]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _error(path: Path, message: str, expected: str, found: str) -> SourceProblem:
    return SourceProblem(path, message, expected=expected, found=found)
