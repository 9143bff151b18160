"""The training job: data comes in through lineage, losses, evaluations and weights go out through lineage."""

from __future__ import annotations

import io
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import lineage
import lineage.training
from lineage.errors import Unavailable
from pipelines.detection.config import Config
from pipelines.detection.evaluate import Evaluation, evaluate
from pipelines.detection.model import base_weights_file, build_model
from pipelines.detection.progress import bar, console
from pipelines.detection.train import make_optimizer, make_schedule, train_one_epoch
from pipelines.detection.transforms import LABEL_COLUMN, collate, label_map, make_transform, training_pipeline, validation_pipeline

WEIGHTS_NAME = "model.pth"


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training left behind.

    Attributes:
        run_id: Id of the recorded run.
        evaluation: The last evaluation.
        weights: The weights file, ``None`` where it lives only in the run's record.
    """

    run_id: str
    evaluation: Evaluation
    weights: Path | None


def train_detector(config: Config) -> Trained:
    """Train Faster R-CNN on a view, evaluate it on another after each epoch, and record all of it as one run.

    Raises:
        LineageError: Any error of the tree: a dataset, view, class or weights file that is not there, a picture that cannot be decoded,
            a loss that is not finite. The run is then recorded as failed.
    """
    device = choose_device(config.device)
    # A reproduction sets WANDB_MODE, so that it never writes into the project of the run it repeats.
    wandb_mode = os.environ.setdefault("WANDB_MODE", config.wandb)
    trackers = () if "disabled" in (config.wandb, wandb_mode) else ("wandb",)
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="detection-")))
        started = lineage.start_run(
            project=config.project,
            job_type="train",
            group=config.group,
            name=config.name,
            config=config.model_dump(mode="json"),
            seed=config.seed,
            trackers=trackers,
        )
        run = stack.enter_context(started)
        lineage.training.make_deterministic(run, threads=config.threads)
        model, evaluation = _train_and_evaluate(run, config, device)
        # A reproduction repeats the recorded command, --output included: it must not replace the weights of the run it is compared with.
        kept = config.output if run.reproduced is None else None
        weights = save_weights(model.state_dict(), kept or temporary)
        run.log_artifact(weights, kind="model", name=WEIGHTS_NAME)
    return Trained(run_id=run.id, evaluation=evaluation, weights=weights if kept else None)


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


def _train_and_evaluate(run: Any, config: Config, device: torch.device) -> tuple[torch.nn.Module, Evaluation]:
    size = config.transform
    train_view = run.use_dataset(config.train, view=config.view, role="train")
    validation_view = run.use_dataset(config.validation, view=config.validation_view or config.view, role="validation")
    train_transform = make_transform(training_pipeline(size), label_map(train_view.class_names[LABEL_COLUMN], config.classes))
    validation_transform = make_transform(validation_pipeline(size), label_map(validation_view.class_names[LABEL_COLUMN], config.classes))
    make_loader = partial(lineage.training.DataLoader, batch_size=config.batch_size, num_workers=config.workers, collate_fn=collate)
    train_loader = make_loader(train_view, shuffle=True, transform=train_transform)
    validation_loader = make_loader(validation_view, shuffle=False, transform=validation_transform)

    if config.model.base_weights is not None:
        run.use_artifact(base_weights_file(config.model), role="base")
    model = build_model(config.model, width=size.width, height=size.height, classes=len(config.classes)).to(device)
    optimizer = make_optimizer(model, config.optimizer)
    schedule = make_schedule(optimizer, config.optimizer, steps_per_epoch=math.ceil(len(train_view) / config.batch_size))

    run.define_metric("validation_iou", step_metric="epoch")
    run.define_metric("detections_per_picture", step_metric="epoch")
    evaluation = None
    for epoch in range(config.epochs):
        title = f"epoch {epoch + 1}/{config.epochs}"
        train_loader.set_epoch(epoch)
        with bar(title, len(train_view)) as advance:
            steps = _StepReport(run, advance)
            train_one_epoch(model, optimizer, schedule, train_loader, device=device, clip_norm=config.optimizer.clip_norm, on_step=steps)
        evaluation = _evaluate(run, model, validation_loader, config, device, epoch=epoch, title=f"{title} evaluation")
        console.print(
            f"{title}  loss {steps.mean_loss:.3f}  {steps.pictures_per_s:.1f} pictures/s  "
            f"validation mean IoU {evaluation.mean_iou:.3f}  {evaluation.detections_per_picture:.1f} detections/picture",
            soft_wrap=True,
        )
    if evaluation is None:
        evaluation = _evaluate(run, model, validation_loader, config, device, epoch=0, title="evaluation")
    run.summary["validation_iou"] = evaluation.mean_iou
    run.summary["detections_per_picture"] = evaluation.detections_per_picture
    return model, evaluation


class _StepReport:
    """Logs the losses of each step and moves the bar."""

    def __init__(self, run: Any, advance: Callable[[int, str], None]) -> None:
        self._run, self._advance = run, advance
        self._began = time.perf_counter()
        self._losses: list[float] = []
        self._pictures = 0

    def __call__(self, losses: dict[str, float], pictures: int) -> None:
        self._losses.append(losses["loss"])
        self._pictures += pictures
        self._run.log(losses | {"timing/train_pictures_per_s": self.pictures_per_s})
        self._advance(pictures, f"loss {losses['loss']:.3f}")

    @property
    def mean_loss(self) -> float:
        return sum(self._losses) / len(self._losses)

    @property
    def pictures_per_s(self) -> float:
        return self._pictures / (time.perf_counter() - self._began)


def _evaluate(run: Any, model: torch.nn.Module, loader: Any, config: Config, device: torch.device, *, epoch: int, title: str) -> Evaluation:
    began = time.perf_counter()
    with bar(title, len(loader)) as advance:
        evaluation = evaluate(
            model, loader, device=device, score_threshold=config.score_threshold, on_batch=lambda pictures: advance(1, "")
        )
    run.log(
        {
            "epoch": epoch,
            "validation_iou": evaluation.mean_iou,
            "detections_per_picture": evaluation.detections_per_picture,
            "timing/validation_pictures_per_s": evaluation.pictures / (time.perf_counter() - began),
        }
    )
    return evaluation
