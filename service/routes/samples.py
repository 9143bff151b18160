"""``/api/v1/samples`` and ``/api/v1/datasets``: who saw this?"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from lineage.lookup.models import exposures_of_version, models_of, occurrences_of
from lineage.lookup.rows import exposures
from service import examples
from service.dependencies import PortsOf
from service.entity import entity
from service.problems import responses
from service.schemas import Seen, seen

router = APIRouter(prefix="/api/v1", tags=["samples"])

_ANSWERS: dict[int | str, dict[str, Any]] = {200: examples.seen(), 304: examples.NOT_MODIFIED, **responses(404, 422)}

PictureDigest = Annotated[
    str,
    Path(
        alias="digest",
        description="Digest of the picture's file: `sha256:` and 64 hexadecimal digits, as `sha256sum` prints them.",
        pattern=r"^sha256:[0-9a-f]{64}$",
    ),
]


@router.get("/samples/{digest}/runs", response_model=Seen, responses=_ANSWERS)
def show_runs_of_picture(request: Request, ports: PortsOf, digest: PictureDigest) -> Response:
    """Which runs read this picture, whatever its file was called, and which models were made from it."""
    found = exposures(ports.rows, occurrences_of(ports.rows, ports.objects, image=digest))
    return entity(request, seen(found, models_of(ports.rows, found)))


@router.get("/samples", response_model=Seen, responses=_ANSWERS)
def show_runs_of_sample(
    request: Request,
    ports: PortsOf,
    sample_id: Annotated[str, Query(alias="id", description="The sample's id, as in the dataset's column `sample_id`.", max_length=1000)],
) -> Response:
    """Which runs read this sample, and which models were made from it."""
    found = exposures(ports.rows, occurrences_of(ports.rows, ports.objects, sample=sample_id))
    return entity(request, seen(found, models_of(ports.rows, found)))


@router.get("/datasets/{id}/versions/{commit}/runs", response_model=Seen, responses=_ANSWERS)
def show_runs_of_version(
    request: Request,
    ports: PortsOf,
    dataset_id: Annotated[str, Path(alias="id", description="The dataset's id, as records hold it.", max_length=200)],
    commit_id: Annotated[str, Path(alias="commit", description="The dataset's commit id. Not a git commit.", max_length=200)],
) -> Response:
    """Which runs read this version of a dataset, wherever it was, and which models were made from it."""
    found = exposures_of_version(ports.runs, ports.liveness, dataset_id, commit_id)
    return entity(request, seen(found, models_of(ports.rows, found)))
