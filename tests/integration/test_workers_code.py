"""What a record says of a process's code and end that no hook of Python's tells: modules of workers, and exit statuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lineage

WORKERS = """
import multiprocessing
import sys

import lineage


def work(number):
    import only_here

    return only_here.X + number


if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    with lineage.start_run(project="p", job_type="train") as run:
        with multiprocessing.Pool(2) as pool:
            run.log({"sum": sum(pool.map(work, range(4)))})
    print(run.id)
"""

SILENT = """
import multiprocessing
import sys

from work import work

if __name__ == "__main__":
    import lineage

    with lineage.start_run(project="p", job_type="train") as run:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            run.log({"sum": sum(pool.map(work, range(2)))})
    print(run.id)
"""

LOADER = """
import sys

import torch

import lineage


class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        import only_here

        return only_here.X + index


with lineage.start_run(project="p", job_type="train") as run:
    loader = torch.utils.data.DataLoader(Data(), num_workers=1, multiprocessing_context="fork")
    run.log({"sum": sum(int(batch) for batch in loader)})
print(run.id)
"""

OPEN = """
import atexit
import sys
import threading

import lineage

run = lineage.start_run(project="p", job_type="train")
run.log({"loss": 1.0})
print(run.id, flush=True)
"""


def executed(folder: Path, script: str, *words: str) -> tuple[lineage.Run, int]:
    (folder / "script.py").write_text(script)
    done = subprocess.run([sys.executable, "script.py", *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return lineage.get(done.stdout.split()[0]), done.returncode


@pytest.fixture
def folder(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository beside which lies a module that git does not see."""
    beside = repository.parent / "beside"
    beside.mkdir()
    (beside / "only_here.py").write_text("X = 1\n")
    monkeypatch.setenv("PYTHONPATH", str(beside))
    monkeypatch.setenv("LINEAGE_STORE", str(repository / ".lineage"))
    return repository


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_modules_that_only_workers_load_are_recorded(folder: Path, method: str) -> None:
    """Whatever way they are started in; and what they told is cleared away."""
    run, status = executed(folder, WORKERS, method)

    assert status == 0
    assert run.loaded is not None
    assert [file.path for file in run.loaded.outside] == ["only_here.py"]
    assert run.notes == ()
    assert not list((folder / ".lineage").glob("loads/*"))


@pytest.mark.slow
def test_modules_that_only_a_loaders_workers_load_are_recorded(folder: Path) -> None:
    """PyTorch's own loader, without a change to it."""
    run, _ = executed(folder, LOADER)

    assert run.loaded is not None
    assert [file.path for file in run.loaded.outside] == ["only_here.py"]


def test_workers_that_cannot_tell_are_noted(folder: Path) -> None:
    """They were spawned, and do not import this package."""
    (folder / "work.py").write_text("def work(number):\n    import only_here\n\n    return only_here.X\n")
    run, _ = executed(folder, SILENT)

    assert run.notes == ("worker processes were started by spawn, and none imports lineage: modules that only they load are not recorded",)


CAUGHT = "try:\n    sys.exit(3)\nexcept SystemExit:\n    pass\n"
IN_FUNCTION = "def main():\n    try:\n        sys.exit(3)\n    except SystemExit:\n        return\nmain()\n"
THROUGH = """
def main():
    try:
        sys.exit(5)
    finally:
        done = [number for number in range(3)]


with open(sys.argv[0]):
    main()
"""
AGAIN = "try:\n    sys.exit(6)\nexcept SystemExit:\n    flushed = True\n    raise\n"


@pytest.mark.parametrize(
    ("end", "state", "error", "status"),
    [
        ("", "finished", None, 0),
        ("sys.exit()", "finished", None, 0),
        ("sys.exit(0)", "finished", None, 0),
        ("sys.exit(3)", "failed", "SystemExit: 3", 3),
        ("sys.exit('the disk is full')", "failed", "SystemExit: the disk is full", 1),
        (THROUGH, "failed", "SystemExit: 5", 5),
        (AGAIN, "failed", "SystemExit: 6", 6),
        (CAUGHT, "finished", None, 0),
        (IN_FUNCTION, "finished", None, 0),
        (CAUGHT + "sys.exit(4)", "failed", "SystemExit: 4", 4),
        ("thread = threading.Thread(target=sys.exit, args=(3,))\nthread.start()\nthread.join()", "finished", None, 0),
        ("raise ValueError('no')", "failed", "ValueError: no", 1),
    ],
)
def test_a_run_left_open_ends_as_its_process_does(folder: Path, end: str, state: str, error: str | None, status: int) -> None:
    """Also where an exit was caught, or passed through other blocks, before."""
    run, found = executed(folder, OPEN + end)

    assert (run.state.value, run.error, found) == (state, error, status)
