"""``lineage serve``."""

from __future__ import annotations

import importlib
import importlib.util
import ipaddress
import socket
from typing import Annotated

import typer

from lineage.cli.output import say
from lineage.errors import MissingExtra, Unavailable, UsageError
from lineage.wiring import wire


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    allow_remote: Annotated[
        bool,
        typer.Option(
            "--allow-remote",
            help="Listen beyond this machine although there are no access tokens yet: only behind something that keeps others out.",
        ),
    ] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", help="A name it may be reached by, besides addresses and localhost; may be repeated."),
    ] = None,
) -> None:
    """Answer look-ups over HTTP, with a page that lists runs. Ends with Ctrl-C."""
    if not _is_loopback(host) and not allow_remote:
        raise UsageError(
            f"{host} is not this machine's loopback address, and anyone who reaches it could read every record",
            hint="keep 127.0.0.1, or give --allow-remote when a proxy or firewall keeps others out",
        )
    for package in ("fastapi", "fastapi_offline", "uvicorn", "jinja2"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "service")
    # By name: the layer never depends on the service, the service depends on the layer.
    service = importlib.import_module("service.app")
    uvicorn = importlib.import_module("uvicorn")
    application = service.create_app(wire(), allowed_hosts=allowed_host or ())
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host}, port {port}: {error.strerror}", hint="choose another --port; 0 takes a free one"
        ) from error
    shown = f"[{host}]" if ":" in host else host
    say("done", f"http://{shown}:{listening.getsockname()[1]} (API documentation at /docs)")
    uvicorn.Server(uvicorn.Config(application, log_level="warning")).run(sockets=[listening])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
