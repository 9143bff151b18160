"""How a reproduction came out: differences are values, not exceptions."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from lineage.model.plan import Plan


class Verdict(StrEnum):
    """The answer of a reproduction, with its exit code."""

    identical = "identical"
    equivalent = "equivalent"
    diverged = "diverged"
    inconclusive = "inconclusive"
    blocked = "blocked"

    @property
    def exit_code(self) -> int:
        """0 identical or equivalent, 1 diverged, 3 inconclusive, 4 blocked."""
        return {"identical": 0, "equivalent": 0, "diverged": 1, "inconclusive": 3, "blocked": 4}[self.value]


class Change(BaseModel):
    """One compared thing.

    Attributes:
        subject: ``metrics``, ``output model.pth``, ``data train`` …
        same: Whether both runs agree bit for bit.
        original: What the first run had, in short.
        replica: What the second has.
        detail: Where they part, for example the first differing step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str
    same: bool
    original: str
    replica: str
    detail: str | None = None


class Comparison(BaseModel):
    """All that was compared of two runs, and what was not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    original_id: str
    replica_id: str | None
    changes: tuple[Change, ...]
    not_checked: tuple[str, ...] = ()
    likely_causes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return all(change.same for change in self.changes)


class Report(BaseModel):
    """What ``lineage reproduce`` found: the plan, and after an execution the comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    verdict: Verdict | None
    plan: Plan
    comparison: Comparison | None = None
    replica_id: str | None = None
    workspace: str | None = None
    reason: str | None = None
    duration_s: float | None = None
