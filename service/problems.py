"""Every error as a problem document: ``application/problem+json`` after RFC 9457, with the layer's own error codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from lineage.errors import (
    AmbiguousId,
    CaptureError,
    Conflict,
    ExecutionFailed,
    IntegrityError,
    InvalidQuery,
    InvalidSource,
    KeyReused,
    LeaseLost,
    LineageError,
    MissingExtra,
    NoSpace,
    NotFound,
    TidiedAway,
    Unavailable,
    UncommittedData,
    UsageError,
)
from lineage.model.access import without_tokens

MEDIA_TYPE = "application/problem+json"


class WrongContent(IntegrityError):
    """What a client sent is not what its digests say: the client's mistake, where the class above is the store's."""

    code = "wrong_content"


class UnknownDigest(IntegrityError):
    """Nothing is kept under a digest that a client asks for: for the client, a record that names it is not whole."""

    code = "unknown_digest"


STATUS: Mapping[type[LineageError], tuple[int, str]] = {
    LineageError: (500, "The service failed"),
    UsageError: (400, "The request cannot be acted on"),
    AmbiguousId: (400, "The id fits several runs"),
    NotFound: (404, "There is no such thing"),
    TidiedAway: (410, "It was there, and was deleted"),
    Conflict: (409, "It exists already, or is being changed by somebody else"),
    KeyReused: (422, "The key stands for another request"),
    LeaseLost: (409, "It is somebody else's now"),
    InvalidSource: (422, "The source cannot be imported"),
    InvalidQuery: (422, "The query cannot be answered"),
    CaptureError: (500, "Something that must be recorded cannot be"),
    UncommittedData: (409, "The dataset has uncommitted changes"),
    UnknownDigest: (404, "Nothing is kept under this digest"),
    WrongContent: (422, "What was sent differs from its digest"),
    IntegrityError: (500, "Something differs from its recorded digest"),
    ExecutionFailed: (500, "A command ended with an error"),
    NoSpace: (507, "There is no room left"),
    Unavailable: (503, "Something the service needs is not there"),
    MissingExtra: (501, "The service was installed without a package that this needs"),
}
"""Error class to HTTP status and title. Every class of the tree has a line of its own."""

HTTP_CODES: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "The request is malformed"),
    401: ("no_access", "A valid access token is needed"),
    403: ("not_allowed", "This is not allowed"),
    404: ("no_such_page", "There is nothing under this address"),
    405: ("method_not_allowed", "This address does not answer that method"),
    408: ("too_slow", "The request came too slowly"),
    413: ("too_large", "The request is too large"),
    421: ("unknown_host", "The service does not answer under this host name"),
    422: ("invalid_request", "A parameter is not as expected"),
    429: ("too_many_requests", "Too many requests"),
    500: ("internal", "The service failed"),
}
"""Errors of HTTP itself: status to code and title."""

_MORE = ("candidates", "problems", "query", "reason", "what", "expected", "found")
"""Attributes of errors that programs may want."""


class FieldProblem(BaseModel):
    """What is wrong with one parameter."""

    model_config = ConfigDict(extra="forbid")

    parameter: str
    message: str


class Problem(BaseModel):
    """A problem document (RFC 9457).

    Attributes:
        type: Address of the problem's description, relative to this service.
        title: The kind of problem, in words.
        status: HTTP status.
        detail: What is wrong this time.
        instance: The path that was asked for.
        code: The kind of problem, for programs.
        hint: What to do.
        errors: With `invalid_request`: each parameter that is not as expected.
    """

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    hint: str | None = None
    errors: list[FieldProblem] | None = None


def status_of(error: LineageError) -> tuple[int, str]:
    """HTTP status and title of an error of the layer."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_of(error: LineageError, path: str) -> Problem:
    """An error of the layer as a problem document."""
    status, title = status_of(error)
    more = {name: list(value) if isinstance(value, tuple) else value for name in _MORE if (value := getattr(error, name, None))}
    return _problem(status, error.code, title, error.message, path, hint=error.hint, **more)


def http_problem(status: int, detail: str, path: str, **more: Any) -> Problem:
    """An error of HTTP itself as a problem document."""
    phrase = HTTPStatus(status).phrase
    code, title = HTTP_CODES.get(status, (phrase.lower().replace(" ", "_").replace("-", "_"), phrase))
    return _problem(status, code, title, detail, path, **more)


def invalid_request(error: RequestValidationError, path: str) -> Problem:
    """Parameters that are not as expected, each with its place."""
    fields = [FieldProblem(parameter=_place(item["loc"]), message=_sentence(item)) for item in error.errors()]
    return http_problem(422, "; ".join(f"{item.parameter}: {item.message}" for item in fields), path, errors=fields)


def _problem(status: int, code: str, title: str, detail: str, path: str, **more: Any) -> Problem:
    # Somebody may have put a token where it does not belong: what was asked is repeated here, a token is not.
    told = {name: without_tokens(value) if isinstance(value, str) else value for name, value in more.items()}
    return Problem(
        type=f"/problems#{code}",
        title=title,
        status=status,
        detail=without_tokens(detail),
        instance=without_tokens(path),
        code=code,
        **told,
    )


def _place(location: tuple[int | str, ...]) -> str:
    # ("query", "limit") is the parameter 'limit'; whether it stands in the path or behind '?' is plain from its name.
    return without_tokens(".".join(str(part) for part in location[1:]) or str(location[0]))


def _sentence(item: Mapping[str, Any]) -> str:
    if item["type"] == "extra_forbidden":
        return "there is no such parameter"
    found = repr(item.get("input"))
    return without_tokens(f"{item['msg'][:1].lower()}{item['msg'][1:]}, found {found if len(found) <= 80 else found[:79] + '…'}")


def as_json(problem: Problem) -> Response:
    """The document as a response."""
    # A database that is started again is back in seconds.
    headers = {"Retry-After": "1"} if problem.status == 503 else None
    return Response(problem.model_dump_json(exclude_none=True), problem.status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI, as_page: Callable[[Request, Problem], Response], late_headers: Mapping[str, str]) -> None:
    """Answer every error of this app: programs get a document, a person who looks at a page gets a page.

    Args:
        app: The app.
        as_page: Renders a problem for people.
        late_headers: For answers to unforeseen errors, which pass no middleware.
    """

    def answer(request: Request, problem: Problem) -> Response:
        for_people = not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "")
        return as_page(request, problem) if for_people else as_json(problem)

    async def on_lineage_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, LineageError)
        return answer(request, problem_of(error, request.url.path))

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(request, invalid_request(error, request.url.path))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = answer(request, http_problem(error.status_code, _http_detail(request, error), request.url.path))
        response.headers.update(error.headers or {})
        return response

    async def on_unforeseen(request: Request, error: Exception) -> Response:
        # The server logs the traceback: it may name paths and values that are nobody else's business.
        detail = "an error that nobody foresaw; the service's log has the details"
        response = answer(request, http_problem(500, detail, request.url.path))
        response.headers.update(late_headers)
        if request_id := getattr(request.state, "request_id", None):
            response.headers["X-Request-ID"] = request_id
        return response

    app.add_exception_handler(LineageError, on_lineage_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_unforeseen)


def _http_detail(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return f"nothing is under {request.url.path}"
    if error.status_code == 405:
        return f"{request.url.path} does not answer {request.method}"
    return str(error.detail)


def kinds() -> list[tuple[str, int, str]]:
    """(code, status, title) of every kind of problem, for the page that describes them."""
    ours = [(kind.code, status, title) for kind, (status, title) in STATUS.items()]
    return sorted([*ours, *((code, status, title) for status, (code, title) in HTTP_CODES.items())], key=lambda item: (item[1], item[0]))


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problem documents that a route may answer, for OpenAPI."""
    return {
        status: {"model": Problem, "description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"example": _example(status)}}}
        for status in statuses
    }


def _example(status: int) -> dict[str, Any]:
    path = "/api/v1/runs/4f0c2a"
    samples: dict[int, Problem] = {
        400: problem_of(AmbiguousId("4f", ["4f0c2a6d4f1b", "4f9921cb07aa"]), path),
        404: problem_of(NotFound("run", "4f0c2a"), path),
        409: problem_of(Conflict("run 4f0c2a6d4f1b is finished; nothing can be added to it any more"), path),
        401: http_problem(401, "there is no token", path, hint="send 'Authorization: Bearer …'"),
        403: http_problem(403, "this needs the scope 'record', the token has read", path),
        410: problem_of(TidiedAway("files", "9d1c0f", hint="ask for them again"), "/api/v1/materialisations/9d1c0f/files"),
        413: http_problem(413, "the request's body is larger than 64 MiB", path),
        429: http_problem(429, "this token makes too many requests", path),
        503: problem_of(Unavailable("the store cannot be reached", hint="check LINEAGE_STORE and the server"), "/healthz"),
    }
    field = FieldProblem(parameter="limit", message="input should be less than or equal to 200, found '1000'")
    samples[422] = http_problem(422, f"{field.parameter}: {field.message}", "/api/v1/runs", errors=[field])
    return samples[status].model_dump(mode="json", exclude_none=True)
