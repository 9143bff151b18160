"""A lineage graph as an SVG drawing, and in the language of Graphviz. Every recorded text is escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import assert_never

from lineage.lookup.graph_layout import Layout, Point, lay_out
from lineage.model.graph import Edge, FileNode, Graph, MoreNode, Node, RunNode, VersionNode, ViewNode

_WIDTH, _HEIGHT, _MARGIN = 196, 46, 16
_LETTERS = {12.5: 24, 10: 33, 9.5: 33}
"""How many letters of a usual width fit into a box, by their size."""

COLOURS: dict[str, tuple[str, str]] = {
    "dataset version": ("#dbeafe", "#1d4ed8"),
    "view": ("#ede9fe", "#6d28d9"),
    "run": ("#dcfce7", "#15803d"),
    "model": ("#fef3c7", "#b45309"),
    "file": ("#f1f5f9", "#475569"),
    "more": ("#ffffff", "#6b7280"),
}
"""Fill and edge of each kind of box, which also says its kind in words. Text on it is nearly black, on dark pages, too."""
_LINE, _LOOP, _TEXT, _FAILED = "#6b7280", "#b91c1c", "#111827", "#b91c1c"


def kind_of(node: Node) -> str:
    """What a node is, in words."""
    if isinstance(node, VersionNode):
        return "dataset version"
    if isinstance(node, FileNode):
        return "model" if node.file_kind == "model" else "file"
    return node.kind


def title_of(node: Node) -> str:
    """What a node is called."""
    match node:
        case VersionNode():
            return _last(node.uri) or node.dataset_id
        case ViewNode():
            return node.name or f"rows {node.content_digest.partition(':')[2][:12]}"
        case RunNode():
            return node.name or node.run_id[:12]
        case FileNode():
            return _last(node.name) or node.digest.partition(":")[2][:12]
        case MoreNode():
            return f"{node.count} more"
    assert_never(node)


def details_of(node: Node) -> str:
    """The line under its name."""
    match node:
        case VersionNode():
            return f"@ {node.commit_id}"
        case ViewNode():
            return f"@ {node.commit_id}"
        case RunNode():
            if node.name is None:
                return "not in this store"
            return f"{node.project} · {node.state} · {(node.started_at or '')[:10]}"
        case FileNode():
            return node.digest.partition(":")[2][:12]
        case MoreNode():
            return "earlier" if node.direction == "up" else "later"
    assert_never(node)


def sentence_of(node: Node) -> str:
    """A node for those who do not see the drawing, and where there is room."""
    if isinstance(node, MoreNode):
        return f"{node.count} more that are not shown ({node.link}); open them"
    of = f" of {_last(node.uri) or node.dataset_id}" if isinstance(node, ViewNode) else ""
    return f"{kind_of(node)} {title_of(node)}{of}, {details_of(node)}"


def draw_svg(graph: Graph, href: Callable[[Node], str | None]) -> str:
    """The graph as an ``svg`` element of its natural size. It needs no style sheet and no script.

    Args:
        graph: The graph.
        href: Address that a node leads to, if any.
    """
    layout = lay_out(graph)
    width, height = layout.width + _WIDTH + 2 * _MARGIN, layout.height + _HEIGHT + 2 * _MARGIN
    dx, dy = _MARGIN + _WIDTH / 2, _MARGIN + _HEIGHT / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
        f' font-family="system-ui, sans-serif" role="group" aria-label="Lineage graph, {len(graph.nodes)} nodes">',
        "<defs>",
        *(
            f'<marker id="arrow-{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0.5 7.5 4 0 7.5z" fill="{colour}"/></marker>'
            for name, colour in (("way", _LINE), ("loop", _LOOP))
        ),
        "</defs>",
        f'<g transform="translate({dx:g} {dy:g})">',
    ]
    for edge, way in zip(graph.edges, layout.ways, strict=True):
        parts += _edge(edge, way)
    # In the order in which people read: that is also the order of the keyboard.
    for node in sorted(graph.nodes, key=lambda node: layout.places[node.id]):
        parts += _box(node, layout, href(node), is_start=node.id == graph.start)
    return "\n".join([*parts, "</g>", "</svg>"])


def _box(node: Node, layout: Layout, address: str | None, *, is_start: bool) -> Iterator[str]:
    x, y = layout.places[node.id]
    fill, edge = COLOURS[kind_of(node)]
    if isinstance(node, RunNode) and node.state in ("failed", "aborted"):
        edge = _FAILED
    dashes = ' stroke-dasharray="4 3"' if isinstance(node, MoreNode) or (isinstance(node, RunNode) and node.name is None) else ""
    current = ' aria-current="true"' if is_start else ""
    said = escape(sentence_of(node), quote=True)
    if address is None:
        yield f'<g role="img" aria-label="{said}"{current}>'
    else:
        yield f'<a href="{escape(address, quote=True)}" aria-label="{said}"{current}>'
    yield f"<title>{said}</title>"
    yield (
        f'<rect x="{x - _WIDTH / 2:g}" y="{y - _HEIGHT / 2:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="7" fill="{fill}" stroke="{edge}"'
        f' stroke-width="{3 if is_start else 1.4}"{dashes}/>'
    )
    left = x - _WIDTH / 2 + 10
    lines = ((y - 10, 9.5, edge, kind_of(node)), (y + 3, 12.5, _TEXT, title_of(node)), (y + 16, 10, _TEXT, details_of(node)))
    for at, size, colour, text in lines if not isinstance(node, MoreNode) else ((y + 4, 12.5, _TEXT, f"… {title_of(node)}"),):
        yield f'<text x="{left:g}" y="{at:g}" font-size="{size}" fill="{colour}">{escape(_shortened(text, _LETTERS[size]))}</text>'
    yield "</g>" if address is None else "</a>"


def _edge(edge: Edge, way: Sequence[Point]) -> Iterator[str]:
    colour, marker = (_LOOP, "loop") if edge.in_cycle else (_LINE, "way")
    ahead = (way[-1][0] > way[0][0]) - (way[-1][0] < way[0][0])
    half = _WIDTH / 2
    if ahead == 0:  # within a column, or to itself: around the right side
        (x, y), (_, end) = way[0], way[-1]
        drop = 18 if y == end else 0
        start, out = x + half, x + half + 46
        path = f"M{start:g} {y - drop / 2:g}C{out:g} {y - drop:g} {out:g} {end + drop:g} {start:g} {end + drop / 2:g}"
        label, anchor = (start + 36, (y + end) / 2), "start"
    else:
        points = [(way[0][0] + ahead * half, way[0][1])]
        for x, y in way[1:-1]:  # straight through the column, beside its boxes
            points += [(x - ahead * half, y), (x + ahead * half, y)]
        points.append((way[-1][0] - ahead * half, way[-1][1]))
        path = f"M{points[0][0]:g} {points[0][1]:g}"
        for number, ((x1, y1), (x2, y2)) in enumerate(pairwise(points)):
            middle = (x1 + x2) / 2
            path += f"L{x2:g} {y2:g}" if number % 2 else f"C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"
        # Beside the end where fewer labels meet: a run reads several views, and has several repetitions.
        at_source = edge.kind == "reads"
        (x, y), (_, other) = (points[0], points[1]) if at_source else (points[-1], points[-2])
        y += -1 if y <= other + 1 else 16  # on the side to which the line does not bend
        label, anchor = (x + (ahead if at_source else -ahead) * 11, y), "start" if at_source == (ahead > 0) else "end"
    dashes = ' stroke-dasharray="4 3"' if edge.kind in ("more", "repeats") else ""
    yield f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.4"{dashes} marker-end="url(#arrow-{marker})"/>'
    text = _word(edge)
    if text:
        yield (
            f'<text x="{label[0]:g}" y="{label[1] - 4:g}" font-size="9.5" fill="{colour}" text-anchor="{anchor}">'
            f"{escape(_shortened(text, 12))}</text>"
        )


def _word(edge: Edge) -> str:
    word = edge.label or {"repeats": "repeated", "uploads": "uploaded"}.get(edge.kind, "")
    return f"{word} ↺".strip() if edge.in_cycle else word


def draw_dot(graph: Graph) -> str:
    """The graph in the language of Graphviz."""
    lines = ["digraph lineage {", "  rankdir=LR;", '  node [shape=box, style="rounded,filled", fontname="sans-serif"];']
    for node in graph.nodes:
        fill, edge = COLOURS[kind_of(node)]
        label = "\\n".join(_dotted(text) for text in (kind_of(node), title_of(node), details_of(node)))
        lines.append(f'  "{_dotted(node.id)}" [label="{label}", fillcolor="{fill}", color="{edge}"];')
    for way in graph.edges:
        lines.append(f'  "{_dotted(way.source)}" -> "{_dotted(way.target)}" [label="{_dotted(_word(way))}"];')
    return "\n".join([*lines, "}", ""])


def _dotted(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text).replace("\\", "\\\\").replace('"', '\\"')


def _shortened(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _last(path: str | None) -> str:
    return (path or "").rstrip("/").rpartition("/")[2]
