"""Groups as one HTML page for people: a band for each group and metric, the table of last values, and what differs.

The page needs nothing but itself: drawings and styles are inside, and there is no script.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from lineage.cli.curves import scale
from lineage.cli.render_group import said
from lineage.model.group import Group, GroupsCompared, MetricOfGroup, SpreadOverSteps, Variant
from lineage.record.metrics import NOT_COMPARED

_WIDTH, _HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 448, 12, 196
COLOURS = ("#1f6feb", "#c2410c", "#15803d", "#a21caf", "#b58900", "#0e7490", "#be123c", "#4d7c0f", "#6d28d9", "#57534e")
"""One for each group; from the eleventh on they begin again."""

_STYLE = """
:root{color-scheme:light dark;--line:#8884}
body{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}code{font-size:.9em}
.scrolls{overflow-x:auto}table{border-collapse:collapse}
td,th{padding:.25rem 1rem .25rem 0;text-align:left;vertical-align:top;font-variant-numeric:tabular-nums}
tr+tr td,tr+tr th{border-top:1px solid var(--line)}th{font-weight:600}td small{opacity:.75}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:1rem;align-items:start}
figure{margin:0;max-width:780px;border:1px solid var(--line);border-radius:6px;padding:.6rem}
figure svg{width:100%;height:auto;display:block}
figcaption{font-weight:600;overflow-wrap:anywhere;margin-bottom:.3rem}
svg text{font:11px system-ui,sans-serif;fill:currentColor}.grid{stroke:var(--line)}
.mean{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}.std{opacity:.26}.extremes{opacity:.11}
.legend span{display:inline-block;margin-right:1.2rem}.key{display:inline-block;width:1.5em;height:.7em;border-radius:2px;margin-right:.4em}
.quiet{opacity:.75}
"""


def group_page(groups: Sequence[Group], between: GroupsCompared | None) -> str:
    """The whole page.

    Args:
        groups: With their metrics thinned out for drawing.
        between: What differs between several of them.
    """
    title = ", ".join(item.name for item in groups)
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><h1>{'Group' if len(groups) == 1 else 'Groups'} {escape(title)}</h1>",
        "<p>",
        "<br>".join(escape(f"{item.name}: {item.runs} runs of project {item.project}; {item.difference.sentence}.") for item in groups),
        "</p>",
        *([f"<p>{escape(f'Between them: {between.sentence}.')}</p>"] if between is not None else []),
        *_legend(groups),
        *_panels(groups),
        *_table(groups),
        *_between(between),
        *_inside(groups),
        *_members(groups),
    ]
    return "".join([*parts, "</body></html>\n"])


def band(name: str, over: Sequence[SpreadOverSteps | None], axis: str) -> str | None:
    """SVG of one metric: of each group the mean, mean ± deviation, and least to greatest; ``None`` where no group has two steps."""
    there = [item for item in over if item is not None and item.x]
    if max((len(item.x) for item in there), default=0) < 2:
        return None
    lowest, highest = min(min(item.min) for item in there), max(max(item.max) for item in there)
    x = scale(min(item.x[0] for item in there), max(item.x[-1] for item in there), _LEFT, _RIGHT)
    y = scale(lowest, highest, _BOTTOM, _TOP)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(name)}: mean, deviation and extremes">']
    for value, at in ((highest, _TOP), (lowest / 2 + highest / 2, (_TOP + _BOTTOM) / 2), (lowest, _BOTTOM)):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{at:g}" y2="{at:g}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:g}" text-anchor="end">{value:.4g}</text>')
    ends = min(item.x[0] for item in there), max(item.x[-1] for item in there)
    for value, anchor in ((ends[0], "start"), (ends[1], "end")):
        parts.append(f'<text x="{x(value):.1f}" y="{_BOTTOM + 16}" text-anchor="{anchor}">{value:g}</text>')
    parts.append(f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_BOTTOM + 28}" text-anchor="middle">{escape(axis)}</text>')
    for number, item in enumerate(over):
        if item is None or not item.x:
            continue
        colour = COLOURS[number % len(COLOURS)]
        across = [x(value) for value in item.x]
        inner = [(mean - (std or 0.0), mean + (std or 0.0)) for mean, std in zip(item.mean, item.std, strict=True)]
        for kind, edges in (("extremes", list(zip(item.min, item.max, strict=True))), ("std", inner)):
            above = [f"{at:.1f},{y(_inside_of(high, lowest, highest)):.1f}" for at, (_, high) in zip(across, edges, strict=True)]
            below = [f"{at:.1f},{y(_inside_of(low, lowest, highest)):.1f}" for at, (low, _) in zip(across, edges, strict=True)]
            parts.append(f'<polygon class="{kind}" fill="{colour}" points="{" ".join([*above, *reversed(below)])}"/>')
        means = " ".join(f"{at:.1f},{y(mean):.1f}" for at, mean in zip(across, item.mean, strict=True))
        parts.append(f'<polyline class="mean" stroke="{colour}" points="{means}"/>')
    return "".join([*parts, "</svg>"])


def _inside_of(value: float, lowest: float, highest: float) -> float:
    """Mean ± deviation may leave the extent of all values: the drawing ends there."""
    return min(highest, max(lowest, value)) if math.isfinite(value) else highest


def _names(groups: Sequence[Group]) -> list[str]:
    return list(dict.fromkeys(metric.name for item in groups for metric in item.metrics))


def _metric(item: Group, name: str) -> MetricOfGroup | None:
    return next((metric for metric in item.metrics if metric.name == name), None)


def _key(number: int) -> str:
    return f'<span class="key" style="background:{COLOURS[number % len(COLOURS)]}"></span>'


def _legend(groups: Sequence[Group]) -> Iterator[str]:
    keys = "".join(f"<span>{_key(number)}{escape(item.name)}</span>" for number, item in enumerate(groups))
    yield f'<p class="legend">{keys}<span class="quiet">line: mean; dark band: ± std (sample); light band: min to max</span></p>'


def _panels(groups: Sequence[Group]) -> Iterator[str]:
    drawn = []
    names = _names(groups)
    for name in names:
        if name.startswith(NOT_COMPARED) and len(names) > 1:
            continue  # of the machine, not of the model: in the table
        found = [_metric(item, name) for item in groups]
        axis = next((metric.axis for metric in found if metric is not None), "step")
        drawing = band(name, [None if metric is None else metric.over for metric in found], axis)
        if drawing is not None:
            drawn.append(f"<figure><figcaption>{escape(name)}</figcaption>{drawing}</figure>")
    if drawn:
        yield f'<h2>Per step</h2><div class="panels">{"".join(drawn)}</div>'


def _table(groups: Sequence[Group]) -> Iterator[str]:
    rows = []
    for name in _names(groups):
        cells = []
        for item in groups:
            metric = _metric(item, name)
            cells.append("" if metric is None else f"{escape(said(metric.end))} <small>n {metric.end.n}</small>")
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    heads = "".join(f"<th>{_key(number)}{escape(item.name)}</th>" for number, item in enumerate(groups))
    yield "<h2>At the end: mean ± std (min, max)</h2>"
    yield f'<div class="scrolls"><table><tr><th>metric</th>{heads}</tr>{"".join(rows)}</table></div>'
    notes = [f"{item.name}: {note}" if len(groups) > 1 else note for item in groups for note in item.notes]
    if notes:
        yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"


def _between(between: GroupsCompared | None) -> Iterator[str]:
    if between is None or not between.variations:
        return
    names = list(between.variations[0].values)
    heads = "".join(f"<th>{_key(number)}{escape(name)}</th>" for number, name in enumerate(names))
    rows = []
    for item in between.variations:
        values = [", ".join(item.values[name]) or "absent" for name in names]
        rows.append(f"<tr><th>{escape(item.title)}</th>{''.join(f'<td>{escape(value)}</td>' for value in values)}</tr>")
    yield f'<h2>What differs between the groups</h2><div class="scrolls"><table><tr><th></th>{heads}</tr>{"".join(rows)}</table></div>'


def _inside(groups: Sequence[Group]) -> Iterator[str]:
    for item in groups:
        varied = [found for found in item.difference.variations if found.subject != "seed"]
        if not varied:
            continue
        names = {member.run_id: member.name for member in item.members}
        rows = [
            f"<tr><th>{escape(found.title)}</th><td>{escape(part.value)}</td>"
            f"<td>{escape(', '.join(names[run] for run in part.runs[:8]))}{' …' if len(part.runs) > 8 else ''}</td></tr>"
            for found in varied
            for part in (found.variants if found.scattered is None else [Variant(value=found.scattered, runs=())])
        ]
        yield f"<h2>What differs inside {escape(item.name)}</h2>"
        yield f'<div class="scrolls"><table><tr><th></th><th>value</th><th>runs</th></tr>{"".join(rows)}</table></div>'


def _members(groups: Sequence[Group]) -> Iterator[str]:
    for item in groups:
        rows = "".join(
            f"<tr><td><code>{member.run_id[:12]}</code></td><td>{escape(member.name)}</td>"
            f"<td>{'not fixed' if member.seed is None else member.seed}</td><td>{member.state.value}</td>"
            f"<td>{escape(f'does not count: {member.left_out}') if member.left_out else ''}</td></tr>"
            for member in item.members
        )
        head = "<tr><th>run</th><th>name</th><th>seed</th><th>state</th><th></th></tr>"
        yield f'<h2>Runs of {escape(item.name)}</h2><div class="scrolls"><table>{head}{rows}</table></div>'
