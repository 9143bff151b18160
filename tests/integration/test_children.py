"""Commands that a thread starts do not wait for workers that are forked at the same moment."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from lineage.ports.children import completed

COMMANDS = 60
LATE_S = 60.0

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # on purpose


@pytest.fixture
def staying() -> Iterator[list[int]]:
    """Process numbers of forked children, which stay until the test is over."""
    children: list[int] = []
    yield children
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("given", [None, b"word\n" * 50_000], ids=["no input", "input"])
def test_a_command_ends_although_forked_children_stay(staying: list[int], given: bytes | None) -> None:
    """A worker forked while git was being started once held git's pipes open, and the run's end waited for ever."""
    answers: list[tuple[int, bytes]] = []

    def start() -> None:
        for _ in range(COMMANDS):
            ended = completed(["/bin/sh", "-c", "wc -c"], env={"PATH": os.environ["PATH"]}, given=given)
            answers.append((ended.returncode, ended.stdout.strip()))

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    while thread.is_alive() and len(staying) < 400:
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        staying.append(child)
        thread.join(0.002)
    thread.join(LATE_S)

    assert not thread.is_alive()
    assert answers == [(0, str(len(given or b"")).encode())] * COMMANDS
    assert len(staying) > 1


def test_a_command_says_how_it_ended_and_one_that_is_missing_is_an_error() -> None:
    """Status, output and errors are the command's own."""
    ended = completed([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"], env={})

    assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"out\n", b"err\n")
    with pytest.raises(FileNotFoundError):
        completed(["/no/such/program"], env={})
