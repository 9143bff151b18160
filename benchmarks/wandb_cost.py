"""What recording adds to a script that uses W&B: from ``wandb.init`` to ``finish``, and for each event. Offline, so no server is measured.

    python benchmarks/wandb_cost.py [--rounds 7] [--points 2000]

Each round starts a fresh process for each way, in turn: W&B alone; W&B with a lineage run joined; a lineage run that begins the W&B run.
Medians over the rounds are printed, and ratios to W&B alone. Importing the packages is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WAYS = {"wandb": "W&B alone", "joined": "W&B, a lineage run joined", "begun": "lineage run that begins it"}
PROGRAM = """
import json, sys, time
from pathlib import Path
import wandb
import lineage
from lineage.record.start import start_run  # imported before the clock starts
way, points = sys.argv[1], int(sys.argv[2])
Path("model.pth").write_bytes(bytes(range(256)) * 4096)
settings = wandb.Settings(silent=True)
began = time.perf_counter()
own = wandb.init(project="bench", dir=".lineage", config={"lr": 0.1}, settings=settings) if way != "begun" else None
run = lineage.start_run("bench", config={"lr": 0.1}, trackers=("wandb",)) if way != "wandb" else None
ready = time.perf_counter()
log = own.log if run is None else run.log
calls = []
for step in range(points):
    before = time.perf_counter()
    log({"loss": step, "accuracy": step / 2, "rate": 0.1, "epoch": 1})
    calls.append(time.perf_counter() - before)
    if step % 20 == 0:
        time.sleep(0.005)
logged = time.perf_counter()
if run is None:
    artifact = wandb.Artifact("model", "model")
    artifact.add_file("model.pth")
    own.log_artifact(artifact)
else:
    run.log_artifact("model.pth", kind="model")
kept = time.perf_counter()
if run is not None:
    run.finish()
if own is not None:
    own.finish()
done = time.perf_counter()
calls.sort()
print(json.dumps({
    "start": 1e3 * (ready - began), "log p50": 1e6 * calls[len(calls) // 2], "log p95": 1e6 * calls[len(calls) * 95 // 100],
    "artifact": 1e3 * (kept - logged), "end": 1e3 * (done - kept), "start + end": 1e3 * (ready - began + done - kept)}))
"""
UNITS = {"start": "ms", "log p50": "µs", "log p95": "µs", "artifact": "ms", "end": "ms", "start + end": "ms"}


def measure(way: str, points: int) -> dict[str, float]:
    """One fresh process."""
    with tempfile.TemporaryDirectory(prefix="wandb-cost-") as name:
        folder = Path(name)
        (folder / "train.py").write_text(PROGRAM)
        for words in (["init", "--quiet"], ["add", "train.py"], ["commit", "--quiet", "--message", "first"]):
            subprocess.run(["git", "-c", "user.name=b", "-c", "user.email=b@example.invalid", *words], cwd=folder, check=True)
        kept = {"WANDB_MODE": "offline", "WANDB_DATA_DIR": str(folder / "data"), "WANDB_CACHE_DIR": str(folder / "cache")}
        variables = {**os.environ, **kept, "LINEAGE_STORE": str(folder / ".lineage"), "WANDB_ERROR_REPORTING": "false"}
        (folder / ".lineage").mkdir()
        words = [sys.executable, "train.py", way, str(points)]
        done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, check=True, timeout=300)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--points", type=int, default=2000)
    wanted = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(wanted.rounds):
        for way, rounds in found.items():
            rounds.append(measure(way, wanted.points))
    print(f"{'':<28}" + "".join(f"{f'{name} [{unit}]':>18}" for name, unit in UNITS.items()))
    middle = {way: {name: statistics.median(item[name] for item in rounds) for name in UNITS} for way, rounds in found.items()}
    for way, title in WAYS.items():
        print(f"{title:<28}" + "".join(f"{middle[way][name]:>18.1f}" for name in UNITS))
    for way in ("joined", "begun"):
        print(f"{'  ratio: ' + way:<28}" + "".join(f"{middle[way][name] / middle['wandb'][name]:>18.2f}" for name in UNITS))
    print(f"median of {wanted.rounds} rounds, {wanted.points} points; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
