"""Bodies with an ETag, so that a client that has the answer already is told so in a few bytes."""

from __future__ import annotations

import hashlib

from fastapi import Request, Response
from pydantic import BaseModel


def entity(request: Request, answer: BaseModel) -> Response:
    """``answer`` as JSON with an ETag over its bytes; 304 without a body when the request's ``If-None-Match`` names it."""
    body = answer.model_dump_json().encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}  # may be kept, must be asked about: a finished run can still be reproduced
    if is_known(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def is_known(request: Request, tag: str) -> bool:
    """Whether the request's ``If-None-Match`` names this ETag."""
    known = {item.strip().removeprefix("W/") for item in request.headers.get("if-none-match", "").split(",")}
    return tag in known or "*" in known
