"""Puts together what a command that is recorded from outside needs: of ``lineage run``, and of a sweep's agent."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lineage.errors import LineageError
from lineage.settings import Settings, load_settings
from lineage.wiring import child_variables, environment_of, wire
from lineage.wiring_jobs import executor

if TYPE_CHECKING:
    from lineage.ports import Ports
    from lineage.ports.executor import Executor
    from lineage.ports.sweeps import SweepEngine
    from lineage.sweeping.program import Crew

LEASE_S = 60.0
_SILENCE_S = 20.0


def crew_of(
    sweep_id: str,
    say: Callable[[str, str], None],
    *,
    settings: Settings | None = None,
    ports: Ports | None = None,
    engine: SweepEngine | None = None,
    show: Callable[[str], None] | None = None,
    lease_s: float = LEASE_S,
) -> Crew:
    """What an agent works with, for a sweep of these settings (the environment's by default).

    Args:
        sweep_id: Id of the sweep, or how it begins.
        say: Told of what a person should know.
        settings: Of the store.
        ports: Of these settings, where they are at hand.
        engine: Likewise.
        show: Told of each line that programs print.
        lease_s: Seconds of silence after which another agent takes a trial over.

    Raises:
        NotFound: There is no such sweep.
        Unavailable: The store or the sweep's storage cannot be opened.
    """
    from lineage.sweeping.program import Crew
    from lineage.wiring_sweeps import sweep_engine

    settings = settings or load_settings()
    engine = engine or sweep_engine(settings)
    return Crew(
        ports=ports or wire(settings),
        engine=engine,
        sweep=engine.get(sweep_id),
        folder=Path.cwd(),
        variables=child_variables(settings),
        name=f"{socket.gethostname()}:{os.getpid()}",
        lease_s=lease_s,
        default_project=settings.project,
        where=where_it_runs,
        say=say,
        show=show,
    )


def agents_executor(name: str, address: str | None, settings: Settings, *, cpus: float, gpus: float) -> Executor:
    """What runs agents: ``local``, or ``ray`` on the cluster at an address. They are the user's own code: no sandbox.

    Raises:
        UsageError: There is no such executor, or no address of a cluster.
    """
    unshut = replace(settings, sandbox="off")
    if name != "ray" or address is None:
        return executor(name, address, unshut)
    from lineage.adapters.executors.ray import RayExecutor, Resources

    token = os.environ.get("RAY_AUTH_TOKEN") or None
    return RayExecutor(address, token=token, resources=Resources(cpus, gpus), sandbox="off", silence_s=_SILENCE_S)


def where_it_runs(ports: Ports, word: str) -> tuple[Ports, str, str | None]:
    """Ports whose probe describes the command's environment, the folder of that environment, and what is to be said of it."""
    program = shutil.which(word)
    if program is None or Path(program).parent == Path(sys.executable).parent:
        return ports, sys.prefix, None
    try:
        found = environment_of(ports, Path(program))
    except LineageError as error:
        return ports, sys.prefix, f"the environment recorded is that of the lineage command: {error.message}"
    if found is None:  # a shell script, for example: its Python processes tell when they begin
        return ports, sys.prefix, None
    return replace(ports, environment=found[0]), found[1], None
