"""Results by class and by picture as tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from pipelines.detection.evaluate import Evaluation


def class_table(evaluation: Evaluation, classes: Sequence[str]) -> str:
    """CSV, a line for each class; an empty field where a figure is not defined."""
    rows = [
        (
            classes[item.label - 1],
            item.true,
            item.detected,
            item.found,
            _number(item.precision),
            _number(item.recall),
            _number(item.corrected_iou),
            _number(item.average_precision),
        )
        for item in evaluation.classes
    ]
    return _csv(("class", "true", "detected", "found", "precision", "recall", "corrected_iou", "AP"), rows)


def picture_table(evaluation: Evaluation) -> str:
    """CSV, a line for each picture, worst first; those with neither object nor detection come last."""
    judged = evaluation.worst(evaluation.pictures)
    silent = sorted((item for item in evaluation.by_picture if item.corrected_iou is None), key=lambda item: item.row)
    rows = [
        (
            item.row,
            _number(item.corrected_iou),
            _number(item.playbook_iou),
            item.true,
            item.detected,
            item.found,
            item.missed,
            item.false_alarms,
        )
        for item in (*judged, *silent)
    ]
    return _csv(("row", "corrected_iou", "playbook_iou", "true", "detected", "found", "missed", "false_alarms"), rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()
