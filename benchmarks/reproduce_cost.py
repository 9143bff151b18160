"""What a reproduction takes beside the training, and what building an environment takes beside plain uv.

    python benchmarks/reproduce_cost.py [--rounds 5] [--json FILE]

A reproduction: the detection pipeline on drawn scenes is recorded once; then, in turn, the same command is run by hand (recorded, too) and
the run is reproduced, in the current environment and in the recorded one built before (warm). Shown is what ``lineage reproduce`` took
more than the command, from process start to process end: plan, code, data, verification, and looking for the verdict. Budget: 10 s.

An environment: this one's lock, offline from uv's cache, by ``uv venv`` and ``uv pip install --no-deps``, and by the builder, which also
compares every installed file with its digest. Then the builder again, which finds it (warm).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lineage.adapters.environment.local import LocalEnvironmentProbe
from lineage.adapters.environment.uv import UvEnvironmentBuilder
from lineage.adapters.objects.folder import FolderObjectStore
from lineage.model.environment import Lock, lock_of

SETTINGS = ("--config", "demo", "--set", "classes=[car, van, truck]", "--width", "64", "--height", "64", "--epochs", "2", "--seed", "7")


def spent(words: Sequence[str | Path], folder: Path, store: Path, statuses: tuple[int, ...] = (0,)) -> tuple[float, Any]:
    """Seconds that a command took, and the JSON it printed.

    Raises:
        RuntimeError: It failed.
    """
    environment = os.environ | {"LINEAGE_STORE": str(store), "WANDB_MODE": "disabled", "TQDM_DISABLE": "1", "UV_OFFLINE": "1"}
    began = time.perf_counter()
    done = subprocess.run([*map(str, words)], cwd=folder, env=environment, capture_output=True, text=True)
    took = time.perf_counter() - began
    if done.returncode not in statuses:
        raise RuntimeError(f"{words}:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return took, json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else None


def reproductions(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds over the command itself."""
    store = folder / "store"
    root = Path(__file__).resolve().parents[1]
    repository = folder / "repository"
    subprocess.run(["git", "clone", "--quiet", str(root), str(repository)], check=True)
    make = [sys.executable, "-m", "pipelines.data", "scenes", folder / "scenes", "--train", "12", "--validation", "4", "--size", "240x180"]
    spent([*make, "--recipe", "parking", "--seed", "7"], repository, store)
    lineage = [sys.executable, "-m", "lineage"]
    for split in ("train", "validation"):
        spent([*lineage, "upload", "visdrone", folder / "scenes" / split, f"file://{folder / split}"], repository, store)
    data = ("--train", f"file://{folder / 'train'}", "--validation", f"file://{folder / 'validation'}")
    train = [sys.executable, "-m", "pipelines.detection", "train", *data, *SETTINGS, "--json"]
    run = spent(train, repository, store)[1]["run_id"]
    took: dict[str, list[float]] = {"current": [], "recorded": []}
    for number in range(rounds + 1):  # the first one builds the environment and does not count
        alone = spent(train, repository, store)[0]
        for mode, found in took.items():
            seconds, report = spent([*lineage, "reproduce", run, "--env", mode, "--json"], repository, store)
            if report["verdict"] != "identical":
                raise RuntimeError(f"expected identical, found {report['verdict']}")
            if number:
                found.append(seconds - alone)
    return took


def plain_uv(lock: Lock, folder: Path) -> None:
    """What a person would type."""
    uv = shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if uv is None:
        raise RuntimeError("uv is neither beside this interpreter nor on PATH")
    folder.mkdir()
    (folder / "requirements.txt").write_text("".join(f"{name}=={item.version}\n" for name, item in lock.packages.items()))
    for words in (
        ["venv", "--quiet", "--python", sys.executable, folder / "environment"],
        ["pip", "install", "--quiet", "--offline", "--no-deps", "--python", folder / "environment", "-r", folder / "requirements.txt"],
    ):
        subprocess.run([uv, *map(str, words)], check=True, cwd=folder)


def environments(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds to build this process's environment in each way."""
    probe = LocalEnvironmentProbe(folder / "packages")
    lock = lock_of(probe.describe())
    # pip and setuptools came with the interpreter, not through uv's cache.
    lock = lock.model_copy(update={"packages": {name: item for name, item in lock.packages.items() if name not in ("pip", "setuptools")}})
    took: dict[str, list[float]] = {"plain uv": [], "built and verified": [], "found again": []}

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        took[name].append(time.perf_counter() - began)

    for number in range(rounds):
        aside = folder / f"plain-{number}"
        timed("plain uv", lambda aside=aside: plain_uv(lock, aside))  # type: ignore[misc]  # a default argument binds this round's folder
        shutil.rmtree(aside)
        kept = folder / f"built-{number}"
        builder = UvEnvironmentBuilder(kept, FolderObjectStore(folder / "objects"), probe)
        timed("built and verified", lambda builder=builder: builder.build(lock))  # type: ignore[misc]
        timed("found again", lambda builder=builder: builder.build(lock))  # type: ignore[misc]
        shutil.rmtree(kept)
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        built = environments(Path(temporary, "environments"), chosen.rounds)
        over = reproductions(Path(temporary), chosen.rounds)
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {chosen.rounds} rounds, load {os.getloadavg()[0]:.1f}\n")
    print("| | median s | lowest to highest |\n|---|---|---|")
    names = {f"reproduce --env {mode}, over the command": seconds for mode, seconds in over.items()} | built
    for name, seconds in names.items():
        print(f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} |")
    if chosen.json:
        chosen.json.write_text(json.dumps(names, indent=1))


if __name__ == "__main__":
    main()
