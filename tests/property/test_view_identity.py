"""The digest of a view on real datasets: any edit of its rows changes it, nothing else does. Edits are chosen by Hypothesis."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import hypothesis
import numpy as np
import pytest
from deeplake import types
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image

from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.adapters.objects.folder import FolderObjectStore
from lineage.adapters.stores.row_index import SqlRowIndex
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.model.dataset import InputRecord
from lineage.record.identity import record_input, recorded_names, recorded_rows

ROWS = 24
QUERY = "select * where any(labels == 'car') or frames == 3"
SCHEMA = {
    "images": types.Image(sample_compression="jpeg"),
    "boxes": types.Array("float32", 2),
    "labels": types.ClassLabel(types.Array("uint32", 1)),
    "frames": types.Int32(),
    "truncation": types.Array("float64", 1),
    "note": types.Text(),
    "sample_id": types.Text(),
}


def picture(row: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(row).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def columns() -> dict[str, list[Any]]:
    """Row by row: up to three boxes; every row with a car is in the view, and those of frame 3."""
    rows = range(ROWS)
    return {
        "images": [picture(row) for row in rows],
        "boxes": [np.arange(4 * (row % 4), dtype="float32").reshape(-1, 4) + row for row in rows],
        "labels": [np.arange(row % 4, dtype="uint32") % 2 for row in rows],
        "frames": [row % 5 for row in rows],
        "truncation": [np.array([0.5, np.nan, -0.0][: row % 4]) for row in rows],
        "note": ["" if row % 3 else f"ü {row}\n" for row in rows],
        "sample_id": [f"s{row}" for row in rows],
    }


VIEW = [row for row in range(ROWS) if row % 4 >= 1 or row % 5 == 3]


def write(folder: Path, rows: dict[str, list[Any]], names: tuple[str, ...] = ("car", "van")) -> None:
    dataset = deeplake.create(str(folder), schema=SCHEMA)
    dataset["labels"].metadata["class_names"] = list(names)
    for part in (slice(0, 10), slice(10, None)):
        dataset.append({name: column[part] for name, column in rows.items()})
        dataset.commit("part")


@dataclasses.dataclass
class Store:
    """A dataset and a fresh store beside it: nothing is remembered from another one."""

    folder: Path

    def record(self, dataset: str = "ds", **which: Any) -> InputRecord:
        objects, backend = FolderObjectStore(self.folder / "objects"), DeepLakeBackend()
        database = SqliteDatabase(self.folder / "index.sqlite")
        try:
            chosen = backend.resolve(f"file://{self.folder / dataset}", **({"query": QUERY} | which))
            return record_input(backend, objects, SqlRowIndex(database), chosen, "train")
        finally:
            database.close()


def recorded(rows: dict[str, list[Any]], names: tuple[str, ...] = ("car", "van")) -> str:
    """Digest of the view of a dataset that is made of these rows."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "ds", rows, names)
        return Store(Path(folder)).record().content_digest


@pytest.fixture(scope="module")
def expected() -> str:
    return recorded(columns())


# --- what changes it --------------------------------------------------------------------------------------------------------


def _flipped_bit(array: np.ndarray[Any, Any], data: st.DataObject) -> np.ndarray[Any, Any]:
    changed = array.copy()
    stored = changed.reshape(-1).view(np.uint8)
    stored[data.draw(st.integers(0, len(stored) - 1), "byte")] ^= 1 << data.draw(st.integers(0, 7), "bit")
    return changed


def edit_array(name: str) -> Callable[[dict[str, list[Any]], st.DataObject], None]:
    def edit(rows: dict[str, list[Any]], data: st.DataObject) -> None:
        row = data.draw(st.sampled_from([row for row in VIEW if rows[name][row].size]), "row")
        rows[name][row] = _flipped_bit(rows[name][row], data)

    return edit


def edit_label(rows: dict[str, list[Any]], data: st.DataObject) -> None:
    """Another class for one box, so that the row stays in the view."""
    row = data.draw(st.sampled_from([row for row in VIEW if row % 4 >= 2]), "row")
    changed = rows["labels"][row].copy()
    changed[data.draw(st.integers(1, len(changed) - 1), "box")] ^= 1
    rows["labels"][row] = changed


def edit_picture(rows: dict[str, list[Any]], data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(VIEW), "row")
    content = bytearray(rows["images"][row])
    content[data.draw(st.integers(0, len(content) - 1), "byte")] ^= 1 << data.draw(st.integers(0, 7), "bit")
    rows["images"][row] = bytes(content)


def drop_box(rows: dict[str, list[Any]], data: st.DataObject) -> None:
    row = data.draw(st.sampled_from([row for row in VIEW if row % 4 >= 2]), "row")
    rows["boxes"][row] = rows["boxes"][row][:-1]


def swap_rows(rows: dict[str, list[Any]], data: st.DataObject) -> None:
    """Two rows of the view change places: the same rows, in another order."""
    left, right = data.draw(st.lists(st.sampled_from(VIEW), min_size=2, max_size=2, unique=True), "rows")
    for column in rows.values():
        column[left], column[right] = column[right], column[left]


def edit_text(rows: dict[str, list[Any]], data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(VIEW), "row")
    rows["note"][row] += data.draw(st.sampled_from(["x", " ", "\n", "ü"]), "character")


def edit_number(rows: dict[str, list[Any]], data: st.DataObject) -> None:
    row = data.draw(st.sampled_from([row for row in VIEW if row % 4 >= 1 and row % 5 != 3]), "row")
    rows["frames"][row] = data.draw(st.integers(-(2**31), 2**31 - 1).filter(lambda value: value != row % 5), "value")


def swap_columns(rows: dict[str, list[Any]], data: st.DataObject) -> None:
    """A text moves from one column into another."""
    row = data.draw(st.sampled_from(VIEW), "row")
    rows["note"][row], rows["sample_id"][row] = rows["sample_id"][row], rows["note"][row]


EDITS = {
    "box coordinate": edit_array("boxes"),
    "truncation": edit_array("truncation"),
    "label": edit_label,
    "picture byte": edit_picture,
    "box dropped": drop_box,
    "rows swapped": swap_rows,
    "text": edit_text,
    "number": edit_number,
    "texts swapped": swap_columns,
}


@pytest.mark.parametrize("edit", EDITS)
def test_any_edit_of_a_row_changes_the_digest(expected: str, edit: str) -> None:
    """One bit of one coordinate, one label, one byte of one picture, anywhere in the view."""

    @settings(deadline=None, max_examples=10, database=None)
    @hypothesis.given(st.data())
    def check(data: st.DataObject) -> None:
        rows = columns()
        EDITS[edit](rows, data)
        assert recorded(rows) != expected

    check()


def test_other_class_names_change_the_digest(expected: str) -> None:
    """The same numbers that mean other things."""
    assert recorded(columns(), ("car", "bus")) != expected
    assert recorded(columns(), ("car", "van", "bus")) != expected


# --- what does not ----------------------------------------------------------------------------------------------------------


def reload(dataset: Path) -> Path:
    deeplake.open(str(dataset)).refresh()
    return dataset


def append(dataset: Path) -> Path:
    opened = deeplake.open(str(dataset))
    opened.append({name: [column[0], column[4]] for name, column in columns().items()})  # rows that the view leaves out
    opened.commit("more")
    return dataset


def compact(dataset: Path) -> Path:
    opened = deeplake.open(str(dataset))
    opened.compact()
    opened.commit("compacted")
    return dataset


def many_commits(dataset: Path) -> Path:
    """So many that Deep Lake compacts its log by itself."""
    for number in range(70):
        opened = deeplake.open(str(dataset))
        opened["labels"].metadata["commit"] = number
        opened.commit(str(number))
    return dataset


def tag(dataset: Path) -> Path:
    opened = deeplake.open(str(dataset))
    tag = opened.query(QUERY).tag("mine", "")
    tag.rename("yours")
    return dataset


def rename_folder(dataset: Path) -> Path:
    return dataset.rename(dataset.with_name("renamed ü"))


def copy(dataset: Path) -> Path:
    deeplake.copy(str(dataset), str(dataset.with_name("copy")))
    return dataset.with_name("copy")


def branch(dataset: Path) -> Path:
    opened = deeplake.open(str(dataset))
    opened.branch("work")
    other = opened.branches["work"].open()
    other["labels"][1] = np.array([1], "uint32")
    other.commit("on the branch")
    return dataset


def describe(dataset: Path) -> Path:
    opened = deeplake.open(str(dataset))
    opened.metadata["owner"] = "somebody"
    opened.name, opened.description = "cars", "all of them"
    opened.commit("described")
    return dataset


STEPS = {
    step.__name__: step
    for step in (reload, append, compact, many_commits, tag, rename_folder, copy, branch, describe)
}  # fmt: skip


@pytest.mark.parametrize("fresh", [True, False], ids=["another store", "the same store"])
@pytest.mark.parametrize("step", STEPS)
def test_nothing_else_changes_it(expected: str, tmp_path: Path, step: str, fresh: bool) -> None:
    """Recorded before, and after: the same digest, rows and names, whatever the store remembers."""
    write(tmp_path / "ds", columns())
    store = Store(tmp_path)
    before = store.record()
    dataset = STEPS[step](tmp_path / "ds")
    if fresh:
        shutil.rmtree(tmp_path / "objects")
        (tmp_path / "index.sqlite").unlink()
    after = store.record(dataset.name)

    assert before.content_digest == expected
    objects = FolderObjectStore(tmp_path / "objects")
    rows = recorded_rows(objects, after)
    assert rows.tolist() == VIEW
    assert after.content_digest == expected
    assert recorded_names(objects, after, rows).sample_ids == tuple(f"s{row}" for row in VIEW)


def test_a_heavy_compaction_is_noticed(expected: str, tmp_path: Path) -> None:
    """Deep Lake's heavy compaction encodes pictures anew (measured on 4.7.4): other bytes, another digest. The recorded commit stays."""
    write(tmp_path / "ds", columns())
    store = Store(tmp_path)
    before = store.record()
    deeplake.open(str(tmp_path / "ds"))._heavy_compact()
    again = store.record(commit_id=before.commit_id)

    assert store.record().content_digest != expected
    assert again.content_digest == expected
