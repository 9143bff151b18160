"""What a view keeps in memory and shares with its workers: the same values, read-only, within a limit, and checked all the same."""

from __future__ import annotations

import functools
import importlib
import multiprocessing.util
import os
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from PIL import Image

import lineage
from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.api import process
from lineage.errors import IntegrityError
from lineage.record.recorded_view import RecordedView
from lineage.record.small_columns import SmallColumns, small_columns
from lineage.training import DataLoader

ROWS, BLOCK = 600, 256  # more than two blocks
LARGE = 40_000  # rows whose digests are more than a MiB


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("small") / "ds"
    schema = {
        "images": types.Image(sample_compression="jpeg"),
        "boxes": types.Array("float32", 2),
        "labels": types.Array("int32", 1),
        "sample_id": types.Text(),
        "number": types.Int64(),
        "weather": types.Dict(),
        "mask": types.Array("uint8", 2),
    }
    made = deeplake.create(str(folder), schema=schema)
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (9, 9, 9)).save(buffer, "JPEG")
    source = np.random.default_rng(0)
    made.append(
        {
            "images": [buffer.getvalue()] * ROWS,
            "boxes": [source.random((row % 3, 4)).astype("float32") for row in range(ROWS)],
            "labels": [np.arange(row % 3, dtype="int32") for row in range(ROWS)],
            "sample_id": [f"s{row}" for row in range(ROWS)],
            "number": list(range(ROWS)),
            "weather": [{"row": row} for row in range(ROWS)],
            "mask": [source.integers(0, 255, (100, 100), dtype="uint8") for _ in range(ROWS)],
        }
    )
    made.commit("all")
    return f"file://{folder}"


@pytest.fixture(scope="module")
def reader(dataset: str) -> Any:
    found = DeepLakeBackend().resolve(dataset)
    return DeepLakeBackend().open(dataset, found.version.branch, found.version.commit_id)


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(repository)
    with lineage.start_run(seed=7) as live:
        yield live
    process.wired.cache_clear()


class Counted:
    """A reader that says what was read."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.calls: list[int] = []

    def read(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> Any:
        self.calls.append(len(rows))
        return self._reader.read(rows, columns)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    return bool(type(left) is type(right) and left == right)


@pytest.mark.parametrize("order", ["ascending", "shuffled", "descending", "repeated"])
def test_values_are_those_of_the_dataset_in_any_order(reader: Any, order: str) -> None:
    """Each position has the value that reading its row alone gives, whatever the view's order; blocks are read once."""
    source = np.random.default_rng(1)
    rows = {
        "ascending": np.arange(3, ROWS, dtype=np.int64),
        "shuffled": source.permutation(ROWS)[:500].astype(np.int64),
        "descending": np.arange(ROWS - 1, -1, -1, dtype=np.int64),
        "repeated": source.integers(0, ROWS, 700),
    }[order]
    counted = Counted(reader)
    kept = SmallColumns(counted, rows, ["boxes", "labels", "sample_id", "number"])  # type: ignore[arg-type]
    for _ in range(2):
        for positions in ([0], [len(rows) - 1, 0, 255, 256, 0], source.integers(0, len(rows), 60).tolist()):
            found = kept.read(positions)
            assert found is not None
            for place, position in enumerate(positions):
                alone = reader.read([int(rows[position])], kept.names)
                assert all(same(found[name][place], alone[name][0]) for name in kept.names), (position, alone)
    assert sum(counted.calls) <= len(rows)
    assert max(counted.calls) <= BLOCK


def test_only_columns_that_are_small_and_fixed_are_kept(reader: Any) -> None:
    """No picture, nothing above 8 KiB a row, nothing that whoever gets it could change, such as a dictionary."""
    assert set(small_columns(reader.read(range(20)), ["images"])) == {"boxes", "labels", "sample_id", "number"}


def test_what_is_kept_cannot_be_written_to(run: Any, dataset: str) -> None:
    """A transform that writes into its sample fails in place of spoiling the next epoch; the first read and later ones are alike."""
    view = run.use_dataset(dataset, role="train")
    for _ in range(2):
        sample = view.samples([5])[0]
        with pytest.raises(ValueError, match="read-only"):
            sample["boxes"][0, 0] = 1
        sample["sample_id"] = "mine"
    assert view.samples([5])[0]["sample_id"] == "s5"


class Fresh(Counted):
    """A reader whose arrays could be written to, as some backends' can."""

    def read(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> Any:
        found = super().read(rows, columns)
        return {name: [np.array(value) if isinstance(value, np.ndarray) else value for value in column] for name, column in found.items()}


def test_what_is_kept_is_read_only_whatever_the_reader_gave(reader: Any) -> None:
    kept = SmallColumns(Fresh(reader), np.arange(ROWS, dtype=np.int64), ["boxes", "labels"])  # type: ignore[arg-type]
    found = kept.read([5])

    assert found is not None
    assert not found["boxes"][0].flags.writeable
    assert not found["labels"][0].flags.writeable


def test_no_more_than_the_limit_is_kept(reader: Any) -> None:
    """Once it is used up no further block is read; the rows that are kept stay, the others are read as without it."""
    counted = Counted(reader)
    kept = SmallColumns(counted, np.arange(ROWS, dtype=np.int64), ["boxes", "sample_id"], limit_bytes=1000)  # type: ignore[arg-type]

    assert kept.read([3]) is not None
    assert kept.read([BLOCK]) is None
    assert kept.read([3, BLOCK]) is None
    assert kept.read([BLOCK - 1]) is not None
    assert counted.calls == [BLOCK]
    assert SmallColumns(reader, np.arange(ROWS, dtype=np.int64), []).read([0]) is None


def test_a_view_gives_the_same_samples_with_and_without_it(run: Any, dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for rows asked for twice, and beyond the limit."""
    query = "select * order by number desc"
    view = run.use_dataset(dataset, query=query, role="train")
    asked = [*np.random.default_rng(2).integers(0, ROWS, 50).tolist(), 7, 7, 0, ROWS - 1]
    expected = [view.sample(position) for position in asked]
    limited = functools.partial(SmallColumns, limit_bytes=1)
    for columns in (SmallColumns, limited):
        monkeypatch.setattr("lineage.record.recorded_view.SmallColumns", columns)
        fresh = run.use_dataset(dataset, query=query, role="again")
        for _ in range(2):
            found = fresh.samples(asked)
            assert [sample["row"] for sample in found] == [ROWS - 1 - position for position in asked]
            assert all(same(sample[name], other[name]) for sample, other in zip(found, expected, strict=True) for name in other)


def test_a_row_altered_on_disk_is_found_although_its_block_is_kept(run: Any, tmp_path: Path) -> None:
    """The block is read after the alteration, for the sake of another row: this one is found when it is asked for, and not before."""
    made = deeplake.create(str(tmp_path / "ds"), schema={"boxes": types.Array("float32", 1), "sample_id": types.Text()})
    boxes = [np.full(4, row, "float32") for row in range(50)]
    made.append({"boxes": boxes, "sample_id": [f"s{row}" for row in range(50)]})
    made.commit("all")
    del made
    view = run.use_dataset(tmp_path / "ds", role="train")
    (file,) = [file for file in (tmp_path / "ds").rglob("*") if file.is_file() and boxes[33].tobytes() in file.read_bytes()]
    stored = bytearray(file.read_bytes())
    stored[stored.index(boxes[33].tobytes()) + 5] ^= 1
    file.write_bytes(stored)

    for _ in range(3):
        assert [sample["sample_id"] for sample in view.samples([3, 32, 34])] == ["s3", "s32", "s34"]
    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"row 33 \(s33\)"):
            view.samples([3, 33])


# --- digests on their way to workers -------------------------------------------------------------------------------------------

TELLER = """
class Told:
    def __init__(self, view):
        self.view = view

    def __call__(self, sample, random):
        digests = self.view.digests
        return sample["number"], [(array.tobytes(), array.flags.writeable) for array in (digests.rows, digests.pictures, self.view.rows)]

def alone(batch):
    return batch
"""


@pytest.fixture
def teller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "teller.py").write_text(TELLER)
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("teller")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large") / "ds"
    made = deeplake.create(str(folder), schema={"number": types.Int64()})
    made.append({"number": list(range(LARGE))})
    made.commit("all")
    return folder


def told(view: RecordedView, teller: Any, context: str) -> list[Any]:
    """What each of two workers has."""
    loader = DataLoader(
        view, 1, transform=teller.Told(view), collate_fn=teller.alone, num_workers=2, prefetch_factor=1, multiprocessing_context=context
    )
    begun = iter(loader)
    return [next(begun)[0] for _ in range(2)]


@pytest.mark.parametrize("context", ["spawn", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_workers_that_are_fresh_interpreters_share_one_copy(
    run: Any, large: Path, teller: Any, context: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digests of more than a MiB reach them in one nameless file each, read-only, and equal; smaller arrays travel in the pickle."""
    view = run.use_dataset(large, role="train")
    expected = [array.tobytes() for array in (view.digests.rows, view.digests.pictures, view.rows)]
    assert len(expected[0]) > 1 << 20 > len(expected[2])
    files: list[Any] = []
    original = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: files.append(original()) or files[-1])
    multiprocessing.util.get_temp_dir()  # asked once for each process; names of the fork server's sockets there must be short
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    for number, (value, arrays) in enumerate(told(view, teller, context)):
        assert value == number
        assert [content for content, _ in arrays] == expected
        assert [is_writeable for _, is_writeable in arrays[:2]] == [False, False]
    assert len(files) == 2
    assert not [name for name in os.listdir(tmp_path / "temporary") if name.startswith("tmp")]


@pytest.mark.slow
def test_without_room_for_temporary_files_each_has_its_own(run: Any, large: Path, teller: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    view = run.use_dataset(large, role="train")
    found = told(view, teller, "spawn")

    assert [value for value, _ in found] == [0, 1]
    assert all(arrays[0][0] == view.digests.rows.tobytes() for _, arrays in found)


def test_an_ordinary_pickle_holds_everything(run: Any, large: Path) -> None:
    """Saved to a file, or sent elsewhere: there is no process being started that could take a file over."""
    view = run.use_dataset(large, role="train")
    content = pickle.dumps(view)
    found = pickle.loads(content)

    assert len(content) > 2 * LARGE * 32
    assert np.array_equal(found.digests.rows, view.digests.rows)
    assert found.samples([LARGE - 1, 5]) == view.samples([LARGE - 1, 5])
