"""What people look at: sheets of predictions, and tables by class and by picture."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.detection.evaluate import Evaluation, PictureResult, evaluate, picture_result
from pipelines.detection.pictures import boxed_picture, chosen, pictures_sheet
from pipelines.detection.reports import class_table, picture_table
from pipelines.detection.transforms import MEAN, STD

CLASSES = ("car", "bus")
GREEN, ORANGE, GREY = (0x35, 0xE0, 0x6F), (0xFF, 0xB0, 0x20), (0x8A, 0x93, 0xA3)


def result(
    row: int, true: list[list[float]], detected: list[list[float]], *, ignored: list[list[float]] | None = None, score: float = 0.9
) -> PictureResult:
    def boxes(rows: list[list[float]]) -> dict[str, torch.Tensor]:
        return {"boxes": torch.tensor(rows, dtype=torch.float32).reshape(-1, 4), "labels": torch.ones(len(rows), dtype=torch.int64)}

    target = boxes(true) | {"image_id": torch.tensor(row)}
    if ignored is not None:
        target["ignored"] = boxes(ignored)["boxes"]
    return picture_result(boxes(detected) | {"scores": torch.full((len(detected),), score)}, target, score_threshold=0.5)[0]


def tensor(value: float = 0.4, width: int = 160, height: int = 128) -> torch.Tensor:
    """A picture of one grey value, normalised as the model sees it."""
    channels = [(value - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
    return torch.tensor(channels, dtype=torch.float32)[:, None, None].expand(3, height, width).clone()


def sheet(*pictures: tuple[PictureResult, torch.Tensor], title: str = "parking: after epoch 1") -> Image.Image:
    opened = Image.open(io.BytesIO(pictures_sheet(pictures, CLASSES, title)))
    opened.load()
    return opened


def colours(image: Image.Image) -> set[tuple[int, int, int]]:
    return {tuple(colour) for colour in np.unique(np.asarray(image).reshape(-1, 3), axis=0).tolist()}


BOX = [20.0, 20.0, 60.0, 60.0]


def test_the_same_input_gives_the_same_bytes() -> None:
    """A reproduction leaves the same file; another detection, score or title another one."""
    shown = [(result(3, [BOX], [BOX]), tensor())]
    first = pictures_sheet(shown, CLASSES, "a")
    assert first == pictures_sheet(shown, CLASSES, "a")
    others = [
        pictures_sheet(shown, CLASSES, "b"),
        pictures_sheet([(result(3, [BOX], []), tensor())], CLASSES, "a"),
        pictures_sheet([(result(3, [BOX], [BOX], score=0.8), tensor())], CLASSES, "a"),
        pictures_sheet([(result(4, [BOX], [BOX]), tensor())], CLASSES, "a"),
    ]
    assert len({first, *others}) == 5


@pytest.mark.parametrize(
    ("pictures", "size"),
    [(0, (500, 56)), (1, (500, 468)), (4, (1970, 468)), (5, (1970, 880))],
)
def test_sheet_is_a_png_of_four_columns(pictures: int, size: tuple[int, int]) -> None:
    """Small pictures are enlarged threefold, 480 pixels wide; Pillow reads the file."""
    shown = sheet(*((result(row, [BOX], [BOX]), tensor()) for row in range(pictures)))
    assert (shown.format, shown.mode, shown.size) == ("PNG", "RGB", size)


@pytest.mark.parametrize(("width", "height", "drawn"), [(4096, 1024, (960, 240)), (1024, 4096, (240, 960)), (800, 600, (800, 600))])
def test_large_pictures_are_shrunk(width: int, height: int, drawn: tuple[int, int]) -> None:
    """Their boxes with them; no sheet grows beyond what viewers open (Pillow warns of files that could be an attack on memory)."""
    shown = sheet((result(0, [[0, 0, width, height]], []), tensor(width=width, height=height)))
    assert shown.size == (drawn[0] + 20, drawn[1] + 84)
    assert shown.getpixel((10 + drawn[0] - 1, 74 + drawn[1] - 1)) == GREEN


def test_boxes_are_drawn_where_they_are() -> None:
    """Green for objects, orange for detections, grey for ignored regions; the picture itself keeps its colour."""
    plain = sheet((result(0, [], []), tensor()))
    at = (10 + 3 * 20, 2 * 18 + 2 * 10 + 18 + 3 * 40)  # left side of BOX, half way down, three times as large
    assert plain.getpixel(at) == (102, 102, 102)
    assert sheet((result(0, [BOX], []), tensor())).getpixel(at) == GREEN
    assert sheet((result(0, [], [BOX]), tensor())).getpixel(at) == ORANGE
    assert sheet((result(0, [], [], ignored=[BOX]), tensor())).getpixel(at) == GREY


def test_pixels_are_those_before_normalisation() -> None:
    """Black stays black and white stays white, and what lies beyond does not wrap around."""
    for value, expected in ((0.0, 0), (1.0, 255), (1.5, 255), (-0.5, 0)):
        assert sheet((result(0, [], []), tensor(value))).getpixel((100, 200)) == (expected,) * 3


@pytest.mark.parametrize("box", [[0, 0, 160, 128], [0, 0, 0.2, 0.2], [159.5, 127.5, 160, 128]])
def test_boxes_at_the_border_can_be_drawn(box: list[float]) -> None:
    """Whole picture, less than a pixel, last pixel."""
    assert ORANGE in colours(sheet((result(0, [box], [box]), tensor())))


@given(st.integers(0, 64), st.integers(0, 3000))
def test_the_choice_is_fixed_and_spread(count: int, pictures: int) -> None:
    """As many as asked for, or all; the first and the last among them; ascending and without repetition."""
    places = chosen(count, pictures)
    assert places == chosen(count, pictures) == sorted(set(places))
    assert len(places) == min(count, pictures)
    assert all(0 <= place < pictures for place in places)
    if len(places) > 1:
        assert (places[0], places[-1]) == (0, pictures - 1)


def evaluation() -> Evaluation:
    pictures: list[tuple[int, list[list[float]], list[list[float]]]] = [
        (7, [BOX], [BOX]),
        (8, [], []),
        (9, [BOX], []),
        (5, [BOX], [[20, 20, 60, 40], [100, 100, 120, 120]]),
        (6, [], []),
    ]
    results = [result(*picture) for picture in pictures]

    class Answers(torch.nn.Module):
        def forward(self, images: list[torch.Tensor]) -> list[Any]:
            return [results[int(image)].prediction for image in images]

    batch = (tuple(torch.arange(5)), tuple(item.truth for item in results))
    return evaluate(Answers(), [batch], device=torch.device("cpu"), labels=(1, 2))


def test_pictures_are_listed_worst_first() -> None:
    """Columns as documented; silent pictures come last with an empty value."""
    text = picture_table(evaluation())
    rows = list(csv.DictReader(io.StringIO(text)))
    assert text.splitlines()[0] == "row,corrected_iou,playbook_iou,true,detected,found,missed,false_alarms"
    assert [row["row"] for row in rows] == ["9", "5", "7", "6", "8"]
    assert list(rows[1].values()) == ["5", "0.250000", "0.500000", "1", "2", "1", "0", "1"]
    assert list(rows[-1].values()) == ["8", "", "0.000000", "0", "0", "0", "0", "0"]


def test_classes_are_listed_by_name() -> None:
    """A line for each class, also for one that is nowhere: its figures are empty, not 0."""
    text = class_table(evaluation(), CLASSES)
    assert text.splitlines()[0] == "class,true,detected,found,precision,recall,corrected_iou,AP"
    car, bus = csv.DictReader(io.StringIO(text))
    assert (car["class"], car["true"], car["detected"], car["found"]) == ("car", "3", "3", "2")
    assert (car["precision"], car["recall"]) == ("0.666667", "0.666667")
    assert float(car["corrected_iou"]) == pytest.approx((1 + 0 + 0.25) / 3, abs=1e-6)
    assert 0 < float(car["AP"]) < 1
    assert list(bus.values()) == ["bus", "0", "0", "0", "", "", "", ""]


def test_pictures_for_trackers_hold_pixels_and_boxes_of_both_kinds() -> None:
    """What a tracker draws is in pixels of the picture that the model saw, before normalisation; only detections have scores."""
    shown = boxed_picture(result(7, [[10, 20, 60, 70]], [[12, 20, 60, 72]], score=0.75), tensor(0.4, width=100, height=80))

    assert shown.pixels.shape == (80, 100, 3)
    assert set(shown.pixels.reshape(-1).tolist()) == {round(0.4 * 255)}
    assert [(box.corners, box.label, box.score) for box in shown.boxes["truth"]] == [((10, 20, 60, 70), 1, None)]
    assert [(box.corners, box.label, box.score) for box in shown.boxes["predictions"]] == [((12, 20, 60, 72), 1, 0.75)]
    assert "row 7" in str(shown.caption)
