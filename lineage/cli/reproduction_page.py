"""A reproduction as one HTML page for people: verdict, plan, comparison, curves of both runs, and the batch in which they part.

The page needs nothing but itself: pictures, drawings and styles are inside, and there is no script.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from lineage.cli.curves import Series, curves
from lineage.cli.render_outputs import summed_up
from lineage.cli.render_verdict import row_name, word
from lineage.errors import LineageError
from lineage.lookup.diff_details import open_input
from lineage.model.comparison import BatchRow, Comparison, FirstDifference, Report
from lineage.model.picture_size import picture_size
from lineage.model.run import MetricPoint, Run
from lineage.ports import Ports
from lineage.record.metrics import NOT_COMPARED

_PICTURES = 16
_ROWS = 64

Pictures = Mapping[tuple[str, int], bytes]
"""(role, position in the view) to the encoded picture."""

_STYLE = """
:root{color-scheme:light dark;--old:#c0392b;--new:#1e8449;--mid:#b9770e;--line:#8884}
body{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin-bottom:.3rem}h2{font-size:1.1rem;margin-top:2rem}code{font-size:.9em;overflow-wrap:anywhere}
.verdict{display:inline-block;padding:.1rem .7rem;border-radius:1rem;color:#fff;font-weight:600;background:var(--mid)}
.verdict.identical,.verdict.equivalent{background:var(--new)}.verdict.diverged,.verdict.blocked{background:var(--old)}
table{border-collapse:collapse}td,th{padding:.25rem .9rem .25rem 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}
tr+tr td{border-top:1px solid var(--line)}td small{opacity:.75;display:block}
.good{color:var(--new)}.bad{color:var(--old)}.fair{color:var(--mid)}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(380px,1fr));gap:1rem;align-items:start}
.batch{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:.7rem;align-items:start}
figure{margin:0;border:1px solid var(--line);border-radius:6px;padding:.5rem}figure svg,figure img{width:100%;height:auto;display:block}
figcaption{font-size:.85rem;overflow-wrap:anywhere}
polyline{fill:none;stroke-width:1.6;stroke-linecap:round;stroke-linejoin:round}
polyline.a{stroke:var(--old);stroke-dasharray:5 4;stroke-width:2.6}polyline.b{stroke:var(--new)}.apart polyline.b{stroke:var(--mid)}
.grid{stroke:var(--line)}svg text{font:11px system-ui,sans-serif;fill:currentColor}
"""


def reproduction_page(
    report: Report,
    original: Run,
    replica: Run | None,
    original_metrics: Sequence[MetricPoint],
    replica_metrics: Sequence[MetricPoint],
    pictures: Pictures,
) -> str:
    """The whole page.

    Args:
        report: What was found.
        original: The run that was repeated.
        replica: The run made to repeat it; ``None`` when nothing was run.
        original_metrics: Points of the first in the order of the calls.
        replica_metrics: Likewise of the second.
        pictures: Encoded pictures of the batch in which they part, as far as they could be read.
    """
    verdict = "planned" if report.verdict is None else report.verdict.value
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(original.name)}: {verdict}</title>',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><h1>Reproduction of {escape(original.name)}</h1>",
        f'<p><span class="verdict {verdict}">{verdict}</span> {escape(report.reason or "")}</p>',
        f"<p>Checked: <b>{escape(report.checked)}</b>.</p>",
        f"<p>Stopped before its end: {escape(report.stopped)}.</p>" if report.stopped else "",
        _runs(report, original, replica),
    ]
    comparison = report.comparison
    if comparison is not None:
        if comparison.first is not None:
            parts += _first(comparison.first, pictures)
        if comparison.likely_causes:
            parts.append("<h2>Likely causes, likeliest first</h2>")
            parts.append(f"<ol>{''.join(f'<li>{escape(cause)}</li>' for cause in comparison.likely_causes)}</ol>")
        parts.append(_changes(comparison))
        parts += _curves(original_metrics, replica_metrics)
    parts.append(_plan(report))
    unchecked = ("the result: nothing was run",) if comparison is None else comparison.not_checked
    parts.append(f"<h2>Not checked</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in unchecked)}</ul>")
    return "".join([*parts, "</body></html>\n"])


def batch_pictures(ports: Ports, run: Run, report: Report) -> dict[tuple[str, int], bytes]:
    """Pictures of the batch in which two runs part, each checked against its digest; without those that cannot be read."""
    first = None if report.comparison is None else report.comparison.first
    found: dict[tuple[str, int], bytes] = {}
    for row in () if first is None else (*first.rows_original[:_PICTURES], *first.rows_replica[:_PICTURES]):
        item = next((item for item in run.inputs if item.role == row.role), None)
        if item is None or row.picture is None or (row.role, row.position) in found:
            continue
        try:
            view = open_input(ports, item)
            columns = [name for name, column in view.columns().items() if column.kind == "image"]
            found[row.role, row.position] = bytes(view.read_quietly([row.position], columns[:1])[columns[0]][0])
        except (LineageError, IndexError):
            continue  # the page names the row and the digest of its picture
    return found


def _runs(report: Report, original: Run, replica: Run | None) -> str:
    rows = [["original", original.id, original.state.value, original.host]]
    if replica is not None:
        rows.append(["reproduction", replica.id, replica.state.value, replica.host])
    body = "".join(
        f"<tr><td>{which}</td><td><code>{run}</code></td><td>{state}</td><td>{escape(host)}</td></tr>" for which, run, state, host in rows
    )
    command = f"<p>Command: <code>{escape(' '.join(report.plan.command))}</code></p>"
    return f"<table><tr><th></th><th>run</th><th>state</th><th>host</th></tr>{body}</table>{command}"


def _plan(report: Report) -> str:
    classes = {"none": "good", "note": "good", "warning": "fair", "blocker": "bad"}
    rows = []
    for item in report.plan.ingredients:
        detail = "".join(f"<small>{escape(line)}</small>" for line in item.detail)
        status = f'<td class="{classes[item.severity]}">{item.status}{"" if item.severity == "none" else f" ({item.severity})"}</td>'
        rows.append(f"<tr><td>{escape(item.name)}</td>{status}<td>{escape(item.recorded)}</td><td>{escape(item.found)}{detail}</td></tr>")
    return f"<h2>Plan</h2><table><tr><th></th><th></th><th>recorded</th><th>found</th></tr>{''.join(rows)}</table>"


def _changes(comparison: Comparison) -> str:
    rows = []
    for change in summed_up(comparison.changes):
        kind = "good" if change.same else "fair" if change.is_tolerated else "bad"
        detail = f"<small>{escape(change.detail)}</small>" if change.detail else ""
        rows.append(
            f'<tr><td>{escape(change.subject)}</td><td class="{kind}">{word(change)}</td>'
            f"<td>{escape(change.original)}</td><td>{escape(change.replica)}{detail}</td></tr>"
        )
    return f"<h2>Comparison</h2><table><tr><th></th><th></th><th>original</th><th>reproduction</th></tr>{''.join(rows)}</table>"


def _first(item: FirstDifference, pictures: Pictures) -> Iterator[str]:
    yield f"<h2>First difference</h2><p>{escape(item.sentence[:1].upper() + item.sentence[1:])}.</p>"
    if item.losses_original or item.losses_replica:
        name = "Value" if item.phase == "metric" else "Loss"
        values = (", ".join(str(value) for value in losses) or "none" for losses in (item.losses_original, item.losses_replica))
        yield f"<p>{name}: {', then '.join(f'<code>{escape(value)}</code>' for value in values)}.</p>"
    for label, rows in (("The batch", item.rows_original), ("The batch of the reproduction", item.rows_replica)):
        if rows:
            more = f" (the first {_ROWS} of {len(rows)})" if len(rows) > _ROWS else ""
            yield f'<h3>{label}{more}</h3><div class="batch">{"".join(_row(row, pictures) for row in rows[:_ROWS])}</div>'


def _row(row: BatchRow, pictures: Pictures) -> str:
    encoded = pictures.get((row.role, row.position))
    known = None if encoded is None else picture_size(encoded)
    drawn = ""
    if encoded is not None and known is not None:
        drawn = f'<img alt="{escape(row_name(row))}" src="data:{known[0]};base64,{base64.b64encode(encoded).decode()}">'
    return f"<figure>{drawn}<figcaption>{escape(row_name(row))}</figcaption></figure>"


def _curves(a: Sequence[MetricPoint], b: Sequence[MetricPoint]) -> Iterator[str]:
    names = sorted({name for point in (*a, *b) for name in point.values if not name.startswith(NOT_COMPARED)})
    drawn = [panel for name in names if (panel := _panel(name, _series(name, a), _series(name, b))) is not None]
    if drawn:
        legend = '<p><span class="bad">Dashed: original</span>, <span class="good">solid: reproduction</span>, '
        legend += '<span class="fair">below: reproduction minus original</span>.</p>'
        yield f'<h2>Curves</h2>{legend}<div class="panels">{"".join(drawn)}</div>'


def _panel(name: str, ours: Series, theirs: Series) -> str | None:
    both = curves(name, ours, theirs)
    if both is None:
        return None
    pairs = [
        (a[0], b[1] - a[1], a == b or (math.isnan(a[1]) and math.isnan(b[1]))) for a, b in zip(ours, theirs, strict=False) if a[0] == b[0]
    ]
    if not pairs:
        below = "<p>No step is in both.</p>"
    elif all(is_same for *_, is_same in pairs):
        below = f"<p>Equal at each of {len(pairs)} common points.</p>"
    else:
        steps = [step for step, value in (*ours, *theirs) if math.isfinite(value)]
        apart = curves(f"{name}, reproduction minus original", [], [(step, value) for step, value, _ in pairs], steps)
        at = next(step for step, _, is_same in pairs if not is_same)
        below = f'<div class="apart">{apart or ""}</div><p>Differs from step {at} on.</p>'
    return f"<figure><figcaption>{escape(name)}</figcaption>{both}{below}</figure>"


def _series(name: str, points: Sequence[MetricPoint]) -> list[tuple[int, float]]:
    return [(point.step, point.values[name]) for point in points if name in point.values]
