"""The playbook's mean IoU against cases computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipelines.detection.evaluate import evaluate, label_iou, picture_iou

Box = list[float]
A: Box = [0, 0, 10, 10]
A_HALF: Box = [0, 0, 10, 5]  # IoU with A: 50 / 100
A_SHIFTED: Box = [5, 0, 15, 10]  # IoU with A: 50 / 150
FAR: Box = [100, 100, 120, 120]
CAR, BUS = 2, 7


def truth(*rows: tuple[Box, int]) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor([box for box, _ in rows], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([label for _, label in rows], dtype=torch.int64),
    }


def detections(*rows: tuple[Box, int, float]) -> dict[str, torch.Tensor]:
    scores = torch.tensor([score for _, _, score in rows], dtype=torch.float32)
    return truth(*((box, label) for box, label, _ in rows)) | {"scores": scores}


@pytest.mark.parametrize(
    ("detected", "true", "expected"),
    [
        pytest.param([A], [A], 1.0, id="perfect"),
        pytest.param([A_SHIFTED], [A], 1 / 3, id="shifted by half"),
        pytest.param([A], [FAR], 0.0, id="elsewhere"),
        pytest.param([], [A], 0.0, id="missed"),
        pytest.param([A], [], 0.0, id="false alarm"),
        pytest.param([A_HALF, A, FAR], [A], 1.0, id="more detections: each true box gets its best"),
        pytest.param([A_HALF, FAR, FAR], [A, [0, 0, 10, 10]], 0.5, id="more detections: mean over true boxes"),
        pytest.param([A_HALF], [A, FAR], 0.5, id="fewer detections: mean over detections, the missed box costs nothing"),
        pytest.param([A, A_HALF], [A, FAR], 0.75, id="as many: each detection gets its best, twice the same true box"),
    ],
)
def test_value_of_one_label(detected: list[Box], true: list[Box], expected: float) -> None:
    """The smaller set decides what is averaged, as the playbook defines it."""
    boxes = [torch.tensor(rows, dtype=torch.float32).reshape(-1, 4) for rows in (detected, true)]
    assert label_iou(*boxes) == pytest.approx(expected, abs=1e-6)


def test_labels_are_averaged_and_a_label_on_one_side_counts_zero() -> None:
    """Right car, a bus that is not there: (1 + 0) / 2."""
    assert picture_iou(detections((A, CAR, 0.9), (FAR, BUS, 0.9)), truth((A, CAR)), score_threshold=0.5) == pytest.approx(0.5)


def test_right_place_with_the_wrong_label_counts_nothing() -> None:
    """A bus where the car is matches neither label."""
    assert picture_iou(detections((A, BUS, 0.9)), truth((A, CAR)), score_threshold=0.5) == 0.0


def test_score_must_be_above_the_threshold() -> None:
    """A detection exactly at the threshold does not count."""
    found = detections((A, CAR, 0.5))
    assert picture_iou(found, truth((A, CAR)), score_threshold=0.5) == 0.0
    assert picture_iou(found, truth((A, CAR)), score_threshold=0.49) == pytest.approx(1.0)


def test_nothing_to_find_and_nothing_found_is_zero() -> None:
    """The playbook gives an empty picture 0, not 1."""
    assert picture_iou(detections(), truth(), score_threshold=0.5) == 0.0


boxes = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 15), st.integers(1, 15))
labelled = st.tuples(boxes, st.integers(1, 3), st.sampled_from([0.2, 0.6, 0.9]))


@given(st.lists(labelled, max_size=6), st.lists(labelled, max_size=6))
def test_agrees_with_the_definition_written_in_plain_python(found: list[Any], true: list[Any]) -> None:
    """Loops over pixels' worth of integers give the same value."""

    def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> float:
        cells_a, cells_b = ({(x, y) for x in range(r[0], r[0] + r[2]) for y in range(r[1], r[1] + r[3])} for r in (a, b))
        return len(cells_a & cells_b) / len(cells_a | cells_b)

    counted = [(box, label) for box, label, score in found if score > 0.5]
    present = {label for _, label in counted} | {label for _, label, _ in true}
    values = []
    for label in present:
        ours = [box for box, other in counted if other == label]
        theirs = [box for box, other, _ in true if other == label]
        if not ours or not theirs:
            values.append(0.0)
            continue
        short, long = (theirs, ours) if len(ours) > len(theirs) else (ours, theirs)
        values.append(sum(max(overlap(box, other) for other in long) for box in short) / len(short))
    expected = sum(values) / len(values) if values else 0.0

    def corners(box: tuple[int, ...]) -> Box:
        return [box[0], box[1], box[0] + box[2], box[1] + box[3]]

    prediction = detections(*((corners(box), label, score) for box, label, score in found))
    actual = truth(*((corners(box), label) for box, label, _ in true))
    assert picture_iou(prediction, actual, score_threshold=0.5) == pytest.approx(expected, abs=1e-6)


class Detector(nn.Module):
    """Finds a car of the size of A in every bright picture and nothing in a dark one, by torchvision's interface."""

    def forward(self, pictures: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        assert not self.training
        return [detections((A, CAR, 0.9), (FAR, BUS, 0.3)) if picture.mean() > 0.5 else detections() for picture in pictures]


def test_evaluation_is_the_mean_over_pictures() -> None:
    """Three pictures in two batches with values 1, 0 and 1/2, and two detections above the threshold."""
    bright, dark = torch.ones(3, 16, 16), torch.zeros(3, 16, 16)
    batches = [((bright, dark), (truth((A, CAR)), truth((A, CAR)))), ((bright,), (truth((A_HALF, CAR)),))]
    seen: list[int] = []
    result = evaluate(Detector(), batches, device=torch.device("cpu"), on_batch=seen.append)
    assert result.mean_iou == pytest.approx((1 + 0 + 0.5) / 3)
    assert result.detections_per_picture == pytest.approx(2 / 3)
    assert result.pictures == 3
    assert seen == [2, 1]


def test_no_picture_is_an_error() -> None:
    """A mean over nothing is not 0."""
    with pytest.raises(ValueError, match="no picture"):
        evaluate(Detector(), [], device=torch.device("cpu"))
