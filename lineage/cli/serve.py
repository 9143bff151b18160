"""``lineage serve``."""

from __future__ import annotations

import importlib
import importlib.util
import ipaddress
import logging
import socket
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from lineage.cli.output import say
from lineage.errors import MissingExtra, Unavailable, UsageError
from lineage.wiring import access_store, wire
from lineage.wiring_jobs import job_queue

_MOST_PROCESSES = 64


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", help="A name it may be reached by, besides addresses and localhost; may be repeated."),
    ] = None,
    need_tokens: Annotated[bool, typer.Option("--need-tokens", help="Ask for access tokens on this machine's own address, too.")] = False,
    rate: Annotated[float, typer.Option("--rate", min=0, help="Requests a second that one token may make on average; 0 for any.")] = 200.0,
    log: Annotated[
        bool | None, typer.Option("--log/--no-log", help="A line of JSON on stderr for each request; by default where tokens are needed.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=_MOST_PROCESSES, help="Processes that answer on this port.")] = 1,
    grace: Annotated[
        float, typer.Option("--grace", min=0, max=3600, help="Seconds that requests get which were begun when it is told to end.")
    ] = 30.0,
    listening_fd: Annotated[int, typer.Option("--listening-fd", hidden=True)] = -1,
) -> None:
    """Answer look-ups over HTTP, with pages for people. Ends with Ctrl-C, after the requests that it has begun; at once with a second one.

    On this machine's own address it answers everybody. Elsewhere it needs access tokens: see lineage tokens new.
    """
    needs_tokens = need_tokens or not _is_loopback(host)
    for package in ("fastapi", "fastapi_offline", "uvicorn", "jinja2", "prometheus_client"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "service")
    logs = importlib.import_module("service.logs")
    logs.configure(logging.INFO if (needs_tokens if log is None else log) else logging.WARNING)
    tokens = access_store()
    if needs_tokens and listening_fd < 0 and not any(token.is_valid(datetime.now(UTC)) for token in tokens.tokens()):
        tokens.close()
        raise UsageError(
            f"there is no valid access token, and anyone who reaches {host} could read every record",
            hint="make one with `lineage tokens new NAME`, or keep 127.0.0.1 without --need-tokens",
        )
    # By name: the layer never depends on the service, the service depends on the layer.
    server = importlib.import_module("service.server")
    if workers > 1:
        tokens.close()  # each process opens the store itself
        listening = _listening(host, port)
        options = ["--host", host, "--rate", str(rate), "--grace", str(grace), *(["--need-tokens"] if need_tokens else [])]
        options += [word for name in allowed_host or () for word in ("--allowed-host", name)]
        options += [] if log is None else ["--log" if log else "--no-log"]
        command = [sys.executable, "-m", "lineage", "serve", *options, "--listening-fd"]
        _tell(host, listening)
        raise typer.Exit(server.supervise(command, workers, listening))
    spans = importlib.import_module("service.telemetry").spans_to_collector()
    application = importlib.import_module("service.app").create_app(
        wire(), allowed_hosts=allowed_host or (), tokens=tokens, need_tokens=needs_tokens, rate_per_s=rate, spans=spans, jobs=job_queue()
    )
    serving = server.Server(application, grace)
    if listening_fd >= 0:
        listening = socket.socket(fileno=listening_fd)
        serving.stop_with_parent()
    else:
        listening = _listening(host, port)
        _tell(host, listening)
    serving.run(sockets=[listening])


def _tell(host: str, listening: socket.socket) -> None:
    shown = f"[{host}]" if ":" in host else host
    say("done", f"http://{shown}:{listening.getsockname()[1]} (API documentation at /docs)")


def _listening(host: str, port: int) -> socket.socket:
    try:
        made = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host}, port {port}: {error.strerror}", hint="choose another --port; 0 takes a free one"
        ) from error
    # asyncio does so only for sockets that name their protocol, which these do not: each answer on a kept connection took 40 ms longer.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
