"""What a reproduction's process knows of the run it repeats."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from lineage.model.dataset import InputRecord
from lineage.model.run import Run
from lineage.ports import RunStore

RUN_VARIABLE = "LINEAGE_RUN_ID"
"""Names the run that a child process adds to instead of starting its own."""

REPRODUCES_VARIABLE = "LINEAGE_REPRODUCES"
"""Names the run that is being repeated."""

SEGMENT_VARIABLE = "LINEAGE_SEGMENT"
"""Digest of the checkpoint from which a part of the run is repeated."""

SEGMENT_END_VARIABLE = "LINEAGE_SEGMENT_END"
"""Name of the checkpoint with which that part ends: the program ends when it has made it."""

DATA_VARIABLE = "LINEAGE_DATA"
"""JSON: role to address, for data that moved since."""


@dataclass(frozen=True, slots=True)
class Reproducing:
    """The original run, and addresses that stand in for recorded ones.

    Attributes:
        original: Its record.
        data: Role to address.
        begin: Digest of the checkpoint to go on from, when only a part is repeated.
        end: Name of the checkpoint at which that part ends.
    """

    original: Run
    data: dict[str, str] = field(default_factory=dict)
    begin: str | None = None
    end: str | None = None

    def input(self, role: str, ordinal: int) -> tuple[InputRecord, str | None] | None:
        """The recorded input number ``ordinal`` of a role and the address to read it from (``None``: the recorded one)."""
        items = self.original.inputs_by_role().get(role, [])
        return (items[ordinal], self.data.get(role)) if ordinal < len(items) else None

    def variables(self) -> dict[str, str]:
        """Environment variables that tell a child process."""
        part = {SEGMENT_VARIABLE: self.begin, SEGMENT_END_VARIABLE: self.end}
        known = {name: value for name, value in part.items() if value is not None}
        return {REPRODUCES_VARIABLE: self.original.id, DATA_VARIABLE: json.dumps(self.data)} | known


def from_environment(runs: RunStore) -> Reproducing | None:
    """What this process was told, if anything."""
    original = os.environ.get(REPRODUCES_VARIABLE)
    if not original:
        return None
    data: dict[str, Any] = json.loads(os.environ.get(DATA_VARIABLE) or "{}")
    places = {str(role): str(uri) for role, uri in data.items()}
    part = (os.environ.get(name) or None for name in (SEGMENT_VARIABLE, SEGMENT_END_VARIABLE))
    return Reproducing(runs.get(original), places, *part)
