"""One dataset row becomes one cloud of points; what is random follows from a generator, a function of (seed, epoch, sample), alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from lineage.errors import InvalidSource
from pipelines.pointcloud.config import Config

Points = np.ndarray[Any, np.dtype[np.float32]]
Sample = Mapping[str, Any]
Transform = Callable[[Sample, np.random.Generator], tuple[torch.Tensor, int]]

POINT_COLUMN, LABEL_COLUMN = "points", "labels"
AXES = {"x": 0, "y": 1, "z": 2}


def training_transform(config: Config) -> Transform:
    """Random points, a random turn about the up axis, and jitter; it can be sent to worker processes."""
    up = AXES[config.up_axis] if config.rotate else None
    return partial(transform_sample, count=config.points, up=up, sigma=config.jitter_sigma, clip=config.jitter_clip, is_random=True)


def evaluation_transform(config: Config) -> Transform:
    """The same points each time, as they are stored."""
    return partial(transform_sample, count=config.points, up=None, sigma=0.0, clip=0.0, is_random=False)


def transform_sample(
    sample: Sample, rng: np.random.Generator, *, count: int, up: int | None, sigma: float, clip: float, is_random: bool
) -> tuple[torch.Tensor, int]:
    """Turn one row into what the model takes.

    Args:
        sample: A row: ``points`` (m, 3), ``labels``, one class index, and ``row``, the source row.
        rng: The only source of chance; the same state gives the same result.
        count: How many points.
        up: Axis of the random turn; ``None`` for none.
        sigma: Standard deviation of the jitter of each coordinate.
        clip: Largest jitter.
        is_random: Whether points are chosen at random.

    Returns:
        Points, float32 (count, 3), and the class index.

    Raises:
        InvalidSource: The row has fewer points than are wanted, or is no point cloud with one class.
    """
    stored, labels = np.asarray(sample[POINT_COLUMN]), np.asarray(sample[LABEL_COLUMN]).reshape(-1)
    if stored.ndim != 2 or stored.shape[1] != 3 or len(stored) < count:
        raise InvalidSource(
            f"row {sample['row']}: expected {count} points (n, 3) or more, found an array of shape {stored.shape}",
            hint="--points takes fewer",
        )
    if len(labels) != 1:
        raise InvalidSource(f"row {sample['row']}: expected one class, found {len(labels)}")
    points = chosen(stored, count, rng if is_random else None)
    if up is not None:
        points = rotated(points, rng.uniform(0, 2 * math.pi), up)
    if sigma > 0:
        points = points + np.clip(sigma * rng.standard_normal(points.shape), -clip, clip)
    return torch.from_numpy(points.astype(np.float32)), int(labels[0])


def chosen(points: np.ndarray[Any, Any], count: int, rng: np.random.Generator | None) -> np.ndarray[Any, np.dtype[np.float64]]:
    """``count`` of the points: at random without repetition, or evenly spread over their order; float64 (count, 3)."""
    places = np.arange(count) * len(points) // count if rng is None else rng.permutation(len(points))[:count]
    return points[places].astype(np.float64)


def rotated(points: np.ndarray[Any, np.dtype[np.float64]], angle_rad: float, up: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Points (n, 3) turned about one axis, counter-clockwise when it points at the viewer."""
    first, second = (up + 1) % 3, (up + 2) % 3
    cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
    found = points.copy()
    found[:, first] = cosine * points[:, first] - sine * points[:, second]
    found[:, second] = sine * points[:, first] + cosine * points[:, second]
    return found


def collate(batch: Sequence[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Points, float32 (b, n, 3), and class indices, int64 (b,)."""
    points, labels = zip(*batch, strict=True)
    return torch.stack(points), torch.tensor(labels)
