"""What the training jobs share: device, run to go on with, weights file, a loss that is not finite."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

import torch

import lineage
from lineage.errors import LineageError, NotFound, Unavailable

WEIGHTS_NAME = "model.pth"


class NonFiniteLoss(LineageError):
    """The loss is infinite or not a number; training on would only spoil the weights."""

    code = "non_finite_loss"
    exit_code = 10

    def __init__(self, step: int, losses: dict[str, float], rows: tuple[int, ...] = (), *, advice: str) -> None:
        parts = ", ".join(f"{name} {value}" for name, value in losses.items())
        batch = f" in the batch of rows {', '.join(map(str, rows))}" if rows else ""
        super().__init__(
            f"step {step}: the loss is not finite{batch}: {parts}",
            hint=f"{advice}; `lineage replay RUN --step {step}` shows the step's batch",
        )
        self.step = step
        self.losses = losses


def find_resumable(project: str) -> str:
    """The project's newest training that was broken off and has a checkpoint.

    Raises:
        NotFound: There is none.
    """
    for run in lineage.runs(project=project, job_type="train"):
        if run.state in ("aborted", "failed") and any(item.kind == "checkpoint" for item in run.outputs):
            return str(run.id)
    raise NotFound("run to resume", project, detail="no training of this project was broken off after a checkpoint", hint="lineage runs")


def choose_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device.

    Raises:
        Unavailable: CUDA is asked for and not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise Unavailable("device cuda: torch finds no CUDA device", hint="use --device cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def save_weights(state: Mapping[str, torch.Tensor], folder: Path) -> Path:
    """Write ``model.pth`` aside and rename it, so that the name never stands for half a file.

    The same tensors give the same bytes: torch writes a file's own name into it, a buffer has none.
    """
    buffer = io.BytesIO()
    torch.save({name: tensor.cpu() for name, tensor in state.items()}, buffer)
    folder.mkdir(parents=True, exist_ok=True)
    path, aside = folder / WEIGHTS_NAME, folder / f".{WEIGHTS_NAME}.{os.getpid()}"
    try:
        with aside.open("wb") as stream:
            stream.write(buffer.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path
