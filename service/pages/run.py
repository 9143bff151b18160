"""One run like an identity card."""

from __future__ import annotations

import json
import secrets
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from lineage.lookup.runs import get_run
from lineage.lookup.usage import usage_line
from lineage.model.metrics import SYSTEM
from lineage.model.run import Run
from lineage.ports import Ports, RunQuery
from service import charts
from service.dependencies import PortsOf, RunName
from service.pages.addresses import dataset_address, group_address
from service.pages.columns import ASIDE
from service.pages.materialisations import jobs_of_run, may_execute
from service.pages.rendering import html
from service.pages.run_media import some_of
from service.schemas import MetricSeries, run_metrics

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_LAID_OVER = 5  # with the run itself as many lines as can be told apart


@router.get("/runs/{id}")
def run_page(request: Request, ports: PortsOf, name: RunName) -> Response:
    """One run like an identity card."""
    found = get_run(ports.runs, ports.liveness, name)
    points = ports.runs.metrics(found.id)
    series = run_metrics(found.id, points).series
    aside = [item for item in series if item.name.startswith(ASIDE) and not item.name.startswith(SYSTEM)]
    media, media_keys = some_of(ports, found)
    shown = [item for item in series if not item.name.startswith(ASIDE)]
    others = _of_group(ports, found)
    return html(
        "run.html",
        run=found,
        charts=_charts(shown),
        charts_aside=_charts(aside),
        charts_system=_charts([item for item in series if item.name.startswith(SYSTEM)]),
        usage=usage_line(points),
        axes=json.dumps(found.axes),
        media=media,
        media_keys=media_keys,
        single=[(item.name, item.values[-1]) for item in shown if len(item.values) == 1 and item.name not in found.summary],
        points=sum(len(item.values) for item in series),
        curves=json.dumps([_line(found), *(_line(run) | {"group": True} for run in others)]),
        others=[run.id for run in others],
        may_execute=may_execute(request),
        jobs=jobs_of_run(request, found.id),
        key=secrets.token_hex(8),
        dataset_address=dataset_address,
        group_address=group_address,
        shows_patch=request.app.state.opens_places and ports.runs.origin(found.id) is None,
        kept={item.digest for item in found.outputs if ports.objects.has(item.digest)},
    )


def _of_group(ports: Ports, run: Run) -> list[Run]:
    """Other runs of its group and kind, the newest ones."""
    if run.group is None:
        return []
    query = RunQuery(project=run.project, group=run.group, job_type=run.job_type, limit=_LAID_OVER + 1)
    return [other for other in ports.runs.find(query) if other.id != run.id][:_LAID_OVER]


def _line(run: Run) -> dict[str, Any]:
    return {"id": run.id, "name": run.name, "state": run.state.value}


def _charts(series: list[MetricSeries]) -> list[charts.Chart]:
    return [chart for item in series if (chart := charts.line_chart(item)) is not None]
