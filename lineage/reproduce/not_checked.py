"""What a comparison did not look at: every report ends with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lineage.model.plan import Plan
from lineage.model.run import MetricPoint, Run
from lineage.model.steps import StepsCompared
from lineage.record.metrics import NOT_COMPARED
from lineage.reproduce.environment import was_rebuilt


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
        made = f"; files that the run made: {', '.join(item.name for item in original.outputs)}" if original.outputs else ""
        yield f"everything but {checked}: the reproduction was stopped before its end{made}"
    skipped = sorted({name for point in metrics for name in point.values if name.startswith(NOT_COMPARED)})
    if skipped:
        yield f"metrics that depend on speed: {', '.join(skipped)}"
    if not original.outputs:
        yield "files the run wrote without logging them as artifacts"
    if not any(True for point in metrics):
        yield "metrics: none were logged"
    yield "environment variables that the program reads, beyond those known to change numbers"
    if original.loaded is None:
        yield "modules imported from outside the repository, beyond the packages that the environment lists"
    else:
        yield "code that other processes load: worker processes, programs that the command starts"
    compared = {item.rank for item in steps}
    missing = [str(log.rank) for log in original.step_logs if log.rank not in compared]
    if not original.step_logs:
        yield "gradients and parameters between the first and the last step (no step log was recorded)"
    elif missing:
        yield f"the step log of process {', '.join(missing)}: not both runs have one that can be read"
    every = max((item.every for item in steps), default=1)
    if every > 1:
        yield f"gradients and parameters of the steps between every {every}th (parameters carry a difference on to the next one)"
    if not was_rebuilt(plan):
        yield "the environment was compared with the record, not rebuilt: the reproduction ran in the current one"
    if original.installed is None or original.installed.altered is None:
        yield "whether files of installed packages had been altered when the run was made: its record does not tell"
    if plan is not None:
        yield from (f"{item.name}: {line}" for item in plan.ingredients if item.severity == "note" for line in item.detail)
    if original.host == replica.host:
        yield "another machine: both runs were made on this one"
