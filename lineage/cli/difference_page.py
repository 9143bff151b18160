"""A difference of two runs as one HTML page for people: changed rows with old and new boxes, curves, and all that differs.

The page needs nothing but itself: pictures, drawings and styles are inside, and there is no script.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from lineage.cli.curves import curves
from lineage.cli.render_outputs import few_media
from lineage.errors import LineageError
from lineage.lookup.diff_causes import counts, row_name, shown
from lineage.lookup.diff_details import open_input
from lineage.model.difference import DataDifference, DataSide, Difference, ObjectChange, RowChange, ValueChange
from lineage.model.metrics import SYSTEM
from lineage.model.picture_size import picture_size
from lineage.model.run import MetricPoint, Run
from lineage.ports import Ports

Pictures = Mapping[tuple[int, int], tuple[bytes | None, bytes | None]]
"""(number of the input, number of the row among those described) to the encoded pictures of ``a`` and ``b``."""

_STYLE = """
:root{color-scheme:light dark;--old:#c0392b;--new:#1e8449;--both:#b9770e;--line:#8884}
body{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}code{font-size:.9em}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}
.rows{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:1rem;align-items:start}
figure{margin:0;border:1px solid var(--line);border-radius:6px;padding:.5rem}figure svg{width:100%;height:auto}
figcaption{font-size:.85rem;overflow-wrap:anywhere}
rect{fill:none;stroke-width:2;vector-effect:non-scaling-stroke}
rect.old{stroke:var(--old);stroke-dasharray:6 4}rect.new{stroke:var(--new)}rect.both{stroke:var(--both)}
polyline{fill:none;stroke-width:1.6;stroke-linecap:round;stroke-linejoin:round}
polyline.a{stroke:var(--old);stroke-dasharray:5 4}polyline.b{stroke:var(--new)}
.grid{stroke:var(--line)}svg text{font:11px system-ui,sans-serif;fill:currentColor}
.old-word{color:var(--old)}.new-word{color:var(--new)}
"""


def difference_page(item: Difference, metrics_a: Sequence[MetricPoint], metrics_b: Sequence[MetricPoint], pictures: Pictures) -> str:
    """The whole page.

    Args:
        item: What differs.
        metrics_a: Points of the first run in the order of the calls.
        metrics_b: Likewise of the second.
        pictures: Encoded pictures of the rows that are described, as far as they could be read.
    """
    title = f"{item.a.name} and {item.b.name}"
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><h1>What differs between two runs</h1>",
        _table(
            ["", "run", "name", "project", "job type", "state"], [[which, *_side(side)] for which, side in (("a", item.a), ("b", item.b))]
        ),
        "<h2>Likely causes, likeliest first</h2>",
        f"<ol>{''.join(f'<li>{escape(cause.sentence)}</li>' for cause in item.causes)}</ol>"
        if item.causes
        else "<p>Nothing recorded differs.</p>",
    ]
    for number, data in enumerate(item.data):
        if not data.is_same:
            parts += _data(number, data, pictures)
    parts += _metrics(metrics_a, metrics_b)
    if item.steps is not None and item.steps.first is not None:
        parts += _section("Steps", f"<p>{escape(item.steps.first.sentence)}</p>")
    files = [[file.status, f"{file.old_path} → {file.path}" if file.old_path else file.path] for file in item.code.files or ()]
    parts += _section("Code", _table(["", "file"], files) if files else "")
    environment = [
        *filter(None, [item.environment.interpreter]),
        *item.environment.packages,
        *item.environment.variables,
        *item.environment.machine,
    ]
    for heading, changes in (
        ("Configuration", item.configuration),
        ("Base weights", item.base_weights),
        ("Files read", item.files_read),
        ("Environment and machine", environment),
        ("Other results", [*item.results.summary, *few_media(item.results.outputs)]),
    ):
        parts += _section(heading, _values(changes))
    parts += _section("Not compared", "".join(f"<p>{escape(line)}</p>" for line in item.not_compared))
    return "".join([*parts, "</body></html>\n"])


def described_pictures(ports: Ports, a: Run, b: Run, item: Difference) -> Pictures:
    """Pictures of the rows that differ, each checked against its digest; without those that cannot be read."""
    found: dict[tuple[int, int], tuple[bytes | None, bytes | None]] = {}
    for number, data in enumerate(item.data):
        if data.a is None or data.b is None:
            continue
        rows = dict(enumerate(data.rows))
        # A row that both have is shown once, unless its picture was replaced.
        only_a = {i: row.position_a for i, row in rows.items() if row.kind == "replaced" or row.position_b is None}
        ours = _pictures(ports, a, data.role, data.a, only_a)
        theirs = _pictures(ports, b, data.role, data.b, {i: row.position_b for i, row in rows.items()})
        found |= {(number, i): (ours.get(i), theirs.get(i)) for i in rows}
    return found


def _pictures(ports: Ports, run: Run, role: str, side: DataSide, positions: Mapping[int, int | None]) -> dict[int, bytes]:
    record = next(used for used in run.inputs if used.role == role and used.content_digest == side.content_digest)
    if not positions:
        return {}
    try:
        view = open_input(ports, record)
        columns = [name for name, column in view.columns().items() if column.kind == "image"]
        chosen = {i: position for i, position in positions.items() if position is not None}
        return {i: bytes(view.read_quietly([position], columns)[columns[0]][0]) for i, position in chosen.items()} if columns else {}
    except LineageError:
        return {}  # the rows say themselves that they could not be read


def _side(side: Any) -> list[str]:
    return [side.run_id[:12], side.name, side.project, side.job_type, side.state]


def _section(heading: str, content: str) -> Iterator[str]:
    if content:
        yield f"<h2>{escape(heading)}</h2>{content}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _values(changes: Sequence[ValueChange]) -> str:
    return _table(["", "a", "b"], [[change.name, shown(change.a), shown(change.b)] for change in changes]) if changes else ""


def _data(number: int, item: DataDifference, pictures: Pictures) -> Iterator[str]:
    yield f"<h2>Data: {escape(item.role)}</h2><p>{escape(', '.join(counts(item)) or 'read by one run only')}.</p>"
    yield _values([*item.class_names, *item.names])
    described = list(enumerate(item.rows))
    if any(row.objects for _, row in described):
        yield '<p>Boxes: <span class="old-word">dashed, as in a</span>, <span class="new-word">solid, as in b</span>; '
        yield "amber: the same box with other values.</p>"
    yield f'<div class="rows">{"".join(_row(row, pictures.get((number, i), (None, None)), item) for i, row in described)}</div>'


def _row(row: RowChange, pictures: tuple[bytes | None, bytes | None], item: DataDifference) -> str:
    drawn = [_picture(encoded, row.objects, item) for encoded in pictures if encoded is not None]
    renamed = f" → '{row.new_sample_id}'" if row.new_sample_id else ""
    lines = [f"<b>{escape(row.kind)}</b> {escape(row_name(row) + renamed)}"]
    lines += [escape(_object(change)) for change in row.objects]
    lines += [escape(f"{change.name}: {shown(change.a)} → {shown(change.b)}") for change in row.columns]
    if row.not_compared:
        lines.append(escape(row.not_compared))
    return f"<figure>{''.join(drawn)}<figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _object(change: ObjectChange) -> str:
    values = ", ".join(f"{value.name} {shown(value.a)} → {shown(value.b)}" for value in change.values)
    return f"{change.kind} {change.class_b or change.class_a or 'object'}{f': {values}' if values else ''}"


def _picture(encoded: bytes, objects: Sequence[ObjectChange], item: DataDifference) -> str:
    known = picture_size(encoded)
    if known is None:
        return "<p>A picture of a kind that is not drawn here.</p>"
    kind, width, height = known
    parts = [
        f'<svg viewBox="0 0 {width} {height}">',
        f'<image width="{width}" height="{height}" href="data:{kind};base64,{base64.b64encode(encoded).decode()}"/>',
    ]
    for change in objects:
        for box, which in ((change.box_a, "old"), (change.box_b, "new")):
            if box is not None and not (change.kind == "changed" and which == "old"):
                parts.append(_rectangle(box, "both" if change.kind == "changed" else which, _object(change), has_corners=item.has_corners))
    return "".join([*parts, "</svg>"])


def _rectangle(box: tuple[float, ...], which: str, words: str, *, has_corners: bool) -> str:
    left, top, width, height = box
    if has_corners:
        width, height = width - left, height - top
    size = f'x="{left:g}" y="{top:g}" width="{max(width, 0):g}" height="{max(height, 0):g}"'
    return f'<rect class="{which}" {size}><title>{escape(words)}</title></rect>'


def _metrics(a: Sequence[MetricPoint], b: Sequence[MetricPoint]) -> Iterator[str]:
    names = sorted({name for point in (*a, *b) for name in point.values if not name.startswith(SYSTEM)})
    drawn = []
    for name in names:
        ours, theirs = ([(point.step, point.values[name]) for point in points if name in point.values] for points in (a, b))
        if (drawing := curves(name, ours, theirs)) is not None:
            drawn.append(f"<figure>{drawing}<figcaption>{escape(name)}</figcaption></figure>")
    if drawn:
        legend = '<p><span class="old-word">dashed: a</span>, <span class="new-word">solid: b</span>.</p>'
        yield f'<h2>Metrics</h2>{legend}<div class="rows">{"".join(drawn)}</div>'
