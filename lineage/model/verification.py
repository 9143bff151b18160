"""Whether what a record relies on is still there and still the same: found without executing anything."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Status = Literal["intact", "changed", "missing"]


class Checked(BaseModel):
    """One thing that a record relies on.

    Attributes:
        subject: ``record``, ``objects``, ``code``, ``data train`` …
        found: What is there, in short.
        detail: What is wrong, or worth knowing, one line each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str
    status: Status
    found: str
    detail: tuple[str, ...] = ()


class Verification(BaseModel):
    """What was found for one run.

    Attributes:
        level: ``quick``: names, manifests, counts, presence of objects. ``full``: every byte.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    run_name: str
    level: Literal["quick", "full"]
    checks: tuple[Checked, ...]

    @property
    def is_intact(self) -> bool:
        """Whether everything is still there and the same."""
        return all(check.status == "intact" for check in self.checks)
