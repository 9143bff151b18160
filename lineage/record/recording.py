"""What a part of a live run needs to add to its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lineage.model.event import Event
from lineage.model.run import Run
from lineage.ports import Ports


@dataclass(frozen=True, slots=True)
class Recording:
    """A record that grows.

    Attributes:
        ports: The outside world.
        run: The record as it began.
        original: The run that it repeats.
        append: Adds an event to the record.
        note: Adds a sentence to it.
    """

    ports: Ports
    run: Run
    original: Run | None
    append: Callable[[Event], Run]
    note: Callable[[str], None]
