"""Sending W&B folders later, and writing those again that are gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lineage.adapters.trackers.wandb_delivery import deliver
from lineage.adapters.trackers.wandb_log import read_log
from lineage.errors import InvalidSource
from lineage.model.run import MetricPoint, Run
from lineage.ports.telling import telling

_FLUSH_S = 20.0


class WandbSender:
    """Brings W&B folders to the server. Needs W&B's client only where a folder has to be written again.

    Args:
        folder: Where folders are written again.
    """

    name = "wandb"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has_log(self, folder: Path) -> bool:
        """Whether the folder holds a log with at least its first block's head."""
        return any(path.stat().st_size > 7 for path in folder.glob("*.wandb"))

    def send(self, folder: Path, limit_s: float) -> dict[str, Any]:
        """Send a folder; returns what the record keeps of it."""
        told = deliver(folder, limit_s)
        facts: dict[str, Any] = {"problem": told.problem} | ({} if told.url is None else {"url": told.url})
        if told.is_complete or (told.is_torn and told.url is not None):
            facts["delivered_at"] = datetime.now(UTC).isoformat()
        return facts

    def rebuild(self, run: Run, points: Sequence[MetricPoint], path_of: Callable[[str], Path | None]) -> Path:
        """Write a run's folder again from its record, under the same W&B id."""
        from lineage.adapters.trackers.wandb import WandbTracker  # W&B's client takes a second to load

        with telling(self.name):
            folder = WandbTracker(self._folder, 0.0).rebuild(run, points, path_of)
        _wait_for_end(folder)
        return folder


def _wait_for_end(folder: Path) -> None:
    # The client's own process writes the last part of a log after its run has ended.
    until = time.monotonic() + _FLUSH_S
    while time.monotonic() < until:
        with suppress(InvalidSource):
            if all(read_log(path).exit_code is not None for path in folder.glob("*.wandb")):
                return
        time.sleep(0.05)
