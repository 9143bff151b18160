"""Runs side by side: data, code, environment, configuration, curves and what they made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import Field

from lineage.errors import LineageError, UsageError
from lineage.lookup.diff import diff_runs
from lineage.lookup.diff_causes import counts
from lineage.lookup.runs import get_run
from lineage.model.difference import DataDifference, Difference
from lineage.model.run import Run
from lineage.ports import Ports
from service import charts
from service.dependencies import PortsOf
from service.pages import columns, comparing
from service.pages.rendering import html
from service.schemas import run_metrics

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_Name = Annotated[str, Field(max_length=64)]

MOST = 6
"""Runs that are compared at once, at most: as many as lines can be told apart."""


@dataclass(frozen=True, slots=True)
class _Against:
    """What differs between the first run and another one.

    Attributes:
        difference: ``None`` when it could not be found out.
        reason: Why not.
    """

    run: Run
    difference: Difference | None
    reason: str | None = None


@router.get("/compare")
def compare_page(
    request: Request, ports: PortsOf, run: Annotated[list[Annotated[str, Query(max_length=64)]] | None, Query(max_length=40)] = None
) -> Response:
    """Two to six runs side by side; with fewer, a form that asks for them."""
    names = [name for name in run or () if name.strip()]
    found = list({item.id: item for item in (get_run(ports.runs, ports.liveness, name) for name in names[: MOST + 1])}.values())
    if len(names) > MOST:
        raise UsageError(f"{len(names)} runs cannot be compared at once", hint=f"name at most {MOST}")
    if len(found) < 2:
        return html("compare_form.html", runs=found)
    opens = request.app.state.opens_places
    against = [_difference(ports, found[0], other, opens_places=opens) for other in found[1:]]
    return html(
        "compare.html",
        runs=found,
        against=against,
        data=comparing.data(found),
        counted={(item.run.id, role): words for item in against for role, words in _counted(item).items()},
        configuration=comparing.configuration(found),
        code=comparing.code(found),
        environment=comparing.environment(found),
        results=comparing.results(found),
        outputs=comparing.outputs(found),
        charts=_charts(ports, found),
        curves=json.dumps([{"id": item.id, "name": item.name, "state": item.state.value} for item in found]),
    )


def _difference(ports: Ports, first: Run, other: Run, *, opens_places: bool) -> _Against:
    opens = opens_places and all(ports.runs.origin(run.id) is None for run in (first, other))
    try:
        return _Against(other, diff_runs(ports, first, other, rows=0, opens_repositories=opens))
    except LineageError as error:  # an object of one of them is gone: the rest can still be compared
        return _Against(other, None, error.message)


def _counted(item: _Against) -> dict[str, str]:
    """How the rows of each role differ from the first run's, in words."""
    found: dict[str, str] = {}
    for data in item.difference.data if item.difference is not None else ():
        found.setdefault(data.role, _words(data))
    return found


def _words(data: DataDifference) -> str:
    if data.a is None or data.b is None:
        return "read by one of the two only"
    return "the same rows in the same order" if data.is_same else ", ".join(counts(data)) or "other rows"


def _charts(ports: Ports, runs: Sequence[Run]) -> list[charts.Overlay]:
    series = [{item.name: item for item in run_metrics(run.id, ports.runs.metrics(run.id)).series} for run in runs]
    names = sorted({name for found in series for name in found if not name.startswith(columns.ASIDE)})
    return [drawn for name in names if (drawn := charts.overlay(name, [found.get(name) for found in series])) is not None]
