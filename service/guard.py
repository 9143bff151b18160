"""What holds for every answer: security headers, and only host names that cannot be somebody else's."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import as_json, http_problem

_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
DOCS_POLICY = f"{_POLICY}; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
"""For the API's documentation: Swagger UI sets styles on elements and holds its icons in data addresses."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # to others nothing; without it a browser hides where our own forms come from
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every answer. Cross-origin reading (CORS) stays closed by sending none of its headers."""


def guarded(app: ASGIApp, *, allowed_hosts: Collection[str] = ()) -> ASGIApp:
    """The app with :data:`HEADERS` on every answer, answering only under addresses, ``localhost`` and ``allowed_hosts``.

    A page on the internet can let its own host name resolve to 127.0.0.1 and then read what a service without tokens answers (DNS
    rebinding). It cannot do so under a bare address or ``localhost``, so these are always answered.
    """
    names = {"localhost", *(name.lower() for name in allowed_hosts)}

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        host = Headers(scope=scope).get("host", "")
        if _is_ours(host, names):
            await app(scope, receive, send_with_headers)
        else:
            detail = f"the service does not answer under the host name '{host[:100]}'"
            refusal = as_json(http_problem(421, detail, scope["path"], hint="use an address such as 127.0.0.1, or localhost"))
            await refusal(scope, receive, send_with_headers)

    return answer


def _is_ours(host: str, names: Collection[str]) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
        if name is None or name in names:
            return name is not None
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
