"""Pictures that a run read, with their boxes, a page at a time."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import HTMLResponse

from lineage.errors import LineageError, NotFound, Unavailable
from lineage.lookup.runs import get_run
from service.dependencies import PortsOf, RunName
from service.pages.rendering import html
from service.row_pictures import RowPictures, why_not

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_AT_ONCE = 24
_SAMPLE = 4  # on the run's own page: one line of them


async def pictures_of(request: Request) -> RowPictures:
    """What reads pictures of rows in this app."""
    return cast(RowPictures, request.app.state.row_pictures)


PicturesOf = Annotated[RowPictures, Depends(pictures_of)]


@router.get("/runs/{id}/pictures")
def run_pictures_page(
    ports: PortsOf,
    pictures: PicturesOf,
    name: RunName,
    ordinal: Annotated[int, Query(alias="input", ge=0, le=10_000)] = 0,
    start: Annotated[int, Query(ge=0, le=2**40)] = 0,
    part: Annotated[bool, Query()] = False,
) -> Response:
    """Rows of an input as pictures; with ``part`` only the piece of markup that the run's page puts into itself."""
    run = get_run(ports.runs, ports.liveness, name)
    if ordinal >= len(run.inputs):
        raise NotFound("input", str(ordinal), detail=f"run {run.id[:12]} has {len(run.inputs)} inputs, counted from 0")
    item = run.inputs[ordinal]
    positions = range(min(start, item.rows), min(start + (_SAMPLE if part else _AT_ONCE), item.rows))
    reason = None
    try:
        rows = pictures.rows(run, ordinal, positions) if positions else []
    except LineageError as error:
        rows, reason = [], why_not(error)
    end = start + len(positions)
    return html(
        "pictures_part.html" if part else "run_pictures.html",
        run=run,
        ordinal=ordinal,
        item=item,
        rows=rows,
        reason=reason,
        start=start,
        before=max(0, start - _AT_ONCE) if start else None,
        after=end if end < item.rows else None,
    )


@router.get("/runs/{id}/inputs/{input}/pictures/{position}")
def row_picture(
    request: Request,
    ports: PortsOf,
    pictures: PicturesOf,
    name: RunName,
    ordinal: Annotated[int, Path(alias="input", ge=0, le=10_000)],
    position: Annotated[int, Path(ge=0, le=2**40)],
) -> Response:
    """A row's picture, byte for byte as it was recorded."""
    run = get_run(ports.runs, ports.liveness, name)
    try:
        media_type, content = pictures.content(run, ordinal, position)
    except (NotFound, Unavailable):
        raise
    except LineageError as error:  # nothing holds it any more, or it is no longer what was recorded: there is nothing to show
        raise NotFound(
            "picture", f"row {position} of input {ordinal} of run {run.id[:12]}", detail=error.message, hint=error.hint
        ) from error
    # What a record says was read never changes.
    return Response(content, media_type=media_type, headers={"Cache-Control": "private, max-age=86400, immutable"})
