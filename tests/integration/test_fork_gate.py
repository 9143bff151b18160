"""No fork meets Deep Lake at work in another thread, and nobody waits for ever for the other."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import deeplake
import numpy as np
import pytest
from deeplake import types

from lineage.adapters.datasets.deeplake_fork import ForkGate

SOON_S = 0.2
LATE_S = 20.0


@pytest.fixture
def gate() -> ForkGate:
    return ForkGate()


def begun(target: object) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_a_fork_waits_for_threads_inside_and_lets_none_in(gate: ForkGate) -> None:
    """Two threads are inside: the fork waits for both; who comes meanwhile waits for the fork."""
    leave, is_in, closed, late = threading.Event(), threading.Barrier(3), threading.Event(), threading.Event()

    def work() -> None:
        with gate.inside():
            is_in.wait(LATE_S)
            leave.wait(LATE_S)

    opened = threading.Event()

    def fork() -> None:
        gate.close()
        closed.set()
        opened.wait(LATE_S)
        gate.open()

    def come_late() -> None:
        with gate.inside():
            late.set()

    workers = [begun(work), begun(work)]
    is_in.wait(LATE_S)
    forker = begun(fork)
    assert not closed.wait(SOON_S)
    newcomer = begun(come_late)  # or a fork would wait as long as somebody always is inside
    assert not late.wait(SOON_S)
    leave.set()
    assert closed.wait(LATE_S)
    assert not late.wait(SOON_S)
    opened.set()
    assert late.wait(LATE_S)
    for thread in (*workers, forker, newcomer):
        thread.join(LATE_S)
        assert not thread.is_alive()


def test_who_is_inside_may_go_in_again_while_a_fork_waits(gate: ForkGate) -> None:
    """Reading opens, and opening reads: it must not wait for a fork that waits for it."""
    is_in, again, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        with gate.inside():
            is_in.set()
            again.wait(LATE_S)
            with gate.inside():
                pass
        done.set()

    def fork() -> None:
        gate.close()
        gate.open()

    worker = begun(work)
    assert is_in.wait(LATE_S)
    forker = begun(fork)
    forker.join(SOON_S)
    assert forker.is_alive()
    again.set()
    assert done.wait(LATE_S)
    for thread in (worker, forker):
        thread.join(LATE_S)
        assert not thread.is_alive()


def test_who_is_inside_may_fork(gate: ForkGate) -> None:
    """Between two calls of its own nothing of it is at work."""

    def fork() -> None:
        with gate.inside():
            gate.close()
            gate.close()  # both what replaced ``os.fork`` and the hook inside it close it
            gate.open()
            gate.open()
        with gate.inside():
            pass

    forker = begun(fork)
    forker.join(LATE_S)
    assert not forker.is_alive()


def test_two_forks_at_once_come_one_after_the_other(gate: ForkGate) -> None:
    count = 0

    def fork() -> None:
        nonlocal count
        for _ in range(50):
            gate.close()
            before = count
            count = before + 1
            gate.open()

    threads = [begun(fork) for _ in range(4)]
    for thread in threads:
        thread.join(LATE_S)
        assert not thread.is_alive()
    assert count == 200


def test_an_error_inside_leaves_the_gate(gate: ForkGate) -> None:
    with pytest.raises(KeyError), gate.inside():
        raise KeyError("x")
    forker = begun(lambda: (gate.close(), gate.open()))
    forker.join(LATE_S)
    assert not forker.is_alive()


# --- with Deep Lake itself, in a program of its own: what is wrong would crash or hang it ---------------------------------------

PROGRAM = """
import os, sys, threading, warnings

warnings.simplefilter("ignore")
import lineage
from lineage.training import DataLoader

def place(sample, random):
    return sample["row"], len(sample["pixels"])

def alone(batch):
    return batch

def main(dataset):
    with lineage.start_run(seed=1) as run:
        options = {"shuffle": True, "transform": place, "collate_fn": alone}
        ahead = DataLoader(run.use_dataset(dataset, role="train"), 8, **options)
        forked = DataLoader(run.use_dataset(dataset, role="test"), 8, num_workers=2, multiprocessing_context="fork", **options)
        expected = list(ahead)
        ahead.set_epoch(0)
        BODY
    print("done", flush=True)

if __name__ == "__main__":
    main(sys.argv[1])
"""

ZIPPED = """
        for _ in range(6):
            ahead.set_epoch(0)
            forked.set_epoch(0)
            pairs = list(zip(ahead, forked, strict=True))
            assert [a for a, _ in pairs] == [b for _, b in pairs] == expected
"""

# Forks of the program's own, while two threads read without a pause; the child reads, too.
FORKS = """
        view, stop, faults = run.use_dataset(dataset, role="more"), threading.Event(), []
        def read():
            try:
                while not stop.is_set():
                    view.samples(list(range(40)))
            except BaseException as error:
                faults.append(error)
        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(25):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    status = 0 if view.samples([3])[0]["row"] == 3 else 2
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stop.set()
        for thread in threads:
            thread.join()
        assert not faults, faults
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forks") / "ds"
    made = deeplake.create(str(folder), schema={"pixels": types.Array("float32", 1)})
    source = np.random.default_rng(0)
    made.append({"pixels": [source.normal(size=20_000).astype("float32") for _ in range(96)]})
    made.commit("all")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("body", [ZIPPED, FORKS], ids=["two loaders, one forks while the other reads ahead", "forks while threads read"])
def test_deep_lake_neither_crashes_nor_hangs(repository: Path, dataset: Path, body: str) -> None:
    """Both ended in a crash or a hang without the gate."""
    (repository / "program.py").write_text(PROGRAM.replace("        BODY\n", textwrap.indent(textwrap.dedent(body), "        ")))
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "program.py", str(dataset)], cwd=repository, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("done\n")
