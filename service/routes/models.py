"""``/api/v1/models``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from lineage.lookup.data import inherited_by
from lineage.lookup.runs import runs_behind
from service import examples
from service.dependencies import ModelDigest, PortsOf
from service.entity import entity
from service.problems import responses
from service.schemas import ModelData, model_data

router = APIRouter(prefix="/api/v1/models", tags=["models"])


@router.get(
    "/{digest}/data", response_model=ModelData, responses={200: examples.model_data(), 304: examples.NOT_MODIFIED, **responses(404, 422)}
)
def show_model_data(request: Request, ports: PortsOf, digest: ModelDigest) -> Response:
    """Which data made this model: the runs that made it, newest first, and what each of them read."""
    found, _ = runs_behind(ports.runs, ports.liveness, digest)
    return entity(request, model_data(digest, ((run, inherited_by(ports.runs, ports.rows, run)) for run in found)))
