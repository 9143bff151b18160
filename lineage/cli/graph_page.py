"""A lineage graph as one HTML page that needs nothing but itself: no script, no style from elsewhere."""

from __future__ import annotations

from html import escape

from lineage.lookup.graph_drawing import COLOURS, draw_svg, sentence_of
from lineage.model.graph import Graph

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem}h1{font-size:1.4rem}
.graph{overflow:auto;border:1px solid #8884;border-radius:6px}.graph svg{display:block}
ul{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;list-style:none;padding:0}li svg{vertical-align:-2px;margin-right:.4rem}
"""


def graph_page(graph: Graph) -> str:
    """The whole page."""
    start = next(node for node in graph.nodes if node.id == graph.start)
    title = escape(f"Lineage of {sentence_of(start)}")
    legend = "".join(
        '<li><svg width="14" height="14" aria-hidden="true">'
        f'<rect x="1" y="1" width="12" height="12" rx="3" fill="{fill}" stroke="{edge}"/></svg>{escape(kind)}</li>'
        for kind, (fill, edge) in COLOURS.items()
    )
    notes = []
    if not graph.is_whole:
        notes.append("<p>Some nodes are left out; boxes with dashed lines tell how many.</p>")
    if graph.has_cycle:
        notes.append("<p>Red arrows lie on a cycle: some record says that a run started from what came of it.</p>")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body><h1>{title}</h1>'
        f'<ul aria-label="Legend">{legend}</ul>{"".join(notes)}<div class="graph">{draw_svg(graph, lambda _: None)}</div></body></html>\n'
    )
