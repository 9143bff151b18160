"""What it costs to have a whole job recorded: ours and peers, over the same job run bare, each process from its start to its end.

    python benchmarks/run_cost.py [--sacred-python PATH] [--mlflow-python PATH] [--datalad-python PATH] [--rounds 9] [--json FILE]

A repository with one commit; the job reads 50 files of 20 KB and writes 1 MB. Libraries record 20 parameters, the data, git's commit, the
environment, a metric and the model; commands (``lineage run``, ``datalad run``, ``dvc repro``) record the command, what it reads and what
it writes. One after the other, in another order every round. Every tool runs once before: databases and caches that are made once
do not count. Weights & Biases and DVC are in the project's own environment. Medians over bare Python, quartiles in brackets.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = Path(__file__).resolve().parent / "peers" / "run_tools.py"
TOOLS = {
    "ours": "ours: start_run in the job",
    "ours-command": "ours: lineage run -- python job",
    "wandb": "W&B offline",
    "sacred": "Sacred, file observer",
    "datalad": "datalad run",
    "dvc": "dvc repro",
    "mlflow-file": "MLflow, files",
    "mlflow-sqlite": "MLflow, SQLite",
}
PEERS = {"sacred": "sacred", "mlflow": "mlflow-tracking", "datalad": "datalad"}
_STAGE = """
stages:
  job:
    cmd: {python} job.py bare
    deps: [job.py, data]
    outs: [model.bin]
"""


def git(folder: Path, *words: str) -> None:
    """A git command in ``folder``, as a made-up person."""
    subprocess.run(["git", "-c", "user.name=b", "-c", "user.email=b@x", *words], cwd=folder, check=True, capture_output=True)


def repository(folder: Path, tool: str, python: str) -> None:
    """The job's repository, as the tool wants it."""
    (folder / "data").mkdir(parents=True)
    for number in range(50):
        (folder / "data" / f"{number:03}.bin").write_bytes(random.Random(number).randbytes(20_000))
    shutil.copy2(PROGRAM, folder / "job.py")
    (folder / ".gitignore").write_text("data/\nmodel.bin\n.lineage/\nwandb/\nsacred/\nmlruns/\nmlflow.db\n")
    git(folder, "init", "--quiet")
    if tool == "dvc":
        (folder / ".gitignore").write_text("data/\nmodel.bin\n")
        (folder / "dvc.yaml").write_text(_STAGE.format(python=python))
        subprocess.run([beside(sys.executable, "dvc"), "init", "--quiet"], cwd=folder, check=True)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "job")
    if tool == "datalad":
        (folder / ".gitignore").write_text("")  # it keeps data and outputs itself
        git(folder, "config", "user.name", "b")
        git(folder, "config", "user.email", "b@x")
        environment = os.environ | {"PATH": os.pathsep.join((str(Path(python).parent), os.environ["PATH"]))}
        for words in (["create", "--force", "."], ["save", "--message", "data"]):
            subprocess.run([beside(python, "datalad"), *words], cwd=folder, env=environment, check=True, capture_output=True)


def beside(python: str, program: str) -> str:
    """A program of an interpreter's environment."""
    return str(Path(python).with_name(program))


def command(tool: str, python: str) -> list[str]:
    """What is timed."""
    own = [sys.executable, "job.py", "bare"]
    if tool == "ours-command":
        return [beside(sys.executable, "lineage"), "run", "--", *own]
    if tool == "dvc":
        return [beside(sys.executable, "dvc"), "repro", "--force", "--quiet"]
    if tool == "datalad":
        inputs = ["--input", "data", "--output", "model.bin"]
        return [beside(python, "datalad"), "run", *inputs, "--message", "job", f"{sys.executable} job.py bare"]
    return [python, "job.py", tool]


def timed(tool: str, python: str, folder: Path) -> float:
    """Seconds of one whole job.

    Raises:
        RuntimeError: It failed.
    """
    environment = os.environ | {"PATH": os.pathsep.join((str(Path(python).parent), os.environ["PATH"]))}
    began = time.perf_counter()
    done = subprocess.run(command(tool, python), cwd=folder, env=environment, capture_output=True, text=True)
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{tool}:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for peer, requirements in PEERS.items():
        parser.add_argument(f"--{peer}-python", help=f"interpreter of an environment with benchmarks/peers/{requirements}.txt")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    pythons: dict[str, str] = {"bare": sys.executable}
    for tool in TOOLS:
        peer = tool.partition("-")[0]
        given = getattr(chosen, f"{peer}_python") if peer in PEERS else sys.executable
        if given:
            pythons[tool] = os.path.abspath(given)  # not resolved: the interpreter of an environment is a link
    took: dict[str, list[float]] = {tool: [] for tool in pythons}
    order = random.Random(7)
    with tempfile.TemporaryDirectory() as temporary:
        folders = {tool: Path(temporary, tool) for tool in pythons}
        for tool, python in pythons.items():
            repository(folders[tool], tool, python)
            timed(tool, python, folders[tool])
        for _ in range(chosen.rounds):
            for tool in order.sample(list(pythons), len(pythons)):
                took[tool].append(timed(tool, pythons[tool], folders[tool]))
    base = statistics.median(took.pop("bare"))
    print(f"{os.cpu_count()} cores, {chosen.rounds} rounds, load {os.getloadavg()[0]:.1f}; the job alone {1e3 * base:.0f} ms\n")
    print("| | ms over the job alone | × ours |\n|---|---|---|")
    ours = statistics.median(took["ours"]) - base
    for tool, seconds in took.items():
        low, median, high = (1e3 * (item - base) for item in statistics.quantiles(seconds, n=4))
        print(f"| {TOOLS[tool]} | {median:,.0f} ({low:,.0f} to {high:,.0f}) | {median / ours / 1e3:.1f} |")
    if chosen.json:
        chosen.json.write_text(json.dumps({"bare_s": base, "tools_s": took}, indent=1))


if __name__ == "__main__":
    main()
