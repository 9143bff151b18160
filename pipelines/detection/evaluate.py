"""How good a detector is: the playbook's mean IoU, a corrected one, COCO's average precision; by class and by picture.

The playbook's mean IoU, for one picture: detections above a score count. For each label that a detection or a true box has, take the
matrix of intersections over unions of its detections and its true boxes. Are there more detections than true boxes, each true box gets
its best detection; otherwise each detection gets its best true box. The mean of these is the label's value; it is 0 when either side is
missing. The picture's value is the mean over labels, 0 when there is no label at all; the result is the mean over pictures. Within a
label, surplus detections (or missed boxes) cost nothing. It is kept because the playbook's figures are in it. As published, the code
compares the shapes of two tensors as tuples; here the numbers of boxes are compared.

The corrected mean IoU matches detections and objects one to one (:mod:`pipelines.detection.matching`) and divides the sum of overlaps by
matched pairs, missed objects and false alarms together. It is the mean over all pairs of a picture and a label that has either; a picture
with neither says nothing and does not count. It is 1 only when every object is found exactly and nothing else is, and each miss or false
alarm lowers it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torchvision.ops import box_iou

from pipelines.detection.coco_map import CocoCollector
from pipelines.detection.matching import LabelMatches, counted, match_labels
from pipelines.detection.train import Batch
from pipelines.detection.transforms import Target


@dataclass(frozen=True, slots=True)
class PictureResult:
    """One picture.

    Attributes:
        row: Source row.
        playbook_iou: The playbook's value.
        corrected_iou: Mean over its labels; ``None`` without any object or detection.
        true: Objects.
        detected: Detections that count.
        found: Objects with a detection of their label that overlaps by 0.5 or more.
        prediction: Detections that count, in the frame of the tensor.
        truth: Its target.
    """

    row: int
    playbook_iou: float
    corrected_iou: float | None
    true: int
    detected: int
    found: int
    prediction: Target
    truth: Target

    @property
    def missed(self) -> int:
        """Objects that were not found."""
        return self.true - self.found

    @property
    def false_alarms(self) -> int:
        """Detections that are no object."""
        return self.detected - self.found


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class. Undefined figures (nothing to divide by) are ``None``."""

    label: int
    true: int
    detected: int
    found: int
    corrected_iou: float | None
    average_precision: float | None

    @property
    def precision(self) -> float | None:
        """Share of detections that are objects."""
        return self.found / self.detected if self.detected else None

    @property
    def recall(self) -> float | None:
        """Share of objects that were found."""
        return self.found / self.true if self.true else None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        mean_iou: The playbook's mean IoU, 0 to 1.
        corrected_iou: The corrected mean IoU, 0 to 1; 0 when no picture has an object or a detection.
        detections_per_picture: Detections above the score threshold, mean over pictures.
        pictures: Number of pictures.
        coco: COCO's figures by name; ``None`` where undefined.
        classes: By label.
        by_picture: In the order of evaluation.
    """

    mean_iou: float
    corrected_iou: float
    detections_per_picture: float
    pictures: int
    coco: dict[str, float | None]
    classes: tuple[ClassResult, ...]
    by_picture: tuple[PictureResult, ...]

    def metrics(self) -> dict[str, float]:
        """Figures to log; undefined ones are left out."""
        named = {"validation_iou": self.mean_iou, "validation_corrected_iou": self.corrected_iou}
        return named | {f"validation_{name}": value for name, value in self.coco.items() if value is not None}

    def worst(self, count: int) -> tuple[PictureResult, ...]:
        """Pictures by corrected IoU, worst first, then by what was missed and by row; those that say nothing are left out."""
        judged = [picture for picture in self.by_picture if picture.corrected_iou is not None]
        return tuple(sorted(judged, key=lambda item: (item.corrected_iou, -item.missed - item.false_alarms, item.row))[:count])


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
    labels: Sequence[int],
    score_threshold: float = 0.5,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run a model over pictures and compare its detections with their boxes.

    Args:
        model: A torchvision detection model.
        batches: Pictures and targets as :func:`pipelines.detection.transforms.collate` makes them. Detections inside a target's ``ignored``
            regions do not count.
        device: Where the model is.
        labels: Labels of all classes, from 1.
        score_threshold: Detections at or below this score do not count; COCO's average precision takes all of them.
        on_batch: Called after each batch with its number of pictures.

    Raises:
        ValueError: There is no picture to evaluate.
    """
    model.eval()
    pictures: list[PictureResult] = []
    matches: list[LabelMatches] = []
    coco = CocoCollector(labels)
    for images, targets in batches:
        with torch.inference_mode():
            predictions = model([image.to(device) for image in images])
        for prediction, target in zip(predictions, targets, strict=True):
            on_cpu = {name: tensor.cpu() for name, tensor in prediction.items()}
            coco.add(on_cpu, target)
            result, of_labels = picture_result(on_cpu, target, score_threshold=score_threshold)
            pictures.append(result)
            matches += of_labels
        if on_batch is not None:
            on_batch(len(images))
    if not pictures:
        raise ValueError("no picture to evaluate")
    judged = coco.evaluate()
    return Evaluation(
        mean_iou=_mean([picture.playbook_iou for picture in pictures]) or 0.0,
        corrected_iou=_mean([item.corrected_iou for item in matches]) or 0.0,
        detections_per_picture=sum(picture.detected for picture in pictures) / len(pictures),
        pictures=len(pictures),
        coco=judged.figures,
        classes=tuple(_of_class(label, matches, judged.by_class.get(label)) for label in labels),
        by_picture=tuple(pictures),
    )


def picture_result(prediction: Target, target: Target, *, score_threshold: float) -> tuple[PictureResult, list[LabelMatches]]:
    """What a model found in one picture.

    Args:
        prediction: ``boxes`` ``(n, 4)``, ``labels`` ``(n,)`` and ``scores`` ``(n,)``, on the CPU.
        target: Its target, in the same frame.
        score_threshold: Detections at or below this score do not count.
    """
    detections = counted(prediction, score_threshold, target.get("ignored"))
    matches = match_labels(detections, target)
    result = PictureResult(
        row=int(target["image_id"]),
        playbook_iou=picture_iou(detections, target, score_threshold=score_threshold),
        corrected_iou=_mean([item.corrected_iou for item in matches]),
        true=sum(item.true for item in matches),
        detected=sum(item.detected for item in matches),
        found=sum(item.found for item in matches),
        prediction=detections,
        truth=target,
    )
    return result, matches


def _of_class(label: int, matches: Sequence[LabelMatches], average_precision: float | None) -> ClassResult:
    own = [item for item in matches if item.label == label]
    return ClassResult(
        label=label,
        true=sum(item.true for item in own),
        detected=sum(item.detected for item in own),
        found=sum(item.found for item in own),
        corrected_iou=_mean([item.corrected_iou for item in own]),
        average_precision=average_precision,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
