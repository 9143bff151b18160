"""Errors as pages, and the page that describes every kind of them."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from service import problems
from service.pages.rendering import html

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/problems")
async def problems_page() -> Response:
    """Every kind of problem; the ``type`` of a problem document points here."""
    return html("problems.html", kinds=problems.kinds())


def problem_page(request: Request, problem: problems.Problem) -> Response:
    """A problem for people."""
    return html("problem.html", status=problem.status, problem=problem)
