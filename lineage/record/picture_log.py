"""Pictures with boxes, for trackers that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from lineage.ports import BoxedPicture
from lineage.record.sinks import Sinks


class _Run(Protocol):
    _sinks: Sinks
    _is_secondary: bool

    def _check_open(self) -> None: ...


class PictureLog:
    """What a live run offers to show pictures."""

    def log_pictures(self: _Run, name: str, pictures: Sequence[BoxedPicture], classes: Mapping[int, str] | None = None) -> None:
        """Show pictures with boxes in the run's trackers; W&B lets boxes be switched on and off by kind and class.

        The record does not keep them. A sheet for the record is a file (``log_artifact``).

        Args:
            name: What they are called there, for example ``predictions``; each call adds a point to that series.
            pictures: ``lineage.ports.BoxedPicture``: pixels (uint8, shape (h, w, 3), RGB) and boxes in pixels.
            classes: Number of a class to its name.
        """
        self._check_open()
        if not self._is_secondary:
            self._sinks.tell("pictures_logged", name, tuple(pictures), dict(classes or {}))
