"""The factory."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from lineage.ports import Ports
from service import documentation, guard, pages, problems
from service.routes import diff, health, models, runs, samples

_STATIC = Path(__file__).parent / "static"


def create_app(ports: Ports, *, allowed_hosts: Collection[str] = ()) -> FastAPI:
    """The service over these ports.

    Routes run in a pool of threads; the store is used from all of them. It is the caller's: the service does not close it.

    Args:
        ports: Where records are, and what knows which runs are alive.
        allowed_hosts: Host names to answer under, besides ``localhost`` and bare addresses; needed behind a proxy with a name.
    """
    # Made without its documentation pages, whose inline script the security policy forbids; it serves Swagger UI's files.
    app: FastAPI = FastAPIOffline(
        docs_url=None,
        redoc_url=None,
        title="lineage",
        version=version("dataset-lineage"),
        summary=documentation.SUMMARY,
        description=documentation.DESCRIPTION,
        openapi_tags=[
            {"name": "runs", "description": "One execution of a job, and what it read, logged and made."},
            {"name": "models", "description": "From the bytes of a model back to its data."},
            {"name": "samples", "description": "From a picture, a sample or a dataset version to the runs and models that saw it."},
            {"name": "service", "description": "The service itself."},
        ],
    )
    app.state.ports = ports
    app.add_middleware(guard.guarded, allowed_hosts=allowed_hosts)
    problems.install(app, pages.problem_page, guard.HEADERS)
    for router in (runs.router, diff.router, models.router, samples.router, health.router, pages.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    documentation.install(app, pages.render("docs.html"))
    return app
