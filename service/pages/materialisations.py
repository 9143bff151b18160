"""Asking for a run's data, a workspace or a re-run, and following what becomes of it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from lineage.errors import AmbiguousId, NotFound, Unavailable, UsageError
from lineage.lookup.runs import get_run
from lineage.model.access import Scope
from lineage.model.materialisation import JobState, Materialisation, MaterialisationRequest
from lineage.ports.jobs import JobQuery, JobRequests
from service.access import scope
from service.dependencies import PortsOf, RunName
from service.pages.rendering import html

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_TOLD = 2_000  # parts of a log on a page, the newest
_LARGEST_FORM = 20_000


async def jobs_of(request: Request) -> JobRequests:
    """The queue of this app.

    Raises:
        Unavailable: It has none.
    """
    jobs: JobRequests | None = request.app.state.jobs
    if jobs is None:
        raise Unavailable("this service has no queue of jobs", hint="start it with `lineage serve`")
    return jobs


def may_execute(request: Request) -> bool:
    """Whether whoever asks may have recorded commands executed, and there is a queue for that."""
    return request.app.state.jobs is not None and Scope.execute in request.state.principal.scopes


def jobs_of_run(request: Request, run_id: str, most: int = 5) -> tuple[Materialisation, ...]:
    """The newest jobs of a run."""
    jobs: JobRequests | None = request.app.state.jobs
    return () if jobs is None else jobs.find(JobQuery(run_id=run_id, limit=most)).jobs


JobsOf = Annotated[JobRequests, Depends(jobs_of)]
JobName = Annotated[str, Path(alias="id", max_length=64)]


@router.get("/materialisations")
def jobs_page(
    ports: PortsOf,
    jobs: JobsOf,
    run: Annotated[str | None, Query(max_length=64)] = None,
    state: Annotated[str | None, Query(max_length=20)] = None,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """What was asked for, newest first."""
    if state and state not in list(JobState):
        raise UsageError(f"'{state}' is no state of a job", hint=f"known: {', '.join(JobState)}")
    run_id = get_run(ports.runs, ports.liveness, run).id if run else None
    page = jobs.find(JobQuery(run_id=run_id, state=JobState(state) if state else None, after=cursor or None, limit=50))
    given = {name: value for name, value in (("run", run), ("state", state)) if value}
    older = f"/materialisations?{urlencode(given | {'cursor': page.next_cursor})}" if page.next_cursor else None
    return html("materialisations.html", jobs=page.jobs, given=given, states=[item.value for item in JobState], older=older)


async def _form(request: Request) -> dict[str, str]:
    # Without the package that reads forms with files in them: these have none.
    body = await request.body()
    if len(body) > _LARGEST_FORM:
        raise UsageError(f"the form is too large: {len(body)} bytes", hint=f"at most {_LARGEST_FORM}")
    try:
        return {name: value for name, value in parse_qsl(body.decode("ascii"), max_num_fields=50) if value}
    except ValueError as error:
        raise UsageError("the form cannot be read", hint="send it from a page of this service") from error


@router.post("/runs/{id}/materialisations", openapi_extra=scope("execute"))
def ask_for(request: Request, ports: PortsOf, jobs: JobsOf, name: RunName, form: Annotated[dict[str, str], Depends(_form)]) -> Response:
    """Queue what a form asks for, and lead to its page. The same form sent twice is one job."""
    run = get_run(ports.runs, ports.liveness, name)
    given: dict[str, Any] = {key: value for key, value in form.items() if key != "key"}
    # One form for all three: a field that does not go with the choice is not meant.
    for field, kinds in (
        ("format", ("data",)),
        ("environment", ("workspace", "rerun")),
        ("until_step", ("rerun",)),
        ("network", ("rerun",)),
    ):
        if given.get("what") not in kinds:
            given.pop(field, None)
    try:
        wanted = MaterialisationRequest.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in error.errors()]) from error
    who = request.state.principal.who
    job = jobs.enqueue(run.id, wanted, by=who, key=f"page {who} {form['key']}" if "key" in form else None)
    return RedirectResponse(f"/materialisations/{job.id}", status_code=303)


@router.get("/materialisations/{id}")
def job_page(request: Request, ports: PortsOf, jobs: JobsOf, name: JobName) -> Response:
    """One job with its log, which goes on while somebody looks."""
    job = jobs.get(_whole(jobs, name))
    text, last = _log(jobs, job.id)
    return html("materialisation.html", job=job, run=ports.runs.get(job.run_id), log=text, last=last, may_execute=may_execute(request))


@router.post("/materialisations/{id}/cancel", openapi_extra=scope("execute"))
def cancel_job(jobs: JobsOf, name: JobName) -> Response:
    """Call a job off."""
    return RedirectResponse(f"/materialisations/{jobs.cancel(_whole(jobs, name)).id}", status_code=303)


@router.post("/materialisations/{id}/retry", openapi_extra=scope("execute"))
def retry_job(jobs: JobsOf, name: JobName) -> Response:
    """Queue a job again."""
    return RedirectResponse(f"/materialisations/{jobs.retry(_whole(jobs, name)).id}", status_code=303)


def _whole(jobs: JobRequests, name: str) -> str:
    found = jobs.ids_with_prefix(name, 6)
    if not found:
        raise NotFound("materialisation", name, hint="/materialisations lists them")
    if len(found) > 1 and name not in found:
        raise AmbiguousId(name, found)
    return name if name in found else found[0]


def _log(jobs: JobRequests, job_id: str) -> tuple[str, int]:
    """The log so far, and the number of its last part."""
    parts: list[str] = []
    last = 0
    while found := jobs.happened(job_id, last):
        parts += [item.text for item in found if item.text]
        is_whole = any(item.job is not None for item in found)
        last = max(item.number for item in found)
        if is_whole:
            break
    return "".join(parts[-_TOLD:]), last
