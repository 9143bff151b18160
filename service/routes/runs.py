"""``/api/v1/runs``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from lineage.lookup.runs import get_run
from lineage.model.run import Run
from service import examples
from service.dependencies import PortsOf, RunName
from service.entity import entity
from service.listing import RunFilters, find_page
from service.problems import responses
from service.schemas import RunData, RunMetrics, RunPage, brief, data_of, run_metrics

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])

_OF_ONE_RUN = {304: examples.NOT_MODIFIED, **responses(400, 404, 422)}


@router.get("", responses={200: examples.run_page(), **responses(400, 422)})
def list_runs(ports: PortsOf, filters: Annotated[RunFilters, Query()]) -> RunPage:
    """Runs that fit, newest first, a page at a time."""
    page = find_page(ports, filters)
    return RunPage(items=tuple(brief(run) for run in page.runs), next_cursor=page.next_cursor)


@router.get("/{id}", response_model=Run, responses={200: examples.run(), **_OF_ONE_RUN})
def show_run(request: Request, ports: PortsOf, name: RunName) -> Response:
    """Everything recorded of a run, as `lineage show --json` prints it."""
    return entity(request, get_run(ports.runs, ports.liveness, name))


@router.get("/{id}/data", response_model=RunData, responses={200: examples.run_data(), **_OF_ONE_RUN})
def show_run_data(request: Request, ports: PortsOf, name: RunName) -> Response:
    """What a run read, by role: dataset, commit id, view and rows."""
    return entity(request, data_of(get_run(ports.runs, ports.liveness, name)))


@router.get("/{id}/metrics", response_model=RunMetrics, responses={200: examples.run_metrics(), **_OF_ONE_RUN})
def show_run_metrics(request: Request, ports: PortsOf, name: RunName) -> Response:
    """Everything a run logged, one series for each metric."""
    found = get_run(ports.runs, ports.liveness, name)
    return entity(request, run_metrics(found.id, ports.runs.metrics(found.id)))
