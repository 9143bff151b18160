"""What the training jobs share: their start, device, run to go on with, weights file, a loss that is not finite."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

import lineage
import lineage.training
from lineage.errors import LineageError, NotFound, Unavailable, UsageError
from pipelines.progress import console

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


@contextmanager
def recorded_job(
    config: Any,
    job_type: str,
    *,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    cpu_capability: str | None = None,
    **options: Any,
) -> Iterator[tuple[Any, torch.device, Path]]:
    """A run of a training or an evaluation, begun as its configuration says.

    Args:
        config: A configuration with the fields project, group, name, seed, wandb, device and threads.
        job_type: What kind of job.
        precision: Type of the arithmetic: ``float32``, ``bfloat16`` or ``float16``.
        cpu_capability: Instruction set to keep to, as :func:`lineage.training.make_deterministic` takes it.
        options: Further arguments of :func:`lineage.start_run`.

    Yields:
        The run, the device, and a folder for files on their way into the record.

    Raises:
        UsageError: The arithmetic needs a GPU.
        Unavailable: The device is not there.
    """
    device = choose_device(config.device)
    if precision == "float16" and device.type == "cpu":
        raise UsageError("precision float16 needs a GPU: its range is too small for gradients without one", hint="--precision bfloat16")
    # A reproduction sets WANDB_MODE, so that it never writes into the project of the run it repeats.
    mode = os.environ.setdefault("WANDB_MODE", config.wandb)
    trackers = () if "disabled" in (config.wandb, mode) else ("wandb",)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lineage-job-")))
        started = lineage.start_run(
            project=config.project,
            job_type=job_type,
            group=config.group,
            name=config.name,
            config=config.model_dump(mode="json"),
            seed=config.seed,
            trackers=trackers,
            **options,
        )
        run = stack.enter_context(started)
        settings = lineage.training.make_deterministic(
            run, threads=config.threads, cpu_capability=cpu_capability, device=device, precision=precision
        )
        console.print(f"promise: {settings['promise']}", soft_wrap=True)
        yield run, device, folder


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
