"""``lineage serve``."""

from __future__ import annotations

import importlib
import importlib.util
import ipaddress
import logging
import socket
from datetime import UTC, datetime
from typing import Annotated

import typer

from lineage.cli.output import say
from lineage.errors import MissingExtra, Unavailable, UsageError
from lineage.wiring import access_store, wire

_PATIENCE_S = 30  # for requests that were begun before the end


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
) -> None:
    """Answer look-ups over HTTP, with a page that lists runs. Ends with Ctrl-C, after the requests that it has begun.

    On this machine's own address it answers everybody. Elsewhere it needs access tokens: see lineage tokens new.
    """
    needs_tokens = need_tokens or not _is_loopback(host)
    for package in ("fastapi", "fastapi_offline", "uvicorn", "jinja2", "prometheus_client"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "service")
    # By name: the layer never depends on the service, the service depends on the layer.
    service = importlib.import_module("service.app")
    uvicorn = importlib.import_module("uvicorn")
    logs = importlib.import_module("service.logs")
    tokens = access_store()
    if needs_tokens and not any(token.is_valid(datetime.now(UTC)) for token in tokens.tokens()):
        tokens.close()
        raise UsageError(
            f"there is no valid access token, and anyone who reaches {host} could read every record",
            hint="make one with `lineage tokens new NAME`, or keep 127.0.0.1 without --need-tokens",
        )
    application = service.create_app(wire(), allowed_hosts=allowed_host or (), tokens=tokens, need_tokens=needs_tokens, rate_per_s=rate)
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host}, port {port}: {error.strerror}", hint="choose another --port; 0 takes a free one"
        ) from error
    # asyncio does so only for sockets that name their protocol, which these do not: each answer on a kept connection took 40 ms longer.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    shown = f"[{host}]" if ":" in host else host
    say("done", f"http://{shown}:{listening.getsockname()[1]} (API documentation at /docs)")
    logs.configure(logging.INFO if (needs_tokens if log is None else log) else logging.WARNING)
    # Its own log of requests has whole addresses, with whatever somebody put behind the question mark.
    config = uvicorn.Config(application, log_config=None, access_log=False, timeout_graceful_shutdown=_PATIENCE_S, server_header=False)
    uvicorn.Server(config).run(sockets=[listening])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
