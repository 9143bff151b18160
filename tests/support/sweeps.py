"""Sweeps in a store, written as records: a known function of four parameters, so that it is known which of them matters."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lineage.model.event import Ended, Started, TrialStopped
from lineage.model.run import MetricPoint, Run, RunState
from lineage.model.sweep import Goal, StoppedEarly, SweepTrial
from lineage.ports import Ports

AT = datetime(2026, 4, 7, 9, 30, tzinfo=UTC)
DEFINITION: Mapping[str, Any] = {
    "program": "train.py",
    "name": "rates and optimizers",
    "method": "random",
    "metric": {"name": "val_accuracy", "goal": "maximize"},
    "parameters": {
        "learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
        "optimizer": {"parameters": {"name": {"values": ["adam", "sgd"]}, "momentum": {"min": 0.0, "max": 0.9}}},
        "layers": {"distribution": "int_uniform", "min": 2, "max": 6},
        "batch_size": {"values": [16, 32, 64]},
        "epochs": {"value": 5},
    },
}


def proposed(number: int) -> dict[str, Any]:
    """Parameters of a trial."""
    draws = random.Random(f"trial {number}")
    return {
        "learning_rate": 10 ** draws.uniform(-4, -1),
        "optimizer": {"name": draws.choice(["adam", "sgd"]), "momentum": draws.uniform(0, 0.9)},
        "layers": draws.randint(2, 6),
        "batch_size": draws.choice([16, 32, 64]),
        "epochs": 5,
    }


def accuracy(parameters: Mapping[str, Any], number: int) -> float:
    """Mostly of the learning rate (the greater, the better), then of the optimizer, a little of the layers, of nothing else."""
    noise = random.Random(f"noise {number}").gauss(0, 0.004)
    rate = (math.log10(parameters["learning_rate"]) + 4) / 3
    return 0.55 + 0.28 * rate + (0.09 if parameters["optimizer"]["name"] == "adam" else 0.0) + 0.008 * parameters["layers"] + noise


def write_sweep(
    ports: Ports,
    sweep_id: str,
    trials: int,
    *,
    at: datetime = AT,
    definition: Mapping[str, Any] = DEFINITION,
    states: Mapping[int, str] | None = None,
) -> list[str]:
    """Write a sweep's trials; ids of their runs, by number.

    Args:
        states: Number to what becomes of it: ``running``, ``failed`` or ``stopped``; else it is complete.
    """
    digest = ports.objects.put_bytes(json.dumps(definition, sort_keys=False).encode())
    found = []
    for number in range(trials):
        parameters = proposed(number)
        found.append(
            write_trial(
                ports,
                SweepTrial(sweep=sweep_id, number=number, parameters=parameters, metric="val_accuracy", goal="maximize", definition=digest),
                value=accuracy(parameters, number),
                state=(states or {}).get(number, "complete"),
                at=at + timedelta(minutes=3 * number),
            )
        )
    return found


def write_trial(
    ports: Ports,
    trial: SweepTrial,
    *,
    value: Any,
    state: str = "complete",
    at: datetime = AT,
    reproduces: str | None = None,
    run_id: str | None = None,
) -> str:
    """Write the run of one trial; its id."""
    word = f"{trial.sweep} {trial.number} {trial.attempt} {reproduces}"
    run = Run(
        id=run_id or random.Random(word).randbytes(16).hex(),
        name=f"trial-{trial.number}",
        project="parking",
        group=trial.sweep,
        job_type="trial",
        started_at=at,
        command=("python", "train.py"),
        host="workstation",
        user="ada",
        config=trial.parameters,
        sweep=trial,
        reproduces=reproduces,
    )
    return _write(ports, run, {} if trial.metric is None else {trial.metric: value}, state)


def write_run(
    ports: Ports, group: str, number: int, config: Mapping[str, Any], summary: Mapping[str, Any], *, goal: Goal = "maximize"
) -> str:
    """Write a run of a plain group."""
    run = Run(
        id=random.Random(f"{group} {number}").randbytes(16).hex(),
        name=f"{group}-{number}",
        project="parking",
        group=group,
        job_type="train",
        started_at=AT + timedelta(minutes=number),
        config=dict(config),
    )
    return _write(ports, run, summary, "complete")


def _write(ports: Ports, run: Run, summary: Mapping[str, Any], state: str) -> str:
    ports.runs.append(run.id, Started(at=run.started_at, run=run))
    numbers = {name: float(value) for name, value in summary.items() if isinstance(value, int | float | str) and value is not None}
    if state == "running":
        return run.id
    ports.runs.add_metrics(run.id, [MetricPoint(step=0, values=numbers, at=run.started_at.timestamp() + 60)] if numbers else [])
    if state == "stopped":
        stopped = StoppedEarly(points=1, step=0, iteration=1, value=next(iter(numbers.values())))
        ports.runs.append(run.id, TrialStopped(at=run.started_at, stopped=stopped))
    ends: Sequence[RunState] = (RunState.failed,) if state == "failed" else (RunState.finished,)
    ports.runs.append(
        run.id,
        Ended(
            at=run.started_at + timedelta(seconds=100 + len(run.name)),
            state=ends[0],  # type: ignore[arg-type]  # one of the two
            summary={} if state == "failed" else dict(summary),
            error="RuntimeError: the loss is not finite" if state == "failed" else None,
            metrics_digest=ports.runs.metrics_digest(run.id),
        ),
    )
    return run.id
