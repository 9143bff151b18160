"""What the machine and a run's processes used: sampled while a run goes on, and in nobody's way."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lineage
from lineage.adapters.machine.gpus import Gpus
from lineage.adapters.machine.usage import MachineUsage
from lineage.errors import UsageError
from lineage.lookup.runs import get_run
from lineage.lookup.usage import usage_line
from lineage.model.metrics import is_sample, logged
from lineage.model.run import MetricPoint, RunState
from lineage.ports import Ports
from lineage.ports.usage import Usage, UsageMeter
from lineage.record import system
from lineage.record.live import LiveRun
from lineage.record.start import start_run
from lineage.settings import load_settings
from tests.support.commands import command, looked
from tests.support.commands import lineage as told

ALWAYS = {"system/cpu", "system/memory", "system/process/cpu", "system/process/memory_mib", "system/disk"}
PATIENCE_S = 60


def begin(ports: Ports, folder: Path, usage: Usage, **options: Any) -> LiveRun:
    """A run of this process that samples as it is told to; the code of the folder is not recorded, which is warned of."""
    with pytest.warns(UserWarning, match="the code is not recorded"):
        return start_run(dataclasses.replace(ports, usage=usage), folder=folder, **options)


class Meter:
    """Tells what it is given, and of each sample that it was asked for it."""

    def __init__(self, sample: Callable[[], dict[str, float]] = lambda: {"system/cpu": 50.0, "system/memory": 10.0}) -> None:
        self.asked = threading.Semaphore(0)
        self._sample = sample

    def sample(self) -> dict[str, float]:
        self.asked.release()
        return self._sample()


def of(meter: UsageMeter) -> Usage:
    return Usage(0.01, lambda root, counts_root: meter)


def test_a_sample_is_of_this_machine_and_these_processes() -> None:
    """A child's memory and work count, the machine's shares are percent, rates need nothing from psutil's own memory."""
    meter = MachineUsage(os.getpid(), True)
    before = meter.sample()["system/process/memory_mib"]
    program = "data = bytearray(200 << 20)\nfor i in range(0, len(data), 4096): data[i] = 1\nprint(1, flush=True)\nwhile True: pass"
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        meter.sample()
        until = time.monotonic() + PATIENCE_S
        found = meter.sample()
        while found["system/process/cpu"] < 5 and time.monotonic() < until:
            found = meter.sample()
        assert found["system/process/memory_mib"] - before > 195
        assert found.keys() >= ALWAYS
        assert found["system/process/cpu"] >= 5
        others = MachineUsage(os.getpid(), False).sample()
        assert 195 < others["system/process/memory_mib"] < found["system/process/memory_mib"]
    finally:
        child.kill()
        child.communicate(timeout=PATIENCE_S)
    for name in ("system/cpu", "system/memory", "system/disk"):
        assert 0 <= found[name] <= 100
    assert all(value >= 0 for value in found.values())


def test_gpus_as_their_library_tells_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that the program may see; what one does not tell is absent; without a driver there is nothing."""
    library: Any = ModuleType("pynvml")
    library.NVML_TEMPERATURE_GPU = 0

    class Told:
        gpu, used, total = 87, 3 << 30, 4 << 30

    def refuse(gpu: int) -> int:
        raise RuntimeError("not supported" if gpu else "never asked")

    library.nvmlInit = lambda: None
    library.nvmlDeviceGetCount = lambda: 3
    library.nvmlDeviceGetHandleByIndex = lambda number: number
    library.nvmlDeviceGetUtilizationRates = library.nvmlDeviceGetMemoryInfo = lambda gpu: Told
    library.nvmlDeviceGetPowerUsage = lambda gpu: 250_500 if gpu == 1 else refuse(gpu)
    library.nvmlDeviceGetTemperature = lambda gpu, sensor: 61
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    whole = {"": 87.0, "/memory": 75.0, "/memory_mib": 3072.0, "/temperature_c": 61.0}
    expected = {f"system/gpu/{number}{part}": value for number in (1, 2) for part, value in whole.items()}
    assert Gpus().sample() == expected | {"system/gpu/1/power_w": 250.5}

    def no_driver() -> None:
        raise OSError("no driver")

    library.nvmlInit = no_driver
    assert Gpus().sample() == {}


def test_samples_are_not_the_programs_points(ports: Ports, tmp_path: Path) -> None:
    """Neither counted as steps nor in the summary; the last one comes at the end; ``lineage.metrics`` tells them apart."""
    meter = Meter()
    with begin(ports, tmp_path, of(meter)) as run:
        for number in range(3):
            assert meter.asked.acquire(timeout=PATIENCE_S)
            run.log({"loss": number, "system/mine": 1.0})
    found = ports.runs.metrics(run.id)
    assert [point.step for point in logged(found)] == [0, 1, 2]
    assert [point.values for point in lineage.metrics(run.id)] == [{"loss": n, "system/mine": 1.0} for n in range(3)]
    assert len(lineage.metrics(run.id, system=True)) >= 3
    assert sorted(run.record.summary) == ["loss", "system/mine"]
    assert ports.runs.metrics_digest(run.id) == get_run(ports.runs, ports.liveness, run.id).metrics_digest
    assert threading.active_count() == 1 or not any(thread.name == "lineage-system" for thread in threading.enumerate())


def test_a_resumed_run_takes_over_what_the_program_logged(ports: Ports, tmp_path: Path) -> None:
    """A checkpoint counts the program's points: samples in between neither are among them nor push them out."""
    meter = Meter()
    with begin(ports, tmp_path, of(meter), seed=1) as first:
        for number in range(4):
            assert meter.asked.acquire(timeout=PATIENCE_S)
            first.log({"loss": number})
        points, step = first.checkpointing.metric_position
        first.checkpointing.keep(b"state", step=4, details={"metric_points": points})
        first.finish(RunState.failed, "broken off")
    with begin(ports, tmp_path, Usage(0, lambda root, counts: meter), resume=first.id) as second:
        second.checkpointing.take_over(step=4, metric_points=points, next_metric_step=step)
        second.log({"loss": 4})
    assert [(point.step, point.values["loss"]) for point in ports.runs.metrics(second.id)] == [(n, float(n)) for n in range(5)]


def test_what_hangs_or_fails_is_nobodys_concern(ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A meter that fails is one note; one that hangs is left behind at the end, and writes nothing after it."""
    with begin(ports, tmp_path, of(Meter(lambda: 1 / 0))) as run:  # type: ignore[arg-type,return-value]
        until = time.monotonic() + PATIENCE_S
        while len(run.record.notes) < 2 and time.monotonic() < until:
            time.sleep(0.01)
    assert run.record.notes[1:] == ("what the machine used is not recorded: ZeroDivisionError: division by zero",)

    monkeypatch.setattr(system, "_PATIENCE_S", 0.2)
    gate = threading.Event()

    def hang() -> dict[str, float]:
        gate.wait(PATIENCE_S)
        return {"system/cpu": 1.0, "system/memory": 1.0}

    meter = Meter(hang)
    with begin(ports, tmp_path, of(meter)) as run:
        assert meter.asked.acquire(timeout=PATIENCE_S)
        run.log({"loss": 1})
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "lineage-system")
    gate.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert [point.values for point in ports.runs.metrics(run.id)] == [{"loss": 1.0}]


FORKING = """
import os, sys, threading
import lineage

with lineage.start_run(project="forks") as run:
    for number in range(150):
        child = os.fork()
        if child == 0:
            import psutil, json
            psutil.Process().memory_info()
            names = {thread.name for thread in threading.enumerate()}
            os._exit(0 if "lineage-system" not in names else 3)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit("a child did not end well")
        run.log({"n": number})
"""


def test_a_program_that_forks_while_it_is_sampled(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No child inherits half an import or a lock that nobody holds; none of them samples."""
    (repository / "fork.py").write_text(FORKING)
    command(repository, sys.executable, "fork.py", LINEAGE_SYSTEM_SECONDS="0.002")
    (run,) = told(repository, "runs")
    assert run["state"] == "finished"
    assert run["notes"] == []
    monkeypatch.setenv("LINEAGE_STORE", str(repository / ".lineage"))
    assert len(lineage.metrics(run["id"], system=True)) > 10
    assert len(lineage.metrics(run["id"])) == 150


def test_an_unchanged_command_is_sampled_from_outside(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes, not the one that waits for it; at 0 seconds nothing is sampled, and nothing is imported for it."""
    (repository / "work.py").write_text("import time\ndata = bytearray(150 << 20)\ndata[::4096] = b'1' * 38_400\ntime.sleep(1.5)")
    command(repository, sys.executable, "-m", "lineage", "run", "--", "python", "work.py", LINEAGE_SYSTEM_SECONDS="0.1")
    (run,) = told(repository, "runs")
    monkeypatch.setenv("LINEAGE_STORE", str(repository / ".lineage"))
    name = "system/process/memory_mib"
    memory = [point.values[name] for point in lineage.metrics(run["id"], system=True) if name in point.values]
    peak = max(memory)
    assert min(memory) > 0, "a command that has ended uses nothing, and has no sample"
    assert 150 < peak < 400
    shown = looked(repository, "show", run["id"]).stdout
    assert f"peak memory {peak:,.0f} MiB" in shown
    assert "\nmetrics " not in shown

    quick = "import lineage, sys\nwith lineage.start_run(): pass\nprint('psutil' in sys.modules)"
    (repository / "quick.py").write_text(quick)
    assert command(repository, sys.executable, "quick.py", LINEAGE_SYSTEM_SECONDS="15").stdout == "False\n", (
        "a short run does not pay for it"
    )
    (repository / "off.py").write_text(quick.replace("pass", "__import__('time').sleep(1.3)"))
    assert command(repository, sys.executable, "off.py", LINEAGE_SYSTEM_SECONDS="0").stdout == "False\n"


@pytest.mark.parametrize("text", ["-1", "soon", "nan", "1e9"])
def test_an_interval_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.delenv("LINEAGE_SYSTEM_SECONDS")
    assert load_settings().system_s == 15
    monkeypatch.setenv("LINEAGE_SYSTEM_SECONDS", text)
    with pytest.raises(UsageError, match=f"LINEAGE_SYSTEM_SECONDS is '{text}'"):
        load_settings()


def test_a_line_of_means_and_peaks() -> None:
    """Peaks of memory, means of work, each GPU by its number; a run without samples has no line."""
    columns = {"system/cpu": 50.0, "system/memory": 9.0, "system/process/cpu": 150.0, "system/process/memory_mib": 1500.0}
    gpu = {"system/gpu/10": 80.0, "system/gpu/10/memory_mib": 12_000.0, "system/gpu/2": 20.0}
    points = [MetricPoint(step=n, values=columns | gpu | {"system/process/memory_mib": 1000.0 + n}, at=n) for n in range(3)]
    own = MetricPoint(step=0, values={"loss": 1.0}, at=0)
    assert usage_line([own, *points]) == (
        "peak memory 1,002 MiB, mean CPU 150 % of a core, mean CPU of the machine 50 %, GPU 2 20 % mean, "
        "GPU 10 80 % mean, 12,000 MiB peak (3 samples)"
    )
    assert usage_line([own]) is None
    assert [is_sample(point) for point in (own, points[0])] == [False, True]
