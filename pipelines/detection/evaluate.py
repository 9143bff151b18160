"""The playbook's mean IoU: how well the boxes lie, averaged over labels, then over pictures.

Definition, for one picture: detections above a score count. For each label that a detection or a true box has, take the matrix of
intersections over unions of its detections and its true boxes. Are there more detections than true boxes, each true box gets its best
detection; otherwise each detection gets its best true box. The mean of these is the label's value; it is 0 when either side is missing.
The picture's value is the mean over labels, 0 when there is no label at all; the result is the mean over pictures.

It is not average precision: within a label, surplus detections (or missed boxes) cost nothing. It is kept because the playbook's figures
are in it. As published, the code compares the shapes of two tensors as tuples; here the numbers of boxes are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torchvision.ops import box_iou

from pipelines.detection.train import Batch
from pipelines.detection.transforms import Target


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        mean_iou: The playbook's mean IoU, 0 to 1.
        detections_per_picture: Detections above the score threshold, mean over pictures.
        pictures: Number of pictures.
    """

    mean_iou: float
    detections_per_picture: float
    pictures: int


def label_iou(detected: torch.Tensor, true: torch.Tensor) -> float:
    """The value of one label in one picture.

    Args:
        detected: ``(n, 4)`` boxes ``[x1, y1, x2, y2]`` in pixels.
        true: ``(m, 4)`` boxes in the same frame.
    """
    if len(detected) == 0 or len(true) == 0:
        return 0.0
    overlaps = box_iou(detected, true)
    best = overlaps.amax(dim=0) if len(detected) > len(true) else overlaps.amax(dim=1)
    return float(best.double().mean())


def picture_iou(prediction: Target, truth: Target, *, score_threshold: float) -> float:
    """The value of one picture.

    Args:
        prediction: ``boxes`` ``(n, 4)``, ``labels`` ``(n,)`` and ``scores`` ``(n,)``.
        truth: ``boxes`` ``(m, 4)`` and ``labels`` ``(m,)`` in the same frame.
        score_threshold: Detections at or below this score do not count.
    """
    counted = prediction["scores"] > score_threshold
    boxes, labels = prediction["boxes"][counted], prediction["labels"][counted]
    present = sorted(set(labels.tolist()) | set(truth["labels"].tolist()))
    if not present:
        return 0.0
    values = [label_iou(boxes[labels == label], truth["boxes"][truth["labels"] == label]) for label in present]
    return sum(values) / len(values)


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    score_threshold: float = 0.5,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run a model over pictures and compare its detections with their boxes.

    Args:
        model: A torchvision detection model.
        batches: Pictures and targets as :func:`pipelines.detection.transforms.collate` makes them.
        device: Where the model is.
        score_threshold: Detections at or below this score do not count.
        on_batch: Called after each batch with its number of pictures.

    Raises:
        ValueError: There is no picture to evaluate.
    """
    model.eval()
    values: list[float] = []
    detections = 0
    for pictures, targets in batches:
        with torch.inference_mode():
            predictions = model([picture.to(device) for picture in pictures])
        for prediction, target in zip(predictions, targets, strict=True):
            on_cpu = {name: tensor.cpu() for name, tensor in prediction.items()}
            values.append(picture_iou(on_cpu, target, score_threshold=score_threshold))
            detections += int((on_cpu["scores"] > score_threshold).sum())
        if on_batch is not None:
            on_batch(len(pictures))
    if not values:
        raise ValueError("no picture to evaluate")
    return Evaluation(mean_iou=sum(values) / len(values), detections_per_picture=detections / len(values), pictures=len(values))
