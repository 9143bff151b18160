"""Carrying a plan out: the recorded command, in a workspace of its own, recorded as a run that is linked to the first."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from lineage.model.comparison import Report, Verdict
from lineage.model.dataset import normalise_uri
from lineage.model.plan import Plan
from lineage.model.run import Run, RunState
from lineage.ports import Ports, Progress, no_progress
from lineage.record.live import LiveRun
from lineage.record.reproducing import Reproducing
from lineage.reproduce.carrying_out import RecordedCommand
from lineage.reproduce.environment import ChosenEnvironment, Mode
from lineage.reproduce.judging import judge
from lineage.reproduce.needed_secrets import secret_rows
from lineage.reproduce.plan import make_plan
from lineage.reproduce.segment import Segment, needs
from lineage.reproduce.tolerance import usable
from lineage.reproduce.watching import ReadAlong, Stop

_NEVER_RESTORED = ("LD_PRELOAD",)  # it loads code into every process; a record must not decide that
_LAST_LINES = 5


def reproduce(
    ports: Ports,
    run: Run,
    *,
    variables: Mapping[str, str],
    data: Mapping[str, str] | None = None,
    plan_only: bool = False,
    keep_workspace: bool | None = None,
    keep_going: bool = False,
    until_step: int | None = None,
    segment: Segment | None = None,
    is_vouched: bool = False,
    environment: Mode = "auto",
    on_plan: Callable[[Plan], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Repeat a run and say whether the result is the same.

    Args:
        ports: The outside world.
        run: The run to repeat.
        variables: Environment of the command; it must lead to the same store, and holds the secrets that the command needs.
        data: Role to address, for data that moved.
        plan_only: Stop after the plan.
        keep_workspace: Leave the workspace, or not; ``None``: leave it when the result differs.
        keep_going: Run to the end in any case; without it the run is stopped at the first difference.
        until_step: Stop when this step is done; the verdict is then about the steps up to it, and says so.
        segment: Repeat this part of the run only, from the checkpoint at its beginning.
        is_vouched: The caller answers for the command of a record that came from elsewhere.
        environment: Where it runs: in the ``recorded`` environment, built again; in the ``current`` one; ``auto``
            (:class:`lineage.reproduce.environment.ChosenEnvironment`).
        on_plan: Told of the plan before anything is run.
        on_line: Told of each line that the command prints.
        progress: Told of rows checked.

    Raises:
        ExecutionFailed: The program cannot be started.
        IntegrityError: The code that was checked out is not the recorded one.
        UsageError: The run did not log the step of ``until_step``.
    """
    began = time.monotonic()
    moved = {role: normalise_uri(uri) for role, uri in (data or {}).items()}
    chosen = ChosenEnvironment(ports, run, environment)
    plan = make_plan(ports, run, moved, progress, is_vouched=is_vouched, environment=chosen)
    more = [*secret_rows(run, variables), *([] if segment is None else needs(ports, segment))]
    plan = plan.model_copy(update={"ingredients": (*plan.ingredients, *more)})
    if not plan.blockers and not plan_only:
        plan = chosen.build(plan, progress)
    ports = chosen.ports
    if on_plan is not None:
        on_plan(plan)
    if plan.blockers:
        return Report(run_id=run.id, verdict=Verdict.blocked, plan=plan, reason=plan.blockers[0], duration_s=time.monotonic() - began)
    tolerance = usable(run.calibration, ports.environment.describe().digest)[0]
    until_output = None if segment is None or segment.end is None else segment.end.name
    reading = ReadAlong(ports, run, keep_going=keep_going, until_step=until_step, until_output=until_output, tolerance=tolerance)
    begin = None if segment is None or segment.begin is None else segment.begin.digest
    reproducing = Reproducing(run, moved, begin, until_output)
    if plan_only:
        return Report(run_id=run.id, verdict=None, plan=plan, duration_s=time.monotonic() - began)
    command = RecordedCommand(ports, run, chosen, reproducing, variables, on_line)
    with command:
        replica = command.begin(name=f"{run.name}-again", group=run.group, seed=run.seed)
        reading.follow(replica.id)
        status = command.execute(reading.should_stop)
        stopped = reading.stopped
        if stopped is None and status == 0 and any(item.name == until_output for item in ports.runs.get(replica.id).outputs):
            stopped = Stop("until", f"{until_output} is made")
        ended = _finish(replica, status, stopped)
        report = judge(
            ports, run, ended, plan, status=status, last_lines=command.last_lines, stop=stopped, until_step=until_step, segment=segment
        )
    keep = report.verdict is not Verdict.identical if keep_workspace is None else keep_workspace
    if not keep:
        command.remove()
    return report.model_copy(update={"workspace": str(command.workspace) if keep else None, "duration_s": time.monotonic() - began})


def _finish(replica: LiveRun, status: int, stopped: Stop | None) -> Run:
    if stopped is not None:
        replica.note(f"the reproduction stopped it before its end: {stopped.sentence}")
        return replica.finish(RunState.aborted, f"stopped: {stopped.sentence}")
    if status == 0:
        return replica.finish()
    return replica.finish(RunState.failed, f"the command ended with status {status}")
