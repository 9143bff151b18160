"""Worker processes of the pinned loader keep the memory that pictures were decoded into."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types

import lineage
from lineage.api import process
from lineage.training import DataLoader

pytestmark = [
    pytest.mark.forks,
    pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:UserWarning", "ignore:.*fork:DeprecationWarning"),
    pytest.mark.skipif(sys.platform != "linux", reason="of glibc"),
]
PAGES = 16 * 1_500_000 // 4096
started: list[int] = []


def pages_asked_for(sample: dict[str, Any], _: np.random.Generator) -> int:
    """How many pages the kernel hands out when memory of 16 pictures is used a second time."""
    for _again in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        pictures = [np.ones(1_500_000, np.uint8) for _ in range(16)]
        del pictures
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def whether_started(sample: dict[str, Any], _: np.random.Generator) -> int:
    return started[0]


@pytest.fixture
def view(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made = deeplake.create(str(tmp_path / "ds"), schema={"sample_id": types.Text()})
    made.append({"sample_id": ["a", "b", "c", "d"]})
    made.commit("all")
    monkeypatch.chdir(repository)
    for variable in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(variable, raising=False)
    with lineage.start_run(seed=7) as run:
        yield run.use_dataset(tmp_path / "ds", role="train")
    process.wired.cache_clear()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_worker_does_not_ask_the_kernel_for_the_same_memory_again(view: Any, start: str) -> None:
    (asked,) = DataLoader(view, 4, transform=pages_asked_for, num_workers=1, multiprocessing_context=start)

    assert max(asked.tolist()) < PAGES / 10


def test_a_users_own_function_is_called_in_the_worker_all_the_same(view: Any) -> None:
    (found,) = DataLoader(view, 4, transform=whether_started, num_workers=1, worker_init_fn=lambda number: started.append(number + 5))

    assert found.tolist() == [5] * 4
    assert not started


def test_what_the_environment_says_about_malloc_is_left_as_it_is() -> None:
    program = f"""
import numpy, resource
from lineage.training.memory import keep_freed_memory
keep_freed_memory()
for again in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pictures = [numpy.ones(1_500_000, numpy.uint8) for _ in range(16)]
    del pictures
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before > {PAGES} / 2)
"""
    environment = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, timeout=60)

    assert done.stdout.strip() == "True"
