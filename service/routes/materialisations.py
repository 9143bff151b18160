"""``/api/v1/materialisations``: asking workers for a run's data, a workspace or a re-run. This process only queues."""

from __future__ import annotations

import asyncio
import gzip
import os
import tarfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path as FilePath
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from lineage.errors import Conflict, TidiedAway
from lineage.lookup.runs import get_run
from lineage.model.materialisation import Happened, JobState, Materialisation, MaterialisationRequest
from lineage.ports.jobs import JobQuery, JobRequests
from lineage.reproduce.jobs.folders import is_of
from service import examples
from service.access import scope
from service.dependencies import PortsOf, RunName
from service.entity import entity
from service.problems import responses

router = APIRouter(prefix="/api/v1", tags=["materialisations"])

MOST = 200
"""Jobs on one page, at most."""

_LOOK_S = 0.5
_COMMENT_S = 15.0
_MOST_STREAMS = 200
_BLOCK_BYTES = 1 << 18
_MOST_NUMBER = 2**53 - 1


async def jobs_of(request: Request) -> JobRequests:
    """The queue of this app."""
    return cast(JobRequests, request.app.state.jobs)


JobsOf = Annotated[JobRequests, Depends(jobs_of)]
JobId = Annotated[
    str,
    Path(alias="id", description="Whole id of a job: 32 hexadecimal digits.", pattern=r"^[0-9a-f]{32}$", examples=["9d1c0f" + "0" * 26]),
]
_Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Chosen by the client, for one request: sent again with the same body it gives the same job.",
        pattern=r"^[!-~]{1,200}$",
    ),
]


class MaterialisationPage(BaseModel):
    """Jobs, newest first.

    Attributes:
        next_cursor: Give it as `cursor` for the next page; `null` on the last one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[Materialisation, ...]
    next_cursor: str | None


_JOB: dict[int | str, dict[str, Any]] = {200: examples.materialisation()}
_STREAM = {
    "description": "`event: state` with the job as `data`, `event: log` with lines of its log; ends with the job.",
    "content": {"text/event-stream": {"schema": {"type": "string"}, "example": 'id: 4\nevent: log\ndata: {"text":"step 1\\n"}\n\n'}},
}
_FILES = {"description": "The result in one file.", "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}}}


@router.post(
    "/runs/{id}/materialisations",
    status_code=202,
    responses={202: examples.materialisation("Queued; `Location` says where it is."), **responses(400, 404, 422)},
    openapi_extra=scope("execute"),
)
def ask_for_materialisation(
    request: Request, response: Response, ports: PortsOf, jobs: JobsOf, name: RunName, body: MaterialisationRequest, key: _Key = None
) -> Materialisation:
    """Ask for a run's rows (`data`), for code, environment and data side by side (`workspace`), or to run it again and compare (`rerun`).

    A worker does it, where one is started (`lineage worker`). Its limits hold where less is asked for.
    """
    run = get_run(ports.runs, ports.liveness, name)
    job = jobs.enqueue(run.id, body, by=request.state.principal.who, key=key)
    response.headers["Location"] = f"/api/v1/materialisations/{job.id}"
    return job


@router.get("/materialisations", responses={200: examples.materialisation_page(), **responses(400, 404, 422)})
def list_materialisations(
    ports: PortsOf,
    jobs: JobsOf,
    run: Annotated[str | None, Query(description="Only of this run: its id, or a unique prefix.", max_length=64)] = None,
    state: Annotated[JobState | None, Query(description="Only in this state.")] = None,
    prefix: Annotated[
        str | None, Query(description="Only those whose id begins so; in the order of ids.", pattern="^[0-9a-f]{1,32}$")
    ] = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="At most so many.")] = 50,
) -> MaterialisationPage:
    """What was asked for, newest first, a page at a time."""
    if prefix is not None:
        return MaterialisationPage(items=tuple(map(jobs.get, jobs.ids_with_prefix(prefix, limit))), next_cursor=None)
    run_id = None if run is None else get_run(ports.runs, ports.liveness, run).id
    page = jobs.find(JobQuery(run_id, state, cursor, limit))
    return MaterialisationPage(items=page.jobs, next_cursor=page.next_cursor)


@router.get(
    "/materialisations/{id}",
    response_model=Materialisation,
    responses={**_JOB, 304: examples.NOT_MODIFIED, **responses(404, 422)},
)
def show_materialisation(request: Request, jobs: JobsOf, job_id: JobId) -> Response:
    """What was asked for, and what became of it."""
    return entity(request, jobs.get(job_id))


@router.post("/materialisations/{id}/cancel", responses={**_JOB, **responses(404, 422)}, openapi_extra=scope("execute"))
def cancel_materialisation(jobs: JobsOf, job_id: JobId) -> Materialisation:
    """Call a job off: at once while it waits, else its worker ends it within seconds. One that is over stays as it is."""
    return jobs.cancel(job_id)


@router.post("/materialisations/{id}/retry", responses={**_JOB, **responses(404, 409, 422)}, openapi_extra=scope("execute"))
def retry_materialisation(jobs: JobsOf, job_id: JobId) -> Materialisation:
    """Queue a job again that failed or was cancelled."""
    return jobs.retry(job_id)


@router.get("/materialisations/{id}/events", response_class=Response, responses={200: _STREAM, **responses(404, 422, 429)})
async def follow_materialisation(
    request: Request,
    jobs: JobsOf,
    job_id: JobId,
    last: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=_MOST_NUMBER, description="Go on behind this `id`.")] = None,
    after: Annotated[int, Query(ge=0, le=_MOST_NUMBER, description="The same, where a client cannot set headers.")] = 0,
    follow: Annotated[bool, Query(description="Go on until the job is over; else only what there is now.")] = True,
) -> Response:
    """A job's changes and log as server-sent events, from its beginning or from where one had got to, until it is over."""
    begin = after if last is None else last
    first = await run_in_threadpool(jobs.happened, job_id, begin)
    if not first and (job := await run_in_threadpool(jobs.get, job_id)).state.is_end:
        first = [Happened(number=begin, job=job)]  # whoever comes back to a job that is over is told so, or would wait for ever
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if not follow:
        return Response("".join(map(_event, first)), media_type="text/event-stream", headers=headers)
    state = request.app.state
    if getattr(state, "streams", 0) >= _MOST_STREAMS:
        raise HTTPException(429, "too many jobs are being followed here", {"Retry-After": "10"})
    return StreamingResponse(_events(request, jobs, job_id, begin, first), media_type="text/event-stream", headers=headers)


async def _events(request: Request, jobs: JobRequests, job_id: str, after: int, found: list[Happened]) -> AsyncIterator[str]:
    state, spoke, shown = request.app.state, time.monotonic(), ""
    state.streams = getattr(state, "streams", 0) + 1
    try:
        while True:
            for item in found:
                after = item.number
                text = item.model_dump_json(exclude={"number"})
                if item.job is not None and text == shown:  # only its log went on
                    continue
                shown, spoke = text if item.job is not None else shown, time.monotonic()
                yield _event(item)
                if item.job is not None and item.job.state.is_end:
                    return
            if state.stopping.is_set() or await request.is_disconnected():
                return
            if time.monotonic() - spoke > _COMMENT_S:
                spoke = time.monotonic()
                yield ": still here\n\n"
            if not found:
                await asyncio.sleep(_LOOK_S)
            found = await run_in_threadpool(jobs.happened, job_id, after)
    finally:
        state.streams -= 1


def _event(item: Happened) -> str:
    if item.job is not None:
        return f"id: {item.number}\nevent: state\ndata: {item.job.model_dump_json()}\n\n"
    return f"id: {item.number}\nevent: log\ndata: {to_json({'text': item.text}).decode()}\n\n"


@router.get("/materialisations/{id}/files", response_class=StreamingResponse, responses={200: _FILES, **responses(404, 409, 410, 422)})
def download_materialisation(jobs: JobsOf, job_id: JobId) -> StreamingResponse:
    """The result of `data` or `workspace` as one `.tar.gz`."""
    job = jobs.get(job_id)
    if job.what == "rerun":
        raise Conflict("a re-run has no files of its own", hint="its result is a run: `result_run_id`")
    if job.state is not JobState.succeeded:
        raise Conflict(f"the job is {job.state}", hint="wait for it, or try it again")
    folder = None if job.path is None else FilePath(job.path)
    if folder is None or not _is_result(folder, job):
        raise TidiedAway(
            "files of job", job_id[:12], detail="they were deleted, or are on a machine of a worker", hint="ask for them again"
        )
    name = f"{job.run_id[:12]}-{job.what}"
    return StreamingResponse(
        _archive(folder, name),
        media_type="application/gzip",
        headers={"Content-Disposition": f'attachment; filename="{name}.tar.gz"', "Cache-Control": "private, no-store"},
    )


def _is_result(folder: FilePath, job: Materialisation) -> bool:
    # The path is a worker's word; a folder is sent only when that worker's note lies in it.
    try:
        return folder.is_dir() and not folder.is_symlink() and is_of(folder.parents[1], job.id)
    except (OSError, IndexError):
        return False


def _archive(folder: FilePath, name: str) -> Iterator[bytes]:
    """The folder as a compressed archive, made while it is sent; nothing is held in memory or on disk."""
    there, here = os.pipe()
    failed: list[Exception] = []

    def owned_by_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member if member.isfile() or member.isdir() else None  # no link leads out of it

    def write() -> None:
        try:
            with (
                os.fdopen(here, "wb") as target,
                gzip.GzipFile(fileobj=target, mode="wb", compresslevel=1, mtime=0) as compressed,
                tarfile.open(fileobj=compressed, mode="w|") as archive,
            ):
                archive.add(folder, name, filter=owned_by_nobody)
        except BrokenPipeError:  # nobody reads any more
            pass
        except (OSError, tarfile.TarError) as error:  # it was tidied away meanwhile, for example
            failed.append(error)

    writing = threading.Thread(target=write, name="lineage-archive", daemon=True)
    writing.start()
    with os.fdopen(there, "rb") as source:
        while block := source.read(_BLOCK_BYTES):
            yield block
    writing.join()
    if failed:  # the answer breaks off: half an archive must not look like a whole one
        raise failed[0]
