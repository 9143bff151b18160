"""Media of a run: pictures with boxes and masks, tables and histograms, by key, a step at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import HTMLResponse

from lineage.errors import LineageError, NotFound
from lineage.lookup.runs import get_run
from lineage.model.media import media_of, objects_of, read_sheet
from lineage.model.picture_size import picture_size
from lineage.model.run import Artifact, Run
from lineage.ports import Ports
from service.dependencies import PortsOf, RunName
from service.media_heat import Heat, heat_of
from service.media_view import View, coloured, view_of
from service.pages.rendering import html

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_ON_RUN_PAGE, _AT_ONCE = 12, 24
_LARGEST_SHEET = 32 << 20
_HEAT_STEPS = 48


@dataclass(frozen=True, slots=True)
class Shown:
    """A key at one of its steps.

    Attributes:
        at: Position of the sheet among those of the key.
        count: How many there are.
        view: What it shows; ``None`` when it cannot be read, and ``reason`` says why.
        heat: Histograms of all steps, of a key that has one at each.
        address: Of the key's own page, without the position.
    """

    key: str
    at: int
    count: int
    step: int
    digest: str
    view: View | None
    reason: str | None
    heat: Heat | None
    address: str


def shown(ports: Ports, run: Run, key: str, sheets: list[Artifact], at: int | None = None, *, alone: bool = False) -> Shown:
    """A key at a position, the last one without.

    Args:
        ports: The outside world.
        run: The record.
        key: The key.
        sheets: Its sheets.
        at: Position, held within the sheets.
        alone: Only what changes from step to step.
    """
    at = len(sheets) - 1 if at is None else min(at, len(sheets) - 1)
    item = sheets[at]
    view, reason = None, None
    try:
        view = _view(ports, item)
    except LineageError as error:
        reason = error.message
    heat = None
    if view is not None and view.type == "histogram" and len(sheets) > 1 and not alone:
        heat = _heat(ports, sheets)
    address = f"/runs/{run.id}/media?{urlencode({'key': key})}"
    return Shown(key, at, len(sheets), item.details["step"], item.digest, view, reason, heat, address)


def some_of(ports: Ports, run: Run) -> tuple[list[Shown], int]:
    """(keys for the run's own page, how many there are)."""
    keys = media_of(run)
    return [shown(ports, run, key, sheets) for key, sheets in [*keys.items()][:_ON_RUN_PAGE]], len(keys)


@router.get("/runs/{id}/media")
def run_media_page(
    ports: PortsOf,
    name: RunName,
    key: Annotated[str | None, Query(max_length=1000)] = None,
    at: Annotated[int | None, Query(ge=0, le=10**9)] = None,
    start: Annotated[int, Query(ge=0, le=10**6)] = 0,
    part: Annotated[bool, Query()] = False,
) -> Response:
    """All keys, or one at a step; with ``part`` only the piece of markup that changes from step to step."""
    run = get_run(ports.runs, ports.liveness, name)
    keys = media_of(run)
    if key is None:
        chosen = [*keys.items()][start : start + _AT_ONCE]
        rest = start + _AT_ONCE if start + _AT_ONCE < len(keys) else None
        return html("run_media.html", run=run, items=[shown(ports, run, *one) for one in chosen], key=None, after=rest, before=start)
    if key not in keys:
        raise NotFound("media", key, detail=f"run {run.id[:12]} has none of this name")
    item = shown(ports, run, key, keys[key], at, alone=part)
    if part:
        return html("media_part.html", run=run, item=item)
    return html("run_media.html", run=run, items=[item], key=key, after=None, before=0)


@router.get("/runs/{id}/media/{digest}")
def media_picture(
    ports: PortsOf,
    name: RunName,
    digest: Annotated[str, Path(pattern=r"^sha256:[0-9a-f]{64}$")],
    mask: Annotated[bool, Query()] = False,
    clear: Annotated[bool, Query()] = True,
) -> Response:
    """A picture of this run's media, as it was recorded; as a ``mask`` with a colour for each class."""
    run = get_run(ports.runs, ports.liveness, name)
    if not any(digest in objects_of(item) for sheets in media_of(run).values() for item in sheets):
        raise NotFound("picture", digest, detail=f"it is not among the media of run {run.id[:12]}")
    content = ports.objects.get_bytes(digest)
    found = picture_size(content)
    if found is None:  # whatever else it is, no browser is to take it for a page
        raise NotFound("picture", digest, detail="it is neither PNG nor JPEG", hint=f"/api/v1/objects/{digest} has its bytes")
    if mask:
        content = coloured(content, clear=clear)
    return Response(content, media_type=found[0], headers={"Cache-Control": "private, max-age=86400, immutable"})


def _view(ports: Ports, item: Artifact) -> View:
    if item.size_bytes > _LARGEST_SHEET:
        raise NotFound("sheet", item.name, detail="it is too large for a page")
    return view_of(read_sheet(ports.objects.get_bytes(item.digest)))


def _heat(ports: Ports, sheets: list[Artifact]) -> Heat | None:
    apart = max(1, -(-len(sheets) // _HEAT_STEPS))
    found = []
    for item in sheets[::apart]:
        try:
            found.append((item.details["step"], read_sheet(ports.objects.get_bytes(item.digest))))
        except LineageError:
            continue
    return heat_of(found)
