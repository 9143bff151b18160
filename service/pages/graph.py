"""The lineage graph as a drawing that is a page of links."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from lineage.lookup.graph_drawing import COLOURS, details_of, draw_svg, kind_of, sentence_of, title_of
from lineage.lookup.graph_names import whole_name
from lineage.lookup.runs import get_run
from lineage.lookup.surroundings import surroundings
from lineage.model.graph import MOST_DEPTH, Direction, Graph, MoreNode, RunNode, node_id
from lineage.ports import Ports
from service.dependencies import PortsOf, RunName
from service.pages.addresses import address_of, lineage_address
from service.pages.rendering import html

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_MOST_DRAWN = 200

DirectionOf = Annotated[Direction, Query()]
DepthOf = Annotated[int, Query(ge=0, le=MOST_DEPTH)]
LimitOf = Annotated[int, Query(ge=1, le=_MOST_DRAWN)]


@router.get("/runs/{id}/lineage")
def run_lineage_page(ports: PortsOf, name: RunName, direction: DirectionOf = "both", depth: DepthOf = 8, limit: LimitOf = 60) -> Response:
    """Where a run's result comes from and where it went."""
    return _page(ports, node_id("run", (get_run(ports.runs, ports.liveness, name).id,)), direction, depth, limit)


@router.get("/lineage")
def lineage_page(
    ports: PortsOf,
    node: Annotated[str, Query(max_length=2_000)],
    direction: DirectionOf = "both",
    depth: DepthOf = 8,
    limit: LimitOf = 60,
    link: Annotated[str | None, Query(max_length=20)] = None,
    skip: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    """What is around any node."""
    return _page(ports, whole_name(ports, node), direction, depth, limit, link, skip)


def _page(ports: Ports, start: str, direction: Direction, depth: int, limit: int, link: str | None = None, skip: int = 0) -> Response:
    graph = surroundings(ports, start, direction=direction, depth=depth, limit=limit, link=link or None, skip=skip)
    first = next(node for node in graph.nodes if node.id == graph.start)
    given = {"direction": direction, "depth": depth, "limit": limit}
    return html(
        "graph.html",
        graph=graph,
        first=first,
        kind=kind_of(first),
        title=title_of(first),
        details=details_of(first),
        address=None if isinstance(first, MoreNode) else address_of(first),
        # Escaped where it is drawn, like every recorded text.
        drawing=Markup(draw_svg(graph, address_of)),
        colours=COLOURS,
        said={node.id: sentence_of(node) for node in graph.nodes},
        centre=lineage_address,
        given=given,
        link=link or "",
        skip=skip,
        counted=_counted(graph),
        start_of_run=first.run_id if isinstance(first, RunNode) else None,
        most_drawn=_MOST_DRAWN,
        most_depth=MOST_DEPTH,
    )


def _counted(graph: Graph) -> list[tuple[str, int]]:
    """How many nodes there are of each kind."""
    kinds = [kind_of(node) for node in graph.nodes]
    return [(kind, kinds.count(kind)) for kind in COLOURS if kind in kinds and kind != "more"]
