"""One trial of a sweep's program: a command, recorded and observed as under ``lineage run``."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lineage.errors import ExecutionFailed, LeaseLost
from lineage.model.event import Noted, TrialStopped
from lineage.model.run import Run, RunState
from lineage.model.secrets import redact_text
from lineage.model.sweep import SweepTrial
from lineage.ports import Ports, Step
from lineage.ports.sweeps import Sweep, SweepEngine, Trial
from lineage.record.live import LiveRun
from lineage.record.observed.observation import Observation
from lineage.record.reproducing import RUN_VARIABLE
from lineage.record.start import start_run
from lineage.record.trial import place_trial
from lineage.sweeping.code import SameCode
from lineage.sweeping.command import command_of
from lineage.sweeping.result import End, Outcome, result_of
from lineage.sweeping.watching import Watching

_LAST_LINES = 10
_USAGE_STATUS = 2  # of argparse, and of most programs that do not know an option


@dataclass(frozen=True)
class Crew:
    """What an agent works with.

    Attributes:
        ports: The outside world.
        engine: Deals trials out.
        sweep: The sweep.
        folder: Where programs are started.
        variables: Their environment; it leads to the same store.
        name: Of the agent, as trials show it.
        lease_s: Seconds of silence after which another agent takes a trial over.
        default_project: Project of runs that name none.
        where: Ports that describe the environment of a command, the folder of that environment, and what is to be said of it.
        say: Told of what a person should know: ``done``, ``warning`` or ``error``, and a sentence.
        show: Told of each line that a program prints.
    """

    ports: Ports
    engine: SweepEngine
    sweep: Sweep
    folder: Path
    variables: Mapping[str, str]
    name: str
    lease_s: float
    default_project: str
    where: Callable[[Ports, str], tuple[Ports, str | None, str | None]]
    say: Callable[[str, str], None]
    show: Callable[[str], None] | None = None

    @property
    def metric(self) -> str | None:
        """The metric that the sweep is about."""
        return None if self.sweep.definition.metric is None else self.sweep.definition.metric.name

    @property
    def told_metric(self) -> str | None:
        """The metric whose values are told while a trial runs: only early termination wants them."""
        return None if self.sweep.definition.early_terminate is None else self.metric

    def record_of(self, trial: Trial) -> SweepTrial:
        """The trial as records tell it."""
        definition = self.sweep.definition
        return SweepTrial(
            sweep=self.sweep.id,
            number=trial.number,
            attempt=trial.attempt,
            parameters=definition.nest(trial.parameters),
            metric=self.metric,
            goal="minimize" if definition.metric is None else definition.metric.goal,
            definition=self.sweep.digest,
        )

    def variables_of(self, trial: SweepTrial, given: Mapping[str, str]) -> dict[str, str]:
        """What W&B is told beside a trial's files. No ``WANDB_SWEEP_ID``: its server does not know the sweep, and it would ignore names."""
        own = {} if self.sweep.project == self.default_project else {"WANDB_PROJECT": given.get("WANDB_PROJECT") or self.sweep.project}
        return {name: value for name, value in given.items() if name != "WANDB_SWEEP_ID"} | own


def run_program(crew: Crew, trial: Trial, same_code: SameCode) -> Outcome:
    """Run the sweep's program for a trial, to its end or until there is a reason to end it, and tell the sweep.

    Raises:
        ExecutionFailed: The program cannot be started.
        LineageError: Nothing can be recorded, or the sweep's storage is gone.
    """
    began = time.monotonic()
    told = crew.record_of(trial)
    files = place_trial(told, crew.ports.folder)
    command = command_of(crew.sweep.definition, told.parameters, files.arguments, crew.variables)
    ports, prefix, doubt = crew.where(crew.ports, command[0])
    live = start_run(
        ports,
        project=crew.sweep.project,
        job_type="trial",
        name=f"{crew.sweep.name}-{trial.number}",
        command=command,
        folder=crew.folder,
        trial=told,
    )
    variables = crew.variables_of(told, crew.variables) | files.variables | {RUN_VARIABLE: live.id}
    last: deque[str] = deque(maxlen=_LAST_LINES)

    def heard(line: str) -> None:
        last.append(redact_text(line))
        if crew.show is not None:
            crew.show(line)

    watching = Watching(crew.engine, trial, crew.told_metric, lambda skip: ports.runs.metrics(live.id, skip))
    try:
        if doubt is not None:
            live.note(doubt)
        same_code.check(live, crew.say)
        with watching:
            with Observation(ports, live, prefix=prefix) as observation:
                status = ports.executor.execute(Step(command, crew.folder, observation.variables(variables)), heard, watching.should_stop)
            live._metrics.flush()  # numbers that it printed last
            watching.look()
            run, end = _end(live, watching, status)
    except ExecutionFailed as error:
        live.finish(RunState.failed, error.message)
        raise
    except BaseException as error:
        is_interrupt = isinstance(error, KeyboardInterrupt | SystemExit)
        live.finish(RunState.aborted, "interrupted" if is_interrupt else str(error))
        raise
    finally:
        files.remove()  # a reproduction writes them anew
    same_code.wrote(run)
    reason = run.error if watching.reason is None else watching.reason.sentence
    value = result_of(ports, run, crew.metric)
    outcome = Outcome(trial, run.id, end, value, reason, tuple(last), status, time.monotonic() - began)
    return tell(crew, outcome)


def _end(live: LiveRun, watching: Watching, status: int) -> tuple[Run, End]:
    """End the record, as finished only while the trial is this agent's: no two attempts of a trial may both be."""
    has_result = watching.stopped is not None or status == 0
    if not has_result and watching.reason is None:
        return live.finish(RunState.failed, f"the command ended with status {status}"), "failed"
    if not watching.still_ours() and watching.reason is not None:
        end: End = "cancelled" if watching.reason.kind == "cancelled" else "lost"
        return live.finish(RunState.aborted, watching.reason.sentence), end
    if watching.stopped is not None:
        stop_early(live, watching)
        return live.finish(), "stopped"
    return live.finish(), "complete"


def stop_early(live: LiveRun, watching: Watching) -> None:
    """Record where its sweep ended a trial; the value that decided is its result."""
    stopped, metric = watching.stopped, watching._metric
    if stopped is None or metric is None or watching.reason is None:
        return
    live._append(TrialStopped(at=datetime.now(UTC), stopped=stopped))
    live.note(watching.reason.sentence)
    live.summary[metric] = stopped.value


def tell(crew: Crew, outcome: Outcome) -> Outcome:
    """Tell the sweep how a trial ended, where that is this agent's to tell."""
    if outcome.end == "lost" or outcome.end == "cancelled":
        return outcome
    try:
        crew.engine.finish(outcome.trial, outcome.end, outcome.value, outcome.run_id)
    except LeaseLost:
        # It was this agent's a moment ago: the machine stood still in between. The record tells it; the sweep counts the other attempt.
        crew.ports.runs.append(
            outcome.run_id, Noted(at=datetime.now(UTC), note="another agent had taken the trial over when this run ended")
        )
        return Outcome(outcome.trial, outcome.run_id, "lost", outcome.value, "its lease ran out: the trial is another agent's")
    return outcome


def usage_problem(outcome: Outcome) -> str | None:
    """What a program says that does not know a parameter; ``None`` when it failed for another reason."""
    if outcome.status != _USAGE_STATUS:
        return None
    return next(
        (line.strip() for line in reversed(outcome.last_lines) if "error:" in line.lower() or "no such option" in line.lower()), None
    )
