"""Server-rendered pages for people: no build step, nothing from another host, every recorded text escaped."""

from __future__ import annotations

import functools
import json
import math
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import ValidationError

from lineage.lookup.runs import get_run
from lineage.model.run import RunState
from service import charts, problems
from service.dependencies import PortsOf, RunName
from service.listing import RunFilters, find_page
from service.schemas import MetricSeries, run_metrics

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_ASIDE = ("timing/", "system/")
"""Metrics whose names begin so tell of the machine, not of the model: shown folded."""


@router.get("/")
async def home() -> Response:
    """The list of runs is the front page."""
    return RedirectResponse("/runs")


async def _filters(request: Request) -> RunFilters:
    # A form sends its empty fields too; they mean "any".
    given = {name: value for name, value in request.query_params.items() if value}
    try:
        return RunFilters.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError([{**item, "loc": ("query", *item["loc"])} for item in error.errors()]) from error


@router.get("/runs")
def runs_page(ports: PortsOf, filters: Annotated[RunFilters, Depends(_filters)]) -> Response:
    """Runs, newest first, with a form that filters them."""
    page = find_page(ports, filters)
    given = filters.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    without_cursor = {name: value for name, value in given.items() if name != "cursor"}
    return _html(
        "runs.html",
        runs=page.runs,
        filters=filters,
        states=[state.value for state in RunState],
        projects=sorted({run.project for run in page.runs}),
        job_types=sorted({run.job_type for run in page.runs}),
        fixed={
            name: given[name]
            for name in ("group", "dataset", "dataset_id", "commit", "view", "artifact", "since", "until", "limit")
            if name in given
        },
        is_filtered=bool(without_cursor.keys() - {"limit"}),
        newest=f"/runs?{urlencode(without_cursor)}" if filters.cursor else None,
        older=f"/runs?{urlencode(without_cursor | {'cursor': page.next_cursor})}" if page.next_cursor else None,
    )


@router.get("/runs/{id}")
def run_page(ports: PortsOf, name: RunName) -> Response:
    """One run like an identity card."""
    found = get_run(ports.runs, ports.liveness, name)
    series = run_metrics(found.id, ports.runs.metrics(found.id)).series
    aside = [item for item in series if item.name.startswith(_ASIDE)]
    shown = [item for item in series if not item.name.startswith(_ASIDE)]
    return _html(
        "run.html",
        run=found,
        charts=_charts(shown),
        charts_aside=_charts(aside),
        single=[(item.name, item.values[-1]) for item in shown if len(item.values) == 1 and item.name not in found.summary],
        points=sum(len(item.values) for item in series),
    )


@router.get("/problems")
async def problems_page() -> Response:
    """Every kind of problem; the ``type`` of a problem document points here."""
    return _html("problems.html", kinds=problems.kinds())


def problem_page(request: Request, problem: problems.Problem) -> Response:
    """A problem for people."""
    return _html("problem.html", status=problem.status, problem=problem)


def render(template: str, **values: Any) -> str:
    """HTML of a template."""
    return _templates().get_template(template).render(values)


def _html(template: str, status: int = 200, **values: Any) -> Response:
    return HTMLResponse(render(template, **values), status_code=status, headers={"Cache-Control": "no-cache"})


def _charts(series: list[MetricSeries]) -> list[charts.Chart]:
    return [chart for item in series if (chart := charts.line_chart(item)) is not None]


@functools.cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "command": shlex.join,
        "duration": duration,
        "flat": flat,
        "number": lambda value: charts.number(value) if isinstance(value, float) else str(value),
        "percent": percent,
        "size": size,
        "urlencoded": urlencode,
        "when": when,
    }
    environment.globals |= {"version": version("dataset-lineage"), "frame": charts}
    return environment


def when(at: datetime) -> str:
    """A time for people, UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def duration(duration_s: float) -> str:
    """A duration for people: ``0.21 s``, ``4 min 02 s``, ``3 h 05 min``."""
    if duration_s < 60:
        return f"{duration_s:.2f} s" if duration_s < 10 else f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02} min" if hours else f"{minutes} min {seconds:02} s"


def size(size_bytes: int) -> str:
    """A size for people, in binary units."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    power = min(4, int(math.log2(size_bytes) // 10))
    return f"{size_bytes / 1024**power:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"


def percent(part: int, whole: int) -> str:
    """A share for people, never rounded to all or nothing when it is neither."""
    if part in (0, whole):
        return "all" if part else "none"
    share = 100 * part / whole
    return f"{min(99.9, max(0.1, share)):.1f} %"


def flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """A nested configuration as lines: dotted name and value; lists as JSON."""
    lines: list[tuple[str, str]] = []
    for name, value in values.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping) and value:
            lines += flat(value, f"{path}.")
        else:
            lines.append((path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return lines
