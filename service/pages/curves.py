"""Points of curves for the charts that a browser draws: as many as a screen can show."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic_core import to_json

from lineage.lookup.runs import get_run
from lineage.lookup.spread import axis_of
from lineage.model.run import MetricPoint, RunState
from service import charts
from service.dependencies import PortsOf, RunName
from service.entity import is_known
from service.pages.columns import ASIDE
from service.schemas import run_metrics

router = APIRouter(include_in_schema=False)

_MOST_POINTS = 1_500
_LARGEST = 1e300  # the extent of what is drawn must be a finite number


@router.get("/runs/{id}/curves")
def run_curves(
    request: Request,
    ports: PortsOf,
    name: RunName,
    metric: Annotated[str | None, Query(max_length=1000)] = None,
    x: Literal["step", "time", "axis"] = "step",
    low: Annotated[float | None, Query(alias="from", allow_inf_nan=False)] = None,
    high: Annotated[float | None, Query(alias="to", allow_inf_nan=False)] = None,
) -> Response:
    """Every metric of a run, or one, between two places of its axis (steps, seconds since the run began, or the metric that was defined).

    Charts of a run that goes on ask again and again: the ETag is made of how far the record has got, so that nothing is read for the
    answer that nothing is new.
    """
    run = get_run(ports.runs, ports.liveness, name)
    position = ports.runs.position(run.id)
    # Another version of the service may thin the same points in another way.
    words = f"{request.app.version} {run.id} {position.digest} {position.points} {request.url.query}"
    headers = {"ETag": f'"{hashlib.sha256(words.encode()).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if run.state is RunState.running:
        run = ports.runs.get(run.id)  # not older than its tag: or an end between the two looks would never be told
    found = ports.runs.metrics(run.id)
    own = functools.partial(axis_of, run) if x == "axis" else None
    series = _series(found, metric, x, run.started_at.timestamp(), low, high, own)
    said = {item.name: charts.said(item) for item in run_metrics(run.id, found).series} if metric is None else {}
    drawn = [_drawn(key, points) | {"said": said.get(key), "is_aside": key.startswith(ASIDE)} for key, points in sorted(series.items())]
    body = to_json({"id": run.id, "name": run.name, "state": run.state.value, "metrics": drawn})
    return Response(body, media_type="application/json", headers=headers)


def _series(
    points: Sequence[MetricPoint],
    metric: str | None,
    axis: str,
    began: float,
    low: float | None,
    high: float | None,
    own: Callable[[str], str | None] | None,
) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    last: dict[str, float] = {}  # an axis may be logged in a call of its own
    axes: dict[str, str | None] = {}
    for point in points:
        if own is not None:
            last |= point.values
        for name, value in point.values.items():
            if metric is not None and name != metric:
                continue
            at: float = round(point.at - began, 3) if axis == "time" else point.step
            if own is not None:
                if name not in axes:
                    axes[name] = own(name)
                at = last.get(axes[name] or "", at)
            if _is_drawable(at) and (low is None or at >= low) and (high is None or at <= high):
                found.setdefault(name, []).append((at, value))
    return found


def _drawn(name: str, points: list[tuple[float, float]]) -> dict[str, Any]:
    """Columns for the browser; ``null`` stands for a value that cannot be drawn, and parts the line."""
    points.sort(key=lambda point: point[0])  # whoever gives steps may give them in any order
    drawable = [point for point in points if _is_drawable(point[1])]
    if len(points) - len(drawable) > _MOST_POINTS // 4:  # parted so often, a line cannot be seen any more
        points = drawable
    share = min(1.0, _MOST_POINTS / max(1, len(points)))
    parts: list[tuple[float, float | None]] = []
    stretch: list[tuple[float, float]] = []

    def end_of_stretch() -> None:
        parts.extend(charts.thinned(stretch, max(4, int(len(stretch) * share))) if share < 1 else stretch)
        stretch.clear()

    for at, value in points:
        if _is_drawable(value):
            stretch.append((at, value))
        else:
            end_of_stretch()
            if parts and parts[-1][1] is not None:
                parts.append((at, None))
    end_of_stretch()
    return {"name": name, "x": [at for at, _ in parts], "y": [value for _, value in parts], "is_thinned": share < 1}


def _is_drawable(value: float) -> bool:
    return math.isfinite(value) and abs(value) < _LARGEST
