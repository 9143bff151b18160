"""What a training reads: two recorded views and their loaders."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import lineage.training
from lineage.errors import UsageError
from pipelines.pointcloud.config import Config
from pipelines.pointcloud.transforms import LABEL_COLUMN, POINT_COLUMN, collate, evaluation_transform, training_transform


@dataclass(frozen=True, slots=True)
class Data:
    """Both sides of a training.

    Attributes:
        train: Recorded view to train on.
        test: Recorded view to evaluate on.
        train_loader: Shuffled, without a last batch that is not full.
        test_loader: In the view's order.
        classes: Names by class index.
    """

    train: Any
    test: Any
    train_loader: Any
    test_loader: Any
    classes: tuple[str, ...]


def open_data(run: Any, config: Config) -> Data:
    """Open and record both views, and make their loaders.

    Raises:
        UsageError: A view has no column of points or classes, both have other classes, or the training view has one row only.
        LineageError: A dataset or view is not there, or is not what was recorded.
    """
    train, test = (open_view(run, config, role) for role in ("train", "test"))
    classes = classes_of(train)
    if classes_of(test) != classes:
        raise UsageError(f"both views must have the same classes, found {', '.join(classes)} and {', '.join(classes_of(test))}")
    if len(train) < 2:
        raise UsageError("batch normalisation needs two training rows or more, found 1")
    train_loader = lineage.training.DataLoader(
        train,
        config.batch_size,
        shuffle=True,
        # A last batch of one cloud has no spread, which batch normalisation divides by.
        drop_last=len(train) >= config.batch_size,
        num_workers=config.num_worker,
        transform=training_transform(config),
        collate_fn=collate,
    )
    return Data(train, test, train_loader, evaluation_loader(test, config), classes)


def open_view(run: Any, config: Config, role: str) -> Any:
    """Open and record one view."""
    uri, view = config.view_of(role)
    return run.use_dataset(uri, view=view, role=role)


def evaluation_loader(view: Any, config: Config) -> Any:
    """Batches of a view in its order, read in this process, as the tutorial does."""
    return lineage.training.DataLoader(view, config.batch_size, transform=evaluation_transform(config), collate_fn=collate)


def classes_of(view: Any) -> tuple[str, ...]:
    """Names by class index.

    Raises:
        UsageError: The dataset has no column of points, or none of class labels with names.
    """
    names = view.class_names.get(LABEL_COLUMN)
    if POINT_COLUMN not in view.columns() or not names:
        raise UsageError(
            f"{view.record.uri}: expected the columns {POINT_COLUMN} and {LABEL_COLUMN}, with names of classes, "
            f"found {', '.join(view.columns())}",
            hint="`lineage upload off` and `lineage upload points` make such datasets",
        )
    return tuple(names)


def endless(loader: Any) -> Generator[Any, None, None]:
    """Pass after pass over a loader: the iterations of an epoch are not the batches of a pass."""
    while True:
        with closing(iter(loader)) as batches:
            yield from batches
