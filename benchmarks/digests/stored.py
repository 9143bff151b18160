"""Tables as real Deep Lake datasets, and as folders of files."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
from deeplake import types
from peers.columns import Table

PARTS = 10
"""Commits that a dataset is made in: a compaction has something to do."""


def store(table: Table, folder: Path) -> None:
    """Make a dataset."""
    dataset = deeplake.create(str(folder), schema={name: _type(table, name) for name in table.columns})
    for name, names in table.class_names.items():
        dataset[name].metadata["class_names"] = names
    edges = np.linspace(0, len(table), PARTS + 1).astype(int)
    for number, (start, stop) in enumerate(pairwise(edges)):
        dataset.append({name: values[start:stop] for name, values in table.columns.items()})
        dataset.commit(f"part {number}")


def append(table: Table, folder: Path) -> str:
    """Add rows to a dataset; returns the commit it had before."""
    dataset = deeplake.open(str(folder))
    before = str(dataset.version)
    dataset.append(table.columns)
    dataset.commit("more rows")
    return before


def update(folder: Path, column: str, row: int, value: Any) -> str:
    """Change a value where it is; returns the commit the dataset had before."""
    dataset = deeplake.open(str(folder))
    before = str(dataset.version)
    dataset[column][row] = value
    dataset.commit("a correction")
    return before


def delete(folder: Path, row: int) -> str:
    """Take out a row; returns the commit the dataset had before."""
    dataset = deeplake.open(str(folder))
    before = str(dataset.version)
    dataset.delete(row)
    dataset.commit("a row less")
    return before


def compact(folder: Path) -> None:
    """Let Deep Lake write the dataset's files anew.

    Raises:
        RuntimeError: No file changed, so nothing would be tested.
    """
    before = _files(folder)
    dataset = deeplake.open(str(folder))
    dataset.compact()
    if _files(folder) == before:
        raise RuntimeError(f"compaction changed no file of {folder}")


def _files(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.stat().st_size) for path in folder.rglob("*") if path.is_file())


def _type(table: Table, name: str) -> Any:
    value = table.columns[name][0]
    if isinstance(value, bytes):
        return types.Image(sample_compression="jpeg")
    if isinstance(value, str):
        return types.Text()
    if isinstance(value, bool):
        return types.Bool()
    kind = np.asarray(value).dtype.name
    element = types.Array(kind, np.ndim(value)) if np.ndim(value) else kind
    return types.ClassLabel(element) if name in table.class_names else element


def write_files(table: Table, folder: Path) -> None:
    """The files that somebody would hand to a tool for files: pictures and a text each, or one CSV table; and the class names."""
    folder.mkdir(parents=True)
    names = [f"{column}: {', '.join(names)}\n" for column, names in table.class_names.items()]
    (folder / "classes.txt").write_text("".join(names))
    columns = table.columns
    if "images" not in columns:
        with (folder / "objects.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([list(columns), *zip(*columns.values(), strict=True)])
        return
    for part in ("images", "annotations"):
        (folder / part).mkdir()
    for row, name in enumerate(columns["filename"]):
        (folder / "images" / name).write_bytes(columns["images"][row])
        objects = zip(*(columns[key][row] for key in ("boxes", "score", "labels", "truncation", "occlusion")), strict=True)
        lines = [",".join(map(str, [*box, *others])) for box, *others in objects]
        lines += [f"{key}: {columns[key][row]}" for key in ("sample_id", "sequence", "reviewed")]
        (folder / "annotations" / f"{name}.txt").write_text("\n".join(lines))
