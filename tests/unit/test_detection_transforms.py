"""Rows become tensors: class names, boxes, augmentation, grey pictures."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lineage.errors import InvalidSource, UsageError
from pipelines.detection.config import CLASSES_OF_INTEREST, TransformConfig
from pipelines.detection.transforms import (
    MEAN,
    STD,
    Transform,
    boxes_inside,
    collate,
    decode_picture,
    label_map,
    make_transform,
    training_pipeline,
    validation_pipeline,
)

VISDRONE_NAMES = ("ignored regions", "pedestrian", "people", *CLASSES_OF_INTEREST)
CAR, BUS, PEDESTRIAN = VISDRONE_NAMES.index("car"), VISDRONE_NAMES.index("bus"), VISDRONE_NAMES.index("pedestrian")
LABELS = label_map(VISDRONE_NAMES, CLASSES_OF_INTEREST)


def encoded(picture: np.ndarray, extension: str = ".png") -> bytes:
    return cv2.imencode(extension, picture)[1].tobytes()


def sample(picture: np.ndarray, boxes: list[list[float]], labels: list[int], row: int = 3) -> dict[str, Any]:
    """A row as a recorded view gives it: arrays are read-only."""
    box_array, label_array = np.array(boxes, dtype=np.float32).reshape(-1, 4), np.array(labels, dtype=np.uint32)
    box_array.flags.writeable = label_array.flags.writeable = False
    return {"images": encoded(picture), "boxes": box_array, "labels": label_array, "row": row, "index": 0}


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def validation_transform(**options: Any) -> Transform:
    return make_transform(validation_pipeline(TransformConfig(**options)), LABELS)


def test_labels_follow_class_names_whatever_their_order() -> None:
    """The same class gets the same label in datasets that list their classes in another order, and 0 is left to background."""
    backwards = VISDRONE_NAMES[::-1]
    assert label_map(backwards, CLASSES_OF_INTEREST)[backwards.index("bus")] == LABELS[BUS] == CLASSES_OF_INTEREST.index("bus") + 1
    assert sorted(LABELS.values()) == list(range(1, 10))


def test_missing_class_of_interest_is_named() -> None:
    """A dataset that lacks a class of interest is refused by that class's name."""
    with pytest.raises(UsageError, match="no class named 'awning-tricycle'; it has car, van"):
        label_map(("car", "van"), ("car", "awning-tricycle"))


def test_grey_picture_gets_three_equal_channels() -> None:
    """A JPEG with one channel decodes to RGB."""
    grey = np.tile(np.linspace(0, 255, 40, dtype=np.uint8), (30, 1))
    decoded = decode_picture(encoded(grey, ".jpg"), row=0)
    assert decoded.shape == (30, 40, 3)
    assert decoded.dtype == np.uint8
    assert (decoded == decoded[:, :, :1]).all()
    assert decoded[0, -1, 0] > 200


def test_decoded_channels_are_red_green_blue() -> None:
    """OpenCV's blue-green-red order does not reach the model."""
    red_in_opencv_order = np.zeros((8, 8, 3), np.uint8)
    red_in_opencv_order[:, :, 2] = 255
    assert decode_picture(encoded(red_in_opencv_order), row=0)[0, 0].tolist() == [255, 0, 0]


def test_orientation_noted_by_a_camera_is_ignored() -> None:
    """Boxes refer to the stored pixels, so an EXIF orientation must not turn the picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(noise(40, 24)).save(buffer, "JPEG", exif=exif)
    assert decode_picture(buffer.getvalue(), row=0).shape == (24, 40, 3)


@pytest.mark.parametrize("data", [b"", b"not a picture", encoded(np.zeros((8, 8, 3), np.uint8))[:20]])
def test_undecodable_picture_is_named_by_its_row(data: bytes) -> None:
    """A picture that cannot be decoded is one error that says which row it is."""
    with pytest.raises(InvalidSource, match="row 41: the picture cannot be decoded"):
        decode_picture(data, row=41)


def test_boxes_are_clipped_and_empty_ones_left_out() -> None:
    """Hand-computed: inside, past two borders, on the border, zero height, outside."""
    boxes = np.array([[10, 20, 30, 40], [-5, 90, 10, 30], [100, 0, 4, 4], [50, 50, 4, 0], [200, 200, 9, 9]], dtype=np.int32)
    corners, kept = boxes_inside(boxes, width=100, height=100)
    assert corners.tolist() == [[10, 20, 40, 60], [0, 90, 5, 100]]
    assert kept.tolist() == [0, 1]
    assert corners.dtype == np.float32


coordinates = st.floats(-50, 250, width=32)
sides = st.floats(0, 200, width=32)


@given(st.lists(st.tuples(coordinates, coordinates, sides, sides), max_size=8), st.integers(1, 160), st.integers(1, 120))
def test_boxes_inside_always_have_an_area_inside(boxes: list[tuple[float, ...]], width: int, height: int) -> None:
    """Whatever comes in, what comes out lies in the picture and is never empty."""
    corners, kept = boxes_inside(np.array(boxes, dtype=np.float32).reshape(-1, 4), width, height)
    assert len(corners) == len(kept)
    assert (corners[:, 0] >= 0).all()
    assert (corners[:, 1] >= 0).all()
    assert (corners[:, 2] > corners[:, 0]).all()
    assert (corners[:, 3] > corners[:, 1]).all()
    assert (corners[:, 2] <= width).all()
    assert (corners[:, 3] <= height).all()


def test_validation_transform_scales_filters_and_remaps() -> None:
    """At half size boxes are halved; other classes and boxes below the minimal area are dropped; labels follow their boxes."""
    boxes = [[0, 0, 40, 60], [100, 100, 8, 8], [200, 40, 80, 20], [10, 10, 50, 50], [64, 32, 20, 20]]
    row = sample(noise(320, 256), boxes, [CAR, CAR, BUS, PEDESTRIAN, CAR])
    picture, target = validation_transform(width=160, height=128)(row, np.random.default_rng(0))
    assert picture.shape == (3, 128, 160)
    assert picture.dtype == torch.float32
    # 8x8 becomes 16 square pixels, below 32; 20x20 becomes 100.
    torch.testing.assert_close(target["boxes"], torch.tensor([[0, 0, 20, 30], [100, 20, 140, 30], [32, 16, 42, 26]]).float())
    assert target["labels"].tolist() == [LABELS[CAR], LABELS[BUS], LABELS[CAR]]
    assert target["labels"].dtype == torch.int64
    assert target["image_id"].item() == 3


def test_picture_is_normalised_once() -> None:
    """A constant picture becomes (value/255 - mean) / std in each channel."""
    grey = np.full((64, 64, 3), 51, np.uint8)
    picture, _ = validation_transform(width=64, height=64)(sample(grey, [], []), np.random.default_rng(0))
    expected = [(0.2 - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
    torch.testing.assert_close(picture[:, 5, 5], torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_no_box_left_gives_empty_tensors_of_the_right_shape() -> None:
    """A picture without anything of interest is a background picture, as torchvision expects it."""
    pipeline = training_pipeline(TransformConfig(width=64, height=64))
    _, target = make_transform(pipeline, LABELS)(sample(noise(80, 80), [[1, 1, 30, 30]], [PEDESTRIAN]), np.random.default_rng(0))
    assert target["boxes"].shape == (0, 4)
    assert target["boxes"].dtype == torch.float32
    assert target["labels"].shape == (0,)
    assert target["labels"].dtype == torch.int64


def test_boxes_and_labels_must_match_in_number() -> None:
    """A row with two boxes and one label is refused by its number."""
    with pytest.raises(InvalidSource, match="row 3: expected one label for each box, found 2 boxes and 1 labels"):
        validation_transform()(sample(noise(80, 80), [[1, 1, 9, 9], [2, 2, 9, 9]], [CAR]), np.random.default_rng(0))


whole = st.integers(0, 199)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(whole, whole, st.integers(0, 90), st.integers(0, 90), st.sampled_from([CAR, BUS, PEDESTRIAN])), max_size=6), whole
)
def test_augmented_boxes_are_valid_targets(rows: list[tuple[int, ...]], seed: int) -> None:
    """After every augmentation boxes lie in the tensor, have the minimal area, and carry labels of their own class from 1 up."""
    config = TransformConfig(width=96, height=64, min_area=12)
    transform = make_transform(training_pipeline(config), LABELS)
    row = sample(noise(200, 200), [list(values[:4]) for values in rows], [values[4] for values in rows])
    picture, target = transform(row, np.random.default_rng(seed))
    boxes, labels = target["boxes"], target["labels"]
    assert picture.shape == (3, 64, 96)
    assert len(boxes) == len(labels)
    assert set(labels.tolist()) <= {LABELS[values[4]] for values in rows if values[4] in LABELS}
    if len(boxes):
        widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= 96).all()
        assert (boxes[:, 3] <= 64).all()
        assert (torch.minimum(widths, heights) >= 0.99).all()
        assert (widths * heights >= 11.9).all()


def test_augmentation_is_a_function_of_its_generator() -> None:
    """The same generator state gives the same bits whatever was transformed before; another gives another picture."""
    transform = make_transform(training_pipeline(TransformConfig()), LABELS)
    row = sample(noise(200, 150), [[20, 20, 60, 40], [90, 60, 50, 50]], [CAR, BUS])
    first, first_target = transform(row, np.random.default_rng([7, 1, 5]))
    other, _ = transform(row, np.random.default_rng([7, 1, 6]))
    again, again_target = pickle.loads(pickle.dumps(transform))(row, np.random.default_rng([7, 1, 5]))
    assert torch.equal(first, again)
    assert torch.equal(first_target["boxes"], again_target["boxes"])
    assert not torch.equal(first, other)


def test_augmentation_coins_fall_independently() -> None:
    """Flip and brightness come in all four combinations: the pipeline's transforms do not share one seed."""
    picture = np.full((64, 64, 3), 100, np.uint8)
    picture[:, 32:] = 140
    config = TransformConfig(width=64, height=64, rotate_limit_deg=0, erosion_rate=0, contrast_limit=0, brightness_limit=0.3)
    transform = make_transform(training_pipeline(config), LABELS)
    row = sample(picture, [[0, 0, 64, 64]], [CAR])
    plain, _ = validation_transform(width=64, height=64)(row, np.random.default_rng(0))
    seen = set()
    for seed in range(40):
        tensor, _ = transform(row, np.random.default_rng(seed))
        flipped = bool(tensor[0, 32, 8] > tensor[0, 32, 56])
        brighter = bool((tensor.mean() - plain.mean()).abs() > 0.01)
        seen.add((flipped, brighter))
    assert seen == {(False, False), (False, True), (True, False), (True, True)}


def test_flip_moves_boxes_with_their_pixels() -> None:
    """Wherever the crop and the flip put the bright square, its box is around it."""
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[30:60, 10:50] = 255
    config = TransformConfig(width=100, height=100, rotate_limit_deg=0, brightness_limit=0, contrast_limit=0)
    transform = make_transform(training_pipeline(config), LABELS)
    for seed in range(10):
        tensor, target = transform(sample(picture, [[10, 30, 40, 30]], [CAR]), np.random.default_rng(seed))
        rows, columns = torch.nonzero(tensor[0] > 0.5, as_tuple=True)
        drawn = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
        torch.testing.assert_close(target["boxes"][0], drawn, atol=2.0, rtol=0)


def test_collate_keeps_pictures_with_other_numbers_of_boxes() -> None:
    """A batch is a tuple of pictures and a tuple of targets in the same order."""
    transform = validation_transform(width=64, height=64)
    rng = np.random.default_rng(0)
    items = [transform(sample(noise(64, 64), [[5, 5, 20, 20]] * boxes, [CAR] * boxes, row=boxes), rng) for boxes in (0, 2)]
    pictures, targets = collate(items)
    assert len(pictures) == 2
    assert [target["image_id"].item() for target in targets] == [0, 2]
    assert [len(target["boxes"]) for target in targets] == [0, 2]


def test_real_visdrone_pictures_become_valid_targets(shared_data: Path) -> None:
    """The six real pictures with their annotations go through both pipelines."""
    pipelines = [training_pipeline(TransformConfig()), validation_pipeline(TransformConfig(width=320, height=256))]
    with zipfile.ZipFile(shared_data / "visdrone_public.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("pairs/images/") and name.endswith(".jpg"))
        assert len(names) == 6
        for row, name in enumerate(names):
            text = archive.read(name.replace("images", "annotations").replace(".jpg", ".txt")).decode()
            values = np.array([[int(field) for field in line.split(",")[:6]] for line in text.split()])
            stored = {"images": archive.read(name), "boxes": values[:, :4], "labels": values[:, 5], "row": row}
            for pipeline in pipelines:
                _, target = make_transform(pipeline, LABELS)(stored, np.random.default_rng(row))
                assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
                assert (target["labels"] >= 1).all()
            assert len(target["labels"]) > 0
