"""A loader that goes on where another stood, that leaves out broken rows, that shares an epoch, and that reads ahead."""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from PIL import Image

import lineage
from lineage.api import process
from lineage.errors import IntegrityError, InvalidSource, LineageError, UsageError
from lineage.record.recorded_view import RecordedView
from lineage.training import DataLoader, epoch_batches

ROWS, BATCH, SEED = 22, 4, 7
BATCHES = -(-ROWS // BATCH)
pytestmark = [
    pytest.mark.forks,
    pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:UserWarning", "ignore:.*fork:DeprecationWarning"),
]
EVERY_WAY = pytest.mark.parametrize(("workers", "method"), [(0, None), (2, "fork"), pytest.param(2, "spawn", marks=pytest.mark.slow)])

# Worker processes that are spawned must be able to import the transform.
HELPER = """
from io import BytesIO
from PIL import Image

def augment(sample, random):
    return (sample["index"], sample["sample_id"], random.random(2).tolist(), sample["boxes"].tolist())

def picky(sample, random):
    if sample["row"] in (3, 17):
        raise ValueError("no boxes")
    return augment(sample, random)

def hopeless(sample, random):
    raise ValueError("never")

def alone(batch):
    return batch
"""


def picture(row: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(row).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loader") / "ds"
    schema = {"images": types.Image(sample_compression="jpeg"), "boxes": types.Array("float32", 2), "sample_id": types.Text()}
    made = deeplake.create(str(folder), schema=schema)
    boxes = [np.full((row % 4, 4), row, "float32") for row in range(ROWS)]
    made.append({"images": [picture(row) for row in range(ROWS)], "boxes": boxes, "sample_id": [f"s{row}" for row in range(ROWS)]})
    made.commit("all")
    return folder


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "resume_helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("resume_helper")


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(repository)
    with lineage.start_run(seed=SEED) as live:
        yield live
    process.wired.cache_clear()


@pytest.fixture
def view(run: Any, dataset: Path) -> RecordedView:
    found: RecordedView = run.use_dataset(dataset, role="train")
    return found


@pytest.fixture
def loader(view: RecordedView, helper: Any) -> Any:
    def make(size: int | None = BATCH, **options: Any) -> DataLoader:
        if (method := options.pop("method", None)) is not None:
            options["multiprocessing_context"] = method
        return DataLoader(view, size, **({"shuffle": True, "transform": helper.augment, "collate_fn": helper.alone} | options))

    return make


def positions(batches: list[Any]) -> list[list[int]]:
    return [[sample[0] for sample in batch] for batch in batches]


# --- going on -----------------------------------------------------------------------------------------------------------------


@EVERY_WAY
def test_it_goes_on_with_exactly_the_batches_that_are_left(loader: Any, workers: int, method: str | None) -> None:
    """Broken off in the second epoch after any number of batches; the state is plain JSON, and counts what the loop got."""
    whole = loader()
    expected = [list(whole) for _ in range(3)]
    for done in range(BATCHES + 1) if workers == 0 else (2,):
        first = loader(num_workers=workers, method=method)
        first.set_epoch(1)
        begun = iter(first)
        for number in range(done):
            assert next(begun) == expected[1][number]
        state = json.loads(json.dumps(first.state_dict()))
        del begun
        assert (state["epoch"], state["batches"]) == (1, done)

        second = loader(num_workers=workers, method=method)
        second.load_state_dict(state)
        assert second.epoch == 1
        assert second.state_dict() == state
        assert list(second) == expected[1][done:]
        assert (second.state_dict()["epoch"], second.state_dict()["batches"]) == (1, BATCHES)
        assert list(second) == expected[2]


def test_it_goes_on_sample_by_sample(loader: Any) -> None:
    """Without batches a sample is what is counted."""
    expected = list(loader(None))
    first = loader(None)
    begun = iter(first)
    assert [next(begun) for _ in range(9)] == expected[:9]
    second = loader(None)
    second.load_state_dict(first.state_dict())

    assert list(second) == expected[9:]


def test_naming_the_epoch_that_is_left_does_not_begin_it_again(loader: Any) -> None:
    """A loop calls ``set_epoch`` each time; another epoch is begun at its beginning."""
    expected = list(loader())
    state = loader().state_dict() | {"batches": 2}
    same, other = loader(), loader()
    for resumed in (same, other):
        resumed.load_state_dict(state)
    same.set_epoch(0)
    other.set_epoch(3)

    assert list(same) == expected[2:]
    same.set_epoch(0)
    assert list(same) == expected
    assert len(list(other)) == BATCHES


@pytest.mark.parametrize(
    ("field", "value"), [("seed", 8), ("rows", 21), ("batch_size", 5), ("shuffle", False), ("drop_last", True), ("world_size", 2)]
)
def test_another_loader_cannot_go_on_from_there(loader: Any, field: str, value: Any) -> None:
    """The field is named, with both values, and the loader stays where it was."""
    made = loader()
    state = made.state_dict()
    with pytest.raises(UsageError, match=f"the loader's {field} is {state[field]!r}, the checkpoint's {value!r}"):
        made.load_state_dict(state | {field: value, "epoch": 5})
    assert made.state_dict() == state


def test_rows_before_are_read_in_that_epoch_too(run: Any, view: RecordedView, loader: Any) -> None:
    """The run that is resumed had them; the record of the epoch holds them, also when the loop leaves it again."""
    expected = epoch_batches(ROWS, SEED, 0, shuffle=True, batch_size=BATCH)
    resumed = loader()
    resumed.load_state_dict(resumed.state_dict() | {"batches": 2})
    for _ in resumed:
        break
    (reads,) = run.record.reads
    assert reads.rows == 3 * BATCH
    assert sorted(row["row"] for row in lineage.rows_of(run.id) if row["epochs"]) == sorted(itertools.chain(*expected[:3]))

    list(resumed)
    assert [(item.first_epoch, item.rows) for item in run.record.reads] == [(0, 12), (1, ROWS)]


# --- broken rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_row_stops_the_training(loader: Any, helper: Any, workers: int) -> None:
    """It is named, with its epoch; what came before it was handed out."""
    first = next(batch for batch in epoch_batches(ROWS, SEED, 0, shuffle=True, batch_size=BATCH) if {3, 17} & set(batch))
    bad = next(position for position in first if position in (3, 17))
    with pytest.raises(InvalidSource, match=rf"row {bad} \(s{bad}\) of .*, epoch 0: the transform failed: ValueError: no boxes"):
        list(loader(transform=helper.picky, num_workers=workers))


@EVERY_WAY
def test_a_broken_row_is_left_out_on_request(run: Any, loader: Any, helper: Any, workers: int, method: str | None) -> None:
    """Its batch is shorter, every other sample is as it would be, the row is not noted as read, and the record says so once."""
    made = loader(transform=helper.picky, on_error="skip", num_workers=workers, method=method)
    found = [list(made) for _ in range(2)]
    whole = loader()

    assert found == [[[sample for sample in batch if sample[0] not in (3, 17)] for batch in whole] for _ in range(2)]
    told = [note for note in run.record.notes if "left out of its batch" in note]
    assert len(told) == 2
    assert all(any(f"row {row} (s{row})" in note for note in told) for row in (3, 17))
    read = run.record.reads[0]
    assert (read.first_epoch, read.last_epoch, read.rows) == (0, 1, ROWS - 2)
    assert run.record.loaders[0].on_error == "skip"


def test_a_batch_without_a_row_is_no_batch_but_counts(loader: Any, helper: Any) -> None:
    """Single samples in order: the two broken ones are passed over, and a loader that goes on from behind one does not see it again."""
    made = loader(None, shuffle=False, transform=helper.picky, on_error="skip")
    begun = iter(made)
    assert [next(begun)[0] for _ in range(4)] == [0, 1, 2, 4]
    state = made.state_dict()
    assert state["batches"] == 5
    second = loader(None, shuffle=False, transform=helper.picky, on_error="skip")
    second.load_state_dict(state)

    assert [sample[0] for sample in second] == [row for row in range(5, ROWS) if row != 17]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_of_which_nothing_is_left_is_an_error(loader: Any, helper: Any, workers: int) -> None:
    """A transform that never works must not train on nothing."""
    with pytest.raises(InvalidSource, match=r"no row is left of epoch 0; the first: row \d+ .*: ValueError: never"):
        list(loader(transform=helper.hopeless, on_error="skip", num_workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("what", ["picture", "boxes"])
def test_a_row_altered_on_disk_is_never_left_out(run: Any, dataset: Path, helper: Any, tmp_path: Path, workers: int, what: str) -> None:
    """One bit of a stored picture, or of an annotation that is kept in memory: ``skip`` is for rows that are as recorded."""
    shutil.copytree(dataset, tmp_path / "ds")
    view = run.use_dataset(tmp_path / "ds", role="train")
    damage(tmp_path / "ds", picture(13) if what == "picture" else np.full((1, 4), 13, "float32").tobytes())
    made = DataLoader(view, BATCH, transform=helper.augment, collate_fn=helper.alone, on_error="skip", num_workers=workers)
    begun = iter(made)

    assert positions([next(begun) for _ in range(3)]) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    with pytest.raises(IntegrityError, match=r"row 13 \(s13\) of"):
        next(begun)


def damage(folder: Path, needle: bytes) -> None:
    """Flip one bit, with the file's old times put back: a disk's bit flip."""
    (file,) = [file for file in folder.rglob("*") if file.is_file() and needle in file.read_bytes()]
    state, stored = file.stat(), bytearray(file.read_bytes())
    stored[stored.index(needle) + len(needle) // 2] ^= 1
    file.write_bytes(stored)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_the_share_follows_from_what_torchrun_sets(loader: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three ranks have disjoint shares of each step; arguments go before variables; the record says which share it is."""
    found = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        made = loader(3)
        found.append(positions(list(made)))
        assert len(made) == len(found[-1])
    shares = [epoch_batches(ROWS, SEED, 0, shuffle=True, batch_size=3, rank=rank, world_size=3) for rank in range(3)]

    assert found == shares
    assert {position for share in found for batch in share for position in batch} == set(range(ROWS))
    assert [(item.rank, item.world_size) for item in run.record.loaders] == [(0, 3), (1, 3), (2, 3)]
    assert positions(list(loader(3, rank=1, world_size=2))) == epoch_batches(
        ROWS, SEED, 0, shuffle=True, batch_size=3, rank=1, world_size=2
    )


@pytest.mark.parametrize(
    ("rank", "size", "message"),
    [
        ("one", "2", "variable RANK: expected a whole number, found 'one'"),
        ("0", "", "variable WORLD_SIZE: expected a whole number, found ''"),
        ("2", "2", "rank 2 of a world of 2"),
        ("-1", "2", "rank -1 of a world of 2"),
        ("0", "0", "rank 0 of a world of 0"),
    ],
)
def test_a_share_that_cannot_be_is_refused(loader: Any, monkeypatch: pytest.MonkeyPatch, rank: str, size: str, message: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(UsageError, match=message):
        loader()


def test_a_run_is_not_begun_with_a_rank_that_is_no_number(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same words from whoever asks first."""
    monkeypatch.chdir(repository)
    monkeypatch.setenv("RANK", "one")
    with pytest.raises(UsageError, match="variable RANK: expected a whole number, found 'one'"):
        lineage.start_run()


def reading_threads(*, wanted: bool = False) -> list[str]:
    """Those there are, once there are some or none: nobody waits for the thread of an iteration that was left."""
    gc.collect()  # what an iteration holds is let go of
    until = time.monotonic() + 20
    while True:
        found = [thread.name for thread in threading.enumerate() if thread.name.startswith("lineage-read-ahead")]
        if bool(found) == wanted or time.monotonic() > until:
            return found
        time.sleep(0.01)


def test_no_thread_is_left_when_an_epoch_is_over(loader: Any, helper: Any) -> None:
    """Whole, broken off, stopped by an error, or begun and forgotten; the loaders are still there."""
    whole, broken_off, broken, forgotten = loader(), loader(), loader(transform=helper.hopeless), loader()
    begun = iter(broken_off)
    next(begun)
    assert reading_threads(wanted=True)
    del begun
    assert reading_threads() == []
    list(whole)
    assert reading_threads() == []
    for _ in broken_off:
        break
    assert reading_threads() == []
    with contextlib.suppress(InvalidSource):
        list(broken)
    assert reading_threads() == []
    iter(forgotten)
    assert reading_threads() == []


def test_an_error_of_reading_comes_at_its_batch(view: RecordedView, loader: Any, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that cannot be read stop the loop where it would have stopped without a thread: batches before them are handed out."""
    order = epoch_batches(ROWS, SEED, 0, shuffle=True, batch_size=BATCH)
    read = RecordedView.samples

    def failing(self: RecordedView, wanted: list[int]) -> Any:
        if wanted == order[2]:
            raise LineageError("storage does not answer")
        return read(self, wanted)

    monkeypatch.setattr(RecordedView, "samples", failing)
    for workers in (0, 1):
        begun = iter(loader(num_workers=workers))
        assert positions([next(begun) for _ in range(2)]) == order[:2]
        with pytest.raises(LineageError, match="storage does not answer"):
            next(begun)
        del begun
