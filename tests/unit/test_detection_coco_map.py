"""COCO's average precision through the collector: cases worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipelines.detection.coco_map import CocoCollector

Box = list[float]
SMALL: Box = [0, 0, 20, 20]
MEDIUM: Box = [100, 100, 150, 150]
LARGE: Box = [200, 200, 330, 330]
CAR, BUS = 1, 2
NAMES = {"AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR_1", "AR_10", "AR_100"}


def truth(*rows: tuple[Box, int], ignored: list[Box] | None = None) -> dict[str, torch.Tensor]:
    found = {
        "boxes": torch.tensor([box for box, _ in rows], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([label for _, label in rows], dtype=torch.int64),
    }
    return found if ignored is None else found | {"ignored": torch.tensor(ignored, dtype=torch.float32).reshape(-1, 4)}


def found(*rows: tuple[Box, int, float]) -> dict[str, torch.Tensor]:
    return truth(*((box, label) for box, label, _ in rows)) | {"scores": torch.tensor([score for _, _, score in rows])}


def judged(*pictures: Any, labels: tuple[int, ...] = (CAR, BUS)) -> Any:
    collector = CocoCollector(labels)
    for prediction, target in pictures:
        collector.add(prediction, target)
    return collector.evaluate()


def test_perfect_is_one_and_undefined_is_none() -> None:
    """Everything found: 1 for every size that is there; no object of a size or class means no figure, not -1."""
    result = judged((found((SMALL, CAR, 0.9), (MEDIUM, CAR, 0.8)), truth((SMALL, CAR), (MEDIUM, CAR))))
    assert set(result.figures) == NAMES
    assert result.figures["AR_1"] == pytest.approx(0.5), "one detection a picture finds one of two"
    assert {name: value for name, value in result.figures.items() if name != "AR_1"} == pytest.approx(
        dict.fromkeys(NAMES - {"AR_1", "AP_large"}, 1.0) | {"AP_large": None}
    )
    assert result.by_class == {CAR: pytest.approx(1.0), BUS: None}


def test_nothing_found_is_zero_where_something_was_to_be_found() -> None:
    """No detection at all gives the same figures as one far away: 0, and still undefined where there is no object."""
    target = truth((SMALL, CAR), (LARGE, CAR))
    nothing, elsewhere = judged((found(), target)), judged((found((MEDIUM, BUS, 0.1)), target))
    assert nothing == elsewhere
    assert nothing.figures == dict.fromkeys(NAMES - {"AP_medium"}, 0.0) | {"AP_medium": None}
    assert nothing.by_class == {CAR: 0.0, BUS: None}


def test_one_of_two_found() -> None:
    """Precision 1 up to recall one half, 0 beyond: 51 of COCO's 101 recall points."""
    result = judged((found((MEDIUM, CAR, 0.9)), truth((MEDIUM, CAR), (LARGE, CAR))))
    assert result.figures["AP"] == pytest.approx(51 / 101)
    assert result.figures["AR_100"] == pytest.approx(0.5)
    assert (result.figures["AP_medium"], result.figures["AP_large"]) == (pytest.approx(1.0), 0.0)


def test_a_false_alarm_costs_only_when_it_scores_higher() -> None:
    """Below the true detection it changes nothing; above it, precision is one half throughout."""
    target = truth((MEDIUM, CAR))
    below = judged((found((MEDIUM, CAR, 0.9), (LARGE, CAR, 0.3)), target))
    above = judged((found((MEDIUM, CAR, 0.3), (LARGE, CAR, 0.9)), target))
    assert below.figures["AP"] == pytest.approx(1.0)
    assert above.figures["AP"] == pytest.approx(0.5)


def test_overlap_decides_at_how_many_thresholds_it_counts() -> None:
    """IoU 0.8 counts at 0.50, 0.55, … 0.80 (7 of 10; the last by rounding up), so also at 0.75."""
    shifted: Box = [100, 100, 150, 140.5]  # 2025 / 2500 = 0.81
    result = judged((found((shifted, CAR, 0.9)), truth((MEDIUM, CAR))))
    assert result.figures["AP"] == pytest.approx(0.7)
    assert (result.figures["AP50"], result.figures["AP75"]) == (pytest.approx(1.0), pytest.approx(1.0))


def test_classes_are_averaged_and_do_not_mix() -> None:
    """A bus in a car's place: the car is missed, the bus is a false alarm of a class with its own object."""
    result = judged((found((MEDIUM, BUS, 0.9), (LARGE, BUS, 0.8)), truth((MEDIUM, CAR), (LARGE, BUS))))
    assert result.by_class == {CAR: 0.0, BUS: pytest.approx(0.5)}
    assert result.figures["AP"] == pytest.approx(0.25)


def test_pictures_are_kept_apart() -> None:
    """The same box in another picture is no match; scores are ranked over all pictures."""
    result = judged((found((MEDIUM, CAR, 0.9)), truth()), (found(), truth((MEDIUM, CAR))))
    assert result.figures["AP"] == 0.0


def test_ignored_regions_cost_nothing() -> None:
    """Detections inside one are neither right nor wrong, of whatever class; regions are no objects."""
    inside: Box = [210, 210, 230, 230]
    target = truth((MEDIUM, CAR), ignored=[LARGE])
    result = judged((found((inside, CAR, 0.99), (inside, BUS, 0.98), (MEDIUM, CAR, 0.5)), target))
    assert result.figures["AP"] == pytest.approx(1.0)
    assert result.figures["AP_large"] is None
    assert judged((found((inside, CAR, 0.99), (MEDIUM, CAR, 0.5)), truth((MEDIUM, CAR)))).figures["AP"] == pytest.approx(0.5)
    assert set(judged((found((inside, CAR, 0.9)), truth(ignored=[LARGE]))).figures.values()) == {None}


def test_nothing_to_find_is_undefined() -> None:
    """No object anywhere: every figure is undefined, whatever was detected; also without any picture."""
    for result in (judged((found((SMALL, CAR, 0.9)), truth())), judged()):
        assert result.figures == dict.fromkeys(NAMES)
        assert result.by_class == {CAR: None, BUS: None}


def test_boxes_that_are_no_numbers_are_left_out() -> None:
    """A diverged model's NaN and infinite boxes do not reach COCO."""
    spoilt = found(([float("nan"), 0, 5, 5], CAR, 0.95), ([0, 0, float("inf"), 5], CAR, 0.94), (MEDIUM, CAR, 0.9))
    assert judged((spoilt, truth((MEDIUM, CAR)))).figures["AP"] == pytest.approx(1.0)


def test_it_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """The library's progress and table stay off both streams: stdout is the command's result."""
    judged((found((MEDIUM, CAR, 0.9)), truth((MEDIUM, CAR))))
    judged((found(), truth((MEDIUM, CAR))))
    assert capfd.readouterr() == ("", "")
