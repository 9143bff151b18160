"""Regions that nobody annotated: left as they are, or painted over and not counted."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lineage.errors import UsageError
from pipelines.detection.config import CLASSES_OF_INTEREST, TransformConfig
from pipelines.detection.transforms import (
    ignored_index,
    label_map,
    make_transform,
    mostly_inside,
    painted_over,
    training_pipeline,
    validation_pipeline,
)

NAMES = ("ignored regions", "pedestrian", "people", *CLASSES_OF_INTEREST)
LABELS = label_map(NAMES, CLASSES_OF_INTEREST)
IGNORED, CAR = 0, NAMES.index("car")
SIZE = TransformConfig(width=64, height=64, min_area=1)


def row(boxes: list[list[float]], labels: list[int]) -> dict[str, Any]:
    """A white picture of 64 by 64."""
    picture = cv2.imencode(".png", np.full((64, 64, 3), 255, np.uint8))[1].tobytes()
    return {"images": picture, "boxes": np.array(boxes, np.float32).reshape(-1, 4), "labels": np.array(labels, np.uint32), "row": 3}


def transformed(boxes: list[list[float]], labels: list[int], *, ignored: int | None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    return make_transform(validation_pipeline(SIZE), LABELS, ignored)(row(boxes, labels), np.random.default_rng(0))


REGION, OUTSIDE = [10.0, 20, 30, 10], [45.0, 45, 10, 10]


def test_mask_paints_the_region_and_nothing_else() -> None:
    """Pixels of the region become the mean colour, which is 0 after normalisation; the target names the region."""
    picture, target = transformed([REGION, OUTSIDE], [IGNORED, CAR], ignored=IGNORED)
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[20:30, 10:40] = True
    assert picture[:, inside].abs().max() < 0.01
    assert picture[:, ~inside].min() > 2
    assert target["ignored"].tolist() == [[10, 20, 40, 30]]
    assert target["boxes"].tolist() == [[45, 45, 55, 55]]
    assert target["labels"].tolist() == [LABELS[CAR]]


def test_keep_leaves_the_picture_and_the_objects() -> None:
    """As the playbook does: no pixel is changed, a region is no object, and nothing is said about regions."""
    picture, target = transformed([REGION, OUTSIDE], [IGNORED, CAR], ignored=None)
    assert picture.min() > 2
    assert set(target) == {"boxes", "labels", "image_id"}
    assert target["boxes"].tolist() == [[45, 45, 55, 55]]


def test_mask_without_a_region_says_that_there_is_none() -> None:
    """Every target of a masked training has the key, so that batches are alike."""
    _, target = transformed([OUTSIDE], [CAR], ignored=IGNORED)
    assert target["ignored"].shape == (0, 4)
    assert target["ignored"].dtype == torch.float32


@pytest.mark.parametrize(
    ("car", "is_kept"),
    [
        pytest.param([12.0, 22, 8, 6], False, id="inside"),
        pytest.param([12.0, 26, 8, 10], True, id="less than half inside"),
        pytest.param([12.0, 25, 8, 10], True, id="half inside"),
        pytest.param([12.0, 24, 8, 10], False, id="more than half inside"),
    ],
)
def test_objects_under_the_paint_are_left_out(car: list[float], is_kept: bool) -> None:
    """What is painted over cannot be seen, so it must not be learnt or asked for; with ``keep`` it is an object like any other."""
    _, masked = transformed([REGION, car, OUTSIDE], [IGNORED, CAR, CAR], ignored=IGNORED)
    _, kept = transformed([REGION, car, OUTSIDE], [IGNORED, CAR, CAR], ignored=None)
    assert len(masked["boxes"]) == len(masked["labels"]) == 1 + is_kept
    assert len(kept["boxes"]) == 2
    assert [45, 45, 55, 55] in masked["boxes"].tolist()


def test_paint_follows_the_augmentation() -> None:
    """The region of the target lies on painted pixels after crop and flip, too."""
    pipeline = training_pipeline(TransformConfig(width=64, height=64, min_area=1, rotate_limit_deg=0, brightness_limit=0, contrast_limit=0))
    transform = make_transform(pipeline, LABELS, IGNORED)
    seen = 0
    for seed in range(20):
        picture, target = transform(row([[16, 16, 32, 32]], [IGNORED]), np.random.default_rng(seed))
        for left, top, right, bottom in target["ignored"].round().int().tolist():
            seen += 1
            assert picture[:, top + 2 : bottom - 2, left + 2 : right - 2].abs().max() < 0.05
    assert seen >= 15


def test_a_dataset_without_such_a_class_is_named() -> None:
    """``mask`` on a dataset that has no ignored regions is one error with a way out."""
    assert ignored_index(NAMES) == 0
    with pytest.raises(UsageError, match="no class named 'ignored regions'; it has car, van") as raised:
        ignored_index(("car", "van"))
    assert raised.value.hint == "--set ignored_regions=keep"


def test_painting_covers_broken_pixels_and_spares_the_original() -> None:
    """A region from 1.5 to 3.2 touches pixels 1, 2 and 3; the picture that was given stays as it is."""
    white = np.full((8, 8, 3), 255, np.uint8)
    painted = painted_over(white, np.array([[1.5, 1.5, 3.2, 3.2]], np.float32))
    assert np.argwhere((painted != 255).all(axis=2)).tolist() == [[y, x] for y in (1, 2, 3) for x in (1, 2, 3)]
    assert (white == 255).all()


sides = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 10), st.integers(1, 10))


@given(st.lists(sides, max_size=5), st.lists(sides, max_size=3))
def test_mostly_inside_counts_pixels(boxes: list[tuple[int, ...]], regions: list[tuple[int, ...]]) -> None:
    """Agrees with counting the pixels that a box shares with each region."""

    def cells(box: tuple[int, ...]) -> set[tuple[int, int]]:
        return {(x, y) for x in range(box[0], box[0] + box[2]) for y in range(box[1], box[1] + box[3])}

    def corners(rows: list[tuple[int, ...]]) -> Any:
        return np.array([[x, y, x + width, y + height] for x, y, width, height in rows], np.float32).reshape(-1, 4)

    expected = [any(2 * len(cells(box) & cells(region)) > len(cells(box)) for region in regions) for box in boxes]
    assert mostly_inside(corners(boxes), corners(regions)).tolist() == expected
