"""Sweeps: all of them, and one with its plots. Everything is told from records."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from lineage.lookup.sweep_charts import draw_history, importance_table, trials_table
from lineage.lookup.sweep_drawing import draw_parallel, said, shown_parameters
from lineage.lookup.sweep_style import STYLE
from lineage.lookup.sweeps import list_sweeps, sweep_named, sweep_of
from service.dependencies import PortsOf
from service.entity import is_known
from service.pages.rendering import html, render
from service.routes.sweeps import GoalOf, MetricOf, StoppedOf, SweepId, reports_of
from service.sweep_reports import sweep_page

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_AT_ONCE = 25


@router.get("/sweeps")
def sweeps_page(ports: PortsOf, cursor: Annotated[str | None, Query(max_length=200)] = None) -> Response:
    """Every sweep that runs belong to, newest first."""
    page = sweep_page(ports, _AT_ONCE, cursor or None)
    return html(
        "sweeps.html",
        sweeps=page.items,
        first="/sweeps" if cursor else None,
        following=None if page.next_cursor is None else f"/sweeps?{urlencode({'cursor': page.next_cursor})}",
    )


@router.get("/sweeps/style.css")
def sweep_style(request: Request) -> Response:
    """How its drawings look; pages that are files have the same inside."""
    tag = f'"{hashlib.sha256(STYLE.encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    return Response(status_code=304, headers=headers) if is_known(request, tag) else Response(STYLE, media_type="text/css", headers=headers)


@router.get("/sweeps/{id}")
def show_sweep(
    request: Request, ports: PortsOf, sweep_id: SweepId, metric: MetricOf = None, goal: GoalOf = None, with_stopped: StoppedOf = False
) -> Response:
    """One sweep. Its tag is made of how far it has got, so that no record is read for the answer that nothing is new."""
    whole = sweep_named(ports, sweep_id)
    if whole != sweep_id:
        return RedirectResponse(f"/sweeps/{whole}{f'?{request.url.query}' if request.url.query else ''}")
    told = list_sweeps(ports, 1, prefix=whole)
    tag = f'"{hashlib.sha256(f"{request.app.version} {request.url.query} {told}".encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if is_known(request, tag):
        return Response(status_code=304, headers=headers)
    view = sweep_of(ports, whole, metric=metric or None, goal=goal)
    report = reports_of(request).report(view, with_stopped=with_stopped)
    found = report.importance
    order = [] if found is None else [item.name for item in found.parameters]
    body = render(
        "sweep.html",
        view=view,
        report=report,
        found=found,
        parallel=draw_parallel(view, _page_of, order),
        not_drawn=len(view.varying) - len(shown_parameters(view, order)),
        history=draw_history(view, _page_of),
        bars=None if found is None else importance_table(found),
        trials=trials_table(view, _page_of),
        said=said,
        lacks_values=any(item.finite is None for item in view.trials),
        definition=None if view.definition is None else json.dumps(view.definition, indent=2, ensure_ascii=False),
    )
    return HTMLResponse(body, headers=headers)


def _page_of(run_id: str) -> str:
    return f"/runs/{run_id}"
