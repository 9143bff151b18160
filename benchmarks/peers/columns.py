"""Tables that travel between environments: columns of plain values in one .npz file. Needs NumPy only."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Table:
    """Rows of a dataset, by column.

    Attributes:
        columns: Column name to one value a row: bytes, text, a number, a truth value, or an array with any number of objects.
        class_names: Names by index, for columns of class labels.
    """

    columns: dict[str, list[Any]]
    class_names: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def copy(self) -> Table:
        """A table whose lists can be changed; the values in them are shared."""
        return Table({name: list(values) for name, values in self.columns.items()}, {k: list(v) for k, v in self.class_names.items()})

    def differs(self, other: Table) -> bool:
        """Whether rows, their order, types or class names differ; the order of columns does not count."""
        if self.columns.keys() != other.columns.keys() or len(self) != len(other) or self.class_names != other.class_names:
            return True
        return any(not _equal(a, b) for name, values in self.columns.items() for a, b in zip(values, other.columns[name], strict=True))


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, bytes | str):
        return bool(left == right)
    a, b = np.asarray(left), np.asarray(right)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def save(table: Table, path: Path) -> None:
    """Write a table."""
    kinds: dict[str, str] = {}
    arrays: dict[str, Any] = {}
    for name, values in table.columns.items():
        first = values[0]
        if isinstance(first, bytes):
            kinds[name] = "bytes"
            arrays[name] = np.frombuffer(b"".join(values), np.uint8)
            arrays[f"{name}/sizes"] = np.array([len(value) for value in values])
        elif isinstance(first, str):
            kinds[name] = "text"
            arrays[name] = np.array(values)
        elif np.ndim(first) == 0:
            kinds[name] = "number"
            arrays[name] = np.asarray(values)
        else:
            kinds[name] = "array"
            arrays[name] = np.concatenate(values)
            arrays[f"{name}/sizes"] = np.array([len(value) for value in values])
    np.savez(path, _about=np.array(json.dumps({"kinds": kinds, "class_names": table.class_names})), **arrays)


def load(path: Path) -> Table:
    """Read what :func:`save` wrote."""
    with np.load(path) as file:
        about = json.loads(str(file["_about"]))
        columns: dict[str, list[Any]] = {}
        for name, kind in about["kinds"].items():
            values = file[name]
            if kind in ("bytes", "array"):
                parts = np.split(values, np.cumsum(file[f"{name}/sizes"])[:-1])
                columns[name] = [part.tobytes() for part in parts] if kind == "bytes" else parts
            else:
                columns[name] = [str(value) for value in values] if kind == "text" else list(values)
    return Table(columns, about["class_names"])
