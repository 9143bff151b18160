"""The service as a process: how it ends, and how several processes share one port."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from types import FrameType

import uvicorn
from fastapi import FastAPI
from prometheus_client import multiprocess
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.patience import PatientProtocol
from service.problems import as_json, http_problem

log = logging.getLogger("service.server")

_FORCED_AFTER_S = 5.0  # on top of what requests get: for the audit log, spans, and threads that cannot be stopped
_LOOKED_AT_EVERY_S = 0.2
_YOUNG_S = 5.0
_MOST_YOUNG_DEATHS = 5


def told(app: ASGIApp, *, stopping: threading.Event) -> ASGIApp:
    """The app, answering 503 with ``Retry-After`` where a request is cut off because the process ends, and nothing was answered yet."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await app(scope, receive, send_noting)
        except asyncio.CancelledError:
            if scope["type"] != "http" or has_begun or not stopping.is_set():
                raise
            refusal = as_json(http_problem(503, "the service ends, and this request took too long", scope["path"], hint="try again"))
            refusal.headers.update({"Retry-After": "5", "Connection": "close"})
            await refusal(scope, receive, send)

    return answer


class Server(uvicorn.Server):
    """Ends in order at the first SIGTERM or Ctrl-C, with status 0, and at once at the second one.

    In order: no new connection is taken, streams that look at ``app.state.stopping`` end their answer, requests that were begun have
    ``grace_s`` seconds. What still runs then is cut off (:func:`told`), with the status that the signal alone would have given.

    Args:
        app: The service.
        grace_s: Seconds.
    """

    def __init__(self, app: FastAPI, grace_s: float) -> None:
        # Its own log of requests has whole addresses, with whatever somebody put behind the question mark.
        more = {"log_config": None, "access_log": False, "server_header": False, "http": PatientProtocol}
        stopping: threading.Event = app.state.stopping
        outermost = told(app, stopping=stopping)
        super().__init__(uvicorn.Config(outermost, timeout_graceful_shutdown=max(1, round(grace_s)), **more))  # type: ignore[arg-type]
        self._stopping = stopping
        self._grace_s = grace_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to answer."""
        await super().startup(sockets)
        # Modules, models and routes live as long as the process. Measured: each full search for garbage took 50 to 60 ms through them, in
        # the middle of some request, and takes 4 to 10 ms without.
        gc.freeze()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called for each signal, in the main thread; replaces uvicorn's, which ends with the signal's status in any case."""
        if self.should_exit:
            os._exit(128 + sig)
        self._stop(sig)

    def stop_with_parent(self) -> None:
        """End in order as soon as the other end of standard input is closed: whoever started this process wants that, or is gone."""

        def wait() -> None:
            while os.read(0, 4096):
                pass
            if not self.should_exit:
                self._stop(signal.SIGTERM)

        threading.Thread(target=wait, daemon=True, name="parent").start()

    def _stop(self, sig: int) -> None:
        self.should_exit = True
        self._stopping.set()
        # A look-up runs in a thread, which nobody can stop: without this a slow one would hold the process up as long as it takes.
        last = threading.Timer(self._grace_s + _FORCED_AFTER_S, os._exit, (128 + sig,))
        last.daemon = True
        last.start()


def supervise(command: Sequence[str], processes: int, listening: socket.socket) -> int:
    """Run a command several times on one port until told to end; one that dies is started again.

    The first signal ends all in order, the second one at once. Should this process be killed, the others end in order by themselves.

    Args:
        command: Serves on the socket whose file descriptor is its last argument, which is added here, until its standard input is closed.
        processes: How many.
        listening: The socket; closed here.

    Returns:
        Exit status: 0 when all ended in order, else the first status that was not 0; 1 when they cannot be started.
    """
    signals: list[int] = []
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda number, _: signals.append(number))
    with tempfile.TemporaryDirectory(prefix="lineage-figures-") as figures:
        # Each process answers for all: they share their figures through files.
        variables = os.environ | {"PROMETHEUS_MULTIPROC_DIR": figures}
        fd = listening.fileno()

        def begin() -> tuple[subprocess.Popen[bytes], float]:
            # A group of its own: Ctrl-C reaches this process alone, or it would be the first and the second signal at once.
            begun = subprocess.Popen([*command, str(fd)], stdin=subprocess.PIPE, pass_fds=(fd,), env=variables, process_group=0)
            return begun, time.monotonic()

        running, young_deaths = [begin() for _ in range(processes)], 0
        while not signals and young_deaths < _MOST_YOUNG_DEATHS:
            time.sleep(_LOOKED_AT_EVERY_S)
            for number, (process, at) in enumerate(running):
                if process.poll() is None:
                    continue
                log.error("process %d ended with status %d and is started again", process.pid, process.returncode)
                multiprocess.mark_process_dead(process.pid, figures)  # type: ignore[no-untyped-call]
                young_deaths = young_deaths + 1 if time.monotonic() - at < _YOUNG_S else 0
                running[number] = begin()
        listening.close()
        status = _end([process for process, _ in running], signals)
    return status if signals else status or 1


def _end(running: list[subprocess.Popen[bytes]], signals: list[int]) -> int:
    for process in running:
        if process.stdin is not None:
            process.stdin.close()
    told = max(1, len(signals))
    while any(process.poll() is None for process in running):
        if len(signals) > told:
            told = len(signals)
            for process in running:
                process.send_signal(signal.SIGTERM)
        time.sleep(_LOOKED_AT_EVERY_S / 4)
    return next((status if status > 0 else 128 - status for status in (process.returncode for process in running) if status), 0)
