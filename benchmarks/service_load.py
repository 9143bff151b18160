"""HTTP clients that cost next to nothing: what is measured is the server. Kept connections, requests made beforehand."""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Request:
    """A request, ready to be sent: GET, or POST of a JSON value."""

    path: str
    body: Any = None

    def wire(self, host: str) -> bytes:
        """Its bytes."""
        head = f"{'GET' if self.body is None else 'POST'} {self.path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n"
        if self.body is None:
            return f"{head}\r\n".encode()
        content = json.dumps(self.body).encode()
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


class Client:
    """One kept connection to ``url``.

    Args:
        url: ``http://host:port``.
        acknowledge: Confirm what comes at once. A server that sends headers and body apart, without ``TCP_NODELAY``, stands still for 40 ms
            otherwise, which is no property of its look-ups.
    """

    def __init__(self, url: str, *, acknowledge: bool = True) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb", 1 << 16)
        self._acknowledge = acknowledge

    def ask(self, wire: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        if self._acknowledge:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._socket.sendall(wire)
        first = self._stream.readline()
        if not first:
            raise ConnectionResetError("the server closed the connection without an answer")
        status = int(first.split(b" ", 2)[1])
        length, chunked = 0, False
        while (line := self._stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            match name.lower():
                case b"content-length":
                    length = int(value)
                case b"transfer-encoding":
                    chunked = b"chunked" in value
        return status, self._chunks() if chunked else self._stream.read(length)

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self._stream.readline().partition(b";")[0], 16):
            parts.append(self._stream.read(size))
            self._stream.read(2)
        self._stream.readline()
        return b"".join(parts)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
        self._socket.close()


def ask(url: str, request: Request) -> Any:
    """The JSON answer to one request.

    Raises:
        RuntimeError: The answer is no success, or there is none.
    """
    for _ in range(_TRIES):
        client = Client(url)
        try:
            status, body = client.ask(request.wire(client.host))
            break
        except ConnectionError:
            continue
        finally:
            client.close()
    else:
        raise RuntimeError(f"{url}{request.path}: no answer")
    if status != 200:
        raise RuntimeError(f"{url}{request.path}: status {status}: {body[:500]!r}")
    return json.loads(body)


def load(url: str, requests: Sequence[Request], *, clients: int, seconds: float, least: int = 1, acknowledge: bool = True) -> list[float]:
    """Ask in turn, each client on a connection of its own.

    Returns:
        Milliseconds of each request.
    """
    took: list[list[float]] = [[] for _ in range(clients)]
    failures: list[str] = []
    ready = threading.Barrier(clients)

    def work(number: int) -> None:
        client = Client(url, acknowledge=acknowledge)
        lost = 0
        try:
            wires = [request.wire(client.host) for request in requests]
            at = number * len(wires) // clients
            ready.wait()
            end = time.perf_counter() + seconds
            mine = took[number]
            while len(mine) < least or time.perf_counter() < end:
                at = (at + 1) % len(wires)
                began = time.perf_counter()
                try:
                    status, body = client.ask(wires[at])
                except ConnectionError:
                    # MLflow's server ends a worker that a busy machine kept from answering in time, and starts another.
                    lost += 1
                    if lost == _TRIES:
                        raise
                    client.close()
                    client = Client(url, acknowledge=acknowledge)
                    continue
                mine.append(1e3 * (time.perf_counter() - began))
                if status != 200:
                    failures.append(f"{requests[at].path}: status {status}: {body[:300]!r}")
                    return
        except (OSError, ValueError, IndexError) as error:
            failures.append(f"{url}: {error!r}")
            ready.abort()
        except threading.BrokenBarrierError:
            return
        finally:
            client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])
    return [value for mine in took for value in mine]


def figures(rounds: Sequence[Sequence[float]], clients: int) -> dict[str, float]:
    """Medians over rounds of p50, p99 (ms) and requests a second, and how many requests there were."""

    def of(values: Sequence[float]) -> tuple[float, float, float]:
        ordered = sorted(values)
        # The closed loop's rate: each client waits for its answer, so it follows from the mean time.
        rate = 1e3 * clients * len(ordered) / sum(ordered)
        return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], rate

    p50, p99, rate = (statistics.median(column) for column in zip(*map(of, rounds), strict=True))
    return {"p50_ms": p50, "p99_ms": p99, "per_s": rate, "requests": sum(map(len, rounds))}
