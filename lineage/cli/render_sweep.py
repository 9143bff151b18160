"""A sweep in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lineage.cli.output import escape, out, say, table
from lineage.lookup.sweeps import text_of
from lineage.model.sweep_findings import SweepParameter, SweepTrialView, SweepView

_MOST_TRIALS = 30
_MOST_PARAMETERS = 8
_WIDEST = 24


def render_sweep(view: SweepView, *, most: int = _MOST_TRIALS) -> None:
    """Its head, the trials (best first) and the best run, on stdout; notes on stderr.

    Args:
        view: The sweep (``lineage.lookup.sweeps.sweep_of``).
        most: So many trials at most.
    """
    head(view)
    shown, parameters = view.ranked()[:most], view.varying[:_MOST_PARAMETERS]
    columns = ["trial", "run", "state", view.metric or "metric", "took", *(item.name for item in parameters)]
    table(columns, [_row(item, parameters) for item in shown])
    if len(view.trials) > len(shown):
        say("done", f"the best {len(shown)} of {len(view.trials)} trials; --json has all of them")
    if len(view.varying) > len(parameters):
        say("done", f"{len(parameters)} of {len(view.varying)} parameters; --json has all of them")
    best_run(view)
    for note in view.notes:
        say("warning", note)


def head(view: SweepView) -> None:
    """What it is, and how far it has got."""
    what = "sweep" if view.is_sweep else "group"
    about = "no metric" if view.metric is None else f"{view.goal} {view.metric}"
    out().print(f"[bold]{what} {escape(view.id)}[/bold]  {escape(view.name or '')}", soft_wrap=True)
    out().print(escape(f"  {' · '.join(filter(None, [view.project, view.method, about]))}"), soft_wrap=True)
    out().print(f"  {counted(view)}", soft_wrap=True)


def counted(view: SweepView) -> str:
    """Trials by state, in words."""
    words = {"complete": "complete", "stopped": "stopped early", "running": "running", "failed": "failed"}
    parts = [f"{count} {word}" for state, word in words.items() if (count := view.count(state))]  # type: ignore[arg-type]  # its keys
    return f"{len(view.trials)} trials: {', '.join(parts)}"


def best_run(view: SweepView) -> None:
    """The best run and its parameters."""
    best = view.best_trial
    if best is None:
        return
    values = ", ".join(f"{name} = {shown(value)}" for name, value in best.parameters.items())
    out().print(
        f"[bold]best[/bold] trial {best.number}, run {best.run_id[:12]}: {escape(f'{view.metric} = {shown(best.value)}')}", soft_wrap=True
    )
    out().print(f"     {escape(values)}", soft_wrap=True)


def shown(value: Any) -> str:
    """A value in a few letters."""
    if isinstance(value, float):
        return f"{value:.5g}"
    text = "" if value is None else text_of(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _row(item: SweepTrialView, parameters: Sequence[SweepParameter]) -> list[str]:
    attempt = f" ({item.attempt})" if item.attempt > 1 else ""
    took = "" if item.duration_s is None else f"{item.duration_s:.1f} s"
    values = [shown(item.parameters[each.name]) if each.name in item.parameters else "–" for each in parameters]
    return [f"{item.number}{attempt}", item.run_id[:8], item.state, shown(item.value), took, *values]
