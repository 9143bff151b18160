"""The verdict of a reproduction that was carried out, or stopped on the way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from lineage.model.comparison import Comparison, FirstDifference, Report, Verdict
from lineage.model.event import Reproduced
from lineage.model.plan import Plan
from lineage.model.run import Reproduction, Run, RunState
from lineage.ports import Ports
from lineage.reproduce.compare import compare_runs, verdict_of
from lineage.reproduce.parting import compare_all_steps, first_parting
from lineage.reproduce.segment import Segment, not_restored, with_checkpoints
from lineage.reproduce.stopped_trials import comparable
from lineage.reproduce.tolerance import tolerate, usable
from lineage.reproduce.watching import Stop


def judge(
    ports: Ports,
    run: Run,
    replica: Run,
    plan: Plan,
    *,
    status: int,
    last_lines: Sequence[str] = (),
    stop: Stop | None = None,
    until_step: int | None = None,
    segment: Segment | None = None,
) -> Report:
    """Compare, decide, and add the verdict to the original's record.

    Args:
        ports: Where both records are.
        run: The original.
        replica: The run made to repeat it, ended.
        plan: What was found before it began.
        status: Exit status of its command.
        last_lines: What the command printed last.
        stop: Why it was stopped before its end.
        until_step: The step up to which it was asked for.
        segment: The part that was asked for.
    """
    # Of a segment that ends with a checkpoint the run's own end is no part, also where the program made no such checkpoint.
    part = None if segment is None or segment.end is None else segment.scope
    comparison = _compared(ports, run, replica, plan, stop, until_step, part)
    if segment is not None and (stop is None or stop.kind == "until"):
        comparison = with_checkpoints(comparison, segment, run, replica)
    verdict, reason = verdict_of(comparison), None
    if segment is not None and (skipped := not_restored(segment, replica)) is not None:
        verdict, reason = Verdict.inconclusive, skipped
    elif stop is None and status != 0 and run.state is RunState.finished:
        verdict = Verdict.inconclusive
        reason = f"the command ended with status {status}" + (f": {last_lines[-1].strip()}" if last_lines else "")
    elif stop is not None and stop.kind == "difference" and verdict is not Verdict.diverged:
        verdict, reason = Verdict.diverged, stop.sentence
    elif verdict is Verdict.inconclusive:
        reason = "the run logged no metric and no artifact, so there is no result to compare"
        if not comparison:
            reason = "all that could be compared differed in the calibrated repetitions, too, by nothing that can be measured"
    elif verdict is Verdict.diverged:
        first = next(change for change in comparison.changes if not change.same and not change.is_tolerated)
        reason = f"{first.subject}: {first.detail}"
        if run.state is not RunState.finished:
            verdict, reason = Verdict.inconclusive, f"the original ended as {run.state.value}; {reason}"
    elif verdict is Verdict.equivalent and run.calibration is not None:
        reason = f"not identical, but no further away than {len(run.calibration.run_ids)} calibrated repetitions allow"
    if comparison.checked is not None and verdict in (Verdict.identical, Verdict.equivalent):
        reason = "; ".join(filter(None, [reason, f"{comparison.checked} only; not checked: the rest"]))
    _tell_original(ports, run, replica, verdict, comparison)
    return Report(
        run_id=run.id,
        verdict=verdict,
        plan=plan,
        comparison=comparison,
        replica_id=replica.id,
        reason=reason,
        stopped=None if stop is None else stop.sentence,
    )


def _compared(ports: Ports, run: Run, replica: Run, plan: Plan, stop: Stop | None, until_step: int | None, part: str | None) -> Comparison:
    steps = compare_all_steps(ports, run, replica)
    metrics = comparable(run, ports.runs.metrics(run.id), ports.runs.metrics(replica.id))
    first = first_parting(ports, run, replica, steps, metrics)
    has_all = run.stopped_early is not None and until_step is None and part is None and (stop is None or stop.kind == "until")
    if run.stopped_early is not None and until_step is None:
        until_step = run.stopped_early.step
        part = part or f"steps 0 to {until_step}"
    checked = part if stop is None else f"steps 0 to {until_step}" if stop.kind == "until" else _up_to(first)
    comparison = compare_runs(run, replica, *metrics, plan, steps, first=first, checked=checked, has_all=has_all)
    tolerance, why_not = usable(run.calibration, None if replica.environment is None else replica.environment.digest)
    if why_not is not None:
        return comparison.model_copy(update={"not_checked": (*comparison.not_checked, why_not)})
    return comparison if tolerance is None else tolerate(comparison, tolerance, run, replica, *metrics)


def _up_to(first: FirstDifference | None) -> str:
    if first is None:
        return "what was logged before it was stopped"
    return "the state before the first step" if first.step < 0 else f"steps 0 to {first.step}"


def _tell_original(ports: Ports, run: Run, replica: Run, verdict: Verdict, comparison: Comparison) -> None:
    if verdict is Verdict.blocked:
        raise ValueError("nothing was run, so there is no verdict to record")
    now = datetime.now(UTC)
    # One difference is enough for the whole; that a part is equal says nothing about the rest.
    checked = comparison.checked if verdict in (Verdict.identical, Verdict.equivalent) else None
    ports.runs.append(
        run.id, Reproduced(at=now, reproduction=Reproduction(run_id=replica.id, verdict=verdict.value, at=now, checked=checked))
    )
