"""One picture: what is on it, where it occurs, which runs read it, which models come from it. Reached through records only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from itertools import islice
from typing import Annotated, BinaryIO
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from lineage.errors import InvalidSource, LineageError, MissingExtra, NotFound, UsageError
from lineage.lookup.alike import Alike, pictures_alike
from lineage.lookup.models import occurrences_of
from lineage.lookup.pictures import PictureRead, digests_of_sample, picture_report, reads_of_picture
from lineage.ports import Ports
from service.access import scope
from service.dependencies import PortsOf
from service.pages.addresses import dataset_address, lineage_address
from service.pages.rendering import html
from service.pages.run_pictures import PicturesOf
from service.row_pictures import RowPicture, RowPictures, why_not

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_AT_ONCE, _SHOWN, _MODELS, _FOUND = 20, 4, 50, 100
_SHOWN_PX = 1600
_TRIED = 8
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")

PictureDigest = Annotated[str, Path(alias="digest", pattern=r"^sha256:[0-9a-f]{64}$")]


@router.get("/pictures")
def pictures_page(ports: PortsOf, q: Annotated[str, Query(max_length=1_000, pattern=r"^[^\x00]*$")] = "") -> Response:
    """A form that finds a picture by digest or sample id, or by its file."""
    wanted = q.strip()
    if not wanted:
        return html("pictures.html", q="", found=None, problem=None)
    if digest := _DIGEST.fullmatch(wanted.lower()):
        return RedirectResponse(f"/pictures/sha256:{digest[1]}", 303)
    try:
        found = occurrences_of(ports.rows, ports.objects, sample=wanted)
    except NotFound as error:
        return html("pictures.html", 404, q=wanted, found=None, problem=error)
    digests = digests_of_sample(found)
    if len(digests) == 1:
        return RedirectResponse(f"/pictures/{digests[0]}", 303)
    return html("pictures.html", q=wanted, found=digests[:_FOUND], problem=None)


@router.post("/pictures", openapi_extra=scope("read"))
async def find_file(request: Request) -> Response:
    """Looks a picture up by the file in a form. The file is digested and not kept."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise UsageError("expected a form with a file", hint="send it from the page /pictures")
    try:
        async with request.form(max_files=1, max_fields=4) as form:
            given = form.get("file")
            if not isinstance(given, UploadFile) or not given.size:
                raise UsageError("no file was chosen", hint="choose the file of a picture")
            digest = await run_in_threadpool(_digest, given.file)
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise UsageError(f"the form cannot be read: {error.detail}", hint="send it from the page /pictures") from error
    return RedirectResponse(f"/pictures/{digest}", 303)


def _digest(file: BinaryIO) -> str:
    state = hashlib.sha256()
    while block := file.read(1 << 20):
        state.update(block)
    return f"sha256:{state.hexdigest()}"


@router.get("/pictures/{digest}")
def picture_page(ports: PortsOf, pictures: PicturesOf, digest: PictureDigest, skip: Annotated[int, Query(ge=0, lt=2**31)] = 0) -> Response:
    """The picture with its boxes, and where it went."""
    report = picture_report(ports, digest, most=_AT_ONCE, skip=skip)
    shown, reason = _shown(pictures, report.reads)
    path = f"/pictures/{digest}"
    return html(
        "picture.html",
        report=report,
        shown=shown,
        reason=reason,
        models=report.models[:_MODELS],
        image=f"{path}/image",
        dataset=dataset_address,
        lineage=lineage_address,
        skip=skip,
        newer=None if not skip else f"{path}?{urlencode({'skip': max(0, skip - _AT_ONCE)})}",
        older=f"{path}?{urlencode({'skip': skip + _AT_ONCE})}" if skip + _AT_ONCE < report.inputs else None,
    )


@router.get("/pictures/{digest}/alike")
def alike_page(ports: PortsOf, pictures: PicturesOf, digest: PictureDigest) -> Response:
    """Pictures that look like it."""
    reads = list(islice(reads_of_picture(ports, digest), _TRIED))
    try:
        content: bytes | None = _content(pictures, reads, digest)[1]
    except LineageError:
        content = None
    try:
        alike = pictures_alike(ports, ports.pictures(), digest, content, reads)
    except MissingExtra as error:
        alike = Alike((), 0, 0, error.message)
    return html("alike.html", digest=digest, alike=alike, run=reads[0].run if reads else None)


@router.get("/pictures/{digest}/image")
def picture_image(ports: PortsOf, pictures: PicturesOf, digest: PictureDigest) -> Response:
    """The picture itself; a large one is made smaller."""
    return _answer(ports, *_content(pictures, islice(reads_of_picture(ports, digest), _TRIED), digest))


def _content(pictures: RowPictures, reads: Iterable[PictureRead], digest: str) -> tuple[str, bytes]:
    """(media type, encoded bytes) of the picture, from the first input that can be read."""
    problem: LineageError = NotFound("picture", digest, detail="no run that read it tells where it is")
    for read in reads:
        if read.positions:
            try:
                media_type, content = pictures.content(read.run, read.ordinal, read.positions[0])
            except LineageError as error:
                problem = error
                continue
            if f"sha256:{hashlib.sha256(content).hexdigest()}" == digest:
                return media_type, content
    raise problem


def _answer(ports: Ports, media_type: str, content: bytes) -> Response:
    try:
        smaller = ports.pictures().reduced(content, _SHOWN_PX)
    except (MissingExtra, InvalidSource):  # the browser may know how to show it
        smaller = None
    if smaller is not None:
        media_type, content = "image/jpeg", smaller
    return Response(content, media_type=media_type, headers={"Cache-Control": "private, max-age=86400, immutable"})


def _shown(pictures: RowPictures, reads: tuple[PictureRead, ...]) -> tuple[list[tuple[PictureRead, RowPicture]], str | None]:
    """Rows that are the picture, one for each place in the data: their boxes may differ."""
    shown: dict[tuple[str, int], tuple[PictureRead, RowPicture]] = {}
    reason: str | None = None
    for read in reads:
        places = [(item.space, item.row) for item in read.occurrences]
        if len(shown) == _SHOWN or not read.positions or all(place in shown for place in places):
            continue
        try:
            found = pictures.rows(read.run, read.ordinal, read.positions[:_SHOWN])
        except LineageError as error:
            reason = why_not(error)
            continue
        rows = {item.row: item.space for item in read.occurrences}
        for picture in found:
            if picture.row in rows and len(shown) < _SHOWN:
                shown.setdefault((rows[picture.row], picture.row), (read, picture))
    return list(shown.values()), None if shown else reason
