"""``/healthz``."""

from __future__ import annotations

from fastapi import APIRouter, Request

from service.dependencies import PortsOf
from service.problems import responses
from service.schemas import Health

router = APIRouter(tags=["service"])


@router.get("/healthz", responses=responses(503))
def healthz(request: Request, ports: PortsOf) -> Health:
    """Whether the service answers and its store does."""
    ports.runs.ids_with_prefix("", 1)
    return Health(version=request.app.version)
