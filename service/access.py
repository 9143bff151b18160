"""Who asks, and what they may do.

Every request is looked at before its route is: with tokens required, nothing but :data:`OPEN` is answered without a valid one. What a
route needs beyond reading is decided in one place (:func:`allowed`): reading for GET, recording for everything else, unless the route
says otherwise (``openapi_extra=scope("execute")``). A route that says nothing is never more open than that.
"""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from lineage.errors import LineageError
from lineage.model.access import AccessToken, Scope, token_id_of
from lineage.ports.access import AccessStore
from service.limits import Buckets
from service.problems import as_json, http_problem, problem_of

OPEN = ("/healthz", "/readyz")
"""Answered without a token, and with nothing of the records in it; so are the files of the pages under ``/static/``."""

READING = ("GET", "HEAD", "OPTIONS")

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="lineage", Basic realm="lineage", charset="UTF-8"'}
_KEPT_S = 5.0  # a revoked token works so long at most
_SCOPE = "x-scope"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        who: For logs: ``token <id> (<name>)``, or ``address <address>``.
        scopes: What they may do.
    """

    who: str
    scopes: frozenset[Scope]


def scope(needed: str) -> dict[str, Any]:
    """What a route needs, for its ``openapi_extra``: ``read``, ``record`` or ``execute``."""
    return {_SCOPE: Scope(needed).value}


def needed_by(route: Any, method: str) -> Scope:
    """The scope that a route needs."""
    named = (getattr(route, "openapi_extra", None) or {}).get(_SCOPE)
    return Scope(named) if named else Scope.read if method in READING else Scope.record


async def allowed(request: Request) -> None:
    """Refuses a request whose token lacks the route's scope: a dependency of every route.

    Raises:
        HTTPException: 403.
    """
    who: Principal = request.state.principal
    needed = needed_by(request.scope.get("route"), request.method)
    if needed not in who.scopes:
        challenge = {"WWW-Authenticate": f'Bearer realm="lineage", error="insufficient_scope", scope="{needed}"'}
        raise HTTPException(403, f"this needs the scope '{needed}', the token has {', '.join(sorted(who.scopes)) or 'none'}", challenge)


def authenticated(app: ASGIApp, *, store: AccessStore | None, rate_per_s: float) -> ASGIApp:
    """The app, knowing who asks.

    Args:
        app: The app.
        store: Where tokens are; ``None`` when none is needed, and everybody may do everything.
        rate_per_s: Requests a second that one token may make on average; 0 for any number.
    """
    known: dict[str, tuple[AccessToken, float]] = {}
    requests, refusals = Buckets(rate_per_s, 10 * rate_per_s), Buckets(1.0, 30.0)

    async def find(text: str) -> AccessToken | None:
        token_id = token_id_of(text)
        if token_id is None or store is None:
            return None
        kept = known.get(token_id)
        if kept is None or time.monotonic() > kept[1]:
            read = await run_in_threadpool(store.token, token_id)
            if read is None:
                return None
            if len(known) > 10_000:
                known.clear()
            kept = known[token_id] = (read, time.monotonic() + _KEPT_S)
        token = kept[0]
        return token if token.matches(text) and token.is_valid(datetime.now(UTC)) else None

    async def answer(connection: Connection, receive: Receive, send: Send) -> None:
        if connection["type"] != "http":
            await app(connection, receive, send)
            return
        headers, path = Headers(scope=connection), connection["path"]
        state = connection.setdefault("state", {})
        address = f"address {(connection.get('client') or ('unknown',))[0]}"
        state["principal"] = Principal(address, frozenset(Scope) if store is None else frozenset())

        async def refuse(status: int, detail: str, hint: str, more: dict[str, str] | None = None) -> None:
            refusal = as_json(http_problem(status, detail, path, hint=hint))
            refusal.headers.update(more or {})
            await refusal(connection, receive, send)

        if connection["method"] not in READING and _is_from_elsewhere(headers):
            await refuse(403, "a page of another site sent this request", "send it from a program, or from this service's own pages")
            return
        if path in OPEN or path.startswith("/static/"):
            state["principal"] = Principal(address, frozenset({Scope.read}))
            await app(connection, receive, send)
            return
        if store is None:
            await app(connection, receive, send)
            return
        text = _token_in(headers)
        wait_s = 0.0
        if text is None or token_id_of(text) not in known:
            wait_s = refusals.wait_s(address)
        if wait_s:
            await refuse(429, "too many requests without a valid token came from this address", "wait", _retry(wait_s))
            return
        try:
            token = await find(text) if text is not None else None
        except LineageError as error:  # the store is away: handlers of errors are further inside
            await as_json(problem_of(error, path))(connection, receive, send)
            return
        if token is None:
            refusals.take(address)
            what = "there is no token" if text is None else "the token is unknown, expired or revoked"
            hint = "send 'Authorization: Bearer …' with a token of `lineage tokens new`; a browser may give it as password"
            await refuse(401, what, hint, _CHALLENGE)
            return
        scopes = frozenset(item for item in Scope if token.allows(item))
        state["principal"] = Principal(f"token {token.id} ({token.name})", scopes)
        if wait_s := requests.take(token.id):
            await refuse(429, "this token makes too many requests", "wait, or ask for less at once", _retry(wait_s))
            return
        await app(connection, receive, send)

    return answer


def _token_in(headers: Headers) -> str | None:
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":  # what a browser asks a person for: any name, and the token as password
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return None


def _is_from_elsewhere(headers: Headers) -> bool:
    # A page of another site can make a browser send a form here, to an address that only the browser reaches, with the password that
    # the browser remembers. Browsers say where a request comes from; programs say nothing.
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host", "")


def _retry(wait_s: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, round(wait_s + 0.5)))}
