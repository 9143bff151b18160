"""What the columns of an open Deep Lake version hold, as far as a query's meaning depends on it. Asked only when needed, and once."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any

import numpy as np

_FLOATS = ("float16", "float32", "float64", "bfloat16")
_WORDS = {"Text": "text", "ClassLabel": "labels", "Generic": "number"}


class ColumnFacts:
    """Facts about one column.

    Attributes:
        name: Its name.
        kind: ``text``, ``labels``, ``number``, or ``other`` for pictures, masks, mappings and the like.
        ndim: Number of dimensions of a row's value; 0 for single values.
        is_float: Whether its numbers have fractions.
    """

    def __init__(self, dataset: Any, definition: Any) -> None:
        self._dataset = dataset
        self.name: str = definition.name
        self.kind = _WORDS.get(definition.dtype.kind.name, "other")
        self.ndim = len(definition.dtype.shape)
        self.is_float = any(word in str(definition.dtype) for word in _FLOATS)

    @cached_property
    def shapes(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Shape of every row's value, int64, shape (rows, ndim)."""
        if len(self._dataset) == 0:
            return np.empty((0, self.ndim), dtype=np.int64)
        asked = self._dataset.query(f'select shape("{self.name}") as s')
        return np.asarray(asked["s"][:]).astype(np.int64).reshape(len(self._dataset), self.ndim)

    @property
    def shortest(self) -> int:
        """Length of the shortest row."""
        return int(self.shapes[:, 0].min(initial=np.iinfo(np.int64).max))

    @property
    def is_uniform(self) -> bool:
        """Whether all rows have one and the same shape."""
        return len(self.shapes) > 0 and bool((self.shapes == self.shapes[0]).all())

    @property
    def width(self) -> int | None:
        """Size of the second dimension: the smallest of rows that are not empty; ``None`` when every row is empty."""
        filled = self.shapes[self.shapes[:, 0] > 0]
        return int(filled[:, 1].min()) if len(filled) else None

    @property
    def is_even(self) -> bool:
        """Whether every row that is not empty has the same second dimension."""
        filled = self.shapes[self.shapes[:, 0] > 0]
        return len(filled) == 0 or bool((filled[:, 1] == filled[0, 1]).all())

    @property
    def holds_one_value_a_row(self) -> bool:
        """Whether every row's array has exactly one element."""
        return bool((self.shapes.prod(axis=1) == 1).all())

    @cached_property
    def has_nan(self) -> bool:
        """Whether a single value is not a number."""
        return len(self._dataset.query(f'select * where "{self.name}" != "{self.name}"')) > 0

    @cached_property
    def repeated_classes(self) -> dict[str, list[int]]:
        """Class names that stand for several indices: name to indices."""
        metadata = self._dataset[self.name].metadata
        names = list(metadata["class_names"]) if "class_names" in metadata.to_dict() else []
        return {name: [i for i, other in enumerate(names) if other == name] for name, count in Counter(names).items() if count > 1}


def facts_of(dataset: Any) -> dict[str, ColumnFacts]:
    """Facts about every column, by name."""
    return {item.name: ColumnFacts(dataset, item) for item in dataset.schema.columns}
