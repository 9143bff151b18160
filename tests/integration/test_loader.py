"""Batches of a recorded view: the same for any number of workers and any way of starting them."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
import torch
from deeplake import types
from PIL import Image

import lineage
from lineage.adapters.datasets.deeplake_fork import GATE
from lineage.api import process
from lineage.errors import InvalidSource
from lineage.record.recorded_view import RecordedView
from lineage.training import DataLoader, make_deterministic
from lineage.training.fetching import PinnedDataset

ROWS = 23
pytestmark = [
    pytest.mark.forks,
    pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:UserWarning", "ignore:.*fork:DeprecationWarning"),
]

# Stands in for a training script's own module: worker processes that are spawned must be able to import the transform.
HELPER = """
import numpy as np

def augment(sample, random):
    return (sample["sample_id"], sample["index"], sample["row"], random.random(2).tolist(), len(sample["images"]), sample["boxes"].tolist())

def alone(batch):
    return batch
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loader") / "ds"
    schema = {"images": types.Image(sample_compression="jpeg"), "boxes": types.Array("float32", 2), "sample_id": types.Text()}
    made = deeplake.create(str(folder), schema=schema)
    pictures, boxes = [], []
    for row in range(ROWS):
        buffer = BytesIO()
        Image.fromarray(np.random.default_rng(row).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
        pictures.append(buffer.getvalue())
        boxes.append(np.full((row % 4, 4), row, "float32"))
    made.append({"images": pictures, "boxes": boxes, "sample_id": [f"s{row}" for row in range(ROWS)]})
    made.commit("all")
    return folder


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(repository)
    with lineage.start_run(seed=7) as live:
        yield live
    process.wired.cache_clear()


@pytest.fixture
def view(run: Any, dataset: Path) -> RecordedView:
    """Rows 3 and on, so that positions in the view are not positions in the dataset."""
    found: RecordedView = run.use_dataset(dataset, query="select * where row_number() > 2", role="train")
    return found


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import importlib

    (tmp_path / "loader_helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("loader_helper")


def epochs(view: RecordedView, helper: Any, count: int = 2, **options: Any) -> list[list[Any]]:
    loader = DataLoader(view, 4, shuffle=True, transform=helper.augment, collate_fn=helper.alone, **options)
    return [list(loader) for _ in range(count)]


def ids(batches: list[Any]) -> list[str]:
    return [sample[0] for batch in batches for sample in batch]


@pytest.fixture
def expected(view: RecordedView, helper: Any) -> list[list[Any]]:
    return epochs(view, helper)


def test_an_epoch_is_every_row_once_in_an_order_of_its_own(view: RecordedView, expected: list[list[Any]]) -> None:
    """20 rows in batches of 4: each row once an epoch, in another order and with other random numbers each time, as stored."""
    first, second = expected

    assert [len(batch) for batch in first] == [4] * 5
    assert sorted(ids(first)) == sorted(ids(second)) == sorted(f"s{row}" for row in range(3, ROWS))
    assert ids(first) != ids(second)
    randoms = [tuple(sample[3]) for epoch in expected for batch in epoch for sample in batch]
    assert len(set(randoms)) == 40
    for sample in itertools.chain.from_iterable(first):
        name, index, row, _, length, boxes = sample
        assert (name, row) == (f"s{row}", int(view.rows[index]))
        assert length == len(view[index]["images"])
        assert boxes == [[float(row)] * 4] * (row % 4)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_number_of_workers_changes_nothing(view: RecordedView, helper: Any, expected: list[list[Any]], workers: int) -> None:
    """Batches, order and augmentation are those of a single process, although that process has read the data before it forked."""
    assert epochs(view, helper, num_workers=workers) == expected


def test_workers_that_stay_change_nothing(view: RecordedView, helper: Any, expected: list[list[Any]]) -> None:
    """With ``persistent_workers`` the epoch still reaches the workers: it travels with the keys."""
    assert epochs(view, helper, num_workers=2, persistent_workers=True, prefetch_factor=4) == expected


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_the_way_of_starting_workers_changes_nothing(view: RecordedView, helper: Any, expected: list[list[Any]], context: str) -> None:
    """A worker that is a fresh interpreter opens the recorded version by itself: same rows, same randomness."""
    assert epochs(view, helper, 1, num_workers=1, multiprocessing_context=context) == expected[:1]


def test_nothing_else_random_changes_anything(view: RecordedView, helper: Any, expected: list[list[Any]]) -> None:
    """Other use of the global generators does not change batches, and a loader does not use them up."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    found = epochs(view, helper, num_workers=1)

    assert found == expected
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_an_epoch_can_be_chosen(view: RecordedView, helper: Any, expected: list[list[Any]]) -> None:
    """``set_epoch`` decides the next iteration, and counting goes on from there."""
    loader = DataLoader(view, 4, shuffle=True, transform=helper.augment, collate_fn=helper.alone)
    loader.set_epoch(1)
    second, third = list(loader), list(loader)
    loader.set_epoch(0)

    assert second == expected[1]
    assert third not in expected
    assert list(loader) == expected[0]
    loader.set_epoch(2)
    assert list(loader) == third


def test_a_broken_off_epoch_counts(view: RecordedView, helper: Any, expected: list[list[Any]]) -> None:
    """Leaving an epoch early (a smoke test, an early stop) makes the next one the next one."""
    loader = DataLoader(view, 4, shuffle=True, transform=helper.augment, collate_fn=helper.alone)
    for batch in loader:
        assert batch == expected[0][0]
        break

    assert list(loader) == expected[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_two_iterations_at_once_keep_their_epochs(view: RecordedView, helper: Any, expected: list[list[Any]], workers: int) -> None:
    """An iteration is of the epoch it was begun in, whatever is begun or set before its first batch."""
    loader = DataLoader(view, 4, shuffle=True, transform=helper.augment, collate_fn=helper.alone, num_workers=workers)
    first, second = iter(loader), iter(loader)
    loader.set_epoch(9)

    assert [list(first), list(second)] == expected


def test_the_seed_is_the_runs(view: RecordedView, helper: Any, expected: list[list[Any]]) -> None:
    """Without a seed of its own a loader uses that of the run; another seed is another order and other randomness."""
    assert epochs(view, helper, seed=7) == expected
    other = epochs(view, helper, seed=8)
    assert ids(other[0]) != ids(expected[0])
    assert sorted(ids(other[0])) == sorted(ids(expected[0]))
    assert epochs(view, helper, seed=2**63 + 1) != epochs(view, helper, seed=2**63 + 2)


def test_without_a_fixed_seed_every_loader_differs(repository: Path, dataset: Path, helper: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose seed is not fixed is not fixed by accident."""
    monkeypatch.chdir(repository)
    with lineage.start_run() as run:
        view = run.use_dataset(dataset, role="train")
        found = [ids(epochs(view, helper, 1)[0]) for _ in range(3)]
    process.wired.cache_clear()

    assert len({tuple(order) for order in found}) == 3


def test_without_shuffling_rows_come_in_the_views_order(view: RecordedView, helper: Any) -> None:
    """Ascending, each epoch; the last batch is as long as what is left, or dropped on request."""
    loader = DataLoader(view, 6, transform=helper.augment, collate_fn=helper.alone)
    names = [f"s{row}" for row in range(3, ROWS)]

    assert [ids(list(loader)) for _ in range(2)] == [names, names]
    assert [len(batch) for batch in loader] == [6, 6, 6, 2]
    assert len(loader) == 4
    shorter = DataLoader(view, 6, transform=helper.augment, collate_fn=helper.alone, drop_last=True)
    assert ids(list(shorter)) == names[:18]
    assert len(shorter) == 3


def test_single_samples_without_batches(view: RecordedView, helper: Any) -> None:
    """``batch_size=None`` gives samples one by one, in the same order as batches would."""
    loader = DataLoader(view, None, shuffle=True, transform=helper.augment, collate_fn=helper.alone)

    assert [sample[0] for sample in loader] == ids(epochs(view, helper, 1)[0])


def test_without_a_transform_samples_are_the_views(view: RecordedView, helper: Any) -> None:
    """Columns as stored, with ``row`` and ``index``."""
    (batch,) = DataLoader(view, 20, collate_fn=helper.alone)

    assert batch[4].keys() == view[4].keys() == {"images", "boxes", "sample_id", "row", "index"}
    assert batch[4]["images"] == view[4]["images"]


@pytest.mark.parametrize("option", ["sampler", "batch_sampler"])
def test_another_order_is_refused(view: RecordedView, option: str) -> None:
    """An order of the caller's own would not be in the record."""
    with pytest.raises(TypeError, match="pass shuffle, not a sampler"):
        DataLoader(view, **{option: [0, 1, 2]})


def test_an_error_in_a_worker_reaches_the_caller(view: RecordedView, helper: Any) -> None:
    """A broken sample stops training with the error of the transform, with workers and without."""

    def broken(sample: Any, generator: Any) -> Any:
        raise ValueError(f"cannot decode {sample['sample_id']}")

    for workers in (0, 1):
        with pytest.raises(InvalidSource, match=r"row 3 \(s3\) of .*, epoch 0: the transform failed: ValueError: cannot decode s3"):
            next(iter(DataLoader(view, 4, transform=broken, num_workers=workers, collate_fn=helper.alone)))


def test_an_iterator_that_was_left_is_closed_in_the_middle_of_a_fork(view: RecordedView) -> None:
    """The garbage collector does that wherever it likes; the thread that reads ahead waits for the fork, and nobody may wait for it."""

    def leave() -> None:
        GATE.close()
        ahead = PinnedDataset(view, 0, None).read_ahead(iter([[(0, 0)], [(0, 1)]]))
        next(ahead)
        ahead.close()
        GATE.open()

    thread = threading.Thread(target=leave, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_determinism_is_set_and_recorded(run: Any) -> None:
    """``make_deterministic`` seeds the global generators from the run's seed and records what it set; without a seed it says so."""
    threads = torch.get_num_threads()
    try:
        settings = make_deterministic(run, threads=1)
        drawn = random.random(), np.random.random(), torch.rand(1).item()
        make_deterministic(run, threads=1)

        assert (random.random(), np.random.random(), torch.rand(1).item()) == drawn
        assert torch.are_deterministic_algorithms_enabled()
        assert lineage.get(run.id).determinism == settings
        assert (settings["threads"], settings["seeded"]) == (1, ["python", "numpy", "torch"])
        assert settings["promise"].startswith("bitwise on CPUs")
        for seed in (2**64 + 5, -3):
            with lineage.start_run(seed=seed) as odd:
                assert make_deterministic(odd)["seeded"] == ["python", "numpy", "torch"]
        with lineage.start_run() as loose:
            assert make_deterministic(loose)["promise"] == "none: the seed is not fixed"
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
