"""``/api/v1/sweeps``."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Path, Query, Request, Response

from lineage.lookup.sweeps import sweep_named, sweep_of
from lineage.model.sweep import Goal
from lineage.model.sweep_findings import SweepReport
from service import example_sweeps, examples
from service.dependencies import PortsOf
from service.entity import entity
from service.listing import MOST
from service.problems import responses
from service.schemas_sweeps import SweepPage
from service.sweep_reports import SweepReports, sweep_page

router = APIRouter(prefix="/api/v1/sweeps", tags=["sweeps"])

SweepId = Annotated[
    str,
    Path(alias="id", description="Sweep id: 8 letters and digits, or a unique prefix.", pattern=r"^[0-9a-z]{1,8}$", examples=["k3x9a2mf"]),
]
MetricOf = Annotated[
    str | None, Query(max_length=500, pattern=r"^[^\x00]*$", description="Another metric than the one that the sweep is about.")
]
GoalOf = Annotated[Goal | None, Query(description="Another goal than the sweep's.")]
StoppedOf = Annotated[bool, Query(description="Count trials that were stopped early, by the value that decided it.")]


def reports_of(request: Request) -> SweepReports:
    """What the app keeps of importance."""
    return cast(SweepReports, request.app.state.sweep_reports)


@router.get("", response_model=SweepPage, responses={200: example_sweeps.page(), 304: examples.NOT_MODIFIED, **responses(400, 422)})
def list_sweeps(
    request: Request,
    ports: PortsOf,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="At most so many sweeps.")] = 25,
) -> Response:
    """Sweeps that recorded runs belong to, newest first, a page at a time."""
    return entity(request, sweep_page(ports, limit, cursor))


@router.get(
    "/{id}", response_model=SweepReport, responses={200: example_sweeps.report(), 304: examples.NOT_MODIFIED, **responses(400, 404, 422)}
)
def show_sweep(
    request: Request,
    ports: PortsOf,
    sweep_id: SweepId,
    metric: MetricOf = None,
    goal: GoalOf = None,
    with_stopped: StoppedOf = False,
) -> Response:
    """Trials of a sweep with their parameters and results, the best one, and which parameter mattered, or why that cannot be told.

    `importance` is `null`, and `refused` says why, under 20 complete trials, for a metric that is the same in all of them, and when no
    parameter varies.
    """
    view = sweep_of(ports, sweep_named(ports, sweep_id), metric=metric or None, goal=goal)
    return entity(request, reports_of(request).report(view, with_stopped=with_stopped))
