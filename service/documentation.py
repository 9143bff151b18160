"""The API's description, and the page that shows it. Swagger UI comes from a package, not from another host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi

from service.example_store import examples
from service.guard import DOCS_POLICY
from service.problems import MEDIA_TYPE

SUMMARY = "Which exact data made this model, and can I make it again?"
DESCRIPTION = """\
Look-ups over recorded runs. Ids may be given by a unique prefix; times are UTC; names carry their units.

Errors are problem documents (RFC 9457, `application/problem+json`) whose `code` is stable; [/problems](/problems) lists them.
Lists are pages: give `next_cursor` back as `cursor`, with the same filters. Answers of look-ups carry an `ETag`.
What records may be sent again after a lost answer and counts once; asking for a materialisation again takes an `Idempotency-Key`.

Where access tokens are needed, send `Authorization: Bearer …`: without a valid one the answer is 401, without the scope that a route needs
403, and 429 with `Retry-After` to whoever asks too often. Reading needs the scope `read`, everything else `record` unless `x-scope` names
another. Every answer carries `X-Request-ID`.
"""


def install(app: FastAPI, page: str) -> None:
    """Describe this app's routes at ``/openapi.json`` and show them at ``/docs``.

    Args:
        app: The app.
        page: HTML of the page.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            described["security"] = [{"token": []}, {}]  # none is needed on this machine's own address
            _parse_examples(described)
            app.openapi_schema = _with_examples(_with_problems(described))
        return app.openapi_schema

    async def docs() -> Response:
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": DOCS_POLICY})

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents for changing the description
    app.add_api_route("/docs", docs, include_in_schema=False)


def _contents(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in described["paths"].values():
        for operation in operations.values():
            for part in (operation.get("requestBody", {}), *operation["responses"].values()):
                yield part.get("content", {})


def _parse_examples(described: dict[str, Any]) -> None:
    # Told as text (``service.examples.example``): FastAPI leaves every null out of the description.
    for content in _contents(described):
        told = content.get("application/json", {})
        if isinstance(told.get("example"), str):
            told["example"] = json.loads(told["example"])


def _with_problems(described: dict[str, Any]) -> dict[str, Any]:
    # FastAPI describes every further answer as application/json; ours are problem documents.
    for operations in described["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                content = response.get("content", {})
                if int(status) >= 400 and "application/json" in content:
                    content.setdefault(MEDIA_TYPE, {}).update(content.pop("application/json"))
    return described


def _with_examples(described: dict[str, Any]) -> dict[str, Any]:
    # Of routes that say nothing of it themselves.
    for (method, path), example in examples().items():
        operation = described["paths"].get(path, {}).get(method)
        if operation is None:
            continue
        if example.has_body:
            for content in operation["requestBody"]["content"].values():
                content["example"] = example.body
        if example.has_answer:
            for content in operation["responses"]["200"]["content"].values():
                content["example"] = example.answer
    return described
