"""What a record says of itself when its run was never seen by this layer, but read from what another system had kept of it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Imported(BaseModel):
    """Where an imported record comes from, and what it lacks.

    Attributes:
        tracker: The system that had it: ``wandb``, ``mlflow``.
        id: What that system calls the run; with ``tracker`` it decides the record's own id, so that importing again makes no second one.
        place: The folder or address that it was read from, without credentials.
        missing: What a reproduction would need and nobody kept, one sentence each.
        facts: What else that system knew, as it said it: git commit and remote, hardware, its own release.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tracker: str
    id: str
    place: str
    missing: tuple[str, ...] = ()
    facts: dict[str, Any] = {}
