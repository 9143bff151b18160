"""``/api/v1/lineage``: where things come from and where they went, from any node."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from lineage.lookup.graph_names import whole_name
from lineage.lookup.runs import get_run
from lineage.lookup.surroundings import surroundings
from lineage.model.graph import MOST_DEPTH, MOST_NODES, Direction, Graph, node_id
from lineage.ports import Ports
from service import examples
from service.dependencies import PortsOf, RunName
from service.entity import entity
from service.problems import responses

router = APIRouter(prefix="/api/v1", tags=["lineage"])

_ANSWERS: dict[int | str, dict[str, Any]] = {200: examples.graph(), 304: examples.NOT_MODIFIED, **responses(400, 404, 422)}


class Extent(BaseModel):
    """How much of the graph around a node is told."""

    direction: Direction = Field("both", description="`up`: what it comes from. `down`: what came from it.")
    depth: int = Field(8, ge=0, le=MOST_DEPTH, description="So many steps away at most.")
    limit: int = Field(60, ge=1, le=MOST_NODES, description="So many nodes at most, without those that stand for what is left out.")
    link: str | None = Field(
        None, max_length=20, description="From the first node only follow links of this kind: `link` of a `more` node."
    )
    skip: int = Field(0, ge=0, lt=2**31, description="From the first node leave out so many of each kind: `skip` of a `more` node.")


class NodeAndExtent(Extent):
    """A node, and how much of the graph around it is told."""

    node: str = Field(
        max_length=2_000,
        description="`run:ID`, `file:DIGEST`, `version:DATASET@COMMIT` or `view:DATASET@COMMIT@DIGEST`, as `id` of a node; also `run:` and"
        " a unique prefix.",
        examples=["run:4f0c2a"],
    )


@router.get("/lineage", response_model=Graph, responses=_ANSWERS)
def show_lineage(request: Request, ports: PortsOf, asked: Annotated[NodeAndExtent, Query()]) -> Response:
    """Dataset versions, views, runs and models around a node, and the steps between them, in the direction of time.

    `more` nodes say what was left out, and how to ask for it. Records of others may hold cycles: they are shown, and marked.
    """
    return _answer(request, ports, whole_name(ports, asked.node), asked)


@router.get("/runs/{id}/lineage", response_model=Graph, responses=_ANSWERS, tags=["runs"])
def show_run_lineage(request: Request, ports: PortsOf, name: RunName, asked: Annotated[Extent, Query()]) -> Response:
    """Where a run's result comes from, through the models it was fine-tuned from, and where its models went; reproductions, too."""
    return _answer(request, ports, node_id("run", (get_run(ports.runs, ports.liveness, name).id,)), asked)


def _answer(request: Request, ports: Ports, start: str, asked: Extent) -> Response:
    found = surroundings(ports, start, direction=asked.direction, depth=asked.depth, limit=asked.limit, link=asked.link, skip=asked.skip)
    return entity(request, found)
