"""A training that is killed and resumed ends as if it had never stopped: weights, step log, metrics and record, bit for bit."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types

import lineage
from lineage.api import process
from lineage.errors import Conflict, IntegrityError, NotFound, UsageError
from lineage.record.step_log import read_log
from lineage.wiring import wire

ROWS, BATCH, EPOCHS = 22, 4, 3
STEPS = EPOCHS * -(-ROWS // BATCH)

# The training: dropout, batch norm, momentum and a schedule, so that every kind of state matters.
TRAINING = """
import hashlib, json, os, random, signal, sys
import numpy as np
import torch

import lineage
from lineage.training import Checkpoints, DataLoader, make_deterministic

def augment(sample, rng):
    picture = torch.tensor(np.array(sample["pixels"], dtype=np.float32)).reshape(1, 8, 8) + float(rng.normal()) * 0.1
    return picture, int(sample["label"])

def train(dataset, out, *, workers=0, kill_at=None, kill_after_checkpoint=False, resume=None, every_steps=2, epochs=3, method=None,
          batch=4, lr=0.1, width=4, allow=(), config=None):
    with lineage.start_run(seed=11, config=config or {"epochs": epochs, "lr": lr}, resume=resume, allow_changed=allow) as run:
        with open(out + ".id", "w") as file:
            file.write(run.id)
        make_deterministic(run, threads=1)
        view = run.use_dataset(dataset, role="train")
        context = method if workers else None
        loader = DataLoader(view, batch, shuffle=True, transform=augment, num_workers=workers, multiprocessing_context=context)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(1, width, 3), torch.nn.BatchNorm2d(width), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Dropout(0.3),
            torch.nn.Linear(36 * width, 3),
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.7)
        run.watch(model, optimizer)
        checkpoints = Checkpoints(run, model=model, optimizer=optimizer, scheduler=schedule, loader=loader, every_steps=every_steps)
        position = checkpoints.restore()
        done = position.step
        best = checkpoints.extra.get("best", 1e9)
        for epoch in range(position.epoch, epochs):
            loader.set_epoch(epoch)
            model.train()
            for pictures, labels in loader:
                loss = torch.nn.functional.cross_entropy(model(pictures), labels) + random.random() * 0.01 + np.random.random() * 0.01
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                best = min(best, loss.item())
                run.log({"loss": loss, "noise": torch.rand(()), "best": best})
                checkpoints.extra["best"] = best
                if done == kill_at and not kill_after_checkpoint:
                    os.kill(os.getpid(), signal.SIGKILL)
                checkpoints.step()
                done += 1
                if done - 1 == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            model.eval()
            with torch.no_grad():
                run.log({"epoch": epoch, "evaluated": model(torch.ones(1, 1, 8, 8)).sum()})
            checkpoints.epoch_done()
        weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
        with open(out + ".pth", "wb") as file:
            file.write(weights)
        run.log_artifact(out + ".pth", kind="model", name="model.pth")
"""

# Imports once, then forks a process for each job: a training takes a second in place of five.
ZYGOTE = """
import json, os, sys
import deeplake, torch, torch.utils.data, lineage.training, lineage.adapters.frameworks.torch, lineage.adapters.datasets.deeplake
import training
for line in sys.stdin if __name__ == "__main__" else ():  # spawned workers import this file, too
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            training.train(**job)
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume") / "ds"
    made = deeplake.create(str(folder), schema={"pixels": types.Array("float32", 1), "label": types.Int32(), "sample_id": types.Text()})
    source = np.random.default_rng(3)
    made.append(
        {
            "pixels": [source.normal(size=64).astype("float32") for _ in range(ROWS)],
            "label": [row % 3 for row in range(ROWS)],
            "sample_id": [f"s{row}" for row in range(ROWS)],
        }
    )
    made.commit("all")
    return folder


@pytest.fixture
def train(repository: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[str, int]]]:
    """Train in a process of its own; gives the run's id and the exit status."""
    monkeypatch.chdir(repository)
    (repository / "training.py").write_text(TRAINING)
    (repository / "zygote.py").write_text(ZYGOTE)
    told = Path("told").open("w")  # noqa: SIM115 - open as long as the process
    zygote = subprocess.Popen(
        [sys.executable, "-W", "ignore", "zygote.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told, text=True
    )
    count = 0

    def job(**options: Any) -> tuple[str, int]:
        nonlocal count
        count += 1
        assert zygote.stdin is not None
        assert zygote.stdout is not None
        zygote.stdin.write(json.dumps({"dataset": str(dataset), "out": f".lineage/{count}", **options}) + "\n")
        zygote.stdin.flush()
        Path(".lineage").mkdir(exist_ok=True)
        status = int(zygote.stdout.readline())
        named = Path(f".lineage/{count}.id")
        return (named.read_text() if named.exists() else "", status)

    yield job
    assert zygote.stdin is not None
    zygote.stdin.close()
    zygote.wait(30)
    assert zygote.stdout is not None
    zygote.stdout.close()
    told.close()
    process.wired.cache_clear()


def result(run_id: str) -> dict[str, Any]:
    """Everything that must not depend on whether the training was ever stopped."""
    ports = wire()
    run = lineage.get(run_id)
    found = {
        "state": run.state,
        "outputs": {item.name: item.digest for item in run.outputs},
        "head": run.step_logs[0].head,
        "steps": run.step_logs[0].steps,
        "metrics": [(point.step, point.values) for point in ports.runs.metrics(run_id)],
        "summary": run.summary,
        "reads": [(item.first_epoch, item.last_epoch, item.rows) for item in run.reads],
    }
    ports.runs.close()
    return found


def all_rows_read(found: dict[str, Any]) -> dict[int, int]:
    """Rows by epoch; an epoch that was read in two goes is noted twice."""
    rows: dict[int, int] = {}
    for first, last, count in found["reads"]:
        for epoch in range(first, last + 1):
            rows[epoch] = max(rows.get(epoch, 0), count)
    return rows


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "reads"}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_any_step_and_resumed_it_ends_the_same(train: Callable[..., tuple[str, int]], workers: int) -> None:
    """Twelve times with no workers and ten with two: SIGKILL at a random step, often twice, before or after the checkpoint of that step."""
    whole, status = train(workers=workers)
    assert status == 0
    expected = result(whole)
    assert expected["steps"] == STEPS
    assert all_rows_read(expected) == dict.fromkeys(range(EPOCHS), ROWS)
    source = random.Random(20 + workers)

    for trial in range(12 if workers == 0 else 10):
        kill_at, after = source.randrange(2, STEPS), source.random() < 0.5
        run_id, status = train(workers=workers, kill_at=kill_at, kill_after_checkpoint=after)
        assert status == -9
        parents = [run_id]
        if trial % 3 == 0 and kill_at + 1 < STEPS:
            run_id, status = train(workers=workers, resume=run_id, kill_at=source.randrange(kill_at + 1, STEPS))
            assert status == -9
            parents.append(run_id)
        resumed, status = train(workers=workers, resume=run_id)
        assert status == 0, (trial, kill_at)

        found = result(resumed)
        assert comparable(found) == comparable(expected), (trial, kill_at, after)
        assert all_rows_read(found) == all_rows_read(expected)
        record = lineage.get(resumed)
        assert record.resumes is not None
        assert record.resumes.run_id == parents[-1]
        assert any(f"resumed from step {record.resumes.step} of run {parents[-1]}" in note for note in record.notes)
        assert lineage.get(parents[0]).state == "aborted"


def test_every_number_of_workers_and_start_method_leaves_the_same(train: Callable[..., tuple[str, int]]) -> None:
    """0, 2 and 4 workers, forked, spawned and from a fork server: equal step logs, checkpoints, metrics and weights."""
    expected = result(train()[0])
    for workers, method in ((2, "fork"), (4, "fork"), (2, "spawn"), (1, "forkserver")):
        assert result(train(workers=workers, method=method)[0]) == expected, (workers, method)


def test_a_killed_training_leaves_every_whole_step(train: Callable[..., tuple[str, int]]) -> None:
    """The step log of a killed process is whole up to its last step, belongs to its record, and begins like the other."""
    whole, _ = train()
    killed, status = train(kill_at=9)
    assert status == -9

    run = lineage.get(killed)
    ports = wire()
    log, full = (read_log(ports.objects.get_bytes(item.step_logs[0].object), "log") for item in (run, lineage.get(whole)))
    ports.runs.close()
    assert run.state == "aborted"
    assert run.step_logs[0].steps == log.steps == 10
    assert log.records == full.records[:11]
    assert log.heads == full.heads[:11]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.2}, "resume: configuration field lr was 0.1 and is 0.2"),
        ({"batch": 5, "config": {"epochs": 3, "lr": 0.1}}, "the loader's batch_size is 5, the checkpoint's 4"),
        ({"width": 5, "config": {"epochs": 3, "lr": 0.1}}, "the checkpoint's model does not fit"),
    ],
)
def test_another_training_cannot_go_on_from_there(train: Callable[..., tuple[str, int]], options: dict[str, Any], message: str) -> None:
    """Another configuration, batch size or model is named, with what was expected and found."""
    killed, _ = train(kill_at=5)
    _, status = train(resume=killed, **options)

    assert status == 1
    assert message in Path("told").read_text()


def test_an_allowed_change_is_recorded(train: Callable[..., tuple[str, int]]) -> None:
    """More epochs, by name: it goes on, and the record says what differs."""
    killed, _ = train(kill_at=5)
    resumed, status = train(resume=killed, epochs=4, allow=["epochs"])

    assert status == 0
    record = lineage.get(resumed)
    assert record.resumes is not None
    assert record.resumes.changed == ("epochs",)
    assert record.step_logs[0].steps == 4 * -(-ROWS // BATCH)


def test_what_cannot_be_resumed_is_said(train: Callable[..., tuple[str, int]], dataset: Path) -> None:
    """No checkpoint, a run that is still going, a run that is not there, another seed, a damaged checkpoint."""
    with pytest.raises(NotFound, match="checkpoint"):
        lineage.start_run(resume=train(kill_at=0)[0])
    with lineage.start_run() as going, pytest.raises(Conflict, match="still running"):
        lineage.start_run(resume=going.id)
    with pytest.raises(NotFound, match="run"):
        lineage.start_run(resume="0123abcd")
    killed, _ = train(kill_at=5)
    with pytest.raises(UsageError, match="the seed is 12"):
        lineage.start_run(resume=killed, seed=12, config={"epochs": 3, "lr": 0.1})

    digest = next(item.digest for item in lineage.get(killed).outputs if item.name == "checkpoint-00000004")
    kept = wire().objects.path_of(digest)
    assert kept is not None
    kept.chmod(0o644)
    kept.write_bytes(kept.read_bytes()[:-100])
    with lineage.start_run(resume=killed, config={"epochs": 3, "lr": 0.1}) as run, pytest.raises(IntegrityError):
        run.checkpointing.content()


def test_look_ups_see_through_a_resumed_run(train: Callable[..., tuple[str, int]], dataset: Path) -> None:
    """Its model was trained on the dataset like any other; every row was read in every epoch, whoever of the two runs read it."""
    killed, _ = train(kill_at=8)
    resumed, _ = train(resume=killed)

    assert resumed in {item.run_id for item in lineage.models_using(str(dataset))}
    assert {tuple(map(tuple, row["epochs"])) for row in lineage.rows_of(resumed)} == {((0, EPOCHS - 1),)}
