"""What a run takes over that a script told another tool: see :mod:`lineage.ports.telling` for how nobody hears a thing twice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lineage.model.event import Described
from lineage.model.plain import plain
from lineage.model.secrets import redact_values
from lineage.ports.telling import telling
from lineage.record.live import LiveRun

UNPINNED = "not pinned: "
"""So begins a note about data that were read by means that do not hold on to commit and rows; a reproduction lists it as not checked."""


def add_config(live: LiveRun, values: Mapping[str, Any]) -> None:
    """Configuration, as far as it can be recorded and is not known; the rest is noted."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        try:
            kept |= plain({str(name): value}, "config")
        except TypeError as error:
            live.note(f"not recorded: {error}")
    changed = {name: value for name, value in redact_values(kept).items() if name not in live.config or live.config[name] != value}
    if changed:
        live.describe(config=changed)


def join_tracker(live: LiveRun, name: str) -> None:
    """Tell a tracker of a run that has begun already.

    Raises:
        Exception: Whatever the tracker raises when it cannot begin.
    """
    tracker = live._ports.trackers[name]()
    with telling(name):
        called = plain(tracker.started(live.record), name)
    live._append(Described(at=datetime.now(UTC), trackers={name: called}))
    live._sinks.add(tracker)
