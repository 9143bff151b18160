"""Talking to a service: one connection a thread that stays open, retries, the token, errors as our own.

The standard library's client: it costs a start of 12 ms, and only where a store is a service.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

from lineage.adapters.stores.connections import Connections
from lineage.errors import Conflict, IntegrityError, LineageError, NoSpace, NotFound, Unavailable, UsageError

_TRY_AGAIN = frozenset({408, 429, 502, 503, 504})
_CONNECT_S = 5.0
_ANSWER_S = 60.0
_LONGEST_PAUSE_S = 2.0
_BLOCK_BYTES = 1 << 20

Body = bytes | Callable[[bool], bytes] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said.

    Attributes:
        body: All of it.
        is_second: The request was sent more than once: the first time it may have been acted on, too.
    """

    status: int
    body: bytes
    is_second: bool

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class HttpClient:
    """Requests to one service.

    Args:
        url: ``http://host:port`` or ``https://…``, with or without a path.
        token: Bearer token; ``None`` for a service without tokens. It never shows up in a message.
        patience_s: Seconds for which a request is tried again while the service is away.

    Raises:
        UsageError: It is no such address, or holds a user or password.
    """

    def __init__(self, url: str, token: str | None = None, patience_s: float = 10.0) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.query or parts.fragment:
            raise UsageError("the address of the service is not of the form http://host:port", hint="LINEAGE_STORE=http://127.0.0.1:8765")
        if "@" in parts.netloc:
            raise UsageError("the address of the service holds a user or password", hint="give a token in LINEAGE_TOKEN instead")
        if token is not None and not (token.isascii() and token.isprintable()):
            raise UsageError("LINEAGE_TOKEN holds letters that no token has", hint="copy it again, without line ends")
        self.location = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._path, self._token, self._patience_s = parts.path.rstrip("/"), token, patience_s
        self._host, self._port, self._is_tls = parts.hostname, port, parts.scheme == "https"
        self._connections = Connections(self._connect)
        self._impatient = threading.local()

    def _connect(self) -> http.client.HTTPConnection:
        if self._is_tls:
            return http.client.HTTPSConnection(self._host, self._port, timeout=_CONNECT_S, context=ssl.create_default_context())
        return http.client.HTTPConnection(self._host, self._port, timeout=_CONNECT_S)

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Requests of this thread are tried once while this lasts."""
        self._impatient.on = True
        try:
            yield
        finally:
            self._impatient.on = False

    def send(
        self,
        method: str,
        path: str,
        body: Body = None,
        *,
        stream: tuple[Callable[[], IO[bytes]], int] | None = None,
        missing: tuple[str, str] = ("thing", ""),
        target: IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        needs: str = "record",
    ) -> Answer:
        """Send a request until it is answered.

        Args:
            method: Of HTTP.
            path: Below the service's address.
            body: JSON text, or what makes the text of a first (``False``) or later (``True``) try.
            stream: Instead of it what opens a file to send, and its size in bytes.
            missing: (kind, name) for the error when there is no such thing.
            target: Gets the body of a good answer in blocks; the answer then holds none.
            headers: More of them.
            needs: Scope that the token must have, for the error when it has not.

        Raises:
            Unavailable: The service cannot be reached, refuses the token, or failed.
            NotFound: There is no such thing.
            Conflict: The request does not fit what is there.
            IntegrityError: What was sent is not what its digest says.
            UsageError: The service does not understand the request.
        """
        deadline = time.monotonic() + (0.0 if getattr(self._impatient, "on", False) else self._patience_s)
        for number in range(1_000_000):
            told = "no answer"
            try:
                status, found, wait_s = self._once(method, path, body(number > 0) if callable(body) else body, stream, target, headers)
                if status < 300:
                    return Answer(status, found, number > 0)
                if status not in _TRY_AGAIN:
                    raise _error(status, found, self.location, missing, needs)
                told = _detail(found) or f"status {status}"
            except ssl.SSLCertVerificationError as error:  # trying again would not help
                self._connections.forget_mine()
                raise Unavailable(
                    f"the certificate of {self.location} is not trusted: {error.verify_message}",
                    hint="SSL_CERT_FILE names the file with the certificate of your own authority",
                ) from error
            except (OSError, http.client.HTTPException) as error:
                self._connections.forget_mine()
                wait_s, told = 0.0, str(error) or type(error).__name__
            # A jitter, or all clients of a service that comes back would ask in the same moment.
            pause_s = max(wait_s, min(_LONGEST_PAUSE_S, 0.05 * 2**number) * random.uniform(0.5, 1.0))
            if time.monotonic() + pause_s > deadline:
                raise Unavailable(f"the service {self.location} cannot be used: {told}", hint="is it running? LINEAGE_STORE names it")
            if target is not None:
                target.seek(0)
                target.truncate()
            time.sleep(pause_s)
        raise AssertionError("unreachable: the deadline ends the loop")

    def _once(
        self,
        method: str,
        path: str,
        body: bytes | None,
        stream: tuple[Callable[[], IO[bytes]], int] | None,
        target: IO[bytes] | None,
        more: Mapping[str, str] | None,
    ) -> tuple[int, bytes, float]:
        connection = self._connections.mine()
        headers: dict[str, str] = {"Accept": "application/json", "User-Agent": "dataset-lineage", **(more or {})}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        content: bytes | IO[bytes] | None = body
        if stream is not None:
            content = stream[0]()
            headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(stream[1])}
        try:
            if connection.sock is None:
                _connect(connection)
            connection.request(method, self._path + path, content, headers)
            answer = connection.getresponse()
            if target is not None and answer.status < 300:
                while block := answer.read(_BLOCK_BYTES):
                    target.write(block)
                if answer.length:  # the connection broke off
                    raise http.client.IncompleteRead(b"", answer.length)
                found = b""
            else:
                found = answer.read()
        finally:
            if content is not None and not isinstance(content, bytes):
                content.close()
        if answer.will_close:
            self._connections.forget_mine()
        return answer.status, found, _seconds(answer.getheader("Retry-After", ""))

    def close(self) -> None:
        """Close every connection of this process."""
        self._connections.close()


def _connect(connection: http.client.HTTPConnection) -> None:
    connection.connect()
    connection.sock.settimeout(_ANSWER_S)


def _seconds(text: str) -> float:
    return min(float(text), 60.0) if text.isascii() and text.isdigit() else 0.0


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _detail(body: bytes) -> str | None:
    found = _problem(body).get("detail")
    return found if isinstance(found, str) else None


def _error(status: int, body: bytes, location: str, missing: tuple[str, str], needs: str) -> LineageError:
    problem = _problem(body)
    code, detail = problem.get("code"), str(problem.get("detail") or f"status {status}")
    hint = problem.get("hint") if isinstance(problem.get("hint"), str) else None
    if status in (401, 403):
        return Unavailable(f"the service {location} refuses: {detail}", hint=f"LINEAGE_TOKEN holds the token; it needs the scope '{needs}'")
    if code == "not_found" or (status == 404 and not body):  # HEAD is answered without words
        return NotFound(*missing)
    if code == "conflict":
        return Conflict(detail, hint=hint)
    if code == "tidied_away":
        return NotFound(*missing, detail=detail, hint=hint)
    if code == "no_space":
        return NoSpace(f"the service {location}: {detail}", hint=hint)
    if code in ("integrity", "wrong_content", "unknown_digest"):
        words = {name: str(problem.get(name, "")) for name in ("what", "expected", "found")}
        return IntegrityError(words["what"], expected=words["expected"], found=words["found"], hint=hint)
    if status in (400, 413, 422):
        return UsageError(f"the service {location} does not accept this: {detail}", hint=hint)
    return Unavailable(f"the service {location} failed: {detail}", hint=hint or "its log says more; is it of another release?")
