"""One epoch of training, and the learning rate as a function of the step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from pipelines.detection.config import OptimizerConfig
from pipelines.detection.transforms import Target
from pipelines.tracked import NonFiniteLoss

Batch = tuple[tuple[torch.Tensor, ...], tuple[Target, ...]]


_ADVICE = "lower optimizer.learning_rate, or set optimizer.clip_norm"


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> SGD:
    """SGD over the parameters that are not frozen."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return SGD(parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay)


def learning_rate_factor(step: int, *, steps_per_epoch: int, config: OptimizerConfig) -> float:
    """What ``config.learning_rate`` is multiplied by: a linear warm-up times torch's ``StepLR`` rule.

    Args:
        step: Steps done so far, over all epochs.
        steps_per_epoch: Batches of one epoch.
        config: The schedule.
    """
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    return warmup * config.gamma ** (step // steps_per_epoch // config.step_size_epochs)


def make_schedule(optimizer: SGD, config: OptimizerConfig, *, steps_per_epoch: int) -> LambdaLR:
    """A scheduler to be stepped after every optimizer step."""
    return LambdaLR(optimizer, partial(learning_rate_factor, steps_per_epoch=steps_per_epoch, config=config))


def train_one_epoch(
    model: nn.Module,
    optimizer: SGD,
    schedule: LambdaLR,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    precision: str = "float32",
    scaler: torch.amp.GradScaler | None = None,
    clip_norm: float | None = None,
    on_step: Callable[[dict[str, float], int], None] | None = None,
) -> None:
    """Go through the batches once.

    Args:
        model: A torchvision detection model: in training it returns its losses by name.
        optimizer: Steps once per batch.
        schedule: From :func:`make_schedule`; it counts the steps.
        batches: Pictures and targets as :func:`pipelines.detection.transforms.collate` makes them.
        device: Where the model is.
        precision: Type of the arithmetic under ``torch.autocast``: ``float32`` (without it), ``bfloat16`` or ``float16``.
        scaler: Scales the loss, for ``float16``.
        clip_norm: Largest total L2 norm of the gradients.
        on_step: Called after each step with ``loss`` and its parts, and the number of pictures.

    Raises:
        NonFiniteLoss: Before the weights are touched by such a loss.
    """
    model.train()
    for pictures, targets in batches:
        images = [picture.to(device) for picture in pictures]
        answers = [{name: tensor.to(device) for name, tensor in target.items()} for target in targets]

        with torch.autocast(device.type, dtype=getattr(torch, precision), enabled=precision != "float32"):
            losses = model(images, answers)
        total = torch.stack(list(losses.values())).sum()
        values = {"loss": total.item()} | {name: loss.item() for name, loss in losses.items()}
        if not math.isfinite(values["loss"]):
            raise NonFiniteLoss(schedule.last_epoch, values, tuple(int(target["image_id"]) for target in targets), advice=_ADVICE)

        optimizer.zero_grad()
        scaled = total if scaler is None else scaler.scale(total)
        scaled.backward()  # type: ignore[no-untyped-call]
        if clip_norm is not None:
            if scaler is not None:
                scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        schedule.step()
        if on_step is not None:
            on_step(values, len(images))


class StepReport:
    """Logs the losses of each step and moves the bar.

    Args:
        run: The live run.
        optimizer: Its learning rate stands behind the bar.
        advance: From :func:`pipelines.progress.bar`.
    """

    def __init__(self, run: Any, optimizer: SGD, advance: Callable[[int, str], None]) -> None:
        self._run, self._optimizer, self._advance = run, optimizer, advance
        self._began = time.perf_counter()
        self._losses: list[float] = []
        self._pictures = 0

    def __call__(self, losses: dict[str, float], pictures: int) -> None:
        """A step is over."""
        self._losses.append(losses["loss"])
        self._pictures += pictures
        self._run.log(losses | {"timing/train_pictures_per_s": self.pictures_per_s})
        rate = self._optimizer.param_groups[0]["lr"]
        self._advance(1, f"loss {losses['loss']:.3f}  lr {rate:.2g}  {self.pictures_per_s:.1f} pictures/s")

    @property
    def mean_loss(self) -> float:
        """Mean over the steps so far; not a number before the first."""
        return sum(self._losses) / len(self._losses) if self._losses else math.nan

    @property
    def pictures_per_s(self) -> float:
        """Pictures a second, so far."""
        return self._pictures / (time.perf_counter() - self._began)
