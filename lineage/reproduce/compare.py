"""Comparing a reproduction with its original, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lineage.lookup.results import first_difference, flat_points
from lineage.model.comparison import Change, Comparison, FirstDifference, Verdict
from lineage.model.plan import Plan
from lineage.model.run import MetricPoint, Run
from lineage.model.steps import StepsCompared
from lineage.record.metrics import NOT_COMPARED
from lineage.reproduce.causes import likely_causes
from lineage.reproduce.environment import altered_between
from lineage.reproduce.not_checked import not_checked


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
    """
    is_part = checked is not None
    changes = [
        *_inputs(original, replica, is_part=is_part),
        *(() if is_part else _state(original, replica)),
        *_steps(steps, is_part=is_part),
        *_metrics(original_metrics, replica_metrics, is_part=is_part),
        *(() if is_part else _summary(original, replica, original_metrics)),
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

    ``equivalent`` when all that differs is tolerated, and something was compared that may not differ more than that.
    """
    results = [change for change in comparison.changes if change.subject != "state" and not change.subject.startswith("data ")]
    if not comparison:
        tolerated = all(change.same or change.is_tolerated for change in comparison.changes)
        return Verdict.equivalent if tolerated else Verdict.diverged
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


def _steps(logs: Sequence[StepsCompared], *, is_part: bool) -> Iterator[Change]:
    for steps in logs:
        detail = None if steps.first is None else steps.first.sentence
        same = steps.first is None and (steps.steps_b <= steps.steps_a if is_part else steps.is_same)
        if steps.first is None and not same:
            detail = f"one log ends after {steps.compared} steps, the other goes on"
        subject = "steps" if len(logs) == 1 else f"steps of process {steps.rank}"
        yield Change(subject=subject, same=same, original=f"{steps.steps_a} steps", replica=f"{steps.steps_b} steps", detail=detail)


def _metrics(original: Sequence[MetricPoint], replica: Sequence[MetricPoint], *, is_part: bool) -> Iterator[Change]:
    left, right = flat_points(original), flat_points(replica)
    if (not left and not right) or (is_part and not right):
        return
    detail = first_difference(left[: len(right)] if is_part else left, right)
    yield Change(subject="metrics", same=detail is None, original=f"{len(left)} values", replica=f"{len(right)} values", detail=detail)


def _state(original: Run, replica: Run) -> Iterator[Change]:
    if original.state is not replica.state:
        yield Change(
            subject="state",
            same=False,
            original=original.state.value,
            replica=replica.state.value,
            detail="one ended well, the other did not",
        )


def _summary(original: Run, replica: Run, metrics: Sequence[MetricPoint]) -> Iterator[Change]:
    # Last values of metrics are in the summary too; they are compared with their series.
    logged = {name for point in metrics for name in point.values}
    names = sorted(
        name for name in original.summary.keys() | replica.summary.keys() if name not in logged and not name.startswith(NOT_COMPARED)
    )
    if names:
        other = [name for name in names if original.summary.get(name) != replica.summary.get(name)]
        detail = None if not other else f"{other[0]} = {original.summary.get(other[0])!r}, then {replica.summary.get(other[0])!r}"
        yield Change(subject="summary", same=not other, original=f"{len(names)} values", replica=f"{len(names)} values", detail=detail)


def _outputs(original: Run, replica: Run) -> Iterator[Change]:
    ours = {item.name: item for item in original.outputs}
    theirs = {item.name: item for item in replica.outputs}
    for name in ours | theirs:
        left, right = ours.get(name), theirs.get(name)
        same = left is not None and right is not None and left.digest == right.digest
        yield Change(
            subject=f"output {name}",
            same=same,
            original="not made" if left is None else left.digest[:19],
            replica="not made" if right is None else right.digest[:19],
            detail=None if same else "the bytes differ" if left and right else "made by one run only",
        )
