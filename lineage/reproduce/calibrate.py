"""``calibrate``: repeat a run several times, to learn how much its results differ by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

from lineage.errors import LineageError, UsageError
from lineage.lookup.steps import compare_steps
from lineage.model.calibration import Calibration
from lineage.model.comparison import Report, Verdict
from lineage.model.event import Calibrated
from lineage.model.plan import Plan
from lineage.model.run import Run, RunState
from lineage.ports import Ports, Progress, no_progress
from lineage.reproduce.execute import reproduce
from lineage.reproduce.tolerance import measure

FEWEST = 2


@dataclass(frozen=True, slots=True)
class Calibrating:
    """How a calibration came out.

    Attributes:
        calibration: What was measured, and is on the run's record now; ``None`` when a repetition did not end well.
        reports: One for each repetition that was tried.
        reason: Why there is no calibration.
    """

    calibration: Calibration | None
    reports: tuple[Report, ...]
    reason: str | None = None

    @property
    def exit_code(self) -> int:
        """0 when it was measured, else that of the repetition that did not end well: 3 inconclusive, 4 blocked."""
        if self.calibration is not None:
            return 0
        return (Verdict.blocked if self.reports[-1].verdict is Verdict.blocked else Verdict.inconclusive).exit_code


def calibrate(
    ports: Ports,
    run: Run,
    repetitions: int = 3,
    *,
    variables: Mapping[str, str],
    data: Mapping[str, str] | None = None,
    is_vouched: bool = False,
    on_plan: Callable[[Plan], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    on_report: Callable[[int, Report], None] | None = None,
    progress: Progress = no_progress,
) -> Calibrating:
    """Repeat a run to its end, measure how much the repetitions differ from one another, and add that to the run's record.

    The original does not enter: a change of the environment since would otherwise pass for noise.

    Args:
        ports: The outside world.
        run: The run.
        repetitions: How many, at least 2.
        variables: Environment of the command; it must lead to the same store.
        data: Role to address, for data that moved.
        is_vouched: The caller answers for the command of a record that came from elsewhere.
        on_plan: Told of the plan of the first repetition before anything is run.
        on_line: Told of each line that the command prints.
        on_report: Told of each repetition, counted from 1.
        progress: Told of rows checked.

    Raises:
        UsageError: Fewer than 2 repetitions.
        ExecutionFailed: The program cannot be started.
    """
    if repetitions < FEWEST:
        raise UsageError(f"calibrate: expected at least {FEWEST} repetitions, found {repetitions}", hint="one alone has no spread")
    reports: list[Report] = []
    replicas: list[Run] = []
    for number in range(1, repetitions + 1):
        report = reproduce(
            ports,
            run,
            variables=variables,
            data=data,
            keep_workspace=False,
            keep_going=True,
            is_vouched=is_vouched,
            on_plan=on_plan if number == 1 else None,
            on_line=on_line,
            progress=progress,
        )
        reports.append(report)
        if on_report is not None:
            on_report(number, report)
        if report.replica_id is None:
            return Calibrating(None, tuple(reports), f"repetition {number} is blocked: {report.reason}")
        replicas.append(ports.runs.get(report.replica_id))
        if replicas[-1].state is not RunState.finished:
            return Calibrating(None, tuple(reports), f"repetition {number} ended as {replicas[-1].state}: {replicas[-1].error}")
    calibration = measure(replicas, [ports.runs.metrics(replica.id) for replica in replicas], _steps_are_equal(ports, replicas))
    if not calibration.spreads and not calibration.outputs:
        return Calibrating(None, tuple(reports), "the repetitions logged no metric and no artifact, so there is nothing to measure")
    ports.runs.append(run.id, Calibrated(at=calibration.at, calibration=calibration))
    return Calibrating(calibration, tuple(reports))


def _steps_are_equal(ports: Ports, replicas: list[Run]) -> bool | None:
    ranks = {log.rank for replica in replicas for log in replica.step_logs}
    if not ranks:
        return None
    try:
        return all(compare_steps(ports, a, b, rank).is_same for rank in ranks for a, b in combinations(replicas, 2))
    except LineageError:  # one of them kept none, or it cannot be read: nothing is known of what steps may do
        return None
