"""One log call with four metrics, in the caller's thread: ours, floors, and peers.

    python benchmarks/log_calls.py [--sacred-python PATH] [--aim-python PATH] [--mlflow-python PATH] [--steps 1000] [--rounds 5]
        [--pause-ms 0] [--json FILE]

Every tool in a process of its own, one after the other, in another order every round. Shown are the median over rounds of a round's mean,
median and 99th percentile; the time from the last call to the end of the run; and the bytes on disk that a step added, once all was
written. Weights & Biases is in the project's own environment; an empty loop, 44 bytes appended to a file and a line of JSON are floors.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scenes import repository

TOOLS = {
    "empty": "empty loop",
    "append": "floor: append 44 bytes",
    "json": "floor: a line of JSON",
    "ours": "ours: run.log",
    "wandb": "W&B offline",
    "sacred": "Sacred, file observer",
    "aim": "Aim",
    "mlflow-file": "MLflow, files",
    "mlflow-sqlite": "MLflow, SQLite",
    "mlflow-sqlite-async": "MLflow, SQLite, asynchronous",
}
PROGRAM = Path(__file__).resolve().parent / "peers" / "metric_tools.py"


def interpreters(parser: argparse.ArgumentParser) -> None:
    """Options for the environments of peers."""
    for peer in ("sacred", "aim", "mlflow"):
        requirements = "mlflow-tracking" if peer == "mlflow" else peer
        parser.add_argument(f"--{peer}-python", help=f"interpreter of an environment with benchmarks/peers/{requirements}.txt")


def python_of(tool: str, chosen: argparse.Namespace) -> str | None:
    """Its interpreter; ``None`` when it was not given."""
    peer = tool.partition("-")[0]
    if peer in ("sacred", "aim", "mlflow"):
        given = getattr(chosen, f"{peer}_python")
        return given and os.path.abspath(given)  # not resolved: the interpreter of an environment is a link
    return sys.executable


def ask(python: str, arguments: list[str], folder: Path) -> dict[str, Any]:
    """Run a tool's program in ``folder`` and read its last line.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run([python, str(PROGRAM), *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def figures(rounds: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    """Medians over rounds, in microseconds, bytes and seconds."""

    def over(measure: Any) -> float:
        return statistics.median(measure(item) for item in rounds)

    return {
        "mean_us": over(lambda item: 1e6 * statistics.mean(item["calls_s"])),
        "p50_us": over(lambda item: 1e6 * statistics.median(item["calls_s"])),
        "p99_us": over(lambda item: 1e6 * statistics.quantiles(item["calls_s"], n=100)[98]),
        "highest_us": max(1e6 * max(item["calls_s"]) for item in rounds),
        "bytes_a_step": over(lambda item: item["bytes"] / steps),
        "end_s": over(lambda item: item["end_s"]),
        "version": rounds[0]["version"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    interpreters(parser)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pause-ms", type=float, default=0, help="between calls: time in which threads of a tool can work")
    parser.add_argument("--tools", nargs="*", choices=list(TOOLS), default=list(TOOLS))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    pythons = {tool: python for tool in TOOLS if tool in chosen.tools and (python := python_of(tool, chosen))}
    found: dict[str, list[dict[str, Any]]] = {tool: [] for tool in pythons}
    order = random.Random(7)
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(chosen.rounds):
            for tool in order.sample(list(pythons), len(pythons)):
                folder = Path(temporary, f"{number}-{tool}")
                repository(folder)
                arguments = [tool, "calls", str(folder), "--steps", str(chosen.steps), "--pause-ms", str(chosen.pause_ms)]
                found[tool].append(ask(pythons[tool], arguments, folder))
    shown = {tool: figures(rounds, chosen.steps) for tool, rounds in found.items()}
    print(
        f"{os.cpu_count()} cores, {chosen.steps} calls, {chosen.rounds} rounds, pause {chosen.pause_ms} ms, load {os.getloadavg()[0]:.1f}\n"
    )
    print("| | mean µs | p50 | p99 | highest | bytes a step | to the end, s | version |\n|---|---|---|---|---|---|---|---|")
    for tool, item in shown.items():
        numbers = (item["mean_us"], item["p50_us"], item["p99_us"], item["highest_us"])
        cells = [*(f"{number:,.1f}" for number in numbers), f"{item['bytes_a_step']:,.0f}", f"{item['end_s']:.2f}", item["version"]]
        print(f"| {TOOLS[tool]} | {' | '.join(cells)} |")
    if chosen.json:
        chosen.json.write_text(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
