"""``/healthz``."""

from __future__ import annotations

from fastapi import APIRouter, Request

from lineage.errors import LineageError, Unavailable
from service.dependencies import PortsOf
from service.problems import responses
from service.schemas import Health

router = APIRouter(tags=["service"])


@router.get("/healthz", responses=responses(503))
def healthz(request: Request, ports: PortsOf) -> Health:
    """Whether the service answers and its store does."""
    try:
        ports.runs.ids_with_prefix("", 1)
    except LineageError:
        raise
    except Exception as error:  # each store has errors of its own; to whoever asks for health they all mean the same
        raise Unavailable("the store does not answer", hint="the service's log has the details") from error
    return Health(version=request.app.version)
