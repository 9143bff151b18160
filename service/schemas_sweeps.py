"""Answers of the API about sweeps. Times are UTC, ISO 8601; names carry their units."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from lineage.lookup.sweeps import definition_of, text_in
from lineage.model.sweep import Goal
from lineage.ports import ObjectStore, SweepName


class SweepBrief(BaseModel):
    """A sweep as a list shows it. Of each trial the attempt that counts.

    Attributes:
        name: `null` when it has none, or when its definition is not kept here; so is `method`.
        method: `grid`, `random` or `bayes`.
        metric: What it is about.
        began_at: When its first trial began.
        complete: Number of trials that ended as they should.
        stopped: Number that the sweep stopped early.
        best_run_id: Run of the best complete trial.
        best_value: The metric of that run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str | None
    project: str
    method: str | None
    metric: str | None
    goal: Goal
    began_at: datetime
    complete: int
    stopped: int
    running: int
    failed: int
    best_run_id: str | None
    best_value: float | None

    @property
    def trials(self) -> int:
        """Number of trials."""
        return self.complete + self.stopped + self.running + self.failed


class SweepPage(BaseModel):
    """One page of sweeps, newest first; give `next_cursor` as `cursor` for the next one, `null` on the last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[SweepBrief, ...]
    next_cursor: str | None


def sweep_brief(objects: ObjectStore, item: SweepName) -> SweepBrief:
    """A sweep in short, with what its definition says."""
    found = definition_of(objects, item.definition)
    definition = None if isinstance(found, str) else found
    return SweepBrief(
        id=item.sweep,
        name=text_in(definition, "name"),
        project=item.project,
        method=text_in(definition, "method"),
        metric=item.metric,
        goal="maximize" if item.goal == "maximize" else "minimize",
        began_at=datetime.fromisoformat(item.began_at),
        complete=item.complete,
        stopped=item.stopped,
        running=item.running,
        failed=item.failed,
        best_run_id=item.best_run,
        best_value=item.best_value,
    )
