"""Shuffled loading with decode: ours with its check of every row, plain files, Deep Lake's own loader, Mosaic Streaming.

    python benchmarks/loader.py [--pictures 128] [--rounds 15] [--workers 0 1 2] [--streaming-python PATH] [--json FILE] [--plot FILE.png]

Drawn scenes, JPEG, 960 x 540; the same bytes for everybody. Each loader lives in a process of its own and runs an epoch when it is told
to: they take turns, in another order every round, so that other work on the machine meets all of them. Batches of 16, workers are kept.
The first epoch (opening, starting workers) is shown apart and not counted. A ratio is the median, over rounds, of the speed beside that
of plain files.
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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import torch.utils.data
from peers.loading import as_tensor, decoded, loader_options, parser, pictures_and_rest, serve
from scenes import repository, stored_scenes

import lineage
from lineage.record.recorded_view import RecordedView
from lineage.training import DataLoader

WIDTH, HEIGHT = 960, 540
PROGRAM = Path(__file__).resolve()
PLAIN = "files"
_NAMES = {
    PLAIN: "plain files, picture alone",
    "annotated": "plain files, with annotations",
    "ours": "ours, every row checked",
    "ours-unchecked": "ours without the check",
    "ours-annotated": "ours, with annotations",
    "deeplake": "Deep Lake's .pytorch()",
    "streaming": "Mosaic Streaming",
}

Rounds = dict[str, list[dict[str, float]]]


# --- the loaders, each in a process of its own -----------------------------------------------------------------------------


class Unchecked(RecordedView):
    """A view that trusts what it reads: for the cost of not doing so."""

    def _check(self, *_: Any) -> None:
        return


def _picture(sample: dict[str, Any], _: np.random.Generator) -> torch.Tensor:
    return decoded(sample["images"])


def _picture_and_boxes(sample: dict[str, Any], _: np.random.Generator) -> Any:
    return decoded(sample["images"]), np.array(sample["boxes"])


def _deeplake_picture(row: Any) -> torch.Tensor:
    return as_tensor(np.array(row["images"]))  # what it hands out is read-only


def serve_ours(chosen: argparse.Namespace) -> None:
    """Our loader in a tracked run, or Deep Lake's own."""
    options = loader_options(chosen)
    if chosen.method == "deeplake":
        dataset = deeplake.open_read_only(str(chosen.folder)).pytorch(transform=_deeplake_picture)
        serve(torch.utils.data.DataLoader(dataset, shuffle=True, **options))
        return
    with lineage.start_run(project="benchmark", seed=7) as run:
        view = run.use_dataset(str(chosen.folder), role="train")
        if chosen.method == "ours-unchecked":
            view.__class__ = Unchecked
        if chosen.method == "ours-annotated":
            options["collate_fn"] = pictures_and_rest
        transform = _picture_and_boxes if chosen.method == "ours-annotated" else _picture
        serve(DataLoader(view, shuffle=True, transform=transform, **options))


class Child:
    """A loader in its own process.

    Args:
        command: What to start.
        folder: Where; stores are made in there.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def ask(self, what: str) -> dict[str, Any]:
        """An ``epoch``, or the ``sum``.

        Raises:
            RuntimeError: The process ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # libraries say this and that
                found: dict[str, Any] = json.loads(line)
                return found
        raise RuntimeError(f"a loader ended with {self._process.wait()}: {self._process.args!r}")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


# --- data -------------------------------------------------------------------------------------------------------------------


def make_data(folder: Path, pictures: int, streaming_python: str | None) -> dict[str, Any]:
    """Scenes as files in ``scenes/train``, as a Deep Lake dataset in ``dataset``, and as shards in ``shards``."""
    sizes = stored_scenes(folder, pictures, (WIDTH, HEIGHT))
    versions = f"torch {torch.__version__}, deeplake {deeplake.__version__}"
    if streaming_python:
        command = _command(streaming_python, "streaming", folder, 0, "fork")
        made = subprocess.run([*command, "--make", str(folder / "scenes/train/images")], capture_output=True, text=True, check=True)
        versions += f", {json.loads(made.stdout.splitlines()[-1])['version']}"
    return {"pictures": pictures, "mean_bytes": statistics.mean(sizes), "versions": versions}


def _command(streaming_python: str | None, method: str, folder: Path, workers: int, start_method: str) -> list[str]:
    common = ["--workers", str(workers), "--start-method", start_method]
    if method in (PLAIN, "annotated"):
        more = ["--annotations"] if method == "annotated" else []
        return [sys.executable, str(PROGRAM.parent / "peers/loading.py"), str(folder / "scenes/train"), *common, *more]
    if method == "streaming":
        return [str(streaming_python), str(PROGRAM.parent / "peers/streaming_loader.py"), str(folder / "shards"), *common]
    return [sys.executable, str(PROGRAM), "--serve", method, str(folder / "dataset"), *common]


@contextmanager
def started(commands: dict[str, list[str]], folder: Path) -> Iterator[dict[str, Child]]:
    """All of them, ended at the end."""
    with ExitStack() as stack:
        found = {}
        for method, command in commands.items():
            found[method] = child = Child(command, folder)
            stack.callback(child.close)
        yield found


# --- measuring --------------------------------------------------------------------------------------------------------------


def in_turns(children: dict[str, Child], rounds: int, pictures: int) -> tuple[Rounds, Rounds]:
    """(first epoch, further epochs) of each, in another order every round.

    Raises:
        RuntimeError: One gave other pictures than the rest.
    """
    order = random.Random(5)
    first: Rounds = {}
    rest: Rounds = {method: [] for method in children}
    for number in range(rounds + 1):
        for method in order.sample(list(children), len(children)):
            found = children[method].ask("epoch")
            if found["pictures"] != pictures:
                raise RuntimeError(f"{method}: {found['pictures']} pictures instead of {pictures}")
            if number:
                rest[method].append(found)
            else:
                first[method] = [found]
    sums = {method: child.ask("sum")["sum"] for method, child in children.items()}
    for method, total in sums.items():
        # Deep Lake has a decoder of its own, whose pixels differ by one here and there.
        if abs(total - sums[PLAIN]) > (0.001 if method == "deeplake" else 0) * sums[PLAIN]:
            raise RuntimeError(f"{method}: its pixels are not those of the files")
    return first, rest


def summary(first: Rounds, rest: Rounds, pictures: int) -> dict[str, dict[str, Any]]:
    """Figures of each method."""
    found = {}
    for method, epochs in rest.items():
        took = [epoch["s"] for epoch in epochs]
        ratios = [plain["s"] / epoch["s"] for plain, epoch in zip(rest[PLAIN], epochs, strict=True)]
        cpu = [epoch["cpu_s"] / plain["cpu_s"] for plain, epoch in zip(rest[PLAIN], epochs, strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4)
        found[method] = {
            "pictures_a_second": pictures / statistics.median(took),
            "best_pictures_a_second": pictures / min(took),
            "ratio": median,
            "ratio_quartiles": [low, high],
            "cpu_ms_a_picture": 1e3 * statistics.median(epoch["cpu_s"] for epoch in epochs) / pictures,
            "cpu_ratio": statistics.median(cpu),
            "first_epoch_s": first[method][0]["s"],
            "first_batch_s": first[method][0]["first_batch_s"],
            "later_first_batch_s": statistics.median(epoch["first_batch_s"] for epoch in epochs),
            "epochs_s": took,
        }
    return found


def show(workers: int, figures: dict[str, dict[str, Any]]) -> None:
    """A table."""
    print(f"\n{workers} workers, load {os.getloadavg()[0]:.1f}")
    print("| loader | pictures/s | best | ratio to files | quartiles | CPU ms a picture | to files | first epoch s | first batch s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for method, item in figures.items():
        low, high = item["ratio_quartiles"]
        cells = [
            f"{item['pictures_a_second']:.0f}",
            f"{item['best_pictures_a_second']:.0f}",
            f"{item['ratio']:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{item['cpu_ms_a_picture']:.2f}",
            f"{item['cpu_ratio']:.2f}",
            f"{item['first_epoch_s']:.2f}",
            f"{item['first_batch_s']:.2f}",
        ]
        print(f"| {_NAMES[method]} | {' | '.join(cells)} |")
    sys.stdout.flush()


def plot(found: dict[str, Any], file: Path) -> None:
    """Bars: the ratio of each loader for each number of workers, with quartiles."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.2))
    methods = [method for method in _NAMES if method in next(iter(found["workers"].values())) and method != PLAIN]
    for place, (workers, figures) in enumerate(found["workers"].items()):
        at = [number + 0.26 * (place - (len(found["workers"]) - 1) / 2) for number in range(len(methods))]
        values = [figures[method]["ratio"] for method in methods]
        spread = np.abs(np.array([figures[method]["ratio_quartiles"] for method in methods]).T - values)
        bars = axes.bar(at, values, 0.24, yerr=spread, capsize=2, label=f"{workers} workers")
        axes.bar_label(bars, [f"{value:.2f}" for value in values], fontsize=7, padding=2)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(
        range(len(methods)), [_NAMES[method].replace(", ", ",\n").replace(" without", "\nwithout") for method in methods], fontsize=8
    )
    axes.set_ylabel("pictures a second, plain files = 1")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=130)


def main() -> None:
    """Measure and print."""
    if "--serve" in sys.argv:
        arguments = parser("Ours, and Deep Lake's own.")
        arguments.add_argument("--serve", dest="method")
        serve_ours(arguments.parse_args())
        return
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=128)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    options.add_argument("--start-method", choices=("fork", "spawn"), default="fork")
    options.add_argument("--methods", nargs="*", choices=list(_NAMES), default=list(_NAMES))
    options.add_argument("--streaming-python", type=_absolute, help="interpreter of an environment with benchmarks/peers/streaming.txt")
    options.add_argument("--json", type=_absolute)
    options.add_argument("--plot", type=_absolute)
    chosen = options.parse_args()
    methods = [method for method in _NAMES if method in {PLAIN, *chosen.methods} and (method != "streaming" or chosen.streaming_python)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        repository(folder)
        found = make_data(folder, chosen.pictures, chosen.streaming_python if "streaming" in methods else None) | {"workers": {}}
        print(f"{os.cpu_count()} cores, {found['versions']}; {chosen.pictures} pictures of {found['mean_bytes'] / 1e3:.0f} KB")
        for workers in chosen.workers:
            commands = {method: _command(chosen.streaming_python, method, folder, workers, chosen.start_method) for method in methods}
            with started(commands, folder) as children:
                first, rest = in_turns(children, chosen.rounds, chosen.pictures)
            found["workers"][str(workers)] = figures = summary(first, rest, chosen.pictures)
            show(workers, figures)
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(found, indent=1))
    if chosen.plot:
        plot(found, Path(chosen.plot))


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))  # not resolved: the interpreter of an environment is a link


if __name__ == "__main__":
    main()
