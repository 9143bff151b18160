"""One-to-one matching and the corrected IoU: what it must do, whatever the boxes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.detection.matching import MATCHED_IOU, LabelMatches, counted, match_labels

Box = tuple[float, float, float, float]
A: Box = (0, 0, 10, 10)
A_HALF: Box = (0, 0, 10, 5)  # IoU with A: 50 / 100
A_SHIFTED: Box = (5, 0, 15, 10)  # IoU with A: 50 / 150
FAR: Box = (100, 100, 120, 120)


def objects(*rows: tuple[Box, int]) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor([box for box, _ in rows], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([label for _, label in rows], dtype=torch.int64),
    }


def one_label(ours: list[Box], theirs: list[Box]) -> LabelMatches:
    (found,) = match_labels(objects(*((box, 1) for box in ours)), objects(*((box, 1) for box in theirs)))
    return found


@pytest.mark.parametrize(
    ("detected", "true", "overlaps", "value"),
    [
        pytest.param([A], [A], [1], 1, id="perfect"),
        pytest.param([A_SHIFTED], [A], [1 / 3], 1 / 3, id="shifted by half"),
        pytest.param([A], [FAR], [], 0, id="elsewhere: one missed, one false alarm"),
        pytest.param([], [A], [], 0, id="missed"),
        pytest.param([A], [], [], 0, id="false alarm"),
        pytest.param([A, A], [A], [1], 1 / 2, id="found twice: the second is a false alarm"),
        pytest.param([A], [A, FAR], [1], 1 / 2, id="one of two found"),
        pytest.param([A_HALF, A, FAR], [A], [1], 1 / 3, id="two false alarms"),
        pytest.param([A_HALF, A_SHIFTED], [A, A_SHIFTED], [1, 1 / 2], 3 / 4, id="the greatest overlap is matched first"),
        pytest.param([A, FAR], [A_HALF, FAR], [1, 1 / 2], 3 / 4, id="two pairs"),
    ],
)
def test_one_label_by_hand(detected: list[Box], true: list[Box], overlaps: list[float], value: float) -> None:
    """Matched one to one; the sum of overlaps over matched, missed and false alarms together."""
    found = one_label(detected, true)
    assert found.overlaps == pytest.approx(overlaps)
    assert found.corrected_iou == pytest.approx(value)
    assert (found.detected, found.true) == (len(detected), len(true))
    assert found.found == sum(overlap >= MATCHED_IOU for overlap in overlaps)


def test_an_overlap_of_exactly_one_half_is_found() -> None:
    """The limit counts as found, anything below does not."""
    assert one_label([A_HALF], [A]).found == 1
    assert one_label([(0, 0, 10, 4.9)], [A]).found == 0


def test_nothing_on_both_sides_says_nothing() -> None:
    """No label, no value: the picture is left out of the mean."""
    assert match_labels(objects(), objects()) == []


def test_another_label_never_matches() -> None:
    """The right place with the wrong label is a miss and a false alarm."""
    first, second = match_labels(objects((A, 1)), objects((A, 2)))
    assert (first.label, first.detected, first.true, first.corrected_iou) == (1, 1, 0, 0.0)
    assert (second.label, second.detected, second.true, second.corrected_iou) == (2, 0, 1, 0.0)


def test_what_counts() -> None:
    """Above the score, finite, and at most half inside a region that nobody annotated."""
    nan, inf = float("nan"), float("inf")
    rows: list[tuple[Box, float]] = [
        (A, 0.5),
        (A, 0.51),
        ((0, 0, nan, 10), 0.9),
        ((0, 0, inf, 0), 0.9),
        (FAR, 0.9),
        ((95, 100, 105, 110), 0.9),
    ]
    prediction = objects(*((box, 1) for box, _ in rows)) | {"scores": torch.tensor([score for _, score in rows])}
    assert counted(prediction, 0.5)["scores"].tolist() == pytest.approx([0.51, 0.9, 0.9])
    region = torch.tensor([[100.0, 90, 130, 130]])
    left = counted(prediction, 0.5, region)
    assert left["boxes"].tolist() == [list(A), [95, 100, 105, 110]], "half inside still counts, wholly inside does not"
    assert len(counted(prediction, 0.5, torch.zeros(0, 4))["boxes"]) == 3


boxes = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 15), st.integers(1, 15)).map(
    lambda sides: (float(sides[0]), float(sides[1]), float(sides[0] + sides[2]), float(sides[1] + sides[3]))
)
labelled = st.lists(st.tuples(boxes, st.integers(1, 3)), max_size=6)


def values(ours: Any, theirs: Any) -> dict[int, float]:
    return {item.label: item.corrected_iou for item in match_labels(objects(*ours), objects(*theirs))}


@given(labelled, labelled)
def test_it_is_one_only_when_everything_is_found_exactly(ours: Any, theirs: Any) -> None:
    """1 if and only if both sides hold the same boxes, always between 0 and 1."""
    for label, value in values(ours, theirs).items():
        same = sorted(box for box, other in ours if other == label) == sorted(box for box, other in theirs if other == label)
        assert 0 <= value <= 1
        assert (value == 1) == same


@given(labelled, labelled)
def test_it_is_symmetric(ours: Any, theirs: Any) -> None:
    """A missed object costs what a false alarm does: the sides can change places. Ties go by position, so overlaps must differ here."""
    overlaps = [
        round(overlap, 9) for item in match_labels(objects(*ours), objects(*theirs)) for overlap in _all_overlaps(item, ours, theirs)
    ]
    if len(set(overlaps)) == len(overlaps):
        assert values(ours, theirs) == pytest.approx(values(theirs, ours))


def _all_overlaps(item: LabelMatches, ours: Any, theirs: Any) -> list[float]:
    pairs = itertools.product((box for box, label in ours if label == item.label), (box for box, label in theirs if label == item.label))
    return [overlap for one, other in pairs if (overlap := _iou(one, other)) > 0]


def _iou(one: Box, other: Box) -> float:
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


@given(labelled, labelled, st.integers(1, 3))
def test_each_false_alarm_and_each_miss_lowers_it(ours: Any, theirs: Any, label: int) -> None:
    """A box where nothing is, on either side, lowers its label's value (or leaves it 0) and no other's."""
    before = values(ours, theirs)
    for more in (values([*ours, (FAR, label)], theirs), values(ours, [*theirs, (FAR, label)])):
        if before.get(label, 0) > 0:
            assert more[label] < before[label]
        else:
            assert more[label] == 0
        assert {key: value for key, value in more.items() if key != label} == {key: value for key, value in before.items() if key != label}


@given(labelled, labelled)
def test_labels_are_matched_apart(ours: Any, theirs: Any) -> None:
    """Matching a label's boxes alone gives what matching all gives; labels come in order."""
    every = match_labels(objects(*ours), objects(*theirs))
    for item in every:
        own, other = ([row for row in rows if row[1] == item.label] for rows in (ours, theirs))
        assert match_labels(objects(*own), objects(*other)) == [item]
    labels = [item.label for item in every]
    assert labels == sorted({label for _, label in [*ours, *theirs]})


@given(labelled, labelled)
def test_each_box_is_matched_at_most_once(ours: Any, theirs: Any) -> None:
    """No more pairs than boxes on the shorter side; greatest overlap first."""
    for item in match_labels(objects(*ours), objects(*theirs)):
        assert len(item.overlaps) <= min(item.detected, item.true)
        assert list(item.overlaps) == sorted(item.overlaps, reverse=True)
        assert item.found <= len(item.overlaps)
