"""What became of repeating a run with other seeds."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from lineage.model.comparison import Verdict
from lineage.model.plan import Plan
from lineage.model.run import RunState


class Repetition(BaseModel):
    """One run made for a seed.

    Attributes:
        seed: Its seed; ``None`` when the run that it repeats has none.
        is_new: Whether it was made now; else it was there before, or another process is making it.
        error: Why it did not end well.
        duration_s: How long it took, checking out its code included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int | None
    run_id: str
    name: str
    state: RunState
    is_new: bool
    error: str | None = None
    duration_s: float | None = None


class Repeated(BaseModel):
    """Everything that was asked for.

    Attributes:
        run_id: The run that was repeated.
        group: Of the repetitions.
        repetitions: Those that were there before, then the new ones in the order of their seeds.
        missing: Seeds that have no repetition.
        reason: Why it was stopped before the last seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    group: str
    plan: Plan
    repetitions: tuple[Repetition, ...]
    missing: tuple[int | None, ...] = ()
    reason: str | None = None

    @property
    def exit_code(self) -> int:
        """0 when every repetition finished (or goes on elsewhere), 3 when one did not end well or there was no use going on, 4 blocked."""
        if self.plan.blockers:
            return Verdict.blocked.exit_code
        ended_well = all(item.state in (RunState.finished, RunState.running) for item in self.repetitions)
        return 0 if ended_well and self.reason is None else Verdict.inconclusive.exit_code
