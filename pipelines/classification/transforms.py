"""One dataset row becomes one picture tensor and its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lineage.errors import InvalidSource

IMAGE_COLUMN, LABEL_COLUMN = "images", "labels"

# Mean and standard deviation of CIFAR-10's 50,000 training pictures, RGB, on the scale 0..1.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

Made = tuple[torch.Tensor, int, int]
"""Picture float32 (3, side, side), label, source row."""


def transform(sample: Mapping[str, Any], rng: np.random.Generator, *, size: int, augment: bool, classes: int) -> Made:
    """Decode, augment and normalise one row.

    Args:
        sample: Columns ``images`` (encoded) and ``labels`` (one number), and ``row``.
        rng: Decides the augmentation; it follows from (seed, epoch, sample).
        size: Side in pixels.
        augment: Whether to crop and flip.
        classes: Number of classes.

    Raises:
        InvalidSource: The picture cannot be decoded, or the row does not have exactly one label.
    """
    row = int(sample["row"])
    labels = np.asarray(sample[LABEL_COLUMN]).reshape(-1)
    if len(labels) != 1 or not 0 <= labels[0] < classes:
        found = f"{len(labels)} labels" if len(labels) != 1 else f"label {labels[0]}"
        raise InvalidSource(f"row {row}: expected one label from 0 to {classes - 1}, found {found}")
    picture = decoded(bytes(sample[IMAGE_COLUMN]), row=row)
    if picture.shape[:2] != (size, size):
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    if augment:
        picture = crop_and_flip(picture, rng)
    return normalised(picture), int(labels[0]), row


def decoded(encoded: bytes, *, row: int) -> NDArray[np.uint8]:
    """A picture file as uint8 ``(height, width, 3)``, RGB.

    Raises:
        InvalidSource: The bytes are not a picture.
    """
    buffer = np.frombuffer(encoded, dtype=np.uint8)
    picture = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if buffer.size else None
    if picture is None:
        raise InvalidSource(f"row {row}: the picture cannot be decoded ({len(encoded)} bytes)", hint="upload the dataset again without it")
    return np.ascontiguousarray(picture[:, :, ::-1]).astype(np.uint8, copy=False)


def crop_and_flip(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The usual augmentation for CIFAR: a black border of an eighth of the side, a random crop of the old size, half of them mirrored."""
    side = picture.shape[0]
    border = side // 8
    top, left = rng.integers(0, 2 * border + 1, 2).tolist()
    is_mirrored = bool(rng.random() < 0.5)
    padded = np.pad(picture, ((border, border), (border, border), (0, 0)))
    cropped = padded[top : top + side, left : left + side]
    return cropped[:, ::-1] if is_mirrored else cropped


def normalised(picture: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 ``(h, w, 3)`` to float32 ``(3, h, w)`` with CIFAR-10's mean and deviation."""
    scaled = (picture.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def pixels_of(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """The reverse of :func:`normalised`."""
    numbers = tensor.double().numpy().transpose(1, 2, 0) * np.array(STD) + np.array(MEAN)
    return np.asarray(np.rint(np.clip(numbers, 0, 1) * 255), np.uint8)


def make_transform(size: int, class_names: Sequence[str], *, augment: bool) -> partial[Made]:
    """A transform for a loader."""
    return partial(transform, size=size, augment=augment, classes=len(class_names))
