"""What a comparison did not look at: every report ends with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lineage.model.metrics import is_sample, logged
from lineage.model.plan import Plan
from lineage.model.run import MetricPoint, Run
from lineage.model.steps import StepsCompared
from lineage.record.foreign import UNPINNED
from lineage.record.metrics import NOT_COMPARED
from lineage.reproduce.environment import was_rebuilt


def rest_of(original: Run, checked: str) -> str:
    """The sentence about what a stopped reproduction had no time for."""
    made = f"; files that the run made: {', '.join(item.name for item in original.outputs)}" if original.outputs else ""
    return f"everything but {checked}: the reproduction was stopped before its end{made}"


def _files(original: Run) -> Iterator[str]:
    volatile = [item.name for item in original.outputs if item.details.get("volatile") is True]
    if volatile:
        yield f"files that were declared to differ each time: {', '.join(volatile)}"
    observed = original.observed
    if observed is None:
        if not original.outputs:
            yield "files the run wrote without logging them as artifacts"
        return
    if not observed.processes:
        yield "files the command wrote: no Python process of it told"
        return
    native = f", such as {', '.join(observed.native)}" if observed.native else ""
    yield f"files that programs other than Python, or libraries on their own{native}, read and wrote"
    yield "what the command printed, beyond the numbers that are metrics"


def not_checked(
    original: Run,
    replica: Run,
    metrics: Sequence[MetricPoint],
    plan: Plan | None,
    steps: Sequence[StepsCompared],
    checked: str | None = None,
) -> Iterator[str]:
    """One sentence for each thing; the arguments are those of ``lineage.reproduce.compare.compare_runs``."""
    if checked is not None:
        yield rest_of(original, checked)
    skipped = sorted({name for point in logged(metrics) for name in point.values if name.startswith(NOT_COMPARED)})
    if skipped:
        yield f"metrics that depend on speed: {', '.join(skipped)}"
    yield from _files(original)
    if any(map(is_sample, metrics)):
        yield "what the machine did meanwhile (metrics system/…)"
    if not logged(metrics):
        yield "metrics: none were logged"
    yield "environment variables that the program reads, beyond those known to change numbers"
    if original.loaded is None:
        yield "modules imported from outside the repository, beyond the packages that the environment lists"
    else:
        yield "code that other programs load, which the command starts"
    compared = {item.rank for item in steps}
    missing = [str(log.rank) for log in original.step_logs if log.rank not in compared]
    if not original.step_logs:
        yield "gradients and parameters between the first and the last step (no step log was recorded)"
    elif missing:
        yield f"the step log of process {', '.join(missing)}: not both runs have one that can be read"
    every = max((item.every for item in steps), default=1)
    if every > 1:
        yield f"gradients and parameters of the steps between every {every}th (parameters carry a difference on to the next one)"
    yield from sorted({note for note in (*original.notes, *replica.notes) if note.startswith(UNPINNED)})
    if not was_rebuilt(plan):
        yield "the environment was compared with the record, not rebuilt: the reproduction ran in the current one"
    if original.installed is None or original.installed.altered is None:
        yield "whether files of installed packages had been altered when the run was made: its record does not tell"
    if plan is not None:
        yield from (f"{item.name}: {line}" for item in plan.ingredients if item.severity == "note" for line in item.detail)
    if original.host == replica.host:
        yield "another machine: both runs were made on this one"
