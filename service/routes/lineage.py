"""``/api/v1/lineage``: where things come from and where they went, from any node."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from lineage.lookup.graph_names import whole_name
from lineage.lookup.runs import get_run
from lineage.lookup.surroundings import surroundings
from lineage.model.graph import MOST_DEPTH, MOST_NODES, Direction, Graph, node_id
from service import examples
from service.dependencies import PortsOf, RunName
from service.entity import entity
from service.problems import responses

router = APIRouter(prefix="/api/v1", tags=["lineage"])

_ANSWERS: dict[int | str, dict[str, Any]] = {200: examples.graph(), 304: examples.NOT_MODIFIED, **responses(400, 404, 422)}

DirectionOf = Annotated[Direction, Query(description="`up`: what it comes from. `down`: what came from it.")]
DepthOf = Annotated[int, Query(ge=0, le=MOST_DEPTH, description="So many steps away at most.")]
LimitOf = Annotated[int, Query(ge=1, le=MOST_NODES, description="So many nodes at most, without those that stand for what is left out.")]
LinkOf = Annotated[
    str | None, Query(max_length=20, description="From the first node only follow links of this kind: `link` of a `more` node.")
]
SkipOf = Annotated[int, Query(ge=0, lt=2**31, description="From the first node leave out so many of each kind: `skip` of a `more` node.")]
NodeOf = Annotated[
    str,
    Query(
        max_length=2_000,
        description="`run:ID`, `file:DIGEST`, `version:DATASET@COMMIT` or `view:DATASET@COMMIT@DIGEST`, as `id` of a node; also `run:` and"
        " a unique prefix.",
        examples=["run:4f0c2a"],
    ),
]


@router.get("/lineage", response_model=Graph, responses=_ANSWERS)
def show_lineage(
    request: Request,
    ports: PortsOf,
    node: NodeOf,
    direction: DirectionOf = "both",
    depth: DepthOf = 8,
    limit: LimitOf = 60,
    link: LinkOf = None,
    skip: SkipOf = 0,
) -> Response:
    """Dataset versions, views, runs and models around a node, and the steps between them, in the direction of time.

    `more` nodes say what was left out, and how to ask for it. Records of others may hold cycles: they are shown, and marked.
    """
    start = whole_name(ports, node)
    return entity(request, surroundings(ports, start, direction=direction, depth=depth, limit=limit, link=link, skip=skip))


@router.get("/runs/{id}/lineage", response_model=Graph, responses=_ANSWERS, tags=["runs"])
def show_run_lineage(
    request: Request,
    ports: PortsOf,
    name: RunName,
    direction: DirectionOf = "both",
    depth: DepthOf = 8,
    limit: LimitOf = 60,
    link: LinkOf = None,
    skip: SkipOf = 0,
) -> Response:
    """Where a run's result comes from, through the models it was fine-tuned from, and where its models went; reproductions, too."""
    start = node_id("run", (get_run(ports.runs, ports.liveness, name).id,))
    return entity(request, surroundings(ports, start, direction=direction, depth=depth, limit=limit, link=link, skip=skip))
