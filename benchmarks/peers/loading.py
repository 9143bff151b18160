"""A loader that runs an epoch when it is told to, and says how long it took. Needs PyTorch, OpenCV and NumPy only.

    python loading.py FOLDER --workers N [--annotations] [--start-method spawn]

As a program it serves plain files: ``FOLDER/images/*.jpg`` and, when asked, ``FOLDER/annotations/*.txt``, as people write such a dataset.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.utils.data

BATCH_SIZE = 16
_TICKS = os.sysconf("SC_CLK_TCK")


def decoded(encoded: Any) -> torch.Tensor:
    """One picture as a training program wants it, uint8, (3, height, width)."""
    return as_tensor(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB))


def as_tensor(picture: Any) -> torch.Tensor:
    """A decoded picture, (height, width, 3), with the channels first; nothing is copied."""
    return torch.from_numpy(picture).permute(2, 0, 1)


def parser(description: str) -> argparse.ArgumentParser:
    """Arguments that every loader has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("folder", type=Path)
    made.add_argument("--workers", type=int, default=0)
    made.add_argument("--threads", type=int, default=1, help="of PyTorch, for making batches in this process")
    made.add_argument("--start-method", choices=("fork", "spawn"), default="fork")
    return made


def loader_options(chosen: argparse.Namespace) -> dict[str, Any]:
    """What every loader is made with."""
    cv2.setNumThreads(1)
    torch.set_num_threads(chosen.threads)
    workers = {"persistent_workers": True, "multiprocessing_context": chosen.start_method} if chosen.workers else {}
    return {"batch_size": BATCH_SIZE, "num_workers": chosen.workers, **workers}


def serve(loader: Iterable[Any]) -> None:
    """For each line of input one epoch, and a line of JSON about it; ``sum`` has the values of all pixels added, untimed.

    The batches are tensors of pictures, or sequences that begin with one.
    """
    tell({"ready": True})
    for line in sys.stdin:
        if line.strip() == "sum":
            tell({"sum": int(sum(_pictures(batch).sum(dtype=torch.int64) for batch in loader))})
            continue
        before, began, first, count = _cpu_s(), time.perf_counter(), 0.0, 0
        for batch in loader:
            first = first or time.perf_counter() - began
            count += len(_pictures(batch))
        took = time.perf_counter() - began
        tell({"s": took, "first_batch_s": first, "cpu_s": _cpu_s() - before, "pictures": count})


def tell(values: dict[str, Any]) -> None:
    """One line of JSON to whoever started this."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def _pictures(batch: Any) -> torch.Tensor:
    found = batch if isinstance(batch, torch.Tensor) else batch[0]
    assert isinstance(found, torch.Tensor)
    return found


def _cpu_s() -> float:
    """Seconds of processor time of this process and its workers."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + sum(_cpu_of(child.pid) for child in multiprocessing.active_children())


def _cpu_of(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Files(torch.utils.data.Dataset[Any]):
    """What people write over a folder of pictures, with the text file beside each when ``annotations`` are wanted."""

    def __init__(self, folder: Path, *, annotations: bool) -> None:
        self._files = sorted((folder / "images").iterdir())
        self._annotations = annotations

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, position: int) -> Any:
        file = self._files[position]
        picture = decoded(file.read_bytes())
        if not self._annotations:
            return picture
        lines = (file.parent.parent / "annotations" / f"{file.stem}.txt").read_text().split()
        return picture, np.array([line.rstrip(",").split(",") for line in lines], np.float32)


def pictures_and_rest(samples: list[Any]) -> tuple[torch.Tensor, list[Any]]:
    """Pictures as one tensor, annotations as a list: their numbers differ."""
    return torch.stack([picture for picture, _ in samples]), [rest for _, rest in samples]


def main() -> None:
    """Serve files."""
    arguments = parser("Plain files.")
    arguments.add_argument("--annotations", action="store_true")
    chosen = arguments.parse_args()
    collate: dict[str, Any] = {"collate_fn": pictures_and_rest} if chosen.annotations else {}
    files = Files(chosen.folder, annotations=chosen.annotations)
    serve(torch.utils.data.DataLoader(files, shuffle=True, **loader_options(chosen), **collate))


if __name__ == "__main__":
    main()
