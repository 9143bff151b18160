"""``/api/v1/models``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from lineage.lookup.data import inherited_by
from lineage.lookup.models import models_of_dataset
from lineage.lookup.runs import runs_behind
from service import examples
from service.dependencies import ModelDigest, PortsOf
from service.entity import entity
from service.listing import dataset_address
from service.problems import responses
from service.schemas import ModelData, Models, model_data, models_seen

router = APIRouter(prefix="/api/v1/models", tags=["models"])


@router.get("", response_model=Models, responses={200: examples.models(), 304: examples.NOT_MODIFIED, **responses(400, 422)})
def list_models(
    request: Request,
    ports: PortsOf,
    dataset: Annotated[
        str, Query(description="Address of the dataset.", max_length=2000, pattern=r"^[^\x00]*$", examples=["s3://pictures/visdrone-train"])
    ],
    commit: Annotated[str | None, Query(description="Only its version with this commit id.", max_length=500, pattern=r"^[^\x00]*$")] = None,
    view: Annotated[str | None, Query(description="Only its view of this name or id.", max_length=500)] = None,
) -> Response:
    """Models that were made from a dataset, newest first, then those that were fine-tuned from them."""
    address = dataset_address(dataset)
    found = models_of_dataset(ports.runs, ports.liveness, ports.rows, address, commit_id=commit, view=view)
    return entity(request, Models(models=models_seen(found)))


@router.get(
    "/{digest}/data", response_model=ModelData, responses={200: examples.model_data(), 304: examples.NOT_MODIFIED, **responses(404, 422)}
)
def show_model_data(request: Request, ports: PortsOf, digest: ModelDigest) -> Response:
    """Which data made this model: the runs that made it, newest first, and what each of them read."""
    found, _ = runs_behind(ports.runs, ports.liveness, digest)
    return entity(request, model_data(digest, ((run, inherited_by(ports.runs, ports.rows, run)) for run in found)))
