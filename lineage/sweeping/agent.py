"""The agent: claims one trial after the other until there is none left."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from lineage.errors import ExecutionFailed, LineageError, UsageError
from lineage.model.secrets import redact_command
from lineage.ports.sweeps import Over, Trial, Wait
from lineage.sweeping.code import SameCode
from lineage.sweeping.command import check_program
from lineage.sweeping.create import put_definition
from lineage.sweeping.program import Crew, run_program, tell, usage_problem
from lineage.sweeping.result import Outcome, finished_attempt, result_of, without_metric
from lineage.sweeping.watching import Watching

FAILURES = 3
"""Trials that may fail before one has succeeded; then the agent ends. W&B's agent does so when three fail in its first minute."""

_ASK_S = 0.5

RunTrial = Callable[[Crew, Trial, SameCode], Outcome]


@dataclass(frozen=True, slots=True)
class Worked:
    """What an agent did.

    Attributes:
        outcomes: How its trials ended.
        why: Why it ended, in a sentence.
    """

    outcomes: tuple[Outcome, ...]
    why: str


def work(
    crew: Crew,
    *,
    count: int | None = None,
    failures: int = FAILURES,
    run_trial: RunTrial = run_program,
    on_begin: Callable[[Trial], None] | None = None,
    on_end: Callable[[Outcome], None] | None = None,
) -> Worked:
    """Claim trials and run them until the sweep has no more, or ``count`` are done.

    Args:
        crew: What to work with.
        count: At most so many trials.
        failures: The agent ends when so many trials failed and none succeeded; 0: never.
        run_trial: Runs one.
        on_begin: Told of each trial that begins.
        on_end: Told of each trial that ended.

    Raises:
        ExecutionFailed: The program cannot be started, or every trial failed.
        NotFound: There is no such program here.
        LineageError: Nothing can be recorded, or the sweep's storage is gone.
    """
    if run_trial is run_program:
        check_program(crew.sweep.definition, crew.folder)
    put_definition(crew.ports.objects, crew.sweep.definition)
    outcomes: list[Outcome] = []
    same_code = SameCode(crew.ports, crew.sweep.id)
    is_waiting = has_warned = False
    while count is None or len(outcomes) < count:
        claimed = crew.engine.claim(crew.sweep.id, crew.name, crew.lease_s)
        if isinstance(claimed, Over):
            return Worked(tuple(outcomes), claimed.reason)
        if isinstance(claimed, Wait):
            if not is_waiting:
                crew.say("done", f"waiting: {claimed.reason}")
            is_waiting = True
            time.sleep(_ASK_S)
            continue
        is_waiting = False
        try:
            outcome = _adopted(crew, claimed)
            if outcome is None:
                if on_begin is not None:
                    on_begin(claimed)
                outcome = run_trial(crew, claimed, same_code)
        except BaseException:
            with suppress(LineageError):
                crew.engine.release(claimed)
            raise
        if outcome.end == "complete" and outcome.value is None and crew.metric is not None:
            outcome = replace(outcome, reason=without_metric(crew.ports, crew.ports.runs.get(outcome.run_id), crew.metric))
            if not has_warned:
                crew.say("warning", f"trial {claimed.number}: {outcome.reason}")
            has_warned = True
        outcomes.append(outcome)
        if on_end is not None:
            on_end(outcome)
        if outcome.end == "cancelled":
            return Worked(tuple(outcomes), "the sweep was cancelled")
        _check_failures(crew, outcomes, failures)
    return Worked(tuple(outcomes), f"{len(outcomes)} trials were asked of it")


def _adopted(crew: Crew, trial: Trial) -> Outcome | None:
    """A trial whose earlier agent recorded it to the end and died before it told the sweep."""
    if trial.attempt == 1:
        return None
    run = finished_attempt(crew.ports, crew.sweep.id, trial.number)
    if run is None:
        return None
    crew.say("done", f"trial {trial.number} was finished by an agent that is gone: run {run.id[:12]} counts")
    # What it logged decides about other trials, too.
    Watching(crew.engine, trial, crew.told_metric, lambda skip: crew.ports.runs.metrics(run.id, skip)).look()
    value = result_of(crew.ports, run, crew.metric)
    return tell(crew, Outcome(trial, run.id, "complete" if run.stopped_early is None else "stopped", value))


def _check_failures(crew: Crew, outcomes: list[Outcome], failures: int) -> None:
    own = [item for item in outcomes if item.end not in ("lost", "cancelled")]
    if not failures or len(own) < failures:
        return
    if all(item.end == "failed" for item in own):
        last = own[-1]
        command = crew.ports.runs.get(last.run_id).command
        hint = f"none of {len(own)} trials succeeded, so the agent ends; `lineage agent --failures 0` goes on in any case"
        if (problem := usage_problem(last)) is not None:
            hint = (
                f"the program says '{problem}': it must know every parameter of the sweep as an option, or be started without them "
                '(command: ["${interpreter}", "${program}"]) and read them from its configuration'
            )
        raise ExecutionFailed(" ".join(redact_command(command)), last.status or 1, hint=hint)
    if len(own) == failures and crew.sweep.definition.method == "bayes" and all(item.value is None for item in own):
        raise UsageError(
            f"no trial logged '{crew.metric}', which the sweep is about: {own[-1].reason or 'none has a value'}",
            hint="name a metric that the program logs in the sweep file",
        )
