"""``lineage request`` and ``lineage jobs``: asking workers for something, and following it."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from lineage.cli.look import RunName
from lineage.cli.output import AsJson, log_text, print_json, say, table, when
from lineage.cli.reproduce import EnvironmentMode
from lineage.cli.worker import size_bytes
from lineage.errors import AmbiguousId, NotFound, UsageError
from lineage.lookup.runs import get_run
from lineage.model.comparison import Verdict
from lineage.model.materialisation import JobState, Materialisation, MaterialisationRequest
from lineage.model.words import size_in_words
from lineage.ports.jobs import JobQuery, JobRequests
from lineage.wiring import wire
from lineage.wiring_jobs import fetch_files, job_requests

_LOOK_S = 0.5
_FAILED = 10

JobName = Annotated[str, typer.Argument(metavar="JOB", help="Job id, or a unique prefix of one.")]


class Kind(StrEnum):
    """What can be asked for."""

    data = "data"
    workspace = "workspace"
    rerun = "rerun"


jobs_app = typer.Typer(help="What was asked of workers: list, follow, call off, try again, fetch.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("request")(request)
    app.add_typer(jobs_app, name="jobs")


def request(
    run: RunName,
    what: Annotated[Kind, typer.Option("--what", help="data: its rows; workspace: code, environment and data; rerun: run it again.")],
    layout: Annotated[str, typer.Option("--format", help="Of data: deeplake, visdrone, coco or yolo.")] = "deeplake",
    role: Annotated[str | None, typer.Option(help="Of data: only inputs of this role.")] = None,
    until_step: Annotated[int | None, typer.Option("--until-step", metavar="N", help="Of a re-run: stop when step N is done.")] = None,
    env: Annotated[EnvironmentMode, typer.Option("--env", help="As of lineage reproduce.")] = EnvironmentMode.auto,
    network: Annotated[bool, typer.Option("--network", help="Let the re-run reach the network; the worker must allow it.")] = False,
    seconds: Annotated[int | None, typer.Option("--seconds", min=1, help="Time it may take.")] = None,
    memory: Annotated[str | None, typer.Option("--memory", metavar="SIZE", help="Memory that recorded code may use.")] = None,
    disk: Annotated[str | None, typer.Option("--disk", metavar="SIZE", help="What it may write.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="The same key and request give the same job again.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show its log until it is over; the exit code then tells how.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a worker for a run's data, for a workspace, or to run it again and compare. Prints the job's id.

    With --follow the exit code is the verdict's, or 10 when the job failed or was cancelled.
    """
    limits = {"seconds": seconds, "memory_bytes": size_bytes(memory, "--memory"), "disk_bytes": size_bytes(disk, "--disk")}
    told = {"what": what.value, "format": layout, "role": role, "until_step": until_step, "environment": env.value, "network": network}
    try:
        wanted = MaterialisationRequest.model_validate({**told, **limits})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, ")) from error
    ports = wire()
    try:
        run_id = get_run(ports.runs, ports.liveness, run).id
    finally:
        ports.runs.close()
    with _requests() as jobs:
        job = jobs.enqueue(run_id, wanted, by=f"account {getpass.getuser()}", key=key)
        say("done", f"{job.what} of run {run_id[:12]} is {job.state}; `lineage jobs follow {job.id[:12]}` shows how it goes")
        if follow:
            job = _follow(jobs, job.id, is_quiet=as_json)
    _tell(job, as_json=as_json)
    if follow:
        raise typer.Exit(_status(job))


@jobs_app.command("list")
def list_jobs(
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Only of this run.")] = None,
    state: Annotated[JobState | None, typer.Option("--state", help="Only in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    run_id = None
    if run is not None:
        ports = wire()
        run_id = get_run(ports.runs, ports.liveness, run).id
        ports.runs.close()
    found: list[Materialisation] = []
    with _requests() as jobs:
        after: str | None = None
        while len(found) < limit:
            page = jobs.find(JobQuery(run_id, state, after, min(200, limit - len(found))))
            found += page.jobs
            if (after := page.next_cursor) is None:
                break
    if as_json:
        print_json([job.model_dump(mode="json") for job in found])
        return
    rows = [
        (job.id[:12], job.what, job.run_id[:12], job.state.value, _result(job), job.requested_by, when(job.requested_at)) for job in found
    ]
    table(("job", "what", "run", "state", "result", "asked by", "at"), rows)


@jobs_app.command("show")
def show(job: JobName, as_json: AsJson = False) -> None:
    """Show a job: what was asked for, and what became of it."""
    with _requests() as jobs:
        _tell(jobs.get(_whole(jobs, job)), as_json=as_json)


@jobs_app.command("follow")
def follow(job: JobName, as_json: AsJson = False) -> None:
    """Show a job's log until it is over. The exit code is the verdict's, or 10 when it failed or was cancelled."""
    with _requests() as jobs:
        found = _follow(jobs, _whole(jobs, job), is_quiet=as_json)
    _tell(found, as_json=as_json)
    raise typer.Exit(_status(found))


@jobs_app.command("cancel")
def cancel(job: JobName, as_json: AsJson = False) -> None:
    """Call a job off: at once while it waits, else its worker ends it within seconds."""
    with _requests() as jobs:
        _tell(jobs.cancel(_whole(jobs, job)), as_json=as_json)


@jobs_app.command("retry")
def retry(job: JobName, as_json: AsJson = False) -> None:
    """Queue a job again that failed or was cancelled."""
    with _requests() as jobs:
        _tell(jobs.retry(_whole(jobs, job)), as_json=as_json)


@jobs_app.command("fetch")
def fetch(job: JobName, folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet.")]) -> None:
    """Put the files of a job, data or a workspace, into a folder."""
    with _requests() as jobs:
        found = jobs.get(_whole(jobs, job))
    fetch_files(found, folder)
    say("done", f"{found.what} of run {found.run_id[:12]}")
    typer.echo(str(folder))


@contextmanager
def _requests() -> Iterator[JobRequests]:
    jobs = job_requests()
    try:
        yield jobs
    finally:
        jobs.close()


def _whole(jobs: JobRequests, name: str) -> str:
    prefix = name.strip().lower()
    found = [prefix] if len(prefix) == 32 else jobs.ids_with_prefix(prefix, 6)
    if not found:
        raise NotFound("job", name, hint="`lineage jobs list` shows them")
    if len(found) > 1:
        raise AmbiguousId(name, found)
    return found[0]


def _follow(jobs: JobRequests, job_id: str, *, is_quiet: bool) -> Materialisation:
    after, state = 0, None
    while True:
        for item in jobs.happened(job_id, after):
            after = item.number
            if item.text is not None and not is_quiet:
                typer.echo(log_text(item.text), nl=False, err=True)
            if item.job is not None and item.job.state is not state:
                state = item.job.state
                say("done", f"{state} (attempt {item.job.attempt} of {item.job.attempts_allowed})")
                if state.is_end:
                    return item.job
        time.sleep(_LOOK_S)


def _status(job: Materialisation) -> int:
    if job.state is not JobState.succeeded:
        return _FAILED
    return 0 if job.verdict is None else Verdict(job.verdict).exit_code


def _result(job: Materialisation) -> str:
    if job.error is not None:
        return f"{job.error.code}: {job.error.message}"
    if job.progress is not None and not job.state.is_end:
        return f"{job.progress.what} {job.progress.done}/{job.progress.total}"
    return job.verdict or (Path(job.path).as_posix() if job.path else "")


def _tell(job: Materialisation, *, as_json: bool) -> None:
    if as_json:
        print_json(job.model_dump(mode="json"))
        return
    typer.echo(job.id)
    lines = [f"{job.what} of run {job.run_id[:12]}: {job.state}"]
    lines += [f"verdict: {job.verdict}"] if job.verdict else []
    lines += [f"run {job.result_run_id}"] if job.result_run_id and job.verdict else []
    lines += [f"in {job.path} ({size_in_words(job.size_bytes or 0)})"] if job.path and job.state is JobState.succeeded else []
    lines += [f"isolation: {', '.join(job.isolation)}"] if job.isolation else []
    for line in lines:
        say("done", line)
    if job.error is not None:
        say("error", f"{job.error.code}: {job.error.message}" + (f" (hint: {job.error.hint})" if job.error.hint else ""))
