"""Queries that Deep Lake answers wrongly without saying so are refused, with the form that is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.errors import InvalidQuery
from pipelines.data.visdrone import COLUMNS

WRONG = "select * where not any(logical_and(logical_or(boxes[:,2]<20, boxes[:, 3]<20), labels == 'car'))"
RIGHT = "select * where not any(logical_and(logical_or(boxes[:,2:3]<20, boxes[:,3:4]<20), labels == 'car'))"


def dataset(folder: Path, counts: list[int]) -> tuple[str, list[int]]:
    """A dataset with this many random boxes a row, and the rows that the query must keep."""
    random = np.random.default_rng(len(counts))
    boxes = [random.integers(10, 40, (count, 4)).astype("float32") for count in counts]
    labels = [random.choice([1, 4], count).astype("uint32") for count in counts]
    uri = f"file://{folder / 'ds'}"
    writer = DeepLakeBackend().write(uri, [item for item in COLUMNS if item.name in ("boxes", "labels", "sample_id")], source={})
    writer.append({"boxes": boxes, "labels": labels, "sample_id": [str(row) for row in range(len(counts))]})
    writer.complete("test")
    small = [((box[:, 2] < 20) | (box[:, 3] < 20)) & (label == 4) for box, label in zip(boxes, labels, strict=True)]
    return uri, [row for row, flags in enumerate(small) if not flags.any()]


@pytest.mark.parametrize("counts", [[1] * 40, [2] * 40, [3] * 300, [2]])
def test_a_single_column_of_boxes_with_one_shape_is_refused(tmp_path: Path, counts: list[int]) -> None:
    """With as many boxes in every row, boxes[:,2] is refused; the form in the hint keeps exactly the rows that NumPy keeps."""
    uri, expected = dataset(tmp_path, counts)

    with pytest.raises(InvalidQuery) as caught:
        DeepLakeBackend().resolve(uri, query=WRONG)

    assert "because every row of 'boxes' has the same shape" in caught.value.message
    assert caught.value.hint == "write boxes[:,2:3], which is answered rightly"
    if expected:
        assert DeepLakeBackend().resolve(uri, query=RIGHT).rows.tolist() == expected


@pytest.mark.parametrize("counts", [[1, 2] * 20, [0, 3] * 20, [2] * 39 + [3], [2] * 300 + [1]])
def test_both_forms_are_right_when_shapes_differ(tmp_path: Path, counts: list[int]) -> None:
    """One row with another number of boxes is enough: both forms keep exactly the rows that NumPy keeps, time after time."""
    uri, expected = dataset(tmp_path, counts)

    for _ in range(5):
        assert DeepLakeBackend().resolve(uri, query=WRONG).rows.tolist() == expected
        assert DeepLakeBackend().resolve(uri, query=RIGHT).rows.tolist() == expected
