"""Comparing a reproduction with its original, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lineage.lookup.results import first_difference, flat_points
from lineage.model.comparison import Change, Comparison, Verdict
from lineage.model.plan import Plan
from lineage.model.run import MetricPoint, Run
from lineage.model.steps import StepsCompared
from lineage.record.metrics import NOT_COMPARED

_ROWS_SHOWN = 8


def compare_runs(
    original: Run,
    replica: Run,
    original_metrics: Sequence[MetricPoint],
    replica_metrics: Sequence[MetricPoint],
    plan: Plan | None = None,
    steps: StepsCompared | None = None,
) -> Comparison:
    """What is the same in two runs, where they first part, and what was not looked at.

    Args:
        original: The first run.
        replica: The run made to repeat it.
        original_metrics: Its points in the order of the calls.
        replica_metrics: Likewise.
        plan: The reproduction's plan: its warnings are the likeliest causes of a difference.
        steps: Their step logs, compared, where both have one.
    """
    changes = [
        *_inputs(original, replica),
        *_state(original, replica),
        *_steps(steps),
        *_metrics(original_metrics, replica_metrics),
        *_summary(original, replica, original_metrics),
        *_outputs(original, replica),
    ]
    causes: list[str] = []
    if plan is not None:
        for severity in ("warning", "note"):
            causes += [
                f"{item.name}: {item.detail[0] if item.detail else item.found}" for item in plan.ingredients if item.severity == severity
            ]
    return Comparison(
        original_id=original.id,
        replica_id=replica.id,
        changes=tuple(changes),
        not_checked=tuple(_not_checked(original, replica, original_metrics, plan, steps)),
        likely_causes=tuple(causes) if not all(change.same for change in changes) else (),
    )


def verdict_of(comparison: Comparison) -> Verdict:
    """``identical`` when results were compared and all agree, ``diverged`` when one does not, ``inconclusive`` without any result."""
    if not comparison:
        return Verdict.diverged
    results = [change for change in comparison.changes if change.subject != "state" and not change.subject.startswith("data ")]
    return Verdict.identical if results else Verdict.inconclusive


def _inputs(original: Run, replica: Run) -> Iterator[Change]:
    ours, theirs = original.inputs_by_role(), replica.inputs_by_role()
    for role in ours | theirs:
        left = [(item.content_digest, item.rows_digest) for item in ours.get(role, [])]
        right = [(item.content_digest, item.rows_digest) for item in theirs.get(role, [])]
        yield Change(
            subject=f"data {role}",
            same=left == right,
            original=_rows(ours.get(role, [])),
            replica=_rows(theirs.get(role, [])),
            detail=None if left == right else "other rows were read",
        )


def _rows(items: Sequence[object]) -> str:
    rows = [getattr(item, "rows", 0) for item in items]
    return f"{sum(rows)} rows" if rows else "not read"


def _steps(steps: StepsCompared | None) -> Iterator[Change]:
    if steps is None:
        return
    detail = None
    if steps.first is not None:
        names = [name or str(row) for read in steps.first.rows_b for row, name in zip(read.rows, read.sample_ids, strict=True)]
        shown = f"; its rows: {', '.join(names[:_ROWS_SHOWN])}{' …' if len(names) > _ROWS_SHOWN else ''}" if names else ""
        detail = steps.first.sentence + shown
    elif steps.steps_a != steps.steps_b:
        detail = f"one log ends after {steps.compared} steps, the other goes on"
    yield Change(subject="steps", same=steps.is_same, original=f"{steps.steps_a} steps", replica=f"{steps.steps_b} steps", detail=detail)


def _metrics(original: Sequence[MetricPoint], replica: Sequence[MetricPoint]) -> Iterator[Change]:
    left, right = flat_points(original), flat_points(replica)
    if not left and not right:
        return
    detail = first_difference(left, right)
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


def _not_checked(
    original: Run, replica: Run, metrics: Sequence[MetricPoint], plan: Plan | None, steps: StepsCompared | None
) -> Iterator[str]:
    skipped = sorted({name for point in metrics for name in point.values if name.startswith(NOT_COMPARED)})
    if skipped:
        yield f"metrics that depend on speed: {', '.join(skipped)}"
    if not original.outputs:
        yield "files the run wrote without logging them as artifacts"
    if not any(True for point in metrics):
        yield "metrics: none were logged"
    yield "environment variables that the program reads, beyond those known to change numbers"
    yield "modules imported from outside the repository, beyond the packages that the environment lists"
    if steps is None:
        yield "gradients and parameters between the first and the last step (no step log was recorded)"
    elif steps.every > 1:
        yield f"gradients and parameters of the steps between every {steps.every}th (parameters carry a difference on to the next one)"
    yield "the environment was compared with the record, not rebuilt: the reproduction ran in the current one"
    if plan is not None:
        yield from (f"{item.name}: {line}" for item in plan.ingredients if item.severity == "note" for line in item.detail)
    if original.host == replica.host:
        yield "another machine: both runs were made on this one"
