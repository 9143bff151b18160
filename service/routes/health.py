"""``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.dependencies import PortsOf
from service.observe import figures_of_jobs
from service.problems import responses
from service.schemas import Health

router = APIRouter(tags=["service"])

_FIGURES: dict[str, Any] = {
    "content": {"text/plain": {"example": 'lineage_http_requests_total{method="GET",route="/api/v1/runs",status="200"} 7.0\n'}}
}


@router.get("/healthz", responses=responses(503))
def healthz(request: Request, ports: PortsOf) -> Health:
    """Whether the service answers and its store does."""
    ports.runs.ids_with_prefix("", 1)
    return Health(version=request.app.version)


@router.get("/readyz", responses=responses(503))
def readyz(request: Request, ports: PortsOf) -> Health:
    """Whether requests can be sent here: the store answers, and its schema is the one of this release."""
    ports.runs.ids_with_prefix("", 1)
    if request.app.state.tokens is not None:
        request.app.state.tokens.check()
    return Health(version=request.app.version)


@router.get("/metrics", response_class=Response, responses={200: _FIGURES})
def show_figures(request: Request) -> Response:
    """Figures for Prometheus: requests and their times by route, jobs that wait and run, memory and processor time."""
    state = request.app.state
    return Response(state.figures.text() + figures_of_jobs(state.jobs), media_type=CONTENT_TYPE_LATEST)
