"""Which columns of a dataset hold pictures, boxes and classes, chosen by kind."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lineage.errors import InvalidSource
from lineage.model.source import Column
from pipelines.data.visdrone_format import CLASS_NAMES

IGNORED_REGIONS = CLASS_NAMES[0]
"""Name of the class that is none: parts of a picture where objects were not annotated."""

ATTRIBUTES = ("truncation", "occlusion", "score")
"""Columns that say one more thing of each box."""

_TEXTS = ("filename", "sample_id", "sequence")
_BOXES = re.compile(r"(?:^|[_./-])(?:bounding_?)?b?box(?:es)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ChosenColumns:
    """The columns an export reads.

    Attributes:
        picture: Column of encoded pictures.
        boxes: Column of boxes.
        labels: Column of class indices, one for each box.
        class_names: Names by index; empty when the dataset names none.
        attributes: Those of :data:`ATTRIBUTES` that are there.
        texts: Those of file name, sample id and sequence that are there.
        others: Every other column; no layout has a place for them.
    """

    picture: str
    boxes: str
    labels: str
    class_names: tuple[str, ...]
    attributes: tuple[str, ...]
    texts: tuple[str, ...]
    others: tuple[str, ...]

    def is_ignored_region(self, label: int) -> bool:
        """Whether a class index stands for ignored regions."""
        return label < len(self.class_names) and self.class_names[label] == IGNORED_REGIONS

    def class_numbers(self, count: int | None = None) -> dict[int, int]:
        """Class index to number among the real classes, from 0; ignored regions have none.

        Args:
            count: Number of classes when the dataset names none.
        """
        indices = range(len(self.class_names) or count or 0)
        return {index: number for number, index in enumerate(i for i in indices if not self.is_ignored_region(i))}

    def class_name(self, index: int) -> str:
        """Name of a class; made up from the index when the dataset names none."""
        return self.class_names[index] if self.class_names else f"class {index}"


def choose_columns(columns: Mapping[str, Column], layout: str) -> ChosenColumns:
    """Find the columns by kind: one of pictures, one array named ``boxes`` (or ``bbox``, ``bounding_boxes`` …), one of class labels.

    Of several that fit, the one with the usual name (``images``, ``boxes``, ``labels``) is taken; the others are named in ``export.json``.

    Args:
        columns: Every column of the dataset.
        layout: Name of the layout, for messages.

    Raises:
        InvalidSource: None fits, or several do and none has the usual name.
    """
    pictures = [name for name, column in columns.items() if column.kind == "image"]
    # A backend may not know the number of dimensions, which then is said without an element type.
    boxes = [
        name
        for name, column in columns.items()
        if column.kind == "array" and _BOXES.search(name) and (not column.dtype or column.ndim == 2)
    ]
    labels = [name for name, column in columns.items() if column.kind == "class_labels"]
    found = ", ".join(f"{name} ({column.kind})" for name, column in columns.items()) or "no column"
    picture = _one(pictures, "images", "a column of pictures", layout, found)
    box = _one(boxes, "boxes", "an array column named boxes with two dimensions", layout, found)
    label = _one(labels, "labels", "a column of class labels", layout, found)
    attributes = tuple(name for name in ATTRIBUTES if name in columns and columns[name].kind == "array")
    texts = tuple(name for name in _TEXTS if name in columns and columns[name].kind == "text")
    used = {picture, box, label, *attributes, *texts}
    return ChosenColumns(
        picture=picture,
        boxes=box,
        labels=label,
        class_names=columns[label].class_names,
        attributes=attributes,
        texts=texts,
        others=tuple(sorted(set(columns) - used)),
    )


def _one(fitting: Sequence[str], usual: str, wanted: str, layout: str, found: str) -> str:
    if usual in fitting:
        return usual
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise InvalidSource(f"layout {layout}: expected {wanted}, found {found}")
    raise InvalidSource(
        f"layout {layout}: expected {wanted}, found {len(fitting)} that fit: {', '.join(fitting)}",
        hint=f"which one is meant cannot be known; a column named '{usual}' would be taken",
    )
