"""What recording costs: a whole tracked run over bare Python, start to finish inside the process, and one log call.

    python benchmarks/tracked_run.py [--repeats 15]

Interleaved repetitions on the machine at hand; medians, with quartiles in brackets. Budgets: 250 ms, 60 ms and 5 µs (median).
Beside them: importing what the run needs, and the floor for one log call, a line of JSON appended to a file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = """
import time
import lineage.api.recording
began = time.perf_counter()
with lineage.start_run(project="benchmark", job_type="train", config={f"p{i}": i for i in range(20)}, seed=7):
    pass
print(time.perf_counter() - began)
"""
LOG = """
import json, time, lineage
N = 20000
values = {"loss": 0.5, "accuracy": 0.25, "rate": 0.125, "norm": 3.5}
with lineage.start_run(project="benchmark") as run:
    took = []
    for step in range(N):
        began = time.perf_counter()
        run.log(values)
        took.append(time.perf_counter() - began)
floor = []
with open("floor.jsonl", "w") as stream:
    for step in range(N):
        began = time.perf_counter()
        stream.write(json.dumps(values) + "\\n")
        floor.append(time.perf_counter() - began)
print(json.dumps([took, floor]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for command in (
            ["init", "--quiet"],
            ["-c", "user.name=b", "-c", "user.email=b@x", "commit", "--quiet", "--allow-empty", "-m", "x"],
        ):
            subprocess.run(["git", *command], cwd=folder, check=True)
        _python(folder, RUN)  # the environment's description is cached by the first run of a store
        bare, tracked, inside, imports = [], [], [], []
        for _ in range(repeats):
            bare.append(_python(folder, "pass")[0])
            imports.append(_python(folder, "import lineage.api.recording")[0])
            took, said = _python(folder, RUN)
            tracked.append(took)
            inside.append(float(said))
        points, floor = json.loads(_python(folder, LOG)[1])
    base = statistics.median(bare)
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {repeats} repetitions")
    print(f"tracked run, whole process, over bare Python   {_ms([item - base for item in tracked])}")
    print(f"  of it importing                              {_ms([item - base for item in imports])}")
    print(f"start to finish inside the process             {_ms(inside)}")
    for name, took in (("run.log of four numbers", points), ("floor: a line of JSON to a file", floor)):
        took = sorted(took)
        median, high = took[len(took) // 2], took[int(0.99 * len(took))]
        print(f"{name:<46} {1e6 * median:.1f} µs, 99 % below {1e6 * high:.1f} µs")


def _python(folder: Path, program: str) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout


def _ms(seconds: list[float]) -> str:
    low, median, high = statistics.quantiles(seconds, n=4)
    return f"{1e3 * median:.0f} ms ({1e3 * low:.0f} to {1e3 * high:.0f})"


if __name__ == "__main__":
    main()
