"""How good a classifier is: cross-entropy, accuracy, each class by itself, and what is taken for what."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from pipelines.classification.train import Batch


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        loss: Cross-entropy, mean over pictures.
        accuracy: Share of pictures whose most probable class is theirs.
        confusion: int64 ``(classes, classes)``: pictures by true class (rows) and predicted class (columns).
        rows: int64 ``(n,)``, source row of each picture.
        labels: int64 ``(n,)``.
        predictions: int64 ``(n,)``, the first of equally probable classes.
        probabilities: float32 ``(n,)``, of the predicted class.
    """

    loss: float
    accuracy: float
    confusion: NDArray[np.int64]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @property
    def pictures(self) -> int:
        """How many were evaluated."""
        return len(self.labels)

    def metrics(self) -> dict[str, float]:
        """Figures to log."""
        return {"validation_loss": self.loss, "validation_accuracy": self.accuracy}


def evaluate(
    model: nn.Module, batches: Iterable[Batch], classes: int, *, device: torch.device, most_batches: int | None = None
) -> Evaluation:
    """Run a model over pictures; it is left in the mode that it was in.

    Args:
        model: Gives logits.
        batches: From the loader.
        classes: How many there are.
        device: Where the model is.
        most_batches: Only the first so many.

    Raises:
        ValueError: There is no picture to evaluate.
    """
    was_training = model.training
    model.eval()
    parts: list[tuple[Any, ...]] = []
    try:
        for pictures, labels, rows in islice(iter(batches), most_batches):
            with torch.inference_mode():
                logits = model(pictures.to(device)).float().cpu()
            losses = functional.cross_entropy(logits, labels, reduction="none").double()
            best = functional.softmax(logits, dim=1).max(dim=1)
            parts.append(tuple(part.numpy() for part in (losses, labels, best.indices, best.values, rows)))
    finally:
        model.train(was_training)
    if not parts:
        raise ValueError("no picture to evaluate")
    loss, true, predicted, probable, sources = (np.concatenate(column) for column in zip(*parts, strict=True))
    confusion = np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    return Evaluation(
        loss=float(loss.mean()),
        accuracy=float((true == predicted).mean()),
        confusion=confusion.astype(np.int64),
        rows=sources,
        labels=true,
        predictions=predicted,
        probabilities=probable,
    )


def class_table(evaluation: Evaluation, classes: Sequence[str]) -> str:
    """CSV, a line for each class: pictures, how many were found (accuracy), how many of those named so are it (precision)."""
    confusion = evaluation.confusion
    rows = [
        (
            name,
            int(confusion[number].sum()),
            int(confusion[number, number]),
            _share(confusion[number, number], confusion[number].sum()),
            _share(confusion[number, number], confusion[:, number].sum()),
        )
        for number, name in enumerate(classes)
    ]
    return _csv(("class", "pictures", "right", "accuracy", "precision"), rows)


def confusion_table(evaluation: Evaluation, classes: Sequence[str]) -> str:
    """CSV: true classes down, predicted classes across."""
    rows = [(name, *evaluation.confusion[number].tolist()) for number, name in enumerate(classes)]
    return _csv(("true \\ predicted", *classes), rows)


def _share(part: Any, whole: Any) -> str:
    return f"{part / whole:.6f}" if whole else ""


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()
