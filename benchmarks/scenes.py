"""What benchmarks train on: drawn scenes in files and in Deep Lake, in a folder that is a repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lineage.adapters.datasets.deeplake import DeepLakeBackend
from pipelines.data.scenes import write_scenes
from pipelines.data.visdrone import COLUMNS, VisDroneImporter


def repository(folder: Path) -> None:
    """Make an empty repository with one commit, as a training's folder has one; nothing in it counts as its code."""
    folder.mkdir(exist_ok=True)
    for command in (["init", "--quiet"], ["-c", "user.name=b", "-c", "user.email=b@x", "commit", "--quiet", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    (folder / ".gitignore").write_text("*\n")


def stored_scenes(folder: Path, pictures: int, size: tuple[int, int] | None = None) -> list[int]:
    """Draw scenes into ``folder/scenes/train`` and put them into a dataset, ``folder/dataset``; returns the bytes of each picture."""
    write_scenes(folder / "scenes", train=pictures, validation=0, seed=3, size=size)
    importer = VisDroneImporter()
    samples = [importer.read(sample) for sample in importer.scan(folder / "scenes" / "train").samples]
    writer = DeepLakeBackend().write(f"file://{folder / 'dataset'}", COLUMNS, source={})
    writer.append({column.name: [sample[column.name] for sample in samples] for column in COLUMNS})
    writer.complete("scenes")
    return [len(sample["images"]) for sample in samples]
