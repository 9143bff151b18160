"""What a reproduction's process knows of the run it repeats."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from lineage.errors import NotFound
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

SEED_VARIABLE = "LINEAGE_SEED"
"""The seed that a repetition gets in place of the program's own (``none``: the run has none): then it is no reproduction."""

_NO_SEED = "none"


@dataclass(frozen=True, slots=True)
class Reproducing:
    """The original run, and addresses that stand in for recorded ones.

    Attributes:
        original: Its record.
        data: Role to address.
        begin: Digest of the checkpoint to go on from, when only a part is repeated.
        end: Name of the checkpoint at which that part ends.
        seed: The seed that counts, whatever the program says; ``None``: the program's own.
        is_repeat: Whether it is a repetition with another seed: a run of its own, that nothing is compared with.
    """

    original: Run
    data: dict[str, str] = field(default_factory=dict)
    begin: str | None = None
    end: str | None = None
    seed: int | None = None
    is_repeat: bool = False

    def settle_seed(self, facts: dict[str, Any]) -> str | None:
        """Put the seed that counts in the place of the program's own; say so, where that was another one."""
        own = facts.get("seed")
        if self.seed is None or own == self.seed:
            return None
        facts["seed"] = self.seed
        return None if own is None else f"the program gave the seed {own}; {self.seed} took its place, as this repetition was asked for it"

    def input(self, role: str, ordinal: int) -> tuple[InputRecord, str | None] | None:
        """The recorded input number ``ordinal`` of a role and the address to read it from (``None``: the recorded one)."""
        items = self.original.inputs_by_role().get(role, [])
        return (items[ordinal], self.data.get(role)) if ordinal < len(items) else None

    def variables(self) -> dict[str, str]:
        """Environment variables that tell a child process."""
        part = {SEGMENT_VARIABLE: self.begin, SEGMENT_END_VARIABLE: self.end}
        known = {name: value for name, value in part.items() if value is not None}
        if self.is_repeat:
            known[SEED_VARIABLE] = _NO_SEED if self.seed is None else str(self.seed)
        return {REPRODUCES_VARIABLE: self.original.id, DATA_VARIABLE: json.dumps(self.data)} | known


def from_environment(runs: RunStore) -> Reproducing | None:
    """What this process was told, if anything."""
    original = os.environ.get(REPRODUCES_VARIABLE)
    if not original:
        return None
    data: dict[str, Any] = json.loads(os.environ.get(DATA_VARIABLE) or "{}")
    places = {str(role): str(uri) for role, uri in data.items()}
    begin, end = (os.environ.get(name) or None for name in (SEGMENT_VARIABLE, SEGMENT_END_VARIABLE))
    found, given = runs.get(original), os.environ.get(SEED_VARIABLE)
    if given:
        return Reproducing(found, places, seed=None if given == _NO_SEED else int(given), is_repeat=True)
    # A repetition's own seed reached its program by way of its record; it does so again.
    return Reproducing(found, places, begin, end, seed=None if found.repeats is None else found.seed)


def first_of(runs: RunStore, run: Run) -> Run:
    """The run at the beginning of a chain of repetitions: it ran in the user's folder, those that follow in workspaces that are gone."""
    while run.repeats is not None:
        try:
            run = runs.get(run.repeats)
        except NotFound:
            break
    return run
