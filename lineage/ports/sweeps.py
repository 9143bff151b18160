"""Sweeps: who proposes a trial's parameters, and to which agent a trial belongs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from lineage.model.digest import Digest
from lineage.model.sweep_file import SweepDefinition

SweepState = Literal["running", "stopped", "cancelled", "finished"]
TrialEnd = Literal["complete", "failed", "stopped"]
"""``stopped``: by early termination; its last value counts."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep as it is kept.

    Attributes:
        id: Eight lower-case letters and digits.
        definition: What was asked for.
        digest: Of the object that holds the definition as JSON.
        seed: Decides every proposal.
        parallel: How many trials may be under way at a time where a proposal depends on results: trial n sees the results of
            trials 0 to n - parallel, and no others.
        project: Of the trials' runs.
        name: For people; the definition's, or the id.
        created_at: Aware UTC.
        state: ``stopped``: trials under way go on and no further ones begin; it can be set to ``running`` again. ``cancelled``:
            trials under way are ended. ``finished``: there is nothing left to try.
    """

    id: str
    definition: SweepDefinition
    digest: Digest
    seed: int
    parallel: int
    project: str
    name: str
    created_at: datetime
    state: SweepState


@dataclass(frozen=True, slots=True)
class Trial:
    """An agent's right to run a trial, until its lease runs out.

    Attributes:
        sweep_id: Whole id of its sweep.
        number: Counted from 0 in the order of proposal.
        attempt: Counted from 1; grows when a trial is handed on.
        parameters: Name (dotted where nested) to value, in the order of the file. JSON values.
        token: What only its owner has.
        lease_s: Seconds for which it is the owner's without another word.
    """

    sweep_id: str
    number: int
    attempt: int
    parameters: dict[str, Any]
    token: str
    lease_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to run right now: ask again in a while."""

    reason: str


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing to run any more (or not until somebody resumes the sweep)."""

    reason: str


@dataclass(frozen=True, slots=True)
class TrialState:
    """What is known of a trial.

    Attributes:
        number: Counted from 0 in the order of proposal.
        attempt: The last one.
        parameters: As in :class:`Trial`.
        state: ``running`` also when its agent may be dead: nobody has asked for it since.
        value: Of the metric when it ended; ``None`` while it runs, and when it logged none.
        run_id: Of the run that ended it; ``None`` before.
        agent: Who runs or ran it.
    """

    number: int
    attempt: int
    parameters: dict[str, Any]
    state: Literal["running", "complete", "failed", "stopped"]
    value: float | None
    run_id: str | None
    agent: str


class SweepEngine(Protocol):
    """Keeps sweeps, proposes trials and deals them out. Safe between threads, processes and machines that share the storage.

    What trial n proposes, and whether it is stopped early, is a function of the definition, the seed, n and the results of trials
    0 to n - parallel. It depends on nothing else: not on how many agents there are, which of them die, or how quick they are.

    Every method raises ``Unavailable`` when the storage cannot be reached.
    """

    def create(self, definition: SweepDefinition, digest: Digest, *, seed: int, parallel: int, project: str) -> Sweep:
        """Begin a sweep; it is ``running``.

        Raises:
            UsageError: ``parallel`` is not at least 1, or the seed is negative or needs more than 63 bits.
        """

    def get(self, sweep_id: str) -> Sweep:
        """The sweep with this id, or the only one whose id begins with it.

        Raises:
            NotFound: There is none.
            UsageError: There are several.
        """

    def all(self) -> list[Sweep]:
        """Every sweep, newest first."""

    def claim(self, sweep_id: str, agent: str, lease_s: float) -> Trial | Wait | Over:
        """A trial to run: one whose owner's lease ran out, else the next one. No two agents get the same attempt.

        A trial that was handed on too often ends as failed here.

        Args:
            sweep_id: Whole id.
            agent: Who asks; for people.
            lease_s: Seconds for which the trial is the agent's without another word.

        Raises:
            NotFound: There is no such sweep.
        """

    def beat(self, trial: Trial) -> bool:
        """Renew the lease. False: the trial is somebody else's or over, or the sweep was cancelled: end its process."""

    def release(self, trial: Trial) -> None:
        """Give a trial up at once: the next claim hands it on. Nothing happens when it is not this owner's any more."""

    def report(self, trial: Trial, iteration: int, value: float) -> bool:
        """Tell a value of the metric while the trial runs. True: stop the trial early, and finish it as ``stopped``.

        Args:
            trial: Whose value it is.
            iteration: Counts the logged values of the metric from 1, as W&B does. Tell all of them, in order; to repeat one
                changes nothing.
            value: May be NaN or infinite: such a value is worse than any other.

        Raises:
            LeaseLost: The trial is somebody else's. Only looked at where the value matters.
        """

    def finish(self, trial: Trial, state: TrialEnd, value: float | None, run_id: str) -> None:
        """End a trial, once and for all. To repeat it word by word changes nothing.

        Args:
            trial: The owner's.
            state: How it ended. A trial that is ``complete`` without a value counts as one that told nothing.
            value: The metric's last value; ``None`` when there is none.
            run_id: The run that it was.

        Raises:
            LeaseLost: The trial is somebody else's, or over already.
        """

    def trials(self, sweep_id: str) -> list[TrialState]:
        """Every trial that was dealt out, by number.

        Raises:
            NotFound: There is no such sweep.
        """

    def set_state(self, sweep_id: str, state: Literal["running", "stopped", "cancelled"]) -> Sweep:
        """Resume, stop or cancel a sweep.

        Raises:
            NotFound: There is no such sweep.
            Conflict: It is finished or cancelled: that is for good.
        """

    def close(self) -> None:
        """Release what is held open."""
