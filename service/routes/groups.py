"""``/api/v1/groups``: runs put together, with the spread of their metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from lineage.errors import UsageError
from lineage.lookup.groups import group_of, members_of
from lineage.model.group import Group
from lineage.model.run import Run
from lineage.ports import Ports
from service import examples
from service.dependencies import PortsOf
from service.entity import entity, is_known
from service.listing import MOST, RunConditions, RunFilters, find_page
from service.pages.columns import CONFIG, GROUPING, Column, column, metric_names
from service.pages.grouping import grouped
from service.problems import responses
from service.schemas import RunGroup, RunGroups, Spread

router = APIRouter(prefix="/api/v1", tags=["runs"])

MOST_MEMBERS = 500
"""Runs of one group that are looked at: the newest ones."""

_MOST_RUNS = 2_000
_MOST_NAMED = 100


_Key = Annotated[str, Field(max_length=200)]


class GroupQuery(RunConditions):
    """Which runs, and what to put them together by."""

    by: list[_Key] = Field(
        ["group"],
        max_length=5,
        description=f"`{'`, `'.join(GROUPING)}`, or `config:` and a field's dotted name; may be repeated.",
        examples=[["group"], ["config:optimizer.learning_rate"]],
    )
    metric: list[_Key] = Field([], max_length=50, description="Only these metrics; all by default.")


GroupName = Annotated[
    str, Path(description="Name of the group.", min_length=1, max_length=500, pattern=r"^[^\x00]*$", examples=["ECACIFAR"])
]


class OneGroup(BaseModel):
    """What is told of a group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")] | None = Field(
        None, description="Of its runs; needed where several projects have a group of this name.", examples=["eca"]
    )
    metric: list[_Key] = Field([], max_length=50, description="Only these metrics; all by default.", examples=[["val_accuracy"]])
    axis: _Key | None = Field(
        None, description="`step`, or a metric that takes the step's place. By default what `define_metric` said.", examples=["epoch"]
    )
    machine: bool = Field(False, description="Also metrics of the machine: `system/…` and `timing/…`.")
    points: int | None = Field(None, ge=4, le=1_000_000, description="At most about so many steps of each metric, for drawing.")


@router.get("/groups", response_model=RunGroups, responses={200: examples.run_groups(), 304: examples.NOT_MODIFIED, **responses(400, 422)})
def list_groups(request: Request, ports: PortsOf, asked: Annotated[GroupQuery, Query()]) -> Response:
    """Runs that share a group (or another fact), with mean, standard deviation, least and greatest last value of each metric.

    Looks at the newest 2,000 runs that fit.
    """
    by = [_column(key) for key in asked.by]
    runs, is_whole = _newest(ports, asked)
    metrics = asked.metric or metric_names(runs)
    groups = tuple(
        RunGroup(
            values=part.values,
            runs=len(part.runs),
            run_ids=tuple(run.id for run in part.runs[:_MOST_NAMED]),
            metrics=tuple(
                Spread(metric=name, count=found.count, mean=found.mean, std=found.deviation, min=found.low, max=found.high)
                for name, found in part.spreads.items()
                if found is not None
            ),
        )
        for part in grouped(runs, by, metrics)
    )
    return entity(request, RunGroups(by=tuple(asked.by), runs=len(runs), is_whole=is_whole, groups=groups))


@router.get(
    "/groups/{name:path}", response_model=Group, responses={200: examples.group(), 304: examples.NOT_MODIFIED, **responses(400, 404, 422)}
)
def get_group(request: Request, ports: PortsOf, name: GroupName, asked: Annotated[OneGroup, Query()]) -> Response:
    """Mean, standard deviation of the sample, least and greatest of each metric, per step and at the end; and what differs inside.

    Looks at the newest 500 runs. Those that failed, were broken off, or reproduce another run do not count. Nothing is interpolated: `n`
    says how many runs have a value at a step.
    """
    members = members_of(ports, name, asked.project, MOST_MEMBERS + 1)
    headers = group_headers(request, ports, members)
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    found = group_of(
        ports,
        name,
        project=members[0].project,
        metrics=asked.metric,
        axis=asked.axis,
        machine=asked.machine,
        points=asked.points,
        most=MOST_MEMBERS,
    )
    return Response(found.model_dump_json(), media_type="application/json", headers=headers)


def group_headers(request: Request, ports: Ports, members: Sequence[Run]) -> dict[str, str]:
    """An ETag of how far each record has got: no point is read for the answer that nothing is new."""
    places = [(run, ports.runs.position(run.id)) for run in members]
    told = [f"{run.id} {run.state.value} {place.digest} {place.points}" for run, place in places]
    # Another version of the service may thin the same points in another way.
    words = "\n".join([request.app.version, request.url.path, request.url.query, *told])
    return {"ETag": f'"{hashlib.sha256(words.encode()).hexdigest()[:32]}"', "Cache-Control": "no-cache"}


def _column(key: str) -> Column:
    found = column(key) if key in GROUPING or key.startswith(CONFIG) else None
    if found is None:
        raise UsageError(f"runs cannot be put together by '{key}'", hint=f"known: {', '.join(GROUPING)}, {CONFIG}NAME")
    return found


def _newest(ports: PortsOf, asked: GroupQuery) -> tuple[list[Run], bool]:
    conditions = asked.model_dump(include=set(RunConditions.model_fields))
    found: list[Run] = []
    cursor: str | None = None
    while len(found) < _MOST_RUNS:
        page = find_page(ports, RunFilters(**conditions, cursor=cursor, limit=MOST))
        found += page.runs
        cursor = page.next_cursor
        if cursor is None:
            return found, True
    return found[:_MOST_RUNS], False
