"""Server-rendered pages for people: one file for each, over the templates beside this package."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from service.pages import (
    compare,
    curves,
    dataset,
    graph,
    group,
    materialisations,
    patch,
    picture,
    problems,
    run,
    run_media,
    run_pictures,
    runs,
    sweeps,
)
from service.pages.problems import problem_page
from service.pages.rendering import render

__all__ = ["problem_page", "render", "router"]

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
for _part in (
    runs,
    run,
    group,
    sweeps,
    curves,
    run_media,
    run_pictures,
    compare,
    materialisations,
    graph,
    dataset,
    picture,
    patch,
    problems,
):
    router.include_router(_part.router)
