"""What a training reads: two recorded views, their transforms and loaders, and how many boxes of each class they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import lineage.training
from lineage.errors import UsageError
from pipelines.detection.config import Config
from pipelines.detection.transforms import (
    LABEL_COLUMN,
    collate,
    ignored_index,
    label_map,
    make_transform,
    training_pipeline,
    validation_pipeline,
)

_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Data:
    """Both sides of a training.

    Attributes:
        train: Recorded view to train on.
        validation: Recorded view to evaluate on.
        train_loader: Shuffled; this process's share.
        validation_loader: In the view's order; all of it.
        counts: Boxes by class name, as stored, for ``train`` and ``validation``.
    """

    train: Any
    validation: Any
    train_loader: Any
    validation_loader: Any
    counts: dict[str, dict[str, int]]


def open_data(run: Any, config: Config) -> Data:
    """Open and record both views, and make their loaders.

    Raises:
        UsageError: A view lacks a class of interest, or no row of the training view has a box of any.
        LineageError: A dataset or view is not there, or is not what was recorded.
    """
    train = run.use_dataset(config.train, view=config.view, role="train")
    validation = run.use_dataset(config.validation, view=config.validation_view or config.view, role="validation")
    counts = {"train": count_boxes(train, config), "validation": count_boxes(validation, config)}
    if not any(counts["train"].values()):
        raise UsageError(
            f"no box of any class of interest in the {len(train)} rows of {config.train}{f', view {config.view}' if config.view else ''}; "
            f"classes of interest are {', '.join(config.classes)}",
            hint="choose another view, or other classes: --set 'classes=[car, van]'",
        )
    size = config.transform
    shared: dict[str, Any] = {
        "batch_size": config.batch_size,
        "num_workers": config.workers,
        "collate_fn": collate,
        "on_error": config.on_error,
    }
    train_transform = make_transform(training_pipeline(size), _labels(train, config), _ignored(train, config))
    validation_transform = make_transform(validation_pipeline(size), _labels(validation, config), _ignored(validation, config))
    make_loader = lineage.training.DataLoader
    return Data(
        train=train,
        validation=validation,
        train_loader=make_loader(train, shuffle=True, transform=train_transform, **shared),
        # One process evaluates all of it.
        validation_loader=make_loader(validation, transform=validation_transform, rank=0, world_size=1, **shared),
        counts=counts,
    )


def count_boxes(view: Any, config: Config) -> dict[str, int]:
    """Boxes of each class of interest in a view, as stored; pictures are not read.

    Raises:
        UsageError: The view lacks a class of interest.
    """
    labels = _labels(view, config)
    totals = np.zeros(len(config.classes) + 1, np.int64)
    remap = np.zeros(max(labels) + 1, np.int64)
    remap[list(labels)] = list(labels.values())
    for begin in range(0, len(view), _ROWS_AT_ONCE):
        positions = range(begin, min(begin + _ROWS_AT_ONCE, len(view)))
        for found in view.read_quietly(positions, [LABEL_COLUMN])[LABEL_COLUMN]:
            stored = np.asarray(found).reshape(-1).astype(np.int64)
            totals += np.bincount(remap[stored[stored < len(remap)]], minlength=len(totals))
    return {name: int(totals[label]) for label, name in enumerate(config.classes, start=1)}


def _labels(view: Any, config: Config) -> dict[int, int]:
    return label_map(view.class_names[LABEL_COLUMN], config.classes)


def _ignored(view: Any, config: Config) -> int | None:
    return ignored_index(view.class_names[LABEL_COLUMN]) if config.ignored_regions == "mask" else None
