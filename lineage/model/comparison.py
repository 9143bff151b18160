"""How a reproduction came out: differences are values, not exceptions."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, computed_field

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
        is_tolerated: Whether it differs no more than the run's own calibrated repetitions do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str
    same: bool
    original: str
    replica: str
    detail: str | None = None
    is_tolerated: bool = False


class BatchRow(BaseModel):
    """A row of the batch in which two runs part.

    Attributes:
        role: Of the input it is from.
        position: In the view.
        row: In the source; ``None`` when the record does not tell.
        sample_id: Its name, where it has one.
        picture: Digest of its encoded picture, as recorded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    position: int
    row: int | None = None
    sample_id: str | None = None
    picture: str | None = None


class FirstDifference(BaseModel):
    """Where a reproduction first left its original.

    Attributes:
        step: Number of the step; -1 for the state before the first.
        phase: ``start``, ``rows``, ``batch``, ``input``, ``loss``, ``gradient`` or ``parameters``; ``metric`` when only metrics tell.
        rank: Which process of a distributed training.
        sentence: For people.
        rows_original: The step's batch in the first run, as far as it was observed.
        rows_replica: The batch in the second, when it is another one.
        losses_original: Losses of the step, or the metric's value; ``nan``, ``inf`` or ``-inf`` as text.
        losses_replica: Likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    phase: str
    rank: int = 0
    sentence: str
    rows_original: tuple[BatchRow, ...] = ()
    rows_replica: tuple[BatchRow, ...] = ()
    losses_original: tuple[float | str, ...] = ()
    losses_replica: tuple[float | str, ...] = ()


class Comparison(BaseModel):
    """All that was compared of two runs, and what was not.

    Attributes:
        checked: The part that was compared when the reproduction was stopped before its end, for example ``steps 0 to 99``.
        first: Where the runs part, in detail.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    original_id: str
    replica_id: str | None
    changes: tuple[Change, ...]
    not_checked: tuple[str, ...] = ()
    likely_causes: tuple[str, ...] = ()
    checked: str | None = None
    first: FirstDifference | None = None

    def __bool__(self) -> bool:
        return all(change.same for change in self.changes)


class Report(BaseModel):
    """What ``lineage reproduce`` found: the plan, and after an execution the comparison.

    Attributes:
        stopped: Why the reproduction was stopped before its end; ``None`` when it was not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    verdict: Verdict | None
    plan: Plan
    comparison: Comparison | None = None
    replica_id: str | None = None
    workspace: str | None = None
    reason: str | None = None
    stopped: str | None = None
    duration_s: float | None = None

    @computed_field  # type: ignore[prop-decorator]  # pydantic documents this stacking; mypy cannot express it
    @property
    def checked(self) -> str:
        """What the verdict is about: ``nothing``, ``whole run``, or the steps that were compared."""
        if self.comparison is None:
            return "nothing"
        return self.comparison.checked or "whole run"
