"""A sweep as one HTML page that needs nothing but itself: no script, no style and no host elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from lineage.cli.render_sweep import counted
from lineage.errors import Conflict, LineageError
from lineage.lookup.importance import report_of
from lineage.lookup.sweep_charts import draw_history, importance_table, trials_table
from lineage.lookup.sweep_drawing import draw_parallel, said, shown_parameters
from lineage.lookup.sweep_style import STYLE
from lineage.model.sweep_findings import SweepReport, SweepView
from lineage.ports import Ports

_STYLE = """\
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:1220px;margin:2rem auto;padding:0 1rem;background:var(--ground);color:var(--letters)}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}code{font-size:.9em}.quiet{opacity:.72;font-weight:400}
.bars td,.bars th{padding:.3rem .9rem .3rem 0;text-align:left}.wide{overflow-x:auto}
.bars thead .quiet{display:block;font-size:.85rem}
"""


def write_sweep_page(ports: Ports, view: SweepView, path: Path) -> None:
    """Write the page of a sweep, with importance, or the reason why there is none.

    Args:
        ports: The store that the view is of.
        view: The sweep.
        path: The file.

    Raises:
        Conflict: It cannot be written.
    """
    write_report(make_report(view), path)


def make_report(view: SweepView, *, with_stopped: bool = False) -> SweepReport:
    """The sweep with importance, or the reason why there is none: also when what measures it is not installed."""
    from lineage.wiring_importance import importance_meter  # its library is not small

    try:
        return report_of(view, importance_meter(), with_stopped=with_stopped)
    except LineageError as error:
        return SweepReport(sweep=view, importance=None, refused=error.message + (f" ({error.hint})" if error.hint else ""))


def write_report(report: SweepReport, path: Path) -> None:
    """Write the page.

    Raises:
        Conflict: It cannot be written.
    """
    try:
        path.write_text(sweep_page(report), encoding="utf-8")
    except OSError as error:
        raise Conflict(f"{path} cannot be written: {error.strerror}", hint="name another file") from error


def sweep_page(report: SweepReport) -> str:
    """The whole page."""
    view = report.sweep
    title = escape(f"{'Sweep' if view.is_sweep else 'Group'} {view.name or view.id}")
    return "".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<style>{STYLE}{_STYLE}</style></head><body><h1>{title}</h1>",
            *_head(view),
            *_drawings(report),
            *_importance(report),
            "<h2>Trials, best first</h2>",
            f'<div class="many" tabindex="0">{trials_table(view, _no_page)}</div></body></html>\n',
        ]
    )


def _no_page(_: str) -> None:
    """A file has no pages of runs to lead to."""


def _head(view: SweepView) -> Iterator[str]:
    about = "no metric" if view.metric is None else f"{view.goal} {view.metric}"
    yield f"<p>{escape(' · '.join(filter(None, [view.id, view.project, view.method, about])))}<br>{escape(counted(view))}</p>"
    best = view.best_trial
    if best is not None:
        values = ", ".join(f"{name} = {said(value)}" for name, value in best.parameters.items())
        yield f"<p><b>Best:</b> trial {best.number}, run <code>{best.run_id}</code>, {escape(f'{view.metric} = {said(best.value)}')}"
        yield f"<br>{escape(values)}</p>"
    for note in view.notes:
        yield f"<p>Note: {escape(note)}.</p>"


def _drawings(report: SweepReport) -> Iterator[str]:
    view, found = report.sweep, report.importance
    order = [] if found is None else [item.name for item in found.parameters]
    drawn = draw_parallel(view, _no_page, order)
    if drawn is not None:
        yield f'<h2>Parameters and metric</h2><div class="drawing" tabindex="0">{drawn}</div>{legend(view)}'
        left_out = len(view.varying) - len(shown_parameters(view, order))
        if left_out:
            yield f"<p>{left_out} more parameters vary and are not drawn.</p>"
    history = draw_history(view, _no_page)
    if history is not None:
        yield f'<h2>Over the trials</h2><div class="drawing" tabindex="0">{history}</div>'


def legend(view: SweepView) -> str:
    """What colours and lines mean."""
    parts = ['<span class="key-line"></span> the best trial', "colours as along the axis of the metric"]
    if view.count("stopped"):
        parts.append('<span class="key-line dashed"></span> stopped early')
    if any(item.finite is None for item in view.trials):
        parts.append('<span class="key-line dotted"></span> without a value')
    return f'<p class="quiet">{" · ".join(parts)}</p>'


def _importance(report: SweepReport) -> Iterator[str]:
    yield "<h2>Which parameter mattered</h2>"
    found = report.importance
    if found is None:
        yield f"<p>Not told: {escape(report.refused or '')}.</p>"
        return
    yield f"<p>{escape(rests_on(report))}</p>" + "".join(f"<p>Note: {escape(note)}.</p>" for note in found.notes)
    yield f'<div class="wide">{importance_table(found)}</div>'


def rests_on(report: SweepReport) -> str:
    """How many trials importance rests on, and how much it explains, in words."""
    found = report.importance
    if found is None:
        return ""
    others = ", ".join(f"{count} {word}" for word, count in found.left_out.items())
    return (
        f"Of {found.trials} trials{f' (not of {others})' if others else ''}; of trials that it has not seen the forest foretells"
        f" {max(0.0, found.explained):.0%} of the variance of '{found.metric}'."
    )
