"""One epoch: ``num_iter`` steps of Adam."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam
from torch.optim.lr_scheduler import StepLR

from pipelines.pointcloud.config import Config
from pipelines.pointcloud.model import REGULARISER_WEIGHT, orthogonality
from pipelines.tracked import NonFiniteLoss

Batch = tuple[torch.Tensor, torch.Tensor]


def make_optimizer(model: nn.Module, config: Config) -> tuple[Adam, StepLR]:
    """Adam, and a schedule to be stepped after each of its steps: by epochs, the tutorial's defaults would never change the rate."""
    optimizer = Adam(model.parameters(), betas=(config.beta1, config.beta2), lr=config.lr)
    return optimizer, StepLR(optimizer, step_size=config.step_size, gamma=config.gamma)


def train_one_epoch(
    model: nn.Module,
    optimizer: Adam,
    schedule: StepLR,
    batches: Iterator[Batch],
    *,
    steps: int,
    device: torch.device,
    on_step: Callable[[float], None],
) -> float:
    """Train for some steps.

    Args:
        model: Gives scores and feature transforms, as :class:`pipelines.pointcloud.model.PointNet`.
        optimizer: Steps once per batch.
        schedule: Steps with it.
        batches: Points and class indices as :func:`pipelines.pointcloud.transforms.collate` makes them; endless.
        steps: How many batches to take.
        device: Where the model is.
        on_step: Called after each step with its loss.

    Returns:
        Mean of the losses: cross-entropy and weighted regulariser.

    Raises:
        NonFiniteLoss: Before the weights are touched by such a loss.
    """
    model.train()
    losses = []
    for points, labels in islice(batches, steps):
        scores, matrices = model(points.to(device))
        loss = cross_entropy(scores, labels.to(device)) + REGULARISER_WEIGHT * orthogonality(matrices)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise NonFiniteLoss(schedule.last_epoch, {"loss": losses[-1]}, advice="a lower --lr")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        on_step(losses[-1])
    return sum(losses) / len(losses)
