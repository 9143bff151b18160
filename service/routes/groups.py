"""``/api/v1/groups``: runs put together, with the spread of their metrics."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from lineage.errors import UsageError
from lineage.model.run import Run
from service import examples
from service.dependencies import PortsOf
from service.entity import entity
from service.listing import MOST, RunConditions, RunFilters, find_page
from service.pages.columns import CONFIG, GROUPING, Column, column, metric_names
from service.pages.grouping import grouped
from service.problems import responses
from service.schemas import RunGroup, RunGroups, Spread

router = APIRouter(prefix="/api/v1", tags=["runs"])

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
