"""What only COCO says of a box, kept by its importer in columns of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lineage.errors import InvalidSource
from lineage.model.source import ColumnKind
from pipelines.data.export.numbers import plain_numbers

OWN: Mapping[str, ColumnKind] = {"iscrowd": "array", "area": "array", "segmentation": "text"}
"""Column to kind."""


def read_own(row: Mapping[str, Any], names: Sequence[str], count: int, place: str) -> dict[str, list[Any]]:
    """Column to one value for each of ``count`` boxes; ``None`` where the source said nothing.

    Raises:
        InvalidSource: There are fewer values or more, or a text is no JSON list.
    """
    found: dict[str, list[Any]] = {}
    for name in names:
        values = _segmentations(row[name]) if OWN[name] == "text" else _numbers(row[name])
        if values is None or len(values) != count:
            said = "something else" if values is None else str(len(values))
            raise InvalidSource(f"{place}: expected one value for each of {count} boxes in column '{name}', found {said}")
        found[name] = values
    return found


def _segmentations(text: Any) -> list[Any] | None:
    try:
        values = json.loads(text)
    except (TypeError, ValueError):
        return None
    return values if isinstance(values, list) else None


def _numbers(values: Any) -> list[Any] | None:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or (array.size and array.ndim != 1):
        return None
    is_said = np.isfinite(array.ravel().astype(np.float64))
    numbers = plain_numbers(np.where(is_said, array.ravel(), 0))
    return [number if said else None for number, said in zip(numbers, is_said, strict=True)]
