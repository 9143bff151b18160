"""Whether a process still runs, asked by the number that it left in a name or a file."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lineage.model.processes import is_running


def test_a_process_runs_until_it_is_over() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert is_running(child.pid)
        child.communicate(timeout=30)
    assert not is_running(child.pid)
    assert is_running(os.getpid())
    assert is_running(1)  # whoever's it is


@pytest.mark.parametrize("number", [0, -1, -os.getpid(), 1 << 31, 10**30], ids=["0", "-1", "own group", "2^31", "10^30"])
def test_a_number_that_no_process_can_have_runs_nowhere(number: int) -> None:
    assert not is_running(number)
