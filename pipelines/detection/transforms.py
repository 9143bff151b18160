"""One dataset row becomes one picture tensor with its boxes: the playbook's Albumentations pipelines.

Coordinates: dataset boxes are ``[x, y, w, h]`` in pixels of the stored picture, top-left based; from :func:`boxes_inside` on they are
``[x1, y1, x2, y2]`` (Pascal VOC order), first in pixels of the stored picture, then of the tensor.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from numpy.typing import NDArray

from lineage.errors import InvalidSource, UsageError
from pipelines.detection.config import TransformConfig

Sample = Mapping[str, Any]
Target = dict[str, torch.Tensor]
Transform = Callable[[Sample, np.random.Generator], tuple[torch.Tensor, Target]]

IMAGE_COLUMN, BOX_COLUMN, LABEL_COLUMN = "images", "boxes", "labels"
IGNORED_CLASS = "ignored regions"
"""VisDrone's name for regions in which nothing was annotated."""

# Mean and standard deviation of ImageNet's training pictures, RGB, on the scale 0..1: what torchvision's base weights were trained with.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def label_map(class_names: Sequence[str], classes: Sequence[str]) -> dict[int, int]:
    """Map a dataset's class indices to the labels of the model, by name.

    Args:
        class_names: The dataset's class names, by index.
        classes: The classes of interest; they become 1, 2, … in this order. 0 is background and never used.

    Raises:
        UsageError: The dataset lacks a class of interest.
    """
    missing = [name for name in classes if name not in class_names]
    if missing:
        raise UsageError(
            f"the dataset has no class named {', '.join(repr(name) for name in missing)}; it has {', '.join(class_names)}",
            hint="train on classes that the dataset has: --set 'classes=[car, van]'",
        )
    return {class_names.index(name): label for label, name in enumerate(classes, start=1)}


def decode_picture(encoded: bytes, *, row: int) -> NDArray[np.uint8]:
    """Decode a picture file.

    Args:
        encoded: The bytes of the file.
        row: Source row, to name it in an error.

    Returns:
        uint8 ``(height, width, 3)``, RGB. Grey pictures get three equal channels. The orientation that a camera noted in the file is
        ignored, because boxes refer to the pixels as stored.

    Raises:
        InvalidSource: The bytes are not a picture.
    """
    buffer = np.frombuffer(encoded, dtype=np.uint8)
    picture = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if buffer.size else None
    if picture is None:
        raise InvalidSource(f"row {row}: the picture cannot be decoded ({len(encoded)} bytes)", hint="upload the dataset again without it")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def boxes_inside(boxes: NDArray[Any], width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Convert boxes and clip them to the picture; those without an area inside are left out.

    The playbook widens empty boxes to one pixel and then clips, which leaves boxes of zero width at the right border.

    Args:
        boxes: ``(n, 4)`` of any number type, ``[x, y, w, h]`` in pixels.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.

    Returns:
        Boxes float32 ``(m, 4)``, ``0 <= x1 < x2 <= width`` and ``0 <= y1 < y2 <= height``, and their ``m`` indices in ``boxes``.
    """
    corners = np.asarray(boxes, dtype=np.float32).reshape(-1, 4).copy()
    corners[:, 2:] += corners[:, :2]
    limits = np.array([width, height, width, height], dtype=np.float32)
    corners = np.clip(corners, 0, limits)
    kept = np.flatnonzero((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1]))
    return corners[kept], kept


def training_pipeline(config: TransformConfig) -> A.Compose:
    """The playbook's augmentation: safe crop to size, rotation, flip, brightness and contrast, normalisation."""
    return _compose(
        config,
        A.RandomSizedBBoxSafeCrop(width=config.width, height=config.height, erosion_rate=config.erosion_rate),
        A.Rotate(limit=(-config.rotate_limit_deg, config.rotate_limit_deg), p=0.5),
        A.HorizontalFlip(p=0.5),
        A.RandomBrightnessContrast(brightness_limit=config.brightness_limit, contrast_limit=config.contrast_limit, p=0.5),
    )


def validation_pipeline(config: TransformConfig) -> A.Compose:
    """The playbook's validation transform: resizing and normalisation, nothing random."""
    return _compose(config, A.Resize(width=config.width, height=config.height))


def ignored_index(class_names: Sequence[str]) -> int:
    """Index of the class of ignored regions.

    Raises:
        UsageError: The dataset has none.
    """
    if IGNORED_CLASS not in class_names:
        raise UsageError(
            f"ignored_regions=mask: the dataset has no class named '{IGNORED_CLASS}'; it has {', '.join(class_names)}",
            hint="--set ignored_regions=keep",
        )
    return class_names.index(IGNORED_CLASS)


def make_transform(pipeline: A.Compose, labels: Mapping[int, int], ignored: int | None = None) -> Transform:
    """Bind a pipeline and a label map to the ``transform(sample, rng)`` that a loader calls; it can be sent to worker processes.

    Args:
        pipeline: From :func:`training_pipeline` or :func:`validation_pipeline`.
        labels: From :func:`label_map`.
        ignored: Class index of regions to paint over, ``None`` to leave pictures as they are.
    """
    return partial(transform_sample, pipeline=pipeline, labels=dict(labels), ignored=ignored)


def transform_sample(
    sample: Sample, rng: np.random.Generator, *, pipeline: A.Compose, labels: Mapping[int, int], ignored: int | None = None
) -> tuple[torch.Tensor, Target]:
    """Turn one row into what torchvision's detection models take.

    Args:
        sample: A row: ``images`` (bytes of a picture file), ``boxes`` ``(n, 4)`` ``[x, y, w, h]`` in pixels, ``labels`` ``(n,)`` class
            indices, and ``row``, the source row.
        rng: The only source of chance; the same state gives the same result.
        pipeline: From :func:`training_pipeline` or :func:`validation_pipeline`.
        labels: From :func:`label_map`.
        ignored: Class index of regions to paint over with the mean colour, so that nothing unannotated in them is learnt as background.
            Objects that lie mostly in one are left out.

    Returns:
        The picture, float32 ``(3, height, width)``, normalised; and its target: ``boxes`` float32 ``(m, 4)`` ``[x1, y1, x2, y2]`` in
        pixels of that tensor, ``labels`` int64 ``(m,)`` from 1, ``image_id`` int64 scalar, the source row; with ``ignored`` also
        ``ignored`` float32 ``(k, 4)``, the regions in the same frame. ``m`` and ``k`` may be 0.

    Raises:
        InvalidSource: The picture cannot be decoded, or the row does not have one label for each box.
    """
    row = int(sample["row"])
    picture = decode_picture(bytes(sample[IMAGE_COLUMN]), row=row)
    height, width = picture.shape[:2]
    stored_boxes, stored_labels = np.asarray(sample[BOX_COLUMN]).reshape(-1, 4), np.asarray(sample[LABEL_COLUMN]).reshape(-1)
    if len(stored_boxes) != len(stored_labels):
        raise InvalidSource(f"row {row}: expected one label for each box, found {len(stored_boxes)} boxes and {len(stored_labels)} labels")

    boxes, kept = boxes_inside(stored_boxes, width, height)
    remapped = np.array([labels.get(int(index), 0) for index in stored_labels[kept]], dtype=np.int64)
    regions = boxes[stored_labels[kept] == ignored] if ignored is not None else boxes[:0]
    # What is painted over cannot be seen: it is no object to learn or to find.
    wanted = (remapped > 0) & ~mostly_inside(boxes, regions)
    boxes, remapped = boxes[wanted], remapped[wanted]
    if len(regions):
        picture = painted_over(picture, regions)

    # Not set_random_seed: it hands every transform its own copy of one stream, so that their coins always fall alike.
    pipeline.set_random_state(rng, random.Random(int(rng.integers(2**63))))
    result = pipeline(image=picture, bboxes=np.concatenate([boxes, regions]), box_ids=np.arange(len(boxes) + len(regions)))

    corners = torch.as_tensor(np.asarray(result["bboxes"], dtype=np.float32).reshape(-1, 4))
    chosen = np.asarray(result["box_ids"], dtype=np.int64).reshape(-1)
    is_object = chosen < len(boxes)
    target = {
        "boxes": corners[is_object],
        "labels": torch.as_tensor(remapped[chosen[is_object]]),
        "image_id": torch.tensor(row),
    }
    if ignored is not None:
        target["ignored"] = corners[~is_object]
    return result["image"], target


def mostly_inside(boxes: NDArray[np.float32], regions: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which boxes have more than half of their area in one of the regions.

    Args:
        boxes: ``(n, 4)`` ``[x1, y1, x2, y2]``.
        regions: ``(k, 4)`` in the same frame.

    Returns:
        bool ``(n,)``.
    """
    if not len(regions):
        return np.zeros(len(boxes), np.bool_)
    sides = np.minimum(boxes[:, None, 2:], regions[None, :, 2:]) - np.maximum(boxes[:, None, :2], regions[None, :, :2])
    shared = np.clip(sides, 0, None).prod(axis=2).max(axis=1)
    return np.asarray(shared > 0.5 * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def painted_over(picture: NDArray[np.uint8], regions: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A copy of a picture with regions ``[x1, y1, x2, y2]`` in the mean colour, which normalisation turns into zeros."""
    painted = picture.copy()
    for left, top, right, bottom in regions:
        painted[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = np.rint(np.array(MEAN) * 255)
    return painted


def collate(batch: Sequence[tuple[torch.Tensor, Target]]) -> tuple[tuple[torch.Tensor, ...], tuple[Target, ...]]:
    """Keep pictures and targets of a batch as two tuples: every picture has another number of boxes."""
    pictures, targets = zip(*batch, strict=True)
    return pictures, targets


def _compose(config: TransformConfig, *steps: A.BasicTransform) -> A.Compose:
    # A side below one pixel survives no rounding, whatever min_area allows.
    boxes = A.BboxParams(
        format="pascal_voc",
        label_fields=["box_ids"],
        min_area=config.min_area,
        min_visibility=config.min_visibility,
        min_width=1,
        min_height=1,
    )
    return A.Compose([*steps, A.Normalize(mean=MEAN, std=STD), ToTensorV2()], bbox_params=boxes)
