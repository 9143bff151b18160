"""Clients that are slow on purpose: a connection whose request does not come is closed."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from service.limits import PATIENCE_S


class PatientProtocol(H11Protocol):
    """HTTP/1.1 in which the head of a request has :data:`PATIENCE_S` seconds to come whole, the first on a connection and every later one.

    The server has a limit for the silence between two requests only: a client that sends a line of a head every few seconds, on a
    thousand connections, would keep them all for ever. Bodies are :func:`service.limits.unhurried`'s.
    """

    patience_s = PATIENCE_S

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        before: Any = self.cycle  # none yet on a new connection, whatever its type says
        if self._deadline is None and (before is None or before.response_complete):
            self._wait()
        super().data_received(data)
        if self.cycle is not before:  # a head is whole
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(self.patience_s, self.transport.close)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
