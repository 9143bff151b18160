"""A reproduction is read along with: it stops at the first difference, or where it was asked to, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from PIL import Image

from lineage.model.calibration import Calibration, Spread
from lineage.model.event import Started
from lineage.model.run import MetricPoint, Run, RunState
from lineage.model.steps import StepLogRecord, StepRecord, StepRows
from lineage.ports import Ports
from lineage.record.step_log import StepLogHeader, write_log
from lineage.reproduce.parting import first_parting
from lineage.reproduce.watching import ReadAlong
from lineage.settings import load_settings
from lineage.wiring import wire
from tests.support.commands import PATIENCE_S, looked, looked_up

STEPS = 60

# What a reproduction does otherwise is told by variables that no record keeps.
PLAIN = """
import os, pathlib, time
import lineage

spoil, pause = int(os.environ.get("SPOIL_AT", "-1")), float(os.environ.get("PAUSE", "0"))
with lineage.start_run(seed=1) as run:
    if "MARK" in os.environ:
        pathlib.Path(os.environ["MARK"]).write_text(str(os.getpid()))
    for step in range(60 + int(os.environ.get("MORE", "0"))):
        run.log({"loss": 1 / (step + 1) + (0.25 if step == spoil else 0), "timing/s": time.time()})
        time.sleep(pause if step >= int(os.environ.get("PAUSE_FROM", "0")) else 0)
    file = pathlib.Path("weights.txt")
    file.write_text("w" if spoil < 0 else "spoilt")
    run.log_artifact(file, kind="model")
print(run.id)
"""

WATCHED = """
import os, time
from io import BytesIO

import numpy as np
import torch
from PIL import Image

import lineage
from lineage.training import DataLoader, make_deterministic

phase, _, at = os.environ.get("SPOIL", "").partition(":")


def tensor(sample, generator):
    pixels = np.asarray(Image.open(BytesIO(sample["images"])), np.float32).reshape(-1)
    return torch.from_numpy(pixels / 255)


with lineage.start_run(seed=3) as run:
    make_deterministic(run, threads=1)
    view = run.use_dataset("ds", role="train")
    model = torch.nn.Linear(192, 1)
    if phase == "start":
        model.bias.data += 1
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    run.watch(model, optimizer)
    step = 0
    for epoch in range(15):
        for pictures in DataLoader(view, 4, shuffle=True, transform=tensor):
            is_now = step == int(at or -1)
            if is_now and phase == "input":
                pictures = pictures + 0.5
            optimizer.zero_grad()
            loss = model(pictures).pow(2).mean()
            loss.backward()
            if is_now and phase == "gradient":
                model.weight.grad += 1
            optimizer.step()
            run.log({"loss": loss})
            step += 1
            if step > int(os.environ.get("PAUSE_FROM", "999")):
                time.sleep(60)
print(run.id)
"""


@dataclass(frozen=True)
class Place:
    """A repository with a recorded run."""

    folder: Path
    run_id: str

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "lineage", *arguments],
            cwd=self.folder,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lineage(self, *arguments: str, expect: int = 0, **variables: str) -> str:
        child = self.start(*arguments, **variables)
        out, err = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == expect, out + err
        return out

    def reproduce(self, *arguments: str, expect: int = 0, **variables: str) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.lineage("reproduce", self.run_id, "--json", *arguments, expect=expect, **variables))
        return report

    def show(self, run_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = looked_up(self.folder, "show", run_id)
        return shown

    def replicas(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = looked_up(self.folder, "runs")
        return [run for run in found if run["reproduces"] == self.run_id]

    def workspaces(self) -> list[str]:
        folder = self.folder / ".lineage" / "workspaces"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def recorded(folder: Path, script: str) -> Place:
    (folder / "train.py").write_text(script)
    (folder / ".gitignore").write_text(".lineage/\nds/\n__pycache__/\nweights.txt\n")
    done = subprocess.run([sys.executable, "train.py"], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return Place(folder, done.stdout.strip())


@pytest.fixture
def plain(repository: Path) -> Place:
    return recorded(repository, PLAIN)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A training over a dataset with a step log of 60 steps."""
    folder = tmp_path_factory.mktemp("watched")
    for arguments in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "first"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    dataset = deeplake.create(
        str(folder / "ds"), schema={"images": types.Image(dtype=types.UInt8(), sample_compression="png"), "sample_id": types.Text()}
    )
    encoded = []
    for row in range(16):
        buffer = BytesIO()
        Image.fromarray(np.random.default_rng(row).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    dataset.append({"images": encoded, "sample_id": [f"s{row:02d}" for row in range(16)]})
    dataset.commit()
    return recorded(folder, WATCHED)


def eventually(holds: Callable[[], bool], limit_s: float = 20.0) -> bool:
    until = time.monotonic() + limit_s
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)
    return holds()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(("phase", "step"), [("gradient", 7), ("input", 5), ("start", -1)])
def test_a_reproduction_stops_at_the_step_that_differs(watched: Place, phase: str, step: int) -> None:
    """Step, phase and the batch with rows, names and pictures are told; the rest of the training is not waited for."""
    report = watched.reproduce(expect=1, SPOIL=f"{phase}:{step}", PAUSE_FROM=str(step))

    first = report["comparison"]["first"]
    assert (report["verdict"], first["step"], first["phase"]) == ("diverged", step, phase)
    replica = watched.show(report["replica_id"])
    assert replica["state"] == "aborted"
    assert replica["step_logs"][0]["steps"] < STEPS
    assert any("the reproduction stopped it before its end" in note for note in replica["notes"])
    assert report["checked"] == ("the state before the first step" if step < 0 else f"steps 0 to {step}")
    assert report["comparison"]["likely_causes"]
    if step >= 0:
        assert [row["sample_id"] for row in first["rows_original"]] == [f"s{row['row']:02d}" for row in first["rows_original"]]
        assert len(first["rows_original"]) == 4
        assert all(row["picture"].startswith("sha256:") and row["role"] == "train" for row in first["rows_original"])
        assert first["rows_replica"] == []


def test_keep_going_runs_to_the_end(watched: Place) -> None:
    """Everything is compared then, and the first differing step is still the one that is named."""
    report = watched.reproduce("--keep-going", expect=1, SPOIL="gradient:7")

    assert (report["verdict"], report["checked"], report["stopped"]) == ("diverged", "whole run", None)
    assert (report["comparison"]["first"]["step"], report["comparison"]["first"]["phase"]) == (7, "gradient")
    assert watched.show(report["replica_id"])["step_logs"][0]["steps"] == STEPS


def test_until_step_says_that_only_a_part_was_checked(watched: Place) -> None:
    """Identical for a part is said as that everywhere: in the report, on the terminal, on the original's record."""
    printed = watched.lineage("reproduce", watched.run_id, "--until-step", "6", PAUSE_FROM="6")

    assert printed.splitlines()[-1] == "verdict: identical (steps 0 to 6 only; not checked: the rest)"
    assert "compared: steps 0 to 6 only" in printed
    assert "everything but steps 0 to 6" in printed
    verdict = watched.show(watched.run_id)["reproductions"][-1]
    assert (verdict["verdict"], verdict["checked"]) == ("identical", "steps 0 to 6")
    assert watched.show(verdict["run_id"])["step_logs"][0]["steps"] < STEPS
    assert "identical (steps 0 to 6 only) by" in looked(watched.folder, "show", watched.run_id).stdout


def test_until_step_needs_a_step_that_was_logged(watched: Place) -> None:
    """Another step is a usage error that names the range, before anything is run."""
    before = len(watched.replicas())

    for step in ("60", "-1"):
        watched.lineage("reproduce", watched.run_id, "--until-step", step, expect=2)

    assert len(watched.replicas()) == before


def test_metrics_are_read_along_without_a_step_log(plain: Place) -> None:
    """The first metric that differs ends a run that keeps no step log; what it had no time for is not called different."""
    report = plain.reproduce(expect=1, SPOIL_AT="4", PAUSE="60", PAUSE_FROM="5")

    assert report["verdict"] == "diverged"
    assert report["reason"] == "metrics: first difference at step 4: loss = 0.2, then 0.45"
    assert (report["comparison"]["first"]["phase"], report["comparison"]["first"]["step"]) == ("metric", 4)
    assert {change["subject"] for change in report["comparison"]["changes"]} == {"metrics"}
    replica = plain.show(report["replica_id"])
    assert (replica["state"], replica["outputs"]) == ("aborted", [])


def test_until_step_counts_metrics_without_a_step_log(plain: Place) -> None:
    """Every value up to the step was there and equal; the file that the rest would have made is named as not checked."""
    report = plain.reproduce("--until-step", "3", PAUSE="60", PAUSE_FROM="4", SPOIL_AT="50")

    assert (report["verdict"], report["checked"]) == ("identical", "steps 0 to 3")
    assert "files that the run made: weights.txt" in report["comparison"]["not_checked"][0]
    assert plain.show(report["replica_id"])["state"] == "aborted"


def test_a_reproduction_that_does_not_end_where_its_original_did_is_stopped(plain: Place) -> None:
    """More steps than were recorded are a difference, and there may be no end to them."""
    report = plain.reproduce(expect=1, MORE="1000000", PAUSE="0.02", PAUSE_FROM="60")

    assert report["verdict"] == "diverged"
    assert "goes on" in report["stopped"]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_reproduction_leaves_nothing(plain: Place, tmp_path: Path, kind: signal.Signals) -> None:
    """The command is ended, its record closed as aborted, its workspace gone; the next reproduction is as good as the first."""
    mark = tmp_path / "mark"
    child = plain.start("reproduce", plain.run_id, PAUSE="1", MARK=str(mark))
    assert eventually(lambda: mark.exists() and mark.read_text() != "")

    child.send_signal(kind)
    child.communicate(timeout=30)

    assert child.returncode == 128 + kind
    assert is_gone(int(mark.read_text()))
    assert [run["state"] for run in plain.replicas()] == ["aborted"]
    assert plain.workspaces() == []
    assert plain.reproduce()["verdict"] == "identical"


def test_a_killed_reproduction_takes_its_command_with_it(plain: Place, tmp_path: Path) -> None:
    """SIGKILL leaves no orphan that computes on; the record is settled, the workspace is told, and it can be done again."""
    mark = tmp_path / "mark"
    child = plain.start("reproduce", plain.run_id, PAUSE="1", MARK=str(mark))
    assert eventually(lambda: mark.exists() and mark.read_text() != "")

    child.kill()
    child.communicate(timeout=30)

    assert eventually(lambda: is_gone(int(mark.read_text())))
    assert [run["state"] for run in plain.replicas()] == ["aborted"]
    assert len(plain.workspaces()) == 1
    findings = {item["subject"]: item["detail"] for item in looked_up(plain.folder, "doctor")}
    assert findings["workspaces"].startswith("1 kept in ")
    assert plain.reproduce()["verdict"] == "identical"


def test_two_reproductions_at_once_are_both_right(plain: Place) -> None:
    """Each has a workspace and a record of its own, and both verdicts are on the original, whose record stays intact."""
    both = [plain.start("reproduce", plain.run_id, "--json", PAUSE="0.02") for _ in range(2)]
    reports = [json.loads(child.communicate(timeout=PATIENCE_S)[0]) for child in both]

    assert [report["verdict"] for report in reports] == ["identical", "identical"]
    original = plain.show(plain.run_id)
    assert {item["run_id"] for item in original["reproductions"]} == {report["replica_id"] for report in reports}
    assert plain.workspaces() == []
    looked(plain.folder, "verify", plain.run_id)


def records(count: int, seed: int) -> list[StepRecord]:
    draw = random.Random(seed)
    return [
        StepRecord(
            step,
            (StepRows(0, 0, tuple(draw.sample(range(99), 4))),),
            None,
            draw.randbytes(16),
            (b"f" + draw.randbytes(4),),
            draw.randbytes(16),
        )
        for step in range(count)
    ]


@pytest.fixture
def ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ports]:
    monkeypatch.chdir(tmp_path)
    made = wire(load_settings())
    yield made
    made.runs.close()


def original(ports: Ports, steps: Sequence[StepRecord], metrics: Sequence[float] = ()) -> Run:
    """A finished run with this step log and these values."""
    content = write_log(StepLogHeader(), steps)
    log = StepLogRecord(steps=len(steps), head="", object=ports.objects.put_bytes(content))
    run = Run(id="a" * 32, name="r", project="p", job_type="t", started_at=datetime.now(UTC), step_logs=(log,), state=RunState.finished)
    begin(ports, run, metrics)
    return run


def begin(ports: Ports, run: Run, metrics: Sequence[float]) -> None:
    ports.runs.append(run.id, Started(at=run.started_at, run=run))
    ports.runs.add_metrics(run.id, [MetricPoint(step=step, values={"loss": value}, at=0.0) for step, value in enumerate(metrics)])


def replica(ports: Ports, metrics: Sequence[float] = ()) -> Path:
    """The running reproduction's record; returns where its step log grows."""
    begin(ports, Run(id="b" * 32, name="r", project="p", job_type="t", started_at=datetime.now(UTC)), metrics)
    file = ports.folder / "steps" / f"{'b' * 32}-0.steps"
    file.parent.mkdir(parents=True)
    return file


def looks(reading: ReadAlong) -> bool:
    reading._next_look = 0.0
    return reading.should_stop()


@pytest.mark.parametrize("seed", range(12))
def test_the_first_differing_record_is_found_however_the_file_grows(ports: Ports, seed: int) -> None:
    """Read in pieces of any size: never a difference before the record that differs is whole, always one after it."""
    draw = random.Random(seed)
    before = records(40, seed)
    parted = draw.randrange(40)
    after = [*before[:parted], *records(40, seed + 1000)[parted:]]
    growing = write_log(StepLogHeader(), after)
    whole = len(write_log(StepLogHeader(), after[: parted + 1]))
    reading = ReadAlong(ports, original(ports, before))
    reading.follow("b" * 32)
    file = replica(ports)

    size = 0
    while size < whole:
        size = min(len(growing), size + draw.randrange(1, 120))
        file.write_bytes(growing[:size])
        assert looks(reading) is (size >= whole)

    assert reading.stopped is not None
    assert reading.stopped.sentence.startswith(f"first difference at step {parted}, phase ")


def test_an_equal_log_never_stops_it_and_a_longer_one_does(ports: Ports) -> None:
    """The same bytes in pieces of one byte are no difference; a step more than was recorded is."""
    before = records(5, 1)
    content = write_log(StepLogHeader(), before)
    reading = ReadAlong(ports, original(ports, before))
    reading.follow("b" * 32)
    file = replica(ports)

    for size in range(len(content) + 1):
        file.write_bytes(content[:size])
        assert not looks(reading)
    file.write_bytes(write_log(StepLogHeader(), records(5, 1) + records(6, 2)[5:]))

    assert looks(reading)
    assert reading.stopped is not None
    assert reading.stopped.sentence == "it goes on after step 4, where the step log of the first run ends"


def test_a_noisy_run_is_stopped_by_metrics_outside_its_spread_only(ports: Ports) -> None:
    """Steps of a calibrated run that differs by itself are not what stops it; neither is a metric within twice the spread."""
    spread = Spread(name="loss", points=3, max_absolute=0.1, max_relative=0.1)
    tolerance = Calibration(at=datetime.now(UTC), run_ids=("c", "d"), spreads=(spread,), steps_are_equal=False)
    reading = ReadAlong(ports, original(ports, records(5, 1), [1.0, 1.0, 1.0]), tolerance=tolerance)
    reading.follow("b" * 32)

    replica(ports, [1.05, 0.95]).write_bytes(write_log(StepLogHeader(), records(5, 2)))
    assert not looks(reading)
    ports.runs.add_metrics("b" * 32, [MetricPoint(step=2, values={"loss": 1.5}, at=0.0)])

    assert looks(reading)
    assert reading.stopped is not None
    assert reading.stopped.sentence == "metrics: first difference at step 2: loss = 1.0, then 1.5"


def test_a_lost_step_log_does_not_stand_in_the_way(ports: Ports) -> None:
    """What the original left and is gone cannot be compared; metrics still are."""
    run = original(ports, records(5, 1), [1.0, 1.0])
    ports.objects.delete(run.step_logs[0].object, 0.0)
    reading = ReadAlong(ports, run)
    reading.follow("b" * 32)
    replica(ports, [1.0, 2.0])

    assert looks(reading)


def test_the_first_difference_in_metrics_is_valid_json(ports: Ports) -> None:
    """A loss that is not finite is a text, as JSON has no number for it."""
    run = Run(id="a" * 32, name="r", project="p", job_type="t", started_at=datetime.now(UTC))
    ours, theirs = ([MetricPoint(step=3, values={"loss": value}, at=0.0)] for value in (float("nan"), float("-inf")))

    found = first_parting(ports, run, run, (), (ours, theirs))

    assert found is not None
    told = json.loads(json.dumps(found.model_dump(mode="json"), allow_nan=False))
    assert (told["step"], told["phase"], told["losses_original"], told["losses_replica"]) == (3, "metric", ["nan"], ["-inf"])
