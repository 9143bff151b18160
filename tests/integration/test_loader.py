"""Batches follow from the seed alone, whatever reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.model.source import Column

# In a file of its own: processes that are spawned import it again.
PROGRAM = """
import hashlib
import sys
import warnings

import torch

import lineage
import lineage.training


def augment(sample, random):
    return torch.tensor(sample["numbers"].copy()) + float(random.normal()), sample["row"], sample["index"]


def digest(loader, epochs):
    state = hashlib.sha256()
    for _ in range(epochs):
        for values, rows, positions in loader:
            state.update(values.numpy().tobytes() + rows.numpy().tobytes() + positions.numpy().tobytes())
    return state.hexdigest()


if __name__ == "__main__":
    workers, method, seed = int(sys.argv[1]), sys.argv[2], None if sys.argv[3] == "none" else int(sys.argv[3])
    with lineage.start_run(project="loader", seed=seed) as run:
        view = run.use_dataset("ds", view="odd", role="train")
        options = {"multiprocessing_context": method} if workers else {}
        make = lambda: lineage.training.DataLoader(view, 3, shuffle=True, transform=augment, num_workers=workers, **options)
        whole = make()
        print(digest(whole, 2))
        second = make()
        second.set_epoch(1)
        print(digest(second, 1))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loader")
    backend = DeepLakeBackend()
    uri = f"file://{folder / 'ds'}"
    columns = [Column("numbers", "array", dtype="float32", ndim=1), Column("sample_id", "text")]
    writer = backend.write(uri, columns, source={})
    writer.append({"numbers": [np.arange(4, dtype="float32") + row for row in range(20)], "sample_id": [str(row) for row in range(20)]})
    writer.complete("made")
    backend.save_view(uri, "select * where any(numbers > 5)", "odd", "test")
    (folder / "program.py").write_text(PROGRAM)
    return folder


def digests(place: Path, workers: int, method: str = "fork", seed: str = "7") -> list[str]:
    done = subprocess.run(
        [sys.executable, "program.py", str(workers), method, seed], cwd=place, capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def alone(place: Path) -> list[str]:
    """Two epochs, and the second alone, read by the training process itself."""
    return digests(place, 0)


@pytest.mark.parametrize(
    ("workers", "method"), [(1, "fork"), (2, "fork"), (2, "forkserver"), pytest.param(2, "spawn", marks=pytest.mark.slow)]
)
def test_batches_do_not_depend_on_who_reads_them(place: Path, alone: list[str], workers: int, method: str) -> None:
    """Order, rows and augmentation are the same for any number of worker processes and any way to start them."""
    assert digests(place, workers, method) == alone


def test_the_seed_decides_and_without_one_nothing_does(place: Path, alone: list[str]) -> None:
    """Another seed gives other batches; without a seed two runs differ."""
    assert digests(place, 0, seed="8") != alone
    assert digests(place, 0, seed="none") != digests(place, 0, seed="none")
