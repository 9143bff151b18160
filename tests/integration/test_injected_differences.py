"""Two trainings that differ in one thing part where that thing acts: at its step, in its phase."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
import torch
from deeplake import types
from typer.testing import CliRunner

import lineage
from lineage.api import process
from lineage.cli import app
from lineage.model.steps import StepDifference
from lineage.training import DataLoader, epoch_batches, make_deterministic

ROWS, BATCH, SEED = 20, 4, 5
CHANGED_ROW = 13


def make_dataset(folder: Path, change: Callable[[list[np.ndarray[Any, Any]], list[int]], None] | None = None) -> Path:
    source = np.random.default_rng(0)
    pixels, labels = [source.normal(size=100).astype("float32") for _ in range(ROWS)], [row % 3 for row in range(ROWS)]
    if change is not None:
        change(pixels, labels)
    made = deeplake.create(str(folder), schema={"pixels": types.Array("float32", 1), "label": types.Int32(), "sample_id": types.Text()})
    made.append({"pixels": pixels, "label": labels, "sample_id": [f"s{row}" for row in range(ROWS)]})
    made.commit("all")
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("plain") / "ds")


@pytest.fixture
def here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(repository)
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    process.wired.cache_clear()


def augmented(sample: dict[str, Any], rng: np.random.Generator) -> tuple[torch.Tensor, int]:
    noise = rng.normal(size=100).astype("float32") * 0.1
    return torch.from_numpy(np.asarray(sample["pixels"]) + noise).reshape(1, 10, 10), int(sample["label"])


def train(
    dataset: Path,
    *,
    threads: int = 1,
    dropout: float = 0.0,
    loader_seed: int | None = None,
    every: int = 1,
    nudge: bool = False,
    other: Callable[[torch.nn.Module], None] | None = None,
    **settings: Any,
) -> str:
    """Train; gives the run's id."""
    with lineage.start_run(seed=SEED) as run:
        make_deterministic(run, threads=threads)
        view = run.use_dataset(dataset, role="train")
        loader = DataLoader(view, BATCH, shuffle=True, transform=augmented, seed=loader_seed)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(1, 32, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Dropout(dropout), torch.nn.Linear(2048, 3)
        )
        if nudge:
            with torch.no_grad():
                model[0].weight.view(torch.int32)[3, 0, 1, 1] ^= 1
        optimizer = torch.optim.SGD(model.parameters(), **({"lr": 0.05, "momentum": 0.9} | settings))
        run.watch(model, optimizer, every=every)
        for _ in range(2):
            for pictures, labels in loader:
                loss = torch.nn.functional.cross_entropy(model(pictures), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return run.id


def parted(a: str, b: str) -> StepDifference:
    found = lineage.compare_steps(a, b)
    assert found.first is not None
    return found.first


def step_of(row: int) -> int:
    return next(step for step, batch in enumerate(epoch_batches(ROWS, SEED, 0, shuffle=True, batch_size=BATCH)) if row in batch)


def one_label(pixels: list[Any], labels: list[int]) -> None:
    labels[CHANGED_ROW] = (labels[CHANGED_ROW] + 1) % 3


def one_pixel(pixels: list[Any], labels: list[int]) -> None:
    pixels[CHANGED_ROW][57] = np.nextafter(pixels[CHANGED_ROW][57], np.float32(9))


def test_equal_trainings_have_equal_logs(here: None, dataset: Path) -> None:
    """The same record twice: the same bytes, and nothing of one execution in them."""
    a, b = train(dataset), train(dataset)

    assert lineage.get(a).step_logs == lineage.get(b).step_logs
    assert lineage.compare_steps(a, b).is_same
    assert lineage.compare_steps(a, b).compared == 2 * ROWS // BATCH


@pytest.mark.parametrize("change", [one_label, one_pixel])
def test_a_changed_row_is_found_at_its_step(here: None, dataset: Path, tmp_path: Path, change: Any) -> None:
    """One label, or one bit of one pixel, in a copy of the data: the batch of the step that holds it, with the row's name."""
    found = parted(train(dataset), train(make_dataset(tmp_path / "changed", change)))

    assert (found.step, found.phase) == (step_of(CHANGED_ROW), "batch")
    assert f"s{CHANGED_ROW}" in found.rows_a[0].sample_ids
    assert found.rows_a == found.rows_b


@pytest.mark.parametrize(
    ("change", "step", "phase"),
    [
        ({"nudge": True}, -1, "start"),
        ({"loader_seed": 6}, 0, "rows"),
        ({"dropout": 0.5}, 0, "loss"),
        ({"lr": 0.04}, 0, "parameters"),
        ({"weight_decay": 0.01}, 0, "parameters"),
        ({"momentum": 0.8}, 1, "parameters"),
    ],
)
def test_a_changed_setting_is_found_where_it_acts(here: None, dataset: Path, change: dict[str, Any], step: int, phase: str) -> None:
    """One weight, the loader's seed, dropout, learning rate, weight decay; momentum acts from the second step on."""
    found = parted(train(dataset), train(dataset, **change))

    assert (found.step, found.phase) == (step, phase)


def test_another_augmentation_is_found_in_the_batch(here: None, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal rows, other random numbers."""
    a = train(dataset)
    import lineage.training.fetching as fetching

    original = fetching.sample_generator
    monkeypatch.setattr(fetching, "sample_generator", lambda seed, epoch, position: original(seed + 1, epoch, position))
    found = parted(a, train(dataset))

    assert (found.step, found.phase) == (0, "batch")


def test_another_thread_count_is_found_in_the_arithmetic(here: None) -> None:
    """Inputs are equal; a sum over many values is split differently, and its bits differ from the loss on."""
    ids = []
    for threads in (1, 2):
        with lineage.start_run(seed=1) as run:
            make_deterministic(run, threads=threads)
            model = torch.nn.Linear(3, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            run.watch(model, optimizer)
            model(torch.randn(300_001, 3)).square().mean().backward()
            optimizer.step()
        ids.append(run.id)
    found = parted(*ids)

    assert (found.step, found.phase) in ((0, "loss"), (0, "gradient"))


def test_with_a_cadence_the_difference_is_bounded(here: None, dataset: Path) -> None:
    """Parameters are digested every fourth step: a changed momentum shows in the next loss, and the report says since when."""
    found = parted(train(dataset, every=4), train(dataset, every=4, momentum=0.8))

    assert (found.step, found.phase, found.since) == (2, "loss", 0)


def test_a_loop_with_nothing_of_ours_is_logged(here: None) -> None:
    """Any model, optimizer and batch: inputs, losses, gradients, parameters; rows are not known."""
    ids = []
    for rate in (0.1, 0.1, 0.2):
        torch.manual_seed(1)
        with lineage.start_run(seed=1) as run:
            model = torch.nn.GRU(4, 8, batch_first=True)
            optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
            run.watch(model, optimizer)
            for _ in range(3):
                for _ in range(2):  # gradients of two passes for one step
                    model(torch.randn(2, 5, 4))[0].square().mean().backward()
                with torch.no_grad():
                    model(torch.randn(2, 5, 4))  # no training
                optimizer.step()
                optimizer.zero_grad()
        ids.append(run.id)

    assert lineage.compare_steps(ids[0], ids[1]).is_same
    assert (parted(ids[0], ids[2]).step, parted(ids[0], ids[2]).phase) == (0, "parameters")
    shown = CliRunner().invoke(app, ["steps", ids[0], "--json"])
    assert '"steps": 3' in shown.stdout
    assert CliRunner().invoke(app, ["steps", ids[0], ids[1]]).exit_code == 0
    told = CliRunner().invoke(app, ["steps", ids[0], ids[2]])
    assert (told.exit_code, "first difference at step 0, phase parameters" in told.stdout) == (1, True)
    assert "first difference at step 0, phase parameters" in CliRunner().invoke(app, ["diff", ids[0], ids[2]]).stdout


def test_a_watched_model_stays_an_ordinary_one(here: None) -> None:
    """It can be copied and pickled, the copy is not watched, and after the run no hook is left."""
    with lineage.start_run(seed=1) as run:
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        run.watch(model, optimizer)
        twin = pickle.loads(pickle.dumps(copy.deepcopy(model)))
        backward = torch.autograd.backward
        for _ in range(3):
            twin(torch.ones(1, 3)).sum()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()

    assert lineage.get(run.id).step_logs[0].steps == 1
    assert not model._forward_pre_hooks
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert torch.autograd.backward is not backward


def test_a_log_that_cannot_be_written_does_not_stop_training(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log ends, once and said; the loop goes on."""
    from lineage.record import steps

    with lineage.start_run(seed=1) as run:
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        run.watch(model, optimizer)

        def step() -> None:
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()

        def full(handle: int, line: bytes) -> None:
            raise OSError(28, "No space left on device")

        step()
        monkeypatch.setattr(steps, "_write", full)
        with pytest.warns(UserWarning, match="the step log ends before step 1: No space left"):
            step()
        step()

    record = lineage.get(run.id)
    assert record.step_logs[0].steps == 1
    assert any("No space left" in note for note in record.notes)
