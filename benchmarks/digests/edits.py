"""The two data sets, and what is done to them. Plain values only; every edit returns a new table."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peers.columns import Table
from PIL import Image

from pipelines.data.scenes import write_scenes
from pipelines.data.visdrone import COLUMNS, VisDroneImporter

SCENES, OBJECTS = 300, 20_000
MORE = 20
"""Rows that are kept aside, to be appended."""
FAR = 15_000
"""A row past the ten thousandth."""


@dataclass(frozen=True)
class Edit:
    """A change that an identity must see."""

    name: str
    change: Callable[[Table], Table]


def drawn_scenes(folder: Path, rows: int, size: tuple[int, int] | None = None) -> Table:
    """Pictures with boxes, as an upload of drawn VisDrone scenes has them, and a truth value a row."""
    write_scenes(folder, train=rows, validation=0, seed=3, size=size)
    importer = VisDroneImporter()
    samples = [importer.read(sample) for sample in importer.scan(folder / "train").samples]
    columns: dict[str, list[Any]] = {column.name: [sample[column.name] for sample in samples] for column in COLUMNS}
    columns["reviewed"] = [row % 3 == 0 for row in range(rows)]
    return Table(columns, {column.name: list(column.class_names) for column in COLUMNS if column.class_names})


def loose_objects(rows: int) -> Table:
    """An annotation table without pictures: one object a row, in plain numbers, as a data frame would have it."""
    random = np.random.default_rng(5)
    columns: dict[str, list[Any]] = {name: list(random.uniform(1, 900, rows).astype(np.float32)) for name in ("left", "top")}
    columns |= {name: list(random.uniform(4, 90, rows).astype(np.float32)) for name in ("width", "height")}
    columns["label"] = list(random.integers(0, 4, rows).astype(np.uint32))
    columns["filename"] = [f"{row // 40:07d}.jpg" for row in range(rows)]
    columns["reviewed"] = [row % 3 == 0 for row in range(rows)]
    return Table(columns, {"label": ["pedestrian", "car", "van", "truck"]})


def scene_edits(table: Table) -> list[Edit]:
    """Edits of the pictures."""
    start = len(table) // 50
    return [
        Edit("label of one object, row 5", _each("labels", lambda old: _put(old, 0, (int(old[0]) + 1) % 10), range(5, 6))),
        Edit("one box coordinate, next float32, row 150", _each("boxes", _nudge, range(150, 151))),
        Edit("one byte of one picture, row 200", _each("images", change_picture, range(200, 201))),
        Edit("boxes of the last 98 % of the rows", _each("boxes", lambda old: old + np.float32(1), range(start, len(table)))),
        *_common(table, gone=120, renamed=7),
    ]


def object_edits(table: Table) -> list[Edit]:
    """Edits of the annotation table."""
    start, half = len(table) // 50, len(table) // 2

    def relabel(old: Any) -> Any:
        return np.uint32((int(old) + 1) % 4)

    return [
        Edit("label, row 5", _each("label", relabel, range(5, 6))),
        Edit(f"label, row {FAR:,}", _each("label", relabel, range(FAR, FAR + 1))),
        Edit("labels of the last half of the rows", _each("label", relabel, range(half, len(table)))),
        Edit("one box coordinate, next float32, row 5,000", _each("left", _next, range(5000, 5001))),
        Edit(f"one box coordinate, next float32, row {FAR:,}", _each("left", _next, range(FAR, FAR + 1))),
        Edit("boxes of the last 98 % of the rows", _each("left", lambda old: old + np.float32(1), range(start, len(table)))),
        *_common(table, gone=FAR, renamed=FAR),
        _swap(table, 12_000),
    ]


def _common(table: Table, *, gone: int, renamed: int) -> list[Edit]:
    return [
        Edit("truth value 'reviewed' of every row", _each("reviewed", lambda old: not old, range(len(table)))),
        Edit("class names permuted", _permute_names),
        _swap(table, 10),
        Edit(f"row {gone:,} removed", _rows([row for row in range(len(table)) if row != gone])),
        Edit(f"file of row {renamed:,} renamed", _each("filename", lambda old: f"renamed-{old}", range(renamed, renamed + 1))),
    ]


def _swap(table: Table, row: int) -> Edit:
    order = [*range(row), row + 1, row, *range(row + 2, len(table))]
    return Edit(f"rows {row:,} and {row + 1:,} swapped", _rows(order))


def change_picture(encoded: bytes) -> bytes:
    """The picture with one byte changed, one that changes its pixels: readers of pixels must have a chance to see it."""
    before = np.asarray(Image.open(io.BytesIO(encoded)))
    for place in range(len(encoded) * 2 // 3, len(encoded)):
        changed = bytearray(encoded)
        changed[place] ^= 1
        try:
            after = np.asarray(Image.open(io.BytesIO(changed)))
        except OSError:
            continue
        if after.shape == before.shape and not np.array_equal(after, before):
            return bytes(changed)
    raise ValueError("no byte of this picture changes its pixels")


def split(table: Table, count: int) -> tuple[Table, Table]:
    """The first rows, and the rest."""
    return _rows(range(count))(table), _rows(range(count, len(table)))(table)


def other_column_order(table: Table) -> Table:
    """The same columns, last one first."""
    return Table(dict(reversed(table.columns.items())), table.class_names)


def _each(column: str, change: Callable[[Any], Any], rows: range) -> Callable[[Table], Table]:
    def apply(table: Table) -> Table:
        made = table.copy()
        for row in rows:
            made.columns[column][row] = change(made.columns[column][row])
        return made

    return apply


def _rows(rows: Iterable[int]) -> Callable[[Table], Table]:
    chosen = list(rows)
    return lambda table: Table({name: [values[row] for row in chosen] for name, values in table.columns.items()}, table.class_names)


def _permute_names(table: Table) -> Table:
    return Table(table.columns, {column: [*names[1:], names[0]] for column, names in table.class_names.items()})


def _put(values: Any, place: int, value: Any) -> Any:
    changed = values.copy()
    changed[place] = value
    return changed


def _nudge(boxes: Any) -> Any:
    changed = boxes.copy()
    changed[0, 0] = _next(changed[0, 0])
    return changed


def _next(value: Any) -> Any:
    return np.nextafter(np.float32(value), np.float32(np.inf))
