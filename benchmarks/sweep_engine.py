"""What the engine of sweeps costs: a trial claimed and finished, against Optuna's ask and tell on the same storage.

    python benchmarks/sweep_engine.py [--trials 200] [--postgres URL] [--only random|bayes|agents]

- *random*: each side proposes three values at random (a learning rate, a number of layers, an optimizer) and tells one result.
- *bayes*: the same with the tree-structured Parzen estimator, from trial 11 on.
- *agents*: four threads share a sweep; trials a second.

Interleaved, a trial of one and a trial of the other; medians with quartiles in brackets, and their ratio. Ours also writes who owns a
trial and until when, holds the storage's lock, and keeps all values as they are; Optuna's writes a row for each parameter. `wandb agent` is
compared in `sweep_agent.py`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna

from lineage.adapters.sweeps.optuna import OptunaSweepEngine
from lineage.adapters.sweeps.storages import SCHEMA
from lineage.model.sweep_file import parse_definition
from lineage.ports.sweeps import Sweep, Trial

DIGEST = "sha256:" + "0" * 64
PARAMETERS = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0},
    "layers": {"min": 1, "max": 8},
    "optimizer": {"values": ["adam", "sgd"]},
}
STARTUP = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--postgres", help="URL of an empty database of a real server")
    parser.add_argument("--only", choices=["random", "bayes", "agents"])
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, Optuna {optuna.__version__}, {chosen.trials} trials")
    with tempfile.TemporaryDirectory() as temporary:
        places = [str(Path(temporary) / "sweeps.sqlite"), str(Path(temporary) / "sweeps.journal")]
        for place in [*places, *([chosen.postgres] if chosen.postgres else [])]:
            kind = "PostgreSQL" if "://" in place else Path(place).suffix[1:]
            for method in ("random", "bayes"):
                if chosen.only in (None, method):
                    compare(kind, method, place, chosen.trials)
            if chosen.only in (None, "agents"):
                share(kind, place, chosen.trials)


def compare(kind: str, method: str, place: str, trials: int) -> None:
    engine = OptunaSweepEngine(place)
    sweep = begin(engine, method)
    samplers: dict[str, Any] = {
        "random": optuna.samplers.RandomSampler(seed=1),
        "bayes": optuna.samplers.TPESampler(seed=1, n_startup_trials=STARTUP),
    }
    study = optuna.create_study(storage=alone_on(place), sampler=samplers[method])
    ours, alone = [], []
    for number in range(trials + STARTUP):
        took = timed(lambda: one_of_ours(engine, sweep)), timed(lambda: one_of_optunas(study))
        if number >= STARTUP:
            ours.append(took[0])
            alone.append(took[1])
    ratio = statistics.median(ours) / statistics.median(alone)
    print(f"{kind:10} {method:7} ours {quartiles(ours)}   Optuna alone {quartiles(alone)}   ratio {ratio:.2f}")
    engine.close()


def share(kind: str, place: str, trials: int) -> None:
    engine = OptunaSweepEngine(place)
    sweep = begin(engine, "random", trials)

    def agent(_: int) -> int:
        done = 0
        while one_of_ours(engine, sweep):
            done += 1
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        done = sum(pool.map(agent, range(4)))
    assert done == trials
    print(f"{kind:10} agents  four share a sweep: {trials / (time.perf_counter() - began):.0f} trials a second")
    engine.close()


def begin(engine: OptunaSweepEngine, method: str, run_cap: int | None = None) -> Sweep:
    described = {"method": method, "metric": {"name": "loss"}, "parameters": PARAMETERS, "run_cap": run_cap}
    return engine.create(parse_definition(described, "benchmark"), DIGEST, seed=1, parallel=1, project="benchmark")


def one_of_ours(engine: OptunaSweepEngine, sweep: Sweep) -> bool:
    found = engine.claim(sweep.id, "benchmark", 60)
    if isinstance(found, Trial):
        engine.finish(found, "complete", abs(found.parameters["lr"] - 0.01), "run")
    return isinstance(found, Trial)


def one_of_optunas(study: optuna.Study) -> None:
    trial = study.ask()
    rate = trial.suggest_float("lr", 1e-5, 1.0, log=True)
    trial.suggest_int("layers", 1, 8)
    trial.suggest_categorical("optimizer", ["adam", "sgd"])
    study.tell(trial, abs(rate - 0.01))


def alone_on(place: str) -> Any:
    """A storage of the same kind as Optuna's documentation has it, in a place of its own."""
    if place.endswith(".journal"):
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(f"{place}.alone"))
    if "://" in place:
        options = {"connect_args": {"options": f"-csearch_path={SCHEMA}"}}
        return optuna.storages.RDBStorage(f"postgresql+psycopg://{place.partition('://')[2]}", engine_kwargs=options)
    return f"sqlite:///{place}.alone"


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def quartiles(took: list[float]) -> str:
    low, middle, high = (value * 1e3 for value in statistics.quantiles(took, n=4))
    return f"{middle:.1f} ms [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
