"""Comparing a reproduction with its original, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lineage.lookup.results import first_difference, flat_points
from lineage.model.comparison import Change, Comparison, FirstDifference, Verdict
from lineage.model.plan import Plan
from lineage.model.run import Artifact, MetricPoint, Run
from lineage.model.steps import StepsCompared
from lineage.reproduce.causes import likely_causes
from lineage.reproduce.environment import altered_between
from lineage.reproduce.not_checked import not_checked
from lineage.reproduce.results import NO_LOG, end_of, other_values, own_summary


def compare_runs(
    original: Run,
    replica: Run,
    original_metrics: Sequence[MetricPoint],
    replica_metrics: Sequence[MetricPoint],
    plan: Plan | None = None,
    steps: Sequence[StepsCompared] = (),
    *,
    first: FirstDifference | None = None,
    checked: str | None = None,
    has_all: bool = False,
) -> Comparison:
    """What is the same in two runs, where they first part, and what was not looked at.

    Args:
        original: The first run.
        replica: The run made to repeat it.
        original_metrics: Its points in the order of the calls.
        replica_metrics: Likewise.
        plan: The reproduction's plan: its warnings are the likeliest causes of a difference.
        steps: Their step logs, compared, one for each process where both have one.
        first: Where they part, in detail.
        checked: What there is of a replica that was stopped before its end; results that it had no time for are then not compared.
        has_all: All the same it had the time to log every one of these metric points.
    """
    is_part = checked is not None
    changes = [
        *_inputs(original, replica, is_part=is_part),
        *(() if is_part else _state(original, replica)),
        *_steps(steps, is_part=is_part, ends_by_chance=original.stopped_early is not None),
        *(() if is_part else _other_logs(original, replica, steps)),
        *_metrics(original_metrics, replica_metrics, is_part=is_part and not has_all),
        *(() if is_part else _summary(own_summary(original, original_metrics), own_summary(replica, replica_metrics))),
        *(() if is_part else _outputs(original, replica)),
    ]
    is_same = all(change.same for change in changes)
    return Comparison(
        original_id=original.id,
        replica_id=replica.id,
        changes=tuple(changes),
        not_checked=tuple(not_checked(original, replica, original_metrics, plan, steps, checked)),
        likely_causes=() if is_same else (*altered_between(original, replica), *likely_causes(plan, first)),
        checked=checked,
        first=None if is_same else first,
    )


def verdict_of(comparison: Comparison) -> Verdict:
    """``identical`` when results were compared and all agree, ``diverged`` when one does not, ``inconclusive`` without any result.

    ``equivalent`` when all that differs is tolerated, and something was compared that may not differ more than that; else nothing is known.
    """
    results = [change for change in comparison.changes if change.subject != "state" and not change.subject.startswith("data ")]
    if not comparison:
        if not all(change.same or change.is_tolerated for change in comparison.changes):
            return Verdict.diverged
        # Of a file that differs in every repetition any other one would be tolerated, too.
        is_bounded = any(change.same or change.subject in ("metrics", "summary") for change in results)
        return Verdict.equivalent if is_bounded else Verdict.inconclusive
    return Verdict.identical if results else Verdict.inconclusive


def _inputs(original: Run, replica: Run, *, is_part: bool) -> Iterator[Change]:
    ours, theirs = original.inputs_by_role(), replica.inputs_by_role()
    for role in ours | theirs:
        before, again = ours.get(role, []), theirs.get(role, [])
        if is_part:  # what it would have opened later
            before = before[: len(again)] if again else []
            if not again:
                continue
        left = [(item.content_digest, item.rows_digest) for item in before]
        right = [(item.content_digest, item.rows_digest) for item in again]
        yield Change(
            subject=f"data {role}",
            same=left == right,
            original=_rows(before),
            replica=_rows(again),
            detail=None if left == right else "other rows were read",
        )


def _rows(items: Sequence[object]) -> str:
    rows = [getattr(item, "rows", 0) for item in items]
    return f"{sum(rows)} rows" if rows else "not read"


def _steps(logs: Sequence[StepsCompared], *, is_part: bool, ends_by_chance: bool) -> Iterator[Change]:
    for steps in logs:
        detail = None if steps.first is None else steps.first.sentence
        same = steps.first is None and (ends_by_chance or (steps.steps_b <= steps.steps_a if is_part else steps.is_same))
        if steps.first is None and not same:
            detail = f"one log ends after {steps.compared} steps, the other goes on"
        if not steps.steps_a and not steps.steps_b:
            continue  # two empty logs are no result
        subject = "steps" if len(logs) == 1 else f"steps of process {steps.rank}"
        yield Change(subject=subject, same=same, original=f"{steps.steps_a} steps", replica=f"{steps.steps_b} steps", detail=detail)


def _other_logs(original: Run, replica: Run, logs: Sequence[StepsCompared]) -> Iterator[Change]:
    """Step logs that one run has and the other has not; what a log of both that cannot be read is worth, the report says at its end."""
    ours, theirs = ({log.rank: log.steps for log in run.step_logs} for run in (original, replica))
    for rank in sorted(ours.keys() ^ theirs.keys()):
        told = [f"{steps[rank]} steps" if rank in steps else NO_LOG for steps in (ours, theirs)]
        subject = "steps" if len(ours | theirs) == 1 else f"steps of process {rank}"
        yield Change(subject=subject, same=False, original=told[0], replica=told[1], detail="one run has a step log, the other has none")


def _metrics(original: Sequence[MetricPoint], replica: Sequence[MetricPoint], *, is_part: bool) -> Iterator[Change]:
    left, right = flat_points(original), flat_points(replica)
    if (not left and not right) or (is_part and not right):
        return
    detail = first_difference(left[: len(right)] if is_part else left, right)
    yield Change(subject="metrics", same=detail is None, original=f"{len(left)} values", replica=f"{len(right)} values", detail=detail)


def _state(original: Run, replica: Run) -> Iterator[Change]:
    if original.state is not replica.state:
        detail = "one ended well, the other did not"
    elif end_of(original) != end_of(replica):
        detail = "they ended in different ways"
    else:
        return
    yield Change(subject="state", same=False, original=end_of(original), replica=end_of(replica), detail=detail)


def _summary(original: Mapping[str, Any], replica: Mapping[str, Any]) -> Iterator[Change]:
    if original or replica:
        other = other_values(original, replica)
        detail = None if not other else f"{other[0]} = {original.get(other[0])!r}, then {replica.get(other[0])!r}"
        yield Change(subject="summary", same=not other, original=f"{len(original)} values", replica=f"{len(replica)} values", detail=detail)


def _outputs(original: Run, replica: Run) -> Iterator[Change]:
    ours = {item.name: item for item in original.outputs}
    theirs = {item.name: item for item in replica.outputs}
    for name in ours | theirs:
        left, right = ours.get(name), theirs.get(name)
        if is_volatile(left) and is_volatile(right):
            continue
        same = left is not None and right is not None and (left.digest, left.kind) == (right.digest, right.kind)
        yield Change(
            subject=f"output {name}",
            same=same,
            original="not made" if left is None else left.digest[:19],
            replica="not made" if right is None else right.digest[:19],
            detail=None if same else _how(left, right),
        )


def is_volatile(item: Artifact | None) -> bool:
    """Whether an output was declared to differ each time; ``not_checked`` names it."""
    return item is not None and item.details.get("volatile") is True


def _how(left: Artifact | None, right: Artifact | None) -> str:
    if left is None or right is None:
        return "made by one run only"
    return "the bytes differ" if left.digest != right.digest else f"logged as {left.kind}, then as {right.kind}"
