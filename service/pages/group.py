"""A group of runs: mean, deviation and extremes of its metrics as bands, and what differs inside; several groups over one another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import Field

from lineage.errors import UsageError
from lineage.lookup.groups import MOST_POINTS, compare_groups, group_of, groups
from lineage.model.group import Group
from lineage.model.run import RunState
from service import charts
from service.dependencies import PortsOf
from service.pages.addresses import group_address
from service.pages.columns import ASIDE
from service.pages.rendering import html
from service.routes.groups import MOST_MEMBERS, GroupName

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

MOST = 6
"""Groups that are laid over one another, at most: as many as lines can be told apart."""

_OFFERED = 500  # runs among which other groups are looked for

_Word = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]


@router.get("/groups")
def groups_page() -> Response:
    """Runs put together by their group."""
    return RedirectResponse("/runs?by=group")


@router.get("/groups/{name:path}")
def group_page(
    ports: PortsOf,
    name: GroupName,
    project: _Word | None = None,
    others: Annotated[list[_Word] | None, Query(alias="with", max_length=40)] = None,
    metric: Annotated[list[_Word] | None, Query(max_length=40)] = None,
    axis: _Word | None = None,
) -> Response:
    """One group, or several over one another (``with``)."""
    names = list(dict.fromkeys([name, *(other for other in others or () if other)]))
    if len(names) > MOST:
        raise UsageError(f"{len(names)} groups cannot be laid over each other", hint=f"name at most {MOST}")
    wanted = [word for word in metric or () if word]
    project, axis = project or None, axis or None  # a form sends its empty fields, too
    found = [
        group_of(ports, word, project=project, metrics=wanted, axis=axis, machine=True, points=MOST_POINTS, most=MOST_MEMBERS)
        for word in names
    ]
    metrics = list(dict.fromkeys(item.name for one in found for item in one.metrics))
    drawn = [word for word in metrics if word not in {item.axis for one in found for item in one.metrics}]
    near = [item.name for item in groups(ports.runs, ports.liveness, found[0].project, _OFFERED) if item.name not in names]
    return html(
        "group.html",
        groups=found,
        between=compare_groups(ports, found) if len(found) > 1 else None,
        metrics=[(word, [_end(one, word) for one in found]) for word in metrics],
        charts=[chart for word in drawn if not word.startswith(ASIDE) and (chart := _chart(found, word)) is not None],
        charts_aside=[chart for word in drawn if word.startswith(ASIDE) and (chart := _chart(found, word)) is not None],
        sources=json.dumps([_source(one, wanted, axis) for one in found]),
        near=list(dict.fromkeys(near)),
        axis=axis,
        axes=[word for word in metrics if not word.startswith(ASIDE)],
        wanted=wanted,
        group_address=group_address,
    )


def _end(group: Group, name: str) -> object:
    return next((item.end for item in group.metrics if item.name == name), None)


def _chart(groups: Sequence[Group], name: str) -> charts.Bands | None:
    found = [next((item for item in group.metrics if item.name == name), None) for group in groups]
    axis = next((item.axis for item in found if item is not None), "step")
    return charts.bands(name, [None if item is None else item.over for item in found], axis)


def _source(group: Group, metrics: Sequence[str], axis: str | None) -> dict[str, object]:
    """Where the browser asks for the same, and whether it will grow."""
    asked = [("project", group.project), ("points", str(MOST_POINTS)), ("machine", "true"), *(("metric", word) for word in metrics)]
    query = urlencode([*asked, *([("axis", axis)] if axis else [])])
    goes_on = any(member.state is RunState.running for member in group.members)
    return {"name": group.name, "address": f"/api/v1/groups/{quote(group.name, safe='')}?{query}", "goes_on": goes_on}
