"""Puts the parts of jobs together: the queue, and what a worker needs beside its store."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineage.errors import Conflict, IntegrityError, NotFound, Unavailable, UsageError
from lineage.settings import Settings, load_settings
from lineage.wiring import database_of, exporter, is_service, wire

if TYPE_CHECKING:
    from lineage.adapters.queues.sql import SqlJobQueue
    from lineage.adapters.stores.http_jobs import HttpJobRequests
    from lineage.model.materialisation import Materialisation
    from lineage.ports import ObjectStore, Ports
    from lineage.ports.executor import Executor, Limits
    from lineage.ports.jobs import JobQueue, JobRequests
    from lineage.reproduce.jobs.workshop import Workshop

_PASSED_ON = re.compile(r"PATH|LANG|LC_[A-Z]+|TZ|LD_LIBRARY_PATH|CUDA_VISIBLE_DEVICES|NVIDIA_[A-Z_]+|SSL_CERT_(FILE|DIR)")
"""Variables of a worker that recorded code gets: what says how this machine works, and nothing that opens anything."""
_PATIENCE_S = 10.0


def job_queue(settings: Settings | None = None) -> SqlJobQueue:
    """The queue in the database of these settings (the environment's by default).

    Raises:
        UsageError: The store is a service's: jobs are done where its database can be reached.
        Unavailable: The store cannot be opened.
    """
    from lineage.adapters.queues.sql import POSTGRES_CLOCK, SQLITE_CLOCK, Bell, SqlJobQueue

    settings = settings or load_settings()
    if is_service(settings):
        raise UsageError(
            "LINEAGE_STORE names a service: a worker needs the store behind it",
            hint="run the worker with the LINEAGE_STORE that the service has",
        )
    database = database_of(settings)
    if not settings.store.startswith(("postgresql://", "postgres://")):
        return SqlJobQueue(database, SQLITE_CLOCK)
    bell: Bell | None = None
    if importlib.util.find_spec("procrastinate") is not None:  # without it workers look twice a second
        from lineage.adapters.queues.procrastinate import ProcrastinateBell
        from lineage.adapters.stores.postgres import PostgresDatabase

        assert isinstance(database, PostgresDatabase)
        bell = ProcrastinateBell(database, settings.store, database.location)
    return SqlJobQueue(database, POSTGRES_CLOCK, bell)


def job_requests(settings: Settings | None = None) -> JobRequests:
    """Where jobs are asked for and followed: the service of these settings, or the queue itself."""
    settings = settings or load_settings()
    return _at_service(settings) if is_service(settings) else job_queue(settings)


def _at_service(settings: Settings) -> HttpJobRequests:
    from lineage.adapters.stores.http_client import HttpClient
    from lineage.adapters.stores.http_jobs import HttpJobRequests

    return HttpJobRequests(HttpClient(settings.store, settings.token, _PATIENCE_S))


def fetch_files(job: Materialisation, folder: Path, settings: Settings | None = None) -> None:
    """Put the files of a job into a folder that does not exist yet: whole, or not at all.

    Raises:
        Conflict: The folder is there, or the job has no files.
        NotFound: They were deleted.
        IntegrityError: What came is no archive of plain files.
        Unavailable: The folder cannot be written.
    """
    settings, final = settings or load_settings(), folder.absolute()
    if os.path.lexists(final):
        raise Conflict(f"{final} exists", hint="give another name, or move it away")
    if job.files_url is None:
        raise Conflict(f"job {job.id[:12]} has no files: {job.what}, {job.state}", hint="data and workspace have, when they succeeded")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{final.name}.", dir=final.parent) as aside:
            if is_service(settings):
                _fetch(settings, job, Path(aside))
            elif job.path is None or not Path(job.path).is_dir():
                raise NotFound(
                    "files of job", job.id[:12], detail="they were deleted, or are on a worker's machine", hint="ask for them again"
                )
            else:
                shutil.copytree(job.path, Path(aside) / "files", symlinks=True)
            (made,) = (item for item in Path(aside).iterdir() if item.is_dir())
            made.rename(final)
    except OSError as error:
        raise Unavailable(f"{final} cannot be written: {error.strerror or error}", hint="is the disk full?") from error


def _fetch(settings: Settings, job: Materialisation, folder: Path) -> None:
    import tarfile
    import zlib

    jobs = _at_service(settings)
    archive = folder / "archive"
    try:
        with archive.open("wb") as target:
            jobs.fetch(job.id, target)
        with tarfile.open(archive, "r:gz") as opened:
            opened.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise IntegrityError(f"files of job {job.id[:12]}", expected="an archive of plain files", found=str(error)) from error
    finally:
        jobs.close()


def executor(name: str, address: str | None = None, settings: Settings | None = None, *, lease_s: float = 30.0) -> Executor:
    """What runs recorded code: ``local``, or ``ray`` on the cluster at an address (``RAY_AUTH_TOKEN`` is its token).

    Args:
        name: Of the executor.
        address: Of the cluster.
        settings: The environment's by default.
        lease_s: Seconds of silence after which another worker takes a job over; a node has ended its command by then.

    Raises:
        UsageError: There is no such executor, or no address of a cluster.
    """
    settings = settings or load_settings()
    hidden = [settings.folder, settings.keys]
    found: Any
    if name == "local":
        found = importlib.import_module("lineage.adapters.executors.local").LocalExecutor(settings.sandbox, hidden=hidden)
    elif name == "ray":
        if address is None:
            raise UsageError("no address of a Ray cluster", hint="--address http://HEAD:8265, as its dashboard has it")
        token = os.environ.get("RAY_AUTH_TOKEN") or None
        ray = importlib.import_module("lineage.adapters.executors.ray")
        pace = {"silence_s": lease_s / 2, "grace_s": min(10.0, lease_s / 3)}
        found = ray.RayExecutor(address, token=token, sandbox=settings.sandbox, hidden=hidden, **pace)
    else:
        raise UsageError(f"no executor '{name}'", hint="known: local, ray")
    made: Executor = found
    return made


def workshop(
    ports: Ports,
    queue: JobQueue,
    runs_code: Executor,
    *,
    folder: Path,
    limits: Limits,
    allows_network: bool = False,
    builds_packages: bool = False,
    lease_s: float = 30.0,
    settings: Settings | None = None,
) -> Workshop:
    """What a worker works with.

    Args:
        ports: The team's store.
        queue: Where jobs come from.
        runs_code: Runs recorded code.
        folder: Of the jobs.
        limits: What one job may take.
        allows_network: Whether recorded code may reach the network when somebody asks for it.
        builds_packages: Whether recorded packages that have no wheel are built: outside the sandbox, by this account.
        lease_s: Seconds after which it loses its job when it is silent.
        settings: The environment's by default.
    """
    from lineage.reproduce.jobs.workshop import Workshop

    return Workshop(
        ports=ports,
        queue=queue,
        executor=runs_code,
        folder=folder.absolute(),
        limits=limits,
        allows_network=allows_network,
        lease_s=lease_s,
        name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}",
        open_store=lambda place: wire(Settings(str(place), place), builds_packages=builds_packages),
        exporter=exporter,
        send_objects=_send_objects,
        readable=_own_folders(),
        variables={name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)},
        cache=(settings or load_settings()).cache,
    )


def _send_objects(source: ObjectStore, target: ObjectStore, text: str) -> None:
    from lineage.adapters.stores.copying import LocalTarget, ObjectSender

    ObjectSender(source, LocalTarget(target)).send(text)


def _own_folders() -> tuple[Path, ...]:
    """Folders that this program itself is in: its interpreter, its packages, the layer."""
    # Started as `python -m`, the folder that one happens to be in is on the path, too.
    path = [Path(entry) for entry in sys.path if Path(entry) != Path.cwd()]
    wanted = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1], *path]
    wanted = [folder for folder in dict.fromkeys(wanted) if folder.is_absolute() and folder.exists() and folder != Path("/")]
    return tuple(folder for folder in wanted if not any(other in folder.parents for other in wanted))
