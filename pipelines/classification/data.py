"""What a training reads: two recorded views, their loaders, and how many pictures of each class they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import lineage.training
from lineage.errors import UsageError
from pipelines.classification.config import Config
from pipelines.classification.transforms import IMAGE_COLUMN, LABEL_COLUMN, make_transform

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Data:
    """Both sides of a training.

    Attributes:
        classes: Names by number.
        train: Recorded view to train on; ``None`` where nothing is trained.
        validation: Recorded view to evaluate on.
        train_loader: Shuffled.
        validation_loader: In the view's order.
        counts: Pictures by class name for ``train`` and ``validation``.
    """

    classes: tuple[str, ...]
    train: Any
    validation: Any
    train_loader: Any
    validation_loader: Any
    counts: dict[str, dict[str, int]]


def open_data(run: Any, config: Config, *, training: bool = True) -> Data:
    """Open and record both views, or only the one to evaluate on, and make their loaders.

    Raises:
        UsageError: A dataset has no pictures or labels of classes, or the two name their classes differently.
        LineageError: A dataset or view is not there, or is not what was recorded.
    """
    train = run.use_dataset(config.train, view=config.view, role="train") if training else None
    validation = run.use_dataset(config.validated_on, view=config.validation_view, role="validation")
    names = {part: class_names(view) for part, view in (("train", train), ("validation", validation)) if view is not None}
    classes = names["validation"]
    if names.get("train", classes) != classes:
        raise UsageError(
            f"the datasets name their classes differently: {', '.join(names['train'])} in {config.train}, "
            f"{', '.join(classes)} in {config.validated_on}",
            hint="a number must mean the same class in both",
        )
    shared: dict[str, Any] = {"batch_size": config.batch_size, "num_workers": config.workers, "on_error": config.on_error}
    make_loader = lineage.training.DataLoader
    augmented = make_transform(config.size, classes, augment=config.augment != "none")
    plain = make_transform(config.size, classes, augment=False)
    return Data(
        classes=classes,
        train=train,
        validation=validation,
        train_loader=None if train is None else make_loader(train, shuffle=True, transform=augmented, **shared),
        validation_loader=make_loader(validation, transform=plain, **shared),
        counts={part: count_classes(view, classes) for part, view in (("train", train), ("validation", validation)) if view is not None},
    )


def class_names(view: Any) -> tuple[str, ...]:
    """Names of the classes by number.

    Raises:
        UsageError: The dataset has no pictures, or no labels with names.
    """
    names, columns = tuple(view.class_names.get(LABEL_COLUMN, ())), view.columns()
    if not names or IMAGE_COLUMN not in columns:
        raise UsageError(
            f"expected the columns {IMAGE_COLUMN} and {LABEL_COLUMN}, with class names; found {', '.join(columns)}",
            hint="lineage upload cifar10 SOURCE URI makes such a dataset",
        )
    return names


def count_classes(view: Any, classes: tuple[str, ...]) -> dict[str, int]:
    """Pictures of each class; pictures are not read."""
    totals = np.zeros(len(classes), np.int64)
    for begin in range(0, len(view), _ROWS_AT_ONCE):
        positions = range(begin, min(begin + _ROWS_AT_ONCE, len(view)))
        found = np.concatenate([np.asarray(value).reshape(-1) for value in view.read_quietly(positions, [LABEL_COLUMN])[LABEL_COLUMN]])
        totals += np.bincount(found[found < len(classes)].astype(np.int64), minlength=len(classes))
    return {name: int(total) for name, total in zip(classes, totals.tolist(), strict=True)}
