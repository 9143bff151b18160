"""``/api/v1/samples`` and ``/api/v1/datasets``: who saw this?"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from lineage.errors import Unavailable
from lineage.lookup.impact import find_impact, require_one_subject, subject_by_name
from lineage.lookup.models import exposures_of_version, models_of, occurrences_of
from lineage.lookup.rows import exposures
from lineage.model.findings import ImpactReport
from lineage.ports import DatasetBackend
from service import example_findings, examples
from service.dependencies import PortsOf
from service.entity import entity
from service.problems import responses
from service.schemas import Seen, seen

router = APIRouter(prefix="/api/v1", tags=["samples"])

_NO_NUL = r"^[^\x00]*$"  # no database keeps it in a text

_ALSO: dict[int | str, dict[str, Any]] = {304: examples.NOT_MODIFIED, **responses(400, 404, 422)}
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


@router.get(
    "/impact",
    response_model=ImpactReport,
    responses={200: example_findings.impact(), **_ALSO},
)
def show_impact(
    request: Request,
    ports: PortsOf,
    sample: Annotated[str | None, Query(description="A sample id.", max_length=1000)] = None,
    image: Annotated[str | None, Query(description="Or the digest of a picture's file.", pattern=r"^sha256:[0-9a-f]{64}$")] = None,
) -> Response:
    """Every view, run and model that holds a sample or a picture, and what would have to be made again to do without it.

    From the records: no dataset is opened here, so queries for cleaned views are left to `lineage impact`.
    """
    require_one_subject(sample, image, None, None)
    closed = replace(ports, datasets=_not_opened)
    return entity(request, find_impact(closed, subject_by_name(closed, sample=sample, image=image)))


def _not_opened() -> DatasetBackend:
    # The addresses in records lead where those who wrote them like.
    raise Unavailable("the service opens no dataset", hint="`lineage impact` does")


@router.get("/datasets/{id}/versions/{commit}/runs", response_model=Seen, responses=_ANSWERS)
def show_runs_of_version(
    request: Request,
    ports: PortsOf,
    dataset_id: Annotated[str, Path(alias="id", description="The dataset's id, as records hold it.", max_length=200, pattern=_NO_NUL)],
    commit_id: Annotated[
        str, Path(alias="commit", description="The dataset's commit id. Not a git commit.", max_length=200, pattern=_NO_NUL)
    ],
) -> Response:
    """Which runs read this version of a dataset, wherever it was, and which models were made from it."""
    found = exposures_of_version(ports.runs, ports.liveness, dataset_id, commit_id)
    return entity(request, seen(found, models_of(ports.rows, found)))
