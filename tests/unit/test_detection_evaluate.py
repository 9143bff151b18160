"""The playbook's mean IoU against cases computed by hand, and an evaluation as a whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipelines.detection.evaluate import Evaluation, evaluate, label_iou, picture_iou

Box = list[float]
A: Box = [0, 0, 10, 10]
A_HALF: Box = [0, 0, 10, 5]  # IoU with A: 50 / 100
A_SHIFTED: Box = [5, 0, 15, 10]  # IoU with A: 50 / 150
FAR: Box = [100, 100, 120, 120]
CAR, VAN, BUS = 2, 3, 7


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


def test_a_picture_worked_by_hand() -> None:
    """Cars: three detections, two objects, (1 + 1/3) / 2; vans: one of two found exactly, 1; a bus is missed, 0; the mean over labels."""
    van: Box = [50, 50, 60, 60]
    found = detections((A, CAR, 0.9), (A_HALF, CAR, 0.8), (FAR, CAR, 0.7), (van, VAN, 0.6), (FAR, BUS, 0.5))
    true = truth((A, CAR), ([110, 110, 130, 130], CAR), (van, VAN), ([70, 50, 80, 60], VAN), (A, BUS))
    third = 100 / (400 + 400 - 100)  # FAR with the second car
    assert picture_iou(found, true, score_threshold=0.5) == pytest.approx(((1 + third) / 2 + 1 + 0) / 3, abs=1e-6)


def picture(*found: tuple[Box, int, float]) -> torch.Tensor:
    """A picture that makes :class:`Detector` find these: their numbers are its pixels."""
    tensor = torch.zeros(3, 16, 16)
    for number, (box, label, score) in enumerate(found):
        tensor[0, number, :6] = torch.tensor([*box, label, score])
    return tensor


class Detector(nn.Module):
    """Finds what the pixels of a picture say, by torchvision's interface."""

    def forward(self, pictures: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        assert not self.training
        return [detections(*((row[:4].tolist(), int(row[4]), float(row[5])) for row in tensor[0] if row[4] != 0)) for tensor in pictures]


def target(row: int, *rows: tuple[Box, int], ignored: list[Box] | None = None) -> dict[str, torch.Tensor]:
    found = truth(*rows) | {"image_id": torch.tensor(row)}
    return found if ignored is None else found | {"ignored": torch.tensor(ignored, dtype=torch.float32).reshape(-1, 4)}


PICTURES = [
    (picture((A, CAR, 0.9), (FAR, BUS, 0.3)), target(40, (A, CAR))),  # perfect
    (picture(), target(41, (A, CAR))),  # missed
    (picture((A, CAR, 0.9), (FAR, BUS, 0.6)), target(42, (A_HALF, CAR))),  # half, and a false alarm
    (picture(), target(43)),  # nothing to find, nothing found
    (picture((FAR, CAR, 0.8)), target(44)),  # only a false alarm
]


def judged(pictures: list[Any], batch_size: int = 2, **options: Any) -> Evaluation:
    batches = [tuple(zip(*pictures[place : place + batch_size], strict=True)) for place in range(0, len(pictures), batch_size)]
    return evaluate(Detector(), batches, device=torch.device("cpu"), labels=range(1, 10), **options)


def test_evaluation_is_the_mean_over_pictures() -> None:
    """The playbook's mean counts silent pictures as 0; the corrected one leaves them out and counts each label of a picture."""
    seen: list[int] = []
    result = judged(PICTURES, on_batch=seen.append)
    assert result.mean_iou == pytest.approx((1 + 0 + 0.5 / 2 + 0 + 0) / 5)
    assert result.corrected_iou == pytest.approx((1 + 0 + 0.5 + 0 + 0) / 5)  # labels: car, car, car and bus, (none), car
    assert result.detections_per_picture == pytest.approx(4 / 5)
    assert result.pictures == 5
    assert seen == [2, 2, 1]


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_evaluation_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    """The same pictures in other batches give equal figures, by class and by picture."""
    one, other = judged(PICTURES), judged(PICTURES, batch_size)
    assert one.metrics() == other.metrics()
    assert one.classes == other.classes
    assert [(item.row, item.corrected_iou, item.playbook_iou) for item in one.by_picture] == [
        (item.row, item.corrected_iou, item.playbook_iou) for item in other.by_picture
    ]


def test_no_picture_is_an_error() -> None:
    """A mean over nothing is not 0."""
    with pytest.raises(ValueError, match="no picture"):
        judged([])


def test_worst_pictures_come_first_and_silent_ones_not_at_all() -> None:
    """By corrected IoU, then by misses and false alarms together, then by row."""
    two_false = (picture((FAR, CAR, 0.8), (A, CAR, 0.8)), target(45))
    result = judged([*PICTURES, two_false])
    assert [item.row for item in result.worst(10)] == [45, 41, 44, 42, 40]
    assert [item.row for item in result.worst(2)] == [45, 41]
    assert [(item.row, item.true, item.detected, item.found, item.missed, item.false_alarms) for item in result.worst(4)] == [
        (45, 0, 2, 0, 0, 2),
        (41, 1, 0, 0, 1, 0),
        (44, 0, 1, 0, 0, 1),
        (42, 1, 2, 1, 0, 1),
    ]


def test_classes_have_their_own_figures() -> None:
    """Precision, recall and the corrected IoU of each class; undefined where there is nothing to divide by."""
    by_label = {item.label: item for item in judged(PICTURES).classes}
    car, bus, van = by_label[CAR], by_label[BUS], by_label[VAN]
    assert (car.true, car.detected, car.found) == (3, 3, 2)
    assert (car.precision, car.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert car.corrected_iou == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert (bus.precision, bus.recall, bus.corrected_iou, bus.average_precision) == (0.0, None, 0.0, None)
    assert (van.precision, van.recall, van.corrected_iou, van.average_precision) == (None, None, None, None)


def test_without_any_detection_every_figure_is_zero() -> None:
    """A model that finds nothing: all zero, nothing undefined that COCO could define."""
    result = judged([(picture(), target(row, (A, CAR))) for row in range(3)])
    assert (result.mean_iou, result.corrected_iou, result.detections_per_picture) == (0, 0, 0)
    assert result.metrics()["validation_AP"] == 0


def test_pictures_without_objects_leave_average_precision_undefined() -> None:
    """COCO's figures are left out of the metrics in place of -1; the mean IoUs are 0."""
    result = judged([PICTURES[3], PICTURES[4]])
    assert result.metrics() == {"validation_iou": 0.0, "validation_corrected_iou": 0.0}


def test_boxes_that_are_no_numbers_do_not_count() -> None:
    """A model that has diverged gives NaN and infinite boxes: they are neither detections nor errors."""
    nan, inf = float("nan"), float("inf")
    spoilt = picture((A, CAR, 0.9), ([nan, 0, 10, 10], CAR, 0.9), ([0, 0, inf, 10], CAR, 0.9), (A, CAR, nan))
    result, clean = judged([(spoilt, target(0, (A, CAR)))]), judged([(picture((A, CAR, 0.9)), target(0, (A, CAR)))])
    assert result.metrics() == clean.metrics()
    assert result.detections_per_picture == 1


def test_detections_in_ignored_regions_are_no_false_alarms() -> None:
    """With ``mask`` a detection that lies mostly in a region counts nowhere; without a region it is a false alarm."""
    found = picture((A, CAR, 0.9), (FAR, CAR, 0.9))
    region: Box = [90, 90, 130, 112]  # 12 of FAR's 20 rows
    masked = judged([(found, target(0, (A, CAR), ignored=[region]))])
    kept = judged([(found, target(0, (A, CAR)))])
    assert (masked.corrected_iou, masked.by_picture[0].false_alarms) == (1.0, 0)
    assert (kept.corrected_iou, kept.by_picture[0].false_alarms) == (0.5, 1)
    assert masked.coco["AP"] == pytest.approx(1.0)

    half = judged([(found, target(0, (A, CAR), ignored=[[90, 90, 130, 109]]))])  # 9 of 20 rows: not mostly
    assert half.by_picture[0].false_alarms == 1
