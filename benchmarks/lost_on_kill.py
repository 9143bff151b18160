"""Metrics that are lost when a training is killed with SIGKILL, and steps of the step log: ours and peers.

    python benchmarks/lost_on_kill.py [--sacred-python PATH] [--aim-python PATH] [--mlflow-python PATH] [--every-ms 50]
        [--longest-s 25] [--rounds 6] [--json FILE]

A child logs four metrics every so many milliseconds, and marks each call that returned in a mapped file, which outlives it. At a random
moment, 3 seconds after its first call or later, it is killed: in odd rounds alone, in even ones with every process that it started (as
when a job or a container is killed). Five seconds later everything that is left of it is ended, and what is readable is counted. Lost
seconds are those between the last call whose metrics are readable and the last call. Our budget is one second. All tools of a round run
side by side: they sleep most of the time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from log_calls import PROGRAM, TOOLS, ask, interpreters, python_of
from peers.metric_tools import MARKS, READERS, first_mark, read_marks
from scenes import repository

BUDGET_S = 1.0
_NAMES = TOOLS | {"ours-steps": "ours: step log"}


def kill(tool: str, python: str, folder: Path, every_ms: float) -> subprocess.Popen[bytes]:
    """Start a child that logs; its own process group."""
    repository(folder)
    (folder / "marks").write_bytes(bytes(8 * MARKS))
    with open(folder / "output", "wb") as output:
        return subprocess.Popen(
            [python, str(PROGRAM), tool, "ticks", str(folder), "--every-ms", str(every_ms)],
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def check_reader(tool: str, python: str, folder: Path) -> None:
    """Whether everything is readable of a run that ended.

    Raises:
        RuntimeError: It is not: what is missing after a kill would say nothing.
    """
    repository(folder)
    ask(python, [tool, "calls", str(folder), "--steps", "20"], folder)
    steps = ask(python, [tool, "read", str(folder)], folder)["steps"]
    if sorted(steps) != list(range(21)):
        raise RuntimeError(f"{tool}: of the steps 0 to 20 of a whole run these are readable: {steps}")


def one_round(pythons: dict[str, str], folder: Path, chosen: argparse.Namespace, *, alone: bool, moments: random.Random) -> dict[str, Any]:
    """Start all, kill each at its moment, and read what is left."""
    children = {tool: kill(tool, python, folder / tool, chosen.every_ms) for tool, python in pythons.items()}
    wait = {tool: moments.uniform(3, chosen.longest_s) for tool in children}
    ends: dict[str, float] = {}
    while len(ends) < len(children):
        time.sleep(0.02)
        for tool, child in children.items():
            if tool in ends:
                continue
            if child.poll() is not None:
                raise RuntimeError(f"{tool} ended by itself: {(folder / tool / 'output').read_text()[-2000:]}")
            began = first_mark(folder / tool)
            if began and time.time() - began > wait[tool]:
                ends[tool] = time.time()
                os.kill(child.pid, signal.SIGKILL) if alone else os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    time.sleep(chosen.grace_s)
    found = {}
    for tool, child in children.items():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # what outlived it; the group is ours alone
        marks = read_marks(folder / tool)
        readable = set(ask(pythons[tool], [tool, "read", str(folder / tool)], folder / tool)["steps"])
        missing = [step for step in range(len(marks)) if step not in readable]
        whole = missing[0] if missing else len(marks)
        lost_s = marks[-1] - (marks[whole - 1] if whole else marks[0]) if missing else 0.0
        found[tool] = {"logged": len(marks), "lost": len(missing), "lost_s": lost_s, "after_s": ends[tool] - marks[0], "alone": alone}
    return found


def main() -> None:
    """Measure and print; exit with 1 when ours loses more than its budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    interpreters(parser)
    parser.add_argument("--every-ms", type=float, default=50)
    parser.add_argument("--longest-s", type=float, default=25)
    parser.add_argument("--grace-s", type=float, default=5, help="until what a killed process left behind is ended as well")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--tools", nargs="*", choices=list(READERS), default=list(READERS))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    pythons = {tool: python for tool in READERS if tool in chosen.tools and (python := python_of(tool, chosen))}
    found: dict[str, list[dict[str, Any]]] = {tool: [] for tool in pythons}
    moments = random.Random(3)
    with tempfile.TemporaryDirectory() as temporary:
        for tool, python in pythons.items():
            check_reader(tool, python, Path(temporary, f"check-{tool}"))
        for number in range(chosen.rounds):
            folder = Path(temporary, str(number))
            folder.mkdir()
            for tool, result in one_round(pythons, folder, chosen, alone=number % 2 == 0, moments=moments).items():
                found[tool].append(result)
    moments_told = f"{chosen.rounds} kills 3 to {chosen.longest_s:g} s after the first call"
    print(f"a call every {chosen.every_ms:g} ms, {moments_told}; load {os.getloadavg()[0]:.1f}\n")
    print("| | killed | lost calls, median | most | lost seconds, median | most |\n|---|---|---|---|---|---|")
    for tool, results in found.items():
        for alone in (True, False):
            chosen_ones = [result for result in results if result["alone"] is alone]
            if chosen_ones:
                lost, seconds = [one["lost"] for one in chosen_ones], [one["lost_s"] for one in chosen_ones]
                cells = [f"{statistics.median(lost):g} of {statistics.median(one['logged'] for one in chosen_ones):g}", str(max(lost))]
                cells += [f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}"]
                print(f"| {_NAMES[tool]} | {'alone' if alone else 'with its processes'} | {' | '.join(cells)} |")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))
    if any(result["lost_s"] > BUDGET_S for tool in ("ours", "ours-steps") for result in found.get(tool, ())):
        raise SystemExit(f"ours lost more than {BUDGET_S:g} s")


if __name__ == "__main__":
    main()
