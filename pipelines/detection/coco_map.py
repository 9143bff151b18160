"""COCO's average precision, by the reference implementation (pycocotools), in the frame of the model's input."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipelines.detection.transforms import Target

_NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR_1", "AR_10", "AR_100")


@dataclass(frozen=True, slots=True)
class CocoResult:
    """COCO's figures; what is not defined (no object of that size or class) is ``None``.

    Attributes:
        figures: By COCO's names: ``AP`` over IoU 0.50 to 0.95, ``AP50``, ``AP75``, by area, and recall.
        by_class: ``AP`` of each label.
    """

    figures: dict[str, float | None]
    by_class: dict[int, float | None]


class CocoCollector:
    """Collects pictures, then evaluates.

    Args:
        labels: Labels of the classes, from 1.
    """

    def __init__(self, labels: Sequence[int]) -> None:
        self._labels = tuple(labels)
        self._pictures = 0
        self._truth: list[dict[str, Any]] = []
        self._detections: list[dict[str, Any]] = []

    def add(self, prediction: Target, truth: Target) -> None:
        """One picture: every detection, whatever its score, and its objects; on the CPU. Ignored regions count as COCO's crowds."""
        self._pictures += 1
        for boxes, labels, is_crowd in (
            (truth["boxes"], truth["labels"].tolist(), 0),
            *(((truth["ignored"], [label], 1) for label in self._labels) if len(truth.get("ignored", ())) else ()),
        ):
            named = labels * len(boxes) if is_crowd else labels
            for (left, top, right, bottom), label in zip(boxes.double().tolist(), named, strict=True):
                width, height = right - left, bottom - top
                self._truth.append(
                    {
                        "id": len(self._truth) + 1,
                        "image_id": self._pictures,
                        "category_id": label,
                        "bbox": [left, top, width, height],
                        "area": width * height,
                        "iscrowd": is_crowd,
                    }
                )
        finite = torch.isfinite(prediction["boxes"]).all(dim=1)
        for (left, top, right, bottom), label, score in zip(
            prediction["boxes"][finite].double().tolist(),
            prediction["labels"][finite].tolist(),
            prediction["scores"][finite].double().tolist(),
            strict=True,
        ):
            self._detections.append(
                {"image_id": self._pictures, "category_id": label, "bbox": [left, top, right - left, bottom - top], "score": score}
            )

    def evaluate(self) -> CocoResult:
        """The figures over every picture so far."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        nothing: dict[int, float | None] = dict.fromkeys(self._labels)
        if not any(not item["iscrowd"] for item in self._truth):
            return CocoResult(dict.fromkeys(_NAMES), nothing)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress and a table
            truth = self._indexed(COCO(), self._truth)
            # loadRes takes no empty list.
            detected = truth.loadRes(self._detections) if self._detections else self._indexed(COCO(), [])
            judged = COCOeval(truth, detected, "bbox")
            judged.evaluate()
            judged.accumulate()
            judged.summarize()
        figures = {name: _defined(value) for name, value in zip(_NAMES, judged.stats, strict=False)}
        precision = judged.eval["precision"]  # (IoU thresholds, recalls, classes, areas, most detections)
        by_class = {label: _defined(_mean(precision[:, :, place, 0, -1])) for place, label in enumerate(judged.params.catIds)}
        return CocoResult(figures, nothing | by_class)

    def _indexed(self, coco: Any, annotations: list[dict[str, Any]]) -> Any:
        coco.dataset = {
            "info": {},
            "images": [{"id": number} for number in range(1, self._pictures + 1)],
            "categories": [{"id": label} for label in self._labels],
            "annotations": annotations,
        }
        coco.createIndex()
        return coco


def _mean(values: np.ndarray[Any, Any]) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def _defined(value: float) -> float | None:
    return None if value < 0 else float(value)
