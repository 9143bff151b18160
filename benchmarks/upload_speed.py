"""A tracked, verified upload beside what moves the same pictures: ``cp -r``, a bare Deep Lake append, ``dvc add``.

    python benchmarks/upload_speed.py [--pictures 2000] [--rounds 5] [--json FILE]

Drawn scenes (JPEG, quality 75, 1,360 x 765) with VisDrone annotations; copies of 100 drawn ones, each made unique by a comment in the file.
Whole processes, imports included, in turns; the median and the spread of each. Ours checks every picture by decoding it, digests every
file, stores, reads everything back and compares, and writes a record; nobody else does any of these but for DVC's digests.
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
from collections.abc import Sequence
from pathlib import Path

from scenes import repository

from pipelines.data.scenes import write_scenes

DRAWN = 100
SIZE = (1360, 765)
BARE = """
import sys
from pathlib import Path
import deeplake
import numpy as np
from deeplake import types as T
source, uri = Path(sys.argv[1]), sys.argv[2]
dataset = deeplake.create(uri, schema={
    "images": T.Image(sample_compression="jpeg"),
    "boxes": T.Array("float32", 2),
    "labels": T.ClassLabel(T.Array("uint32", 1)),
    "sample_id": T.Text(),
})
paths = sorted((source / "images").iterdir())
for start in range(0, len(paths), 64):
    batch = paths[start:start + 64]
    tables = [np.loadtxt(source / "annotations" / f"{p.stem}.txt", delimiter=",", ndmin=2) for p in batch]
    dataset.append({
        "images": [p.read_bytes() for p in batch],
        "boxes": [t[:, :4].astype("float32") for t in tables],
        "labels": [t[:, 5].astype("uint32") for t in tables],
        "sample_id": [p.stem for p in batch],
    })
dataset.commit("uploaded")
"""


def make_source(folder: Path, pictures: int) -> int:
    """Pictures and annotations in the VisDrone layout; returns their bytes."""
    drawn = folder / "drawn"
    write_scenes(drawn, train=min(DRAWN, pictures), validation=0, seed=3, size=SIZE)
    source = folder / "source"
    for part in ("images", "annotations"):
        (source / part).mkdir(parents=True)
    originals = sorted((drawn / "train" / "images").iterdir())
    size_bytes = 0
    for number in range(pictures):
        picture = originals[number % len(originals)]
        text = (drawn / "train" / "annotations" / f"{picture.stem}.txt").read_bytes()
        mark = f"{number:08d}".encode()
        content = picture.read_bytes()
        content = content[:2] + b"\xff\xfe" + (len(mark) + 2).to_bytes(2, "big") + mark + content[2:]  # a comment of JPEG
        (source / "images" / f"{number:07d}.jpg").write_bytes(content)
        (source / "annotations" / f"{number:07d}.txt").write_bytes(text)
        size_bytes += len(content) + len(text)
    shutil.rmtree(drawn)
    return size_bytes


def timed(command: Sequence[str | Path], folder: Path) -> float:
    """Seconds of a whole process."""
    began = time.perf_counter()
    environment = {**os.environ, "WANDB_MODE": "disabled", "DVC_NO_ANALYTICS": "1"}
    subprocess.run([str(part) for part in command], cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="upload-speed-") as name:
        folder = Path(name)
        repository(folder)
        size_bytes = make_source(folder, chosen.pictures)
        source = folder / "source"
        (folder / "bare.py").write_text(BARE)
        python = sys.executable
        for number in range(chosen.rounds):
            place = folder / f"round-{number}"
            place.mkdir()
            shutil.copytree(source, place / "tracked")
            subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)  # DVC wants one, without the outer one's exclusions
            subprocess.run([python, "-m", "dvc", "init", "--quiet"], cwd=place, check=True, capture_output=True)
            commands: dict[str, list[str | Path]] = {
                "cp -r": ["cp", "-r", source, place / "copy"],
                "sha256sum": ["sh", "-c", "find source -type f -print0 | xargs -0 sha256sum > sums"],
                "bare Deep Lake append": [python, folder / "bare.py", source, place / "bare"],
                "lineage upload": [python, "-m", "lineage", "upload", "visdrone", source, place / "ours", "--json"],
                "dvc add": [python, "-m", "dvc", "add", "--quiet", "tracked"],
            }
            for what, command in commands.items():
                times.setdefault(what, []).append(timed(command, place if what == "dvc add" else folder))
            shutil.rmtree(place)
    found = {what: {"median_s": statistics.median(series), "least_s": min(series), "most_s": max(series)} for what, series in times.items()}
    copy = found["cp -r"]["median_s"]
    print(f"{chosen.pictures} pictures and annotations, {size_bytes / 1e6:.0f} MB, {chosen.rounds} rounds, {os.cpu_count()} cores")
    print(f"{'':<24}{'median s':>9}{'least':>8}{'most':>8}{'x cp -r':>9}{'pictures/s':>12}")
    for what, series in found.items():
        seconds = series["median_s"]
        numbers = f"{seconds:>9.2f}{series['least_s']:>8.2f}{series['most_s']:>8.2f}{seconds / copy:>9.1f}"
        print(f"{what:<24}{numbers}{chosen.pictures / seconds:>12.0f}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({"pictures": chosen.pictures, "size_bytes": size_bytes, "times": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
