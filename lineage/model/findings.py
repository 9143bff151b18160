"""What a search for leaks, or for the reach of some rows, found."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

Way = Literal["row", "picture", "near", "sequence"]
"""How an evaluated row was found among trained ones: the same row, the same picture bytes, a near-duplicate picture, the same sequence."""

Span = tuple[int, int]
"""First and last epoch of a range, both included."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelStep(_Value):
    """One step of inheritance: run ``to_run_id`` started from a file that run ``from_run_id`` made."""

    from_run_id: str
    from_run_name: str
    model: str
    digest: str
    to_run_id: str
    to_run_name: str


class RowName(_Value):
    """A row of a run's input.

    Attributes:
        input: Number of the input in the run's record, counted from 0.
        position: Position in the view.
        row: Position in the dataset version.
        sample_id: As the dataset calls it, when it does.
        sequence: The source sequence, when the dataset names one.
    """

    run_id: str
    input: int
    role: str
    uri: str
    position: int
    row: int
    sample_id: str | None = None
    sequence: str | None = None


# --- leaks ------------------------------------------------------------------------------------------------------------------


class LeakVerdict(StrEnum):
    """Whether evaluated rows were trained on, with the exit code."""

    clean = "clean"
    leaks = "leaks"
    inconclusive = "inconclusive"

    @property
    def exit_code(self) -> int:
        """0 clean, 1 leaks, 3 inconclusive."""
        return {"clean": 0, "leaks": 1, "inconclusive": 3}[self.value]


class ComparedInput(_Value):
    """An input that was compared.

    Attributes:
        input: Number of the input in its run's record.
        rows: Number of rows of the view.
        rows_read: How many of them were really read; ``None`` when nobody watched to the end.
        path: How the model got there from this run, in the direction of time; empty for the run's own inputs.
    """

    run_id: str
    run_name: str
    input: int
    role: str
    uri: str
    commit_id: str
    view_name: str | None
    query: str | None
    rows: int
    rows_read: int | None = None
    path: tuple[ModelStep, ...] = ()


class Match(_Value):
    """An evaluated row and a trained one.

    Attributes:
        distance_bits: For near-duplicates: how many of 64 bits of the pictures' perceptual hashes differ.
    """

    evaluated: RowName
    trained: RowName
    distance_bits: int | None = None


class WayFindings(_Value):
    """What one way of looking found.

    Attributes:
        checked: Whether it could be used at all.
        rows: Evaluated rows that were trained on, each counted once.
        further_rows: Those of them that no way before this one found.
        unread_rows: Evaluated rows whose only counterparts lay in a training view but were never read. Not among ``rows``.
        trained_rows: Trained rows they correspond to.
        examples: The first of them; nearest first for near-duplicates.
        reason: Why it could not be used, or not on every row.
    """

    way: Way
    checked: bool
    rows: int = 0
    further_rows: int = 0
    unread_rows: int = 0
    trained_rows: int = 0
    examples: tuple[Match, ...] = ()
    reason: str | None = None


class LeakReport(_Value):
    """What ``lineage leaks`` found.

    Attributes:
        evaluated: Inputs whose rows should be new to the model.
        trained: Inputs the model or its ancestors were trained on.
        warnings: What does not decide the verdict but should be known.
        not_checked: What was not compared, one sentence each.
    """

    run_id: str
    run_name: str
    verdict: LeakVerdict
    evaluated: tuple[ComparedInput, ...]
    trained: tuple[ComparedInput, ...]
    ways: tuple[WayFindings, ...]
    warnings: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()

    def way(self, name: Way) -> WayFindings:
        """The findings of one way."""
        return next(item for item in self.ways if item.way == name)


# --- impact -----------------------------------------------------------------------------------------------------------------


class AffectedInput(_Value):
    """An input of a run that holds rows of the subject.

    Attributes:
        view_key: Name of its set of rows in the row index.
        rows: Number of rows of the view.
        rows_held: How many of them belong to the subject.
        rows_read: How many of those were really read; ``None`` when nobody watched to the end.
        epochs: Epochs in which any of them was read, as ranges; ``None`` when nobody watched.
    """

    run_id: str
    input: int
    role: str
    uri: str
    commit_id: str
    view_id: str | None
    view_name: str | None
    view_key: str
    rows: int
    rows_held: int
    rows_read: int | None
    epochs: tuple[Span, ...] | None


class AffectedRun(_Value):
    """A run that read the subject, or started from a model that did.

    Attributes:
        reason: ``trained`` on it, ``evaluated`` with it, ``inherits`` it through a model, or held it in a view but ``never_read`` it.
        reproduces: The run it was made to repeat.
        path: For ``inherits``: the way from a run that was trained on it, in the direction of time.
    """

    run_id: str
    run_name: str
    project: str
    job_type: str
    state: str
    started_at: str
    reason: Literal["trained", "evaluated", "inherits", "never_read"]
    reproduces: str | None
    inputs: tuple[AffectedInput, ...]
    path: tuple[ModelStep, ...] = ()


class AffectedModel(_Value):
    """A model whose making the subject had a part in.

    Attributes:
        is_trained_on_it: Whether its own run, or one of its ancestors, was trained on it; else the subject was in validation or test data.
    """

    run_id: str
    run_name: str
    name: str
    digest: str
    is_trained_on_it: bool
    reproduces: str | None
    path: tuple[ModelStep, ...] = ()


class CleanedView(_Value):
    """A view without the subject.

    Attributes:
        view_key: The affected view.
        rows: Rows it has.
        rows_left: Rows without the subject.
        excluded: The rows to leave out: positions in the dataset version, ascending.
        excluded_ids: Their sample ids, when the dataset has them.
        query: A query that was evaluated and gives exactly the rows left, in order, at ``commit_id``; ``None`` when there is none.
        command: ``lineage view create …``; ``None`` when it would give other rows, because the dataset went on since.
        reason: Why ``query`` or ``command`` is missing.
    """

    view_key: str
    view_name: str | None
    uri: str
    branch: str
    commit_id: str
    rows: int
    rows_left: int
    excluded: tuple[int, ...]
    excluded_ids: tuple[str, ...] | None
    query: str | None
    command: tuple[str, ...] | None
    name: str
    reason: str | None = None


class Replacement(_Value):
    """Something that a repeated run must use instead.

    Attributes:
        what: The input or file, as the run recorded it.
        by: What to use.
        where: Places in the recorded command and configuration that name it; empty when the run's code does.
    """

    what: str
    by: str
    where: tuple[str, ...] = ()


class PlanStep(_Value):
    """A run to make again.

    Attributes:
        number: Counted from 1, in an order in which every base model comes before what starts from it.
        action: ``train`` again, or ``evaluate`` again.
        command: As recorded.
        git_sha: Commit of its code.
    """

    number: int
    run_id: str
    run_name: str
    action: Literal["train", "evaluate"]
    command: tuple[str, ...]
    working_directory: str
    git_sha: str | None
    replace: tuple[Replacement, ...]


class RetrainingPlan(_Value):
    """How to get the models again without the subject. Nothing of it was done.

    Attributes:
        notes: What else to do or to know, one sentence each.
    """

    views: tuple[CleanedView, ...]
    steps: tuple[PlanStep, ...]
    notes: tuple[str, ...] = ()


class ImpactReport(_Value):
    """Where some rows went.

    Attributes:
        subject: What was asked for.
        rows: How many recorded rows are that, over all numberings.
        sample_ids: What datasets call them, the first hundred.
        is_whole: Whether every input in the store could be looked through.
    """

    subject: str
    rows: int
    sample_ids: tuple[str, ...]
    runs: tuple[AffectedRun, ...]
    models: tuple[AffectedModel, ...]
    plan: RetrainingPlan
    is_whole: bool = True
    not_checked: tuple[str, ...] = ()
