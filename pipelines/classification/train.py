"""One step of training; optimizer, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pipelines.classification.config import Config
from pipelines.classification.models import WideResNet, resnet18, resnet50
from pipelines.tracked import NonFiniteLoss

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Pictures float32 (n, 3, side, side), labels int64 (n,), source rows int64 (n,)."""

_ADVICE = "lower learning_rate, or set clip_norm"


def build_model(config: Config, classes: int) -> nn.Module:
    """The configured network, with weights drawn from PyTorch's generator."""
    if config.architecture == "wrn":
        return WideResNet(config.depth, config.widen_factor, classes, config.dropout)
    make = resnet18 if config.architecture == "resnet18" else resnet50
    return make(classes, attention=config.attention, width=config.width, dropout=config.dropout)


def make_optimizer(model: nn.Module, config: Config) -> Optimizer:
    """Adam or SGD over all parameters."""
    if config.optimizer == "adam":
        return Adam(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    return SGD(
        model.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
    )


def learning_rate_factor(step: int, *, total: int, config: Config) -> float:
    """What ``config.learning_rate`` is multiplied by: a linear warm-up times the schedule.

    Args:
        step: Steps done so far.
        total: Steps of the whole training.
        config: The schedule.
    """
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    return warmup if config.schedule == "constant" else warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, total))))


def make_schedule(optimizer: Optimizer, config: Config, *, total: int) -> LambdaLR:
    """A scheduler to be stepped after every optimizer step."""
    return LambdaLR(optimizer, partial(learning_rate_factor, total=total, config=config))


@dataclass(slots=True)
class Tally:
    """Training pictures since the last evaluation.

    Attributes:
        loss: Sum of their cross-entropies.
        right: How many were classified right, before the step that they were trained in.
        pictures: How many.
    """

    loss: float = 0.0
    right: int = 0
    pictures: int = 0

    def add(self, loss: float, right: int, pictures: int) -> None:
        """A step is over; ``loss`` is its mean."""
        self.loss += loss * pictures
        self.right += right
        self.pictures += pictures

    def means(self) -> dict[str, float]:
        """``train_loss`` and ``train_accuracy``; nothing before the first picture."""
        return {"train_loss": self.loss / self.pictures, "train_accuracy": self.right / self.pictures} if self.pictures else {}


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    schedule: LambdaLR,
    batch: Batch,
    *,
    device: torch.device,
    precision: str = "float32",
    scaler: torch.amp.GradScaler | None = None,
    clip_norm: float | None = None,
) -> tuple[float, int]:
    """Loss, backward, clip, step.

    Args:
        model: In training mode.
        optimizer: Steps once.
        schedule: Steps once after it.
        batch: From the loader.
        device: Where the model is.
        precision: Type of the arithmetic under ``torch.autocast``: ``float32`` (without it), ``bfloat16`` or ``float16``.
        scaler: Scales the loss, for ``float16``.
        clip_norm: Largest total L2 norm of the gradients.

    Returns:
        (mean cross-entropy, how many were classified right).

    Raises:
        NonFiniteLoss: Before the weights are touched by such a loss.
    """
    pictures, labels, rows = batch[0].to(device), batch[1].to(device), batch[2]
    with torch.autocast(device.type, dtype=getattr(torch, precision), enabled=precision != "float32"):
        logits = model(pictures)
        loss = functional.cross_entropy(logits, labels)
    value = loss.item()
    if not math.isfinite(value):
        raise NonFiniteLoss(schedule.last_epoch, {"loss": value}, tuple(rows.tolist()), advice=_ADVICE)
    optimizer.zero_grad()
    (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
    if clip_norm is not None:
        if scaler is not None:
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()
    schedule.step()
    return value, int((logits.argmax(dim=1) == labels).sum())
