"""Trackers of a run, such as W&B: told what happens, never in the way."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from lineage.model.secrets import redact_text
from lineage.ports import Tracker


class Sinks:
    """All trackers of one run. One that fails is named once, in a warning and in the record; training goes on.

    Args:
        trackers: Those that started.
        note: Adds a sentence to the record.
    """

    def __init__(self, trackers: Sequence[Tracker], note: Callable[[str], None]) -> None:
        self._trackers = trackers
        self._note = note
        self._failed: set[str] = set()

    def tell(self, method: str, *arguments: Any) -> None:
        """Call a method of :class:`lineage.ports.Tracker` on each."""
        for tracker in self._trackers:
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:  # noqa: BLE001 - a tracker is a guest: whatever it raises must not stop a run
                self._failed_once(tracker.name, error)

    def _failed_once(self, name: str, error: Exception) -> None:
        if name not in self._failed:
            self._failed.add(name)
            message = f"{name} failed and is not complete for this run: {describe_error(error)}"
            warnings.warn(f"lineage: {message}", stacklevel=4)
            self._note(message)


def describe_error(error: BaseException) -> str:
    """An exception in one line, without secrets."""
    text = str(error).strip().splitlines()
    return redact_text(f"{type(error).__name__}: {text[0]}" if text else type(error).__name__)
