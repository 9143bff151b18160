"""``/api/v1/diff``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from lineage.lookup.diff import diff_runs
from lineage.lookup.runs import get_run
from lineage.model.difference import Difference
from service import examples
from service.dependencies import PortsOf
from service.entity import entity
from service.problems import responses

router = APIRouter(prefix="/api/v1", tags=["runs"])

_Name = Annotated[str, Query(max_length=64, description="Run id, or a unique prefix of one.")]


@router.get(
    "/diff", response_model=Difference, responses={200: examples.difference(), 304: examples.NOT_MODIFIED, **responses(400, 404, 422)}
)
def show_difference(
    request: Request,
    ports: PortsOf,
    a: _Name,
    b: _Name,
    role: Annotated[str | None, Query(description="Only the data of this role.", max_length=40)] = None,
) -> Response:
    """What differs between two runs, the likeliest cause of other results first.

    Rows are counted from their digests; no dataset is opened here. `lineage diff` also tells which boxes changed.
    """
    first, second = (get_run(ports.runs, ports.liveness, name) for name in (a, b))
    return entity(request, diff_runs(ports, first, second, rows=0, role=role))
