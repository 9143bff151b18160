"""Which detection is which object: the matching behind counts, the corrected mean IoU and the pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torchvision.ops import box_iou

from pipelines.detection.transforms import Target, mostly_inside

MATCHED_IOU = 0.5
"""From this overlap on a detection counts as the object."""


@dataclass(frozen=True, slots=True)
class LabelMatches:
    """Detections and objects of one label in one picture.

    Attributes:
        detected: Number of detections above the score.
        true: Number of objects.
        overlaps: IoU of each matched pair, greatest first; at most ``min(detected, true)``, all above 0.
    """

    label: int
    detected: int
    true: int
    overlaps: tuple[float, ...]

    @property
    def found(self) -> int:
        """Objects with a detection that overlaps enough."""
        return sum(overlap >= MATCHED_IOU for overlap in self.overlaps)

    @property
    def corrected_iou(self) -> float:
        """Sum of the overlaps over ``matched + missed + false alarms``: 1 only when everything is found exactly and nothing else."""
        return sum(self.overlaps) / (self.detected + self.true - len(self.overlaps))


def counted(prediction: Target, score_threshold: float, ignored: torch.Tensor | None = None) -> Target:
    """Detections that count: finite, above the score, and not mostly inside a region that nobody annotated.

    Args:
        prediction: ``boxes`` ``(n, 4)``, ``labels`` ``(n,)``, ``scores`` ``(n,)``.
        score_threshold: Detections at or below it do not count.
        ignored: Regions ``(k, 4)`` in the same frame. A detection with more than half of its area in one of them does not count.
    """
    boxes = prediction["boxes"]
    keep = (prediction["scores"] > score_threshold) & torch.isfinite(boxes).all(dim=1)
    found = {name: values[keep] for name, values in prediction.items()}
    if ignored is None:
        return found
    outside = ~torch.from_numpy(mostly_inside(found["boxes"].numpy(), ignored.numpy()))
    return {name: values[outside] for name, values in found.items()}


def match_labels(detections: Target, truth: Target) -> list[LabelMatches]:
    """Match one to one, label by label: the pair with the greatest overlap first, as long as there is any overlap.

    Greedy by overlap, ties by position; the result does not depend on scores or on the order of labels.

    Args:
        detections: From :func:`counted`.
        truth: ``boxes`` ``(m, 4)`` and ``labels`` ``(m,)`` in the same frame.
    """
    found = []
    for label in sorted(set(detections["labels"].tolist()) | set(truth["labels"].tolist())):
        ours, theirs = detections["boxes"][detections["labels"] == label], truth["boxes"][truth["labels"] == label]
        found.append(LabelMatches(label, len(ours), len(theirs), _overlaps(ours, theirs)))
    return found


def _overlaps(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[float, ...]:
    if not len(ours) or not len(theirs):
        return ()
    matrix = box_iou(ours.double(), theirs.double())
    overlaps = []
    for _ in range(min(matrix.shape)):
        best = int(matrix.argmax())
        row, column = divmod(best, matrix.shape[1])
        overlap = float(matrix[row, column])
        if overlap <= 0:
            break
        overlaps.append(overlap)
        matrix[row, :] = -1
        matrix[:, column] = -1
    return tuple(overlaps)
