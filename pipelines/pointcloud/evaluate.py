"""How good a model is on a view: loss, accuracy, accuracy by class, and which class was taken for which."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from pipelines.pointcloud.train import Batch


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found.

    Attributes:
        confusion: int64 (c, c): clouds of class i that were taken for class j.
        losses: float64 (n,): cross-entropy of each cloud, in the view's order.
        labels: int64 (n,): its class.
        predictions: int64 (n,): the class it was taken for.
        confidences: float64 (n,): probability that the model gives that class.
    """

    confusion: np.ndarray[Any, np.dtype[np.int64]]
    losses: np.ndarray[Any, np.dtype[np.float64]]
    labels: np.ndarray[Any, np.dtype[np.int64]]
    predictions: np.ndarray[Any, np.dtype[np.int64]]
    confidences: np.ndarray[Any, np.dtype[np.float64]]

    @property
    def loss(self) -> float:
        """Mean cross-entropy, without the regulariser: what a classifier is judged by."""
        return math.fsum(self.losses.tolist()) / len(self.losses)

    @property
    def accuracy(self) -> float:
        """Share of clouds whose class was found."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def class_accuracies(self) -> list[float | None]:
        """The same for each class; ``None`` for a class without a cloud."""
        totals = self.confusion.sum(axis=1)
        return [float(self.confusion[label, label] / total) if total else None for label, total in enumerate(totals)]

    @property
    def mean_class_accuracy(self) -> float:
        """Mean over the classes that have clouds: what the paper calls average accuracy by class."""
        found = [value for value in self.class_accuracies if value is not None]
        return sum(found) / len(found)

    def metrics(self) -> dict[str, float]:
        """Under the names that are logged."""
        return {"Test/Loss": self.loss, "Test/Accuracy": self.accuracy, "Test/ClassAccuracy": self.mean_class_accuracy}


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch], *, classes: int, device: torch.device) -> Evaluation:
    """Go through a view once, without augmentation; the model's mode is put back.

    Args:
        model: Gives scores first.
        batches: Points and class indices.
        classes: How many there are.
        device: Where the model is.
    """
    was_training = model.training
    model.eval()
    found: list[tuple[torch.Tensor, ...]] = []
    for points, labels in batches:
        scores = model(points.to(device))[0].double().cpu()
        confidences, predictions = scores.softmax(dim=1).max(dim=1)
        found.append((cross_entropy(scores, labels, reduction="none"), labels, predictions, confidences))
    model.train(was_training)
    losses, truth, predicted, sure = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    confusion = np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    return Evaluation(confusion.astype(np.int64), losses, truth, predicted, sure)
