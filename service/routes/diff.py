"""``/api/v1/diff``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from lineage.lookup.diff import diff_runs
from lineage.lookup.runs import get_run
from lineage.lookup.steps import compare_steps
from lineage.model.difference import Difference
from lineage.model.steps import StepsCompared
from service import example_findings, examples
from service.dependencies import PortsOf
from service.entity import entity
from service.problems import responses

router = APIRouter(prefix="/api/v1", tags=["runs"])

_ALSO: dict[int | str, dict[str, Any]] = {304: examples.NOT_MODIFIED, **responses(400, 404, 422)}

_Name = Annotated[str, Query(max_length=64, description="Run id, or a unique prefix of one.", examples=["4f0c2a"])]


@router.get(
    "/diff",
    response_model=Difference,
    responses={200: example_findings.difference(), **_ALSO},
)
def show_difference(
    request: Request,
    ports: PortsOf,
    a: _Name,
    b: _Name,
    role: Annotated[str | None, Query(description="Only the data of this role.", max_length=40)] = None,
) -> Response:
    """What differs between two runs, the likeliest cause of other results first.

    Rows are counted from their digests; no dataset and no repository is opened here. `lineage diff` also tells which boxes and which files
    of the code changed.
    """
    first, second = (get_run(ports.runs, ports.liveness, name) for name in (a, b))
    return entity(request, diff_runs(ports, first, second, rows=0, role=role, opens_repositories=False))


@router.get(
    "/diff/steps",
    response_model=StepsCompared,
    responses={200: example_findings.steps_compared(), **_ALSO},
)
def show_parting(
    request: Request,
    ports: PortsOf,
    a: _Name,
    b: _Name,
    rank: Annotated[int, Query(ge=0, lt=2**31, description="Which process of a distributed training.")] = 0,
) -> Response:
    """Where two trainings part, by their step logs: step, phase, and the rows of that step."""
    first, second = (get_run(ports.runs, ports.liveness, name) for name in (a, b))
    return entity(request, compare_steps(ports, first, second, rank))
