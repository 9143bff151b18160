"""What a sweep's engine and agent add to each trial: ours, Optuna alone, and W&B's agent against a server on this machine.

    python benchmarks/sweep_agent.py [--rounds 5] [--trials 12]

The program is the same everywhere: it takes ``--lr`` and prints a loss. For W&B it is also measured with ``wandb.init`` and ``wandb.log``
in it, since a plain one leaves no trace there. The program notes when it starts; what a trial costs is the time from one start to the next,
so that starting up is not counted. Medians over all trials of all rounds, and ratios to the program alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

NOTE = """
import time
with open("wandb/starts", "a") as stream:  # a folder in which no recording looks
    stream.write(f"{time.time()}\\n")
"""
PROGRAM = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
lr = parser.parse_args().lr
for epoch in range(3):
    print(f"epoch {epoch} loss={(lr - 0.3) ** 2 + 1 / (epoch + 1)}")
"""
LOGGED = """
import argparse
import wandb
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
lr = parser.parse_args().lr
with wandb.init(project="bench", settings=wandb.Settings(silent=True)) as run:
    for epoch in range(3):
        run.log({"loss": (lr - 0.3) ** 2 + 1 / (epoch + 1)})
"""
ALONE = """
import subprocess, sys
for number in range(int(sys.argv[1])):
    subprocess.run([sys.executable, "train.py", f"--lr={(number + 1) / 100}"], stdout=subprocess.DEVNULL, check=True)
"""
OPTUNA = """
import subprocess, sys
import optuna
optuna.logging.set_verbosity(optuna.logging.WARNING)

def objective(trial):
    lr = trial.suggest_float("lr", 0.001, 1, log=True)
    told = subprocess.run([sys.executable, "train.py", f"--lr={lr}"], stdout=subprocess.PIPE, text=True, check=True)
    return float(told.stdout.split("loss=")[-1])

study = optuna.create_study(storage="sqlite:///optuna.sqlite", sampler=optuna.samplers.TPESampler(seed=1))
study.optimize(objective, n_trials=int(sys.argv[1]))
"""
OURS = "program: train.py\nmethod: {method}\nmetric: {{name: loss}}\nrun_cap: {trials}\nparameters:\n  lr: {space}\n"
SPACES = {"bayes": "{min: 0.001, max: 1.0, distribution: log_uniform_values}", "grid": "{values: %s}"}
WAYS = {
    "alone": "the program, started in turn",
    "optuna": "Optuna alone, SQLite",
    "ours grid": "lineage agent, grid",
    "ours bayes": "lineage agent, bayes",
    "wandb": "wandb agent",
    "wandb logged": "wandb agent, the program logs",
    "ours logged": "lineage agent, W&B offline logs",
}
_PATIENCE_S = 900


def _run(folder: Path, words: list[str], variables: Mapping[str, str]) -> str:
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
    )
    if done.returncode:
        raise SystemExit(f"{words}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def _ours(folder: Path, trials: int, method: str) -> list[str]:
    values = [(number + 1) / 100 for number in range(trials)]
    space = SPACES[method] if method == "bayes" else SPACES[method] % values
    (folder / "sweep.yaml").write_text(OURS.format(method=method, trials=trials, space=space))
    made = subprocess.run(
        [sys.executable, "-m", "lineage", "sweep", "sweep.yaml", "--seed", "1"], cwd=folder, capture_output=True, text=True, check=True
    )
    return [sys.executable, "-m", "lineage", "agent", made.stdout.strip()]


def _wandb(folder: Path, trials: int, variables: Mapping[str, str]) -> list[str]:
    values = [(number + 1) / 100 for number in range(trials)]
    (folder / "wandb.yaml").write_text(f"program: train.py\nmethod: grid\nparameters:\n  lr: {{values: {values}}}\n")
    wandb = str(Path(sys.executable).parent / "wandb")
    told = _run(folder, [wandb, "sweep", "--project", "bench", "wandb.yaml"], variables)
    return [wandb, "agent", told.split("wandb agent ")[-1].split()[0]]


@contextmanager
def _server() -> Iterator[dict[str, str]]:
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("sweep_server.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    try:
        yield {"WANDB_BASE_URL": address, "WANDB_API_KEY": "x" * 40, "WANDB_ERROR_REPORTING": "false"}
    finally:
        server.communicate(timeout=30)


def measure(way: str, trials: int, server: Mapping[str, str]) -> list[float]:
    """Seconds from the start of one trial to that of the next, in a fresh repository."""
    with tempfile.TemporaryDirectory(prefix="sweep-agent-") as name:
        folder = Path(name)
        (folder / "train.py").write_text(NOTE + (LOGGED if way.endswith("logged") else PROGRAM))
        (folder / "wandb").mkdir()
        (folder / ".gitignore").write_text(".lineage/\nwandb/\n")
        for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "first"]):
            subprocess.run(["git", "-c", "user.name=b", "-c", "user.email=b@example.invalid", *words], cwd=folder, check=True)
        makers: dict[str, Callable[[], list[str]]] = {
            "alone": lambda: [sys.executable, "-c", ALONE, str(trials)],
            "optuna": lambda: [sys.executable, "-c", OPTUNA, str(trials)],
            "ours grid": lambda: _ours(folder, trials, "grid"),
            "ours bayes": lambda: _ours(folder, trials, "bayes"),
            "ours logged": lambda: _ours(folder, trials, "grid"),
            "wandb": lambda: _wandb(folder, trials, server),
            "wandb logged": lambda: _wandb(folder, trials, server),
        }
        words = makers[way]()
        variables = server if way.startswith("wandb") else {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
        _run(folder, words, variables)
        starts = [float(line) for line in (folder / "wandb" / "starts").read_text().split()]
    return [after - before for before, after in pairwise(starts)]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=12)
    wanted = parser.parse_args()
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with _server() as server:
        for _ in range(wanted.rounds):
            for way, times in found.items():
                times += measure(way, wanted.trials, server)
                print(f"{WAYS[way]}: {1e3 * statistics.median(times):.0f} ms a trial", file=sys.stderr)
    alone = statistics.median(found["alone"])
    print(f"{'':<34}{'a trial':>12}{'over alone':>14}{'ratio':>8}")
    for way, title in WAYS.items():
        each = statistics.median(found[way])
        print(f"{title:<34}{1e3 * each:>9.0f} ms{1e3 * (each - alone):>11.0f} ms{each / alone:>8.1f}")
    print(f"medians of {wanted.rounds} rounds of {wanted.trials} trials; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
