"""The factory."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from lineage.ports import Ports
from lineage.ports.access import AccessStore
from lineage.ports.jobs import JobRequests
from service import access, documentation, guard, limits, pages, problems
from service.audit import AuditLog
from service.observe import Figures, observed
from service.routes import diff, groups, health, lineage, materialisations, models, objects, recording, runs, samples, sweeps
from service.row_pictures import RowPictures
from service.sweep_reports import SweepReports
from service.telemetry import Spans

_STATIC = Path(__file__).parent / "static"


_RATE_PER_S = 200.0


def create_app(
    ports: Ports,
    *,
    allowed_hosts: Collection[str] = (),
    tokens: AccessStore | None = None,
    need_tokens: bool = False,
    rate_per_s: float = _RATE_PER_S,
    most_body_bytes: int = limits.MOST_BODY_BYTES,
    patience_s: float = limits.PATIENCE_S,
    spans: Spans | None = None,
    jobs: JobRequests | None = None,
) -> FastAPI:
    """The service over these ports.

    Routes run in a pool of threads; the store is used from all of them. It is the caller's: the service does not close it.

    Args:
        ports: Where records are, and what knows which runs are alive.
        allowed_hosts: Host names to answer under, besides ``localhost`` and bare addresses; needed behind a proxy with a name.
        tokens: Where access tokens and the audit log are kept; without it nothing is audited. The caller's as well.
        need_tokens: Answer nobody without a token.
        rate_per_s: Requests a second that one token may make on average; 0 for any number.
        most_body_bytes: Size of a request's body, at most; objects are not limited by it.
        patience_s: Seconds that a request's body may take before it must have a least pace.
        spans: Tells a collector of each request; closed when the app ends.
        jobs: Where re-materialisations are queued; without it there are none. The caller's as well.
    """
    audit, figures, stopping = None if tokens is None else AuditLog(tokens), Figures(), threading.Event()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        stopping.set()
        if audit is not None:
            await run_in_threadpool(audit.close)
        if spans is not None:
            await run_in_threadpool(spans.close)

    # Made without its documentation pages, whose inline script the security policy forbids; it serves Swagger UI's files.
    app: FastAPI = FastAPIOffline(
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(access.allowed)],
        lifespan=lifespan,
        title="lineage",
        version=version("dataset-lineage"),
        summary=documentation.SUMMARY,
        description=documentation.DESCRIPTION,
        openapi_tags=[
            {"name": "runs", "description": "One execution of a job, and what it read, logged and made."},
            {"name": "sweeps", "description": "Trials of a sweep, and which parameter mattered."},
            {"name": "models", "description": "From the bytes of a model back to its data."},
            {"name": "samples", "description": "From a picture, a sample or a dataset version to the runs and models that saw it."},
            {"name": "lineage", "description": "Dataset versions, views, runs and models as a graph."},
            {"name": "materialisations", "description": "A run's data, a workspace or a re-run, by a worker."},
            {"name": "store", "description": "Records and objects of clients that record to this service."},
            {"name": "service", "description": "The service itself."},
        ],
    )
    app.state.ports = ports
    app.state.tokens = tokens
    app.state.figures = figures
    app.state.jobs = jobs
    app.state.opens_places = not need_tokens  # datasets and repositories that records name
    app.state.row_pictures = RowPictures(ports, opens_datasets=not need_tokens)
    app.state.sweep_reports = SweepReports()
    app.state.stopping = stopping  # set when the process is told to end: answers that go on for long look at it
    # The last one added sees a request first.
    app.add_middleware(limits.unhurried, patience_s=patience_s)
    app.add_middleware(limits.limited, most_bytes=most_body_bytes)
    app.add_middleware(access.authenticated, store=tokens if need_tokens else None, rate_per_s=rate_per_s)
    app.add_middleware(guard.guarded, allowed_hosts=allowed_hosts)
    app.add_middleware(observed, figures=figures, audit=audit)
    if spans is not None:
        app.add_middleware(spans.around)
    problems.install(app, pages.problem_page, guard.HEADERS)
    if jobs is not None:
        app.include_router(materialisations.router)
    for part in (runs, groups, sweeps, lineage, diff, models, samples, recording, objects, health, pages):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    documentation.install(app, pages.render("docs.html"))
    return app
