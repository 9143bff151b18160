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

DATA_VARIABLE = "LINEAGE_DATA"
"""JSON: role to address, for data that moved since."""


@dataclass(frozen=True, slots=True)
class Reproducing:
    """The original run, and addresses that stand in for recorded ones.

    Attributes:
        original: Its record.
        data: Role to address.
    """

    original: Run
    data: dict[str, str] = field(default_factory=dict)

    def input(self, role: str, ordinal: int) -> tuple[InputRecord, str | None] | None:
        """The recorded input number ``ordinal`` of a role and the address to read it from (``None``: the recorded one)."""
        items = self.original.inputs_by_role().get(role, [])
        return (items[ordinal], self.data.get(role)) if ordinal < len(items) else None

    def variables(self) -> dict[str, str]:
        """Environment variables that tell a child process."""
        return {REPRODUCES_VARIABLE: self.original.id, DATA_VARIABLE: json.dumps(self.data)}


def from_environment(runs: RunStore) -> Reproducing | None:
    """What this process was told, if anything."""
    original = os.environ.get(REPRODUCES_VARIABLE)
    if not original:
        return None
    data: dict[str, Any] = json.loads(os.environ.get(DATA_VARIABLE) or "{}")
    return Reproducing(runs.get(original), {str(role): str(uri) for role, uri in data.items()})
