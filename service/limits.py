"""How much, and how often."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import as_json, http_problem

MOST_BODY_BYTES = 64 * 2**20
"""Size of a request's body, at most. Objects are streamed to disk and have a limit of their own."""

PATIENCE_S = 30.0
"""Seconds that a request's head may take, and its body to begin with."""
LEAST_BYTES_PER_S = 4096
"""What a client's line must carry after that, on average."""

_STREAMED = "/api/v1/objects/"
_MOST_NAMES = 10_000


class Buckets:
    """A token bucket for each name: ``rate_per_s`` flow in, at most ``most`` are kept. A rate of 0 means no limit.

    Used from one event loop. Forty lines of a library would do the same with a lock and a background thread.
    """

    def __init__(self, rate_per_s: float, most: float) -> None:
        self._rate, self._most = rate_per_s, max(1.0, most)
        self._levels: dict[str, tuple[float, float]] = {}

    def wait_s(self, name: str) -> float:
        """Seconds until one can be taken; 0 when it can be taken now."""
        return 0.0 if self._rate == 0 else max(0.0, (1.0 - self._level(name)) / self._rate)

    def take(self, name: str) -> float:
        """Take one if there is one; else the seconds until then."""
        if wait_s := self.wait_s(name):
            return wait_s
        if self._rate:
            if len(self._levels) >= _MOST_NAMES:
                self._levels = {key: value for key, value in self._levels.items() if self._level(key) < self._most}
            self._levels[name] = (self._level(name) - 1.0, time.monotonic())
        return 0.0

    def _level(self, name: str) -> float:
        level, at = self._levels.get(name, (self._most, 0.0))
        return min(self._most, level + (time.monotonic() - at) * self._rate)


def unhurried(app: ASGIApp, *, patience_s: float = PATIENCE_S) -> ASGIApp:
    """The app, refusing bodies that come too slowly: whoever holds many requests open for hours holds up everybody else.

    A body gets ``patience_s`` seconds, and one more for each :data:`LEAST_BYTES_PER_S` that have come; no silence may be longer.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        began, come, is_whole = time.monotonic(), 0, False

        async def in_time() -> Message:
            nonlocal come, is_whole
            if is_whole:  # what follows says that the client went away, which may be in an hour
                return await receive()
            left_s = min(patience_s, began + patience_s + come / LEAST_BYTES_PER_S - time.monotonic())
            try:
                message = await asyncio.wait_for(receive(), max(0.001, left_s))
            except TimeoutError:
                raise HTTPException(408, "the request's body came too slowly", {"Connection": "close"}) from None
            come += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            return message

        await app(scope, in_time, send)

    return answer


def limited(app: ASGIApp, *, most_bytes: int = MOST_BODY_BYTES) -> ASGIApp:
    """The app, refusing bodies over ``most_bytes``: by what the request announces, else as soon as more has come."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_STREAMED):
            await app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isascii() or not announced.isdigit() or int(announced) > most_bytes:
            refusal = as_json(http_problem(413, _detail(most_bytes), scope["path"]))
            refusal.headers["Connection"] = "close"  # what follows is not read
            await refusal(scope, receive, send)
            return
        come = 0

        async def counted() -> Message:
            nonlocal come
            message = await receive()
            come += len(message.get("body", b""))
            if come > most_bytes:
                raise HTTPException(413, _detail(most_bytes))
            return message

        await app(scope, counted, send)

    return answer


def _detail(most_bytes: int) -> str:
    return f"the request's body is larger than {most_bytes // 2**20} MiB"
