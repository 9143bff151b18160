"""``lineage worker``."""

from __future__ import annotations

import re
import signal
import socket
import sys
import threading
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated, get_args

import typer

from lineage.cli.output import say
from lineage.errors import UsageError
from lineage.model.materialisation import What

_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


class ExecutorName(StrEnum):
    """Where recorded code runs."""

    local = "local"
    ray = "ray"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("worker")(worker)


def worker(
    once: Annotated[bool, typer.Option("--once", help="Do what there is to do, and end.")] = False,
    what: Annotated[
        str, typer.Option("--what", metavar="KINDS", help="What it does: any of data,workspace,rerun.")
    ] = "data,workspace,rerun",
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="Folder of the jobs and their results; by default jobs in the store's.")
    ] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=1, help="Time that one job may take.")] = None,
    memory: Annotated[str | None, typer.Option("--memory", metavar="SIZE", help="Memory that recorded code may use: 8GiB.")] = None,
    disk: Annotated[str | None, typer.Option("--disk", metavar="SIZE", help="What one job may write: 50GiB.")] = None,
    executor: Annotated[ExecutorName, typer.Option("--executor", help="Where recorded code runs.")] = ExecutorName.local,
    address: Annotated[str | None, typer.Option("--address", help="Of the cluster, for ray.")] = None,
    network: Annotated[
        bool, typer.Option("--network", help="Let recorded code reach the network where somebody asks for it. Never without.")
    ] = False,
    builds: Annotated[
        bool, typer.Option("--builds", help="Build recorded packages that have no wheel: executes their code as you, outside the sandbox.")
    ] = False,
    lease: Annotated[
        float, typer.Option("--lease", min=1, help="Seconds of silence after which another worker takes its job over.")
    ] = 30.0,
    keep_days: Annotated[float, typer.Option("--keep-days", min=0, help="So long the files of a result stay.")] = 7.0,
) -> None:
    """Do what people ask for with lineage request or over HTTP: write data, make workspaces, run runs again.

    Recorded code runs in a sandbox where this machine has one, without the store's credentials and without a network. SIGTERM and Ctrl-C
    end it; the job that it has is handed back, and another worker begins it anew.
    """
    kinds = _kinds(what)
    limits = {"memory_bytes": size_bytes(memory, "--memory"), "disk_bytes": size_bytes(disk, "--disk")}
    from lineage import wiring_jobs
    from lineage.ports.executor import Limits
    from lineage.reproduce.jobs.worker import Worker
    from lineage.settings import load_settings
    from lineage.wiring import wire

    settings = load_settings()
    queue = wiring_jobs.job_queue(settings)
    ports = wire(settings)
    runs_code = wiring_jobs.executor(executor.value, address, settings, lease_s=lease)
    shop = wiring_jobs.workshop(
        ports,
        queue,
        runs_code,
        folder=ports.folder / "jobs" if folder is None else folder,
        limits=Limits(seconds, limits["memory_bytes"], limits["disk_bytes"]),
        allows_network=network,
        builds_packages=builds,
        lease_s=lease,
        settings=settings,
    )
    ending = threading.Event()
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda number, _: _end(ending, number))
    say("done", f"worker {shop.name} of {socket.gethostname()}: {', '.join(kinds)} in {shop.folder}")
    made = Worker(shop, kinds, should_end=ending.is_set, say=say, on_error=_show, keep_days=keep_days)
    try:
        ended = made.work(once=once)
    finally:
        queue.close()
        ports.runs.close()
    say("done", f"{ended} jobs ended")


def _end(ending: threading.Event, number: int) -> None:
    if ending.is_set():  # asked twice
        sys.exit(128 + number)
    ending.set()


def _show(error: Exception) -> None:
    traceback.print_exception(error)


def _kinds(text: str) -> tuple[What, ...]:
    known: tuple[What, ...] = get_args(What)
    wanted = [word.strip() for word in text.split(",")]
    if unknown := [word for word in wanted if word not in known]:
        raise UsageError(f"--what: there is no '{unknown[0]}'", hint=f"any of {','.join(known)}")
    return tuple(kind for kind in known if kind in wanted)


def size_bytes(text: str | None, option: str) -> int | None:
    """A size as people write it, in bytes: ``8GiB``, ``500 MB``, ``1048576``.

    Raises:
        UsageError: It is none.
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text, re.ASCII)
    unit = _UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None or not 1 <= (size := float(found[1]) * unit) <= 2**50:
        raise UsageError(f"{option}: expected a size, found '{text}'", hint="for example 8GiB or 500MB")
    return int(size)
