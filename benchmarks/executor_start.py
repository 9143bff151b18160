"""What it costs to start a job's command: as a plain child process, with limits, and in the sandbox.

    python benchmarks/executor_start.py [REPETITIONS]

On a machine that does other work, give it priority: ``chrt -f 5 python benchmarks/executor_start.py`` (as root).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lineage.adapters.executors import bubblewrap
from lineage.adapters.executors.local import LocalExecutor, SandboxMode
from lineage.ports.executor import Task

POLL_S = 0.0005


def plain() -> None:
    subprocess.run(["true"], check=True)


def executed(mode: SandboxMode, folder: Path) -> Callable[[], None]:
    executor = LocalExecutor(mode)
    task = Task("benchmark", ["true"], folder, folder / "log", {"PATH": "/usr/bin:/bin"})

    def execute() -> None:
        execution = executor.start(task)
        while (ending := execution.poll()) is None:
            time.sleep(POLL_S)
        assert ending.status == 0

    return execute


def measured(execute: Callable[[], None], repetitions: int) -> str:
    execute()  # the first one finds out whether there is a sandbox
    times_ms = []
    for _ in range(repetitions):
        began = time.perf_counter()
        execute()
        times_ms.append((time.perf_counter() - began) * 1000)
    low, middle, high = statistics.quantiles(times_ms, n=4)
    return f"{middle:6.1f} ms ({low:.1f} to {high:.1f})"


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        print(f"`true`, from start to end; medians of {repetitions} with quartiles")
        print("plain child process  ", measured(plain, repetitions))
        print("with limits          ", measured(executed("off", Path(folder)), repetitions))
        found = bubblewrap.find()
        print("in the sandbox       ", found if isinstance(found, str) else measured(executed("require", Path(folder)), repetitions))


if __name__ == "__main__":
    main()
