"""What writes metrics, each behind the same few lines, in its own environment.

    python metric_tools.py TOOL calls FOLDER --steps N         time N calls with four metrics
    python metric_tools.py TOOL ticks FOLDER --every-ms MS     log until killed; every call that returned is marked in FOLDER/marks
    python metric_tools.py TOOL read FOLDER                    the steps that are readable

Each tool gets everything turned off that it does beside metrics, as far as it can be turned off. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import sqlite3
import struct
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

Log = Callable[[int], None]
"""Logs the four metrics of a step."""

MARKS = 1 << 16
_MARK = struct.Struct("<d")


def values_of(step: int) -> dict[str, float]:
    """The four metrics."""
    return {"loss": 1.0 / (step + 1), "accuracy": 0.25, "rate": 0.125, "norm": 3.5}


@contextlib.contextmanager
def empty(folder: Path) -> Iterator[Log]:
    """The loop alone, and the making of the values."""
    yield lambda step: _none(values_of(step))


@contextlib.contextmanager
def append(folder: Path) -> Iterator[Log]:
    """44 bytes into a buffered file."""
    packed = struct.Struct("<qi4d")
    with open(folder / "floor.bin", "wb") as stream:
        yield lambda step: _none(stream.write(packed.pack(step, 0, *values_of(step).values())))


@contextlib.contextmanager
def json_lines(folder: Path) -> Iterator[Log]:
    """A line of JSON into a buffered file."""
    with open(folder / "floor.jsonl", "w") as stream:
        yield lambda step: _none(stream.write(json.dumps({"step": step, "at": time.time()} | values_of(step)) + "\n"))


def _none(_: object) -> None:
    return


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[Log]:
    """``run.log``."""
    os.environ["LINEAGE_STORE"] = str(folder / "store")
    import lineage

    with lineage.start_run(project="benchmark") as run:
        (folder / "id").write_text(run.id)
        yield lambda step: run.log(values_of(step), step=step)


def read_ours(folder: Path) -> list[int]:
    """Through the public function."""
    os.environ["LINEAGE_STORE"] = str(folder / "store")
    import lineage

    return [point.step for point in lineage.metrics((folder / "id").read_text())]


@contextlib.contextmanager
def ours_steps(folder: Path) -> Iterator[Log]:
    """``run.watch``: a step of a small model."""
    os.environ["LINEAGE_STORE"] = str(folder / "store")
    import torch

    import lineage

    torch.set_num_threads(1)
    with lineage.start_run(project="benchmark", seed=1) as run:
        (folder / "id").write_text(run.id)
        model = torch.nn.Linear(64, 8)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        run.watch(model, optimizer)

        def step(number: int) -> None:
            optimizer.zero_grad()
            model(torch.full((4, 64), float(number % 7))).square().mean().backward()
            optimizer.step()

        yield step


def read_ours_steps(folder: Path) -> list[int]:
    """From the record: the log is sealed when the killed run is found."""
    os.environ["LINEAGE_STORE"] = str(folder / "store")
    import lineage
    from lineage.api.process import ports_of_process
    from lineage.lookup.steps import read_steps

    log = read_steps(ports_of_process(), lineage.get((folder / "id").read_text()))
    return [record.step for record in log.records if record.step >= 0]


@contextlib.contextmanager
def wandb(folder: Path) -> Iterator[Log]:
    """Weights & Biases, offline."""
    os.environ |= {"WANDB_DATA_DIR": str(folder), "WANDB_CACHE_DIR": str(folder), "WANDB_ERROR_REPORTING": "false"}
    import wandb

    settings = wandb.Settings(console="off", x_disable_stats=True, x_disable_meta=True, save_code=False, silent=True)
    with wandb.init(mode="offline", project="benchmark", dir=str(folder), settings=settings) as run:
        yield lambda step: run.log(values_of(step), step=step)


def read_wandb(folder: Path) -> list[int]:
    """From its own file."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.rglob("*.wandb")
    found = []
    for content in _wandb_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]  # made at run time
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            found.append(record.history.step.num)
    return found


def _wandb_records(content: bytes) -> Iterator[bytes]:
    """Whole records of LevelDB's log format: blocks of 32 KiB, the first begins with 7 bytes of W&B's own."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", content, at)
        if kind == 0 or at + 7 + size > len(content):
            return
        parts = content[at + 7 : at + 7 + size] if kind in (1, 2) else parts + content[at + 7 : at + 7 + size]
        if kind in (1, 4):
            yield parts
        at += 7 + size


@contextlib.contextmanager
def aim(folder: Path) -> Iterator[Log]:
    """Aim, its local repository."""
    import aim as library

    run = library.Run(repo=str(folder), system_tracking_interval=None, capture_terminal_logs=False, log_system_params=False)
    yield lambda step: run.track(values_of(step), step=step)
    run.close()


def read_aim(folder: Path) -> list[int]:
    """By opening the run again for writing: opened for reading only, a run that was just closed or killed has no metrics."""
    import aim as library

    quiet: dict[str, Any] = {"system_tracking_interval": None, "capture_terminal_logs": False}
    runs = [library.Run(name, repo=str(folder), **quiet) for name in library.Repo(str(folder)).list_all_runs()]
    return [int(step) for run in runs for metric in run.metrics() if metric.name == "loss" for step in metric.data.items_list()[0]]


def mlflow(uri_of: Callable[[Path], str], *, synchronous: bool = True) -> Callable[[Path], contextlib.AbstractContextManager[Log]]:
    """MLflow's ``log_metrics``."""

    @contextlib.contextmanager
    def client(folder: Path) -> Iterator[Log]:
        os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "MLFLOW_ALLOW_FILE_STORE": "true"}
        import mlflow as library

        library.set_tracking_uri(uri_of(folder))
        with library.start_run():
            yield lambda step: _none(library.log_metrics(values_of(step), step=step, synchronous=synchronous))
            if not synchronous:
                library.flush_async_logging()

    return client


def _sqlite_uri(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def _file_uri(folder: Path) -> str:
    return f"file://{folder}/mlruns"


def read_mlflow_sqlite(folder: Path) -> list[int]:
    """From its table."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return [step for (step,) in database.execute("select step from metrics where key = 'loss'")]


def read_mlflow_file(folder: Path) -> list[int]:
    """From its text file: value and step are the second and third word."""
    (file,) = folder.rglob("metrics/loss")
    return [int(line.split()[2]) for line in file.read_text().splitlines() if len(line.split()) >= 3]


def sacred(folder: Path, body: Callable[[Log], None]) -> None:
    """Sacred, which calls the training itself; its file observer writes every ten seconds."""
    from sacred import SETTINGS, Experiment
    from sacred.observers import FileStorageObserver

    SETTINGS.CAPTURE_MODE = "no"
    SETTINGS.DISCOVER_SOURCES = SETTINGS.DISCOVER_DEPENDENCIES = "none"
    experiment = Experiment("benchmark", save_git_info=False)
    experiment.observers.append(FileStorageObserver(str(folder / "sacred")))

    def main(_run: Any) -> None:
        def log(step: int) -> None:
            for name, value in values_of(step).items():
                _run.log_scalar(name, value, step)

        body(log)

    experiment.main(main)
    experiment.run(options={"--loglevel": "ERROR"})


def read_sacred(folder: Path) -> list[int]:
    """From its file, which is written anew as a whole."""
    files = list(folder.rglob("metrics.json"))
    text = files[0].read_text() if files else ""
    return [int(step) for step in json.loads(text)["loss"]["steps"]] if text else []


WRITERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Log]]] = {
    "empty": empty,
    "append": append,
    "json": json_lines,
    "ours": ours,
    "ours-steps": ours_steps,
    "wandb": wandb,
    "aim": aim,
    "mlflow-sqlite": mlflow(_sqlite_uri),
    "mlflow-sqlite-async": mlflow(_sqlite_uri, synchronous=False),
    "mlflow-file": mlflow(_file_uri),
}
READERS: dict[str, Callable[[Path], list[int]]] = {
    "ours": read_ours,
    "ours-steps": read_ours_steps,
    "wandb": read_wandb,
    "aim": read_aim,
    "sacred": read_sacred,
    "mlflow-sqlite": read_mlflow_sqlite,
    "mlflow-sqlite-async": read_mlflow_sqlite,
    "mlflow-file": read_mlflow_file,
}


def within(tool: str, folder: Path, body: Callable[[Log], None]) -> None:
    """Call ``body`` with the tool's log inside a run of it."""
    if tool == "sacred":
        sacred(folder, body)
        return
    with WRITERS[tool](folder) as log:
        body(log)


def calls(tool: str, folder: Path, steps: int, pause_s: float) -> dict[str, Any]:
    """Seconds of each call, of the end, and bytes that were added by the calls."""
    found: dict[str, Any] = {}

    def body(log: Log) -> None:
        log(0)  # what is made at the first call
        time.sleep(0.5)
        before = _size(folder)
        took = []
        began = time.perf_counter()
        for step in range(1, steps + 1):
            start = time.perf_counter()
            log(step)
            took.append(time.perf_counter() - start)
            if pause_s:
                time.sleep(pause_s)
        found.update(calls_s=took, loop_s=time.perf_counter() - began, before=before, ended=time.perf_counter())

    within(tool, folder, body)
    end = time.perf_counter() - found.pop("ended")
    return found | {"end_s": end, "bytes": _size(folder) - found.pop("before"), "version": version(tool)}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def ticks(tool: str, folder: Path, every_s: float) -> None:
    """Log for ever; the time of every call that returned is kept by the kernel, whatever happens to this process."""
    with open(folder / "marks", "r+b") as file:
        marks = mmap.mmap(file.fileno(), MARKS * _MARK.size)

    def body(log: Log) -> None:
        for step in range(MARKS):
            log(step)
            _MARK.pack_into(marks, step * _MARK.size, time.time())
            time.sleep(every_s)

    within(tool, folder, body)


def read_marks(folder: Path) -> list[float]:
    """When each call returned."""
    content = (folder / "marks").read_bytes()
    return [at for (at,) in _MARK.iter_unpack(content) if at]


def first_mark(folder: Path) -> float:
    """When the first call returned; 0 before."""
    with open(folder / "marks", "rb") as file:
        (at,) = _MARK.unpack(file.read(_MARK.size))
    return float(at)


def version(tool: str) -> str:
    """Name and version of what was imported."""
    package = {"ours": "dataset-lineage"}.get(tool.partition("-")[0], tool.partition("-")[0])
    return f"{package} {metadata.version(package)}" if package.rpartition("-")[2] in sys.modules and tool != "json" else ""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tool", choices=(*WRITERS, "sacred"))
    parser.add_argument("what", choices=("calls", "ticks", "read"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pause-ms", type=float, default=0)
    parser.add_argument("--every-ms", type=float, default=50)
    chosen = parser.parse_args()
    if chosen.what == "calls":
        found: Any = calls(chosen.tool, chosen.folder, chosen.steps, chosen.pause_ms / 1e3)
    elif chosen.what == "ticks":
        ticks(chosen.tool, chosen.folder, chosen.every_ms / 1e3)
        return
    else:
        found = {"steps": READERS[chosen.tool](chosen.folder)}
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
