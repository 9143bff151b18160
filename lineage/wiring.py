"""The only place that puts adapters into ports."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineage.adapters.datasets.dvc_stage import DvcStages
from lineage.adapters.environment.local import LocalEnvironmentProbe
from lineage.adapters.executors.subprocess import SubprocessExecutor
from lineage.adapters.objects.folder import FolderObjectStore
from lineage.adapters.signing.ed25519 import FolderKeyring
from lineage.adapters.source.git import GitSourceControl
from lineage.adapters.stores.continuing import ContinuingRunStore
from lineage.adapters.stores.database import Database
from lineage.adapters.stores.liveness import FileLiveness
from lineage.adapters.stores.row_index import SqlRowIndex
from lineage.errors import LineageError, MissingExtra, NotFound, UsageError
from lineage.model.run import Run
from lineage.ports import (
    DatasetBackend,
    EnvironmentBuilder,
    EnvironmentProbe,
    EventFiles,
    Exporter,
    Importer,
    ObjectStore,
    PastRuns,
    Pictures,
    Ports,
    Progress,
    Remote,
    RowIndex,
    RunStore,
    Sender,
    Tracker,
    Watcher,
)
from lineage.record.steps import leavings
from lineage.settings import Settings, load_settings
from lineage.wiring_usage import usage

if TYPE_CHECKING:
    from lineage.adapters.stores.access import SqlAccessStore
    from lineage.adapters.stores.copying import Copied
    from lineage.adapters.stores.spool import SpoolingRunStore
    from lineage.adapters.trackers.mlflow_past import MlflowPastRuns

_SERVICE_PATIENCE_S = 5.0
_COPY_PATIENCE_S = 60.0


def wire(settings: Settings | None = None, *, builds_packages: bool = True) -> Ports:
    """Ports for these settings (the environment's by default). Opens the run store; datasets and trackers are imported on first use.

    Without ``builds_packages`` environments are rebuilt of wheels only: building a package executes its code.

    Raises:
        Unavailable: The store cannot be opened.
    """
    settings = settings or load_settings()
    folder = settings.folder
    is_new = not folder.exists()
    database = database_of(settings)
    objects: ObjectStore = FolderObjectStore(folder / "objects")
    probe = LocalEnvironmentProbe(settings.cache)
    if is_new:
        keep_out_of_git(folder)
    liveness = FileLiveness(folder / "locks", functools.partial(leavings, folder, objects))
    local = ContinuingRunStore(database)
    runs: RunStore = local
    rows: RowIndex = SqlRowIndex(database)
    if is_service(settings):
        runs, rows, objects = _spooling(settings, local, rows, objects, liveness)
    return Ports(
        runs=runs,
        rows=rows,
        objects=objects,
        liveness=liveness,
        datasets=functools.partial(_dataset_backend, folder),
        pictures=_pictures,
        source=GitSourceControl(),
        environment=probe,
        environments=functools.partial(_environments, folder, objects, probe, builds_packages),
        executor=SubprocessExecutor(),
        trackers={"wandb": functools.partial(_wandb, folder, settings.patience_s)},
        watcher=_watcher,
        stages=DvcStages(),
        event_files=_event_files,
        keys=keyring(settings),
        folder=folder,
        usage=usage(settings.system_s),
    )


def access_store(settings: Settings | None = None) -> SqlAccessStore:
    """Access tokens and the audit log of a service over the store of these settings (the environment's by default).

    Raises:
        UsageError: The store is itself a service's.
        Unavailable: The store cannot be opened.
    """
    from lineage.adapters.stores.access import SqlAccessStore

    settings = settings or load_settings()
    if settings.store.startswith(("http://", "https://")):
        raise UsageError(
            "LINEAGE_STORE names a service: its tokens are kept by the store behind it",
            hint="run this where the service runs, with the LINEAGE_STORE that it has",
        )
    return SqlAccessStore(database_of(settings))


def keyring(settings: Settings | None = None) -> FolderKeyring:
    """The keys of this account. Needs no store."""
    settings = settings or load_settings()
    return FolderKeyring(settings.keys, settings.sign)


def importer(name: str) -> Importer:
    """The importer registered under ``name`` in the entry point group ``lineage.importers``, or the one at ``module:Class``.

    A module is looked for where Python looks, and in the working folder.

    Raises:
        UsageError: There is none; the known ones are named.
    """
    from importlib.metadata import EntryPoint, entry_points

    known = {point.name: point for point in entry_points(group="lineage.importers")}
    if ":" in name:
        point = EntryPoint(name, name, "lineage.importers")
        if (folder := os.getcwd()) not in sys.path:
            sys.path.append(folder)
        if point.pattern.match(name) is None:
            raise UsageError(f"expected an importer as module:Class, found '{name}'")
    elif name in known:
        point = known[name]
    else:
        hint = f"known: {', '.join(sorted(known)) or 'none is installed'}; one of your own is named module:Class"
        raise UsageError(f"no importer '{name}'", hint=hint)
    try:
        made: Importer = point.load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise UsageError(f"importer '{name}' cannot be loaded: {error}", hint="see docs/importers.md for what one looks like") from error
    missing = [part for part in ("name", "scan", "read") if not hasattr(made, part)]
    if missing:
        raise UsageError(f"importer '{name}' has no {' and no '.join(missing)}", hint="see docs/importers.md for what one looks like")
    return made


def remote(folder: Path, name: str | None = None) -> Remote:
    """The DVC remote of this name, or the default one, of the DVC repository around a folder.

    Raises:
        MissingExtra: DVC is not installed.
        UsageError: There is no such remote.
    """
    made: Remote = _load("lineage.adapters.objects.dvc_remote", "dvc", "dvc").DvcRemote(folder, name)
    return made


def exporter(name: str) -> Exporter:
    """The exporter registered under ``name`` in the entry point group ``lineage.exporters``.

    Raises:
        UsageError: There is none; the known ones are named.
    """
    from importlib.metadata import entry_points

    known = {point.name: point for point in entry_points(group="lineage.exporters")}
    if name not in known:
        raise UsageError(f"no exporter '{name}'", hint=f"known: {', '.join(sorted(known)) or 'none is installed'}")
    made: Exporter = known[name].load()()
    return made


def sender(name: str) -> Sender:
    """What brings the folders of the tracker ``name`` to its server.

    Raises:
        MissingExtra: Its package is not installed.
        UsageError: There is no such tracker.
    """
    if name != "wandb":
        raise UsageError(f"nothing is sent to '{name}'", hint="known: wandb")
    made: Sender = _load("lineage.adapters.trackers.wandb_sender", "wandb", "wandb").WandbSender(load_settings().folder)
    return made


def past_runs(name: str) -> PastRuns:
    """What reads the runs that another system recorded.

    Raises:
        MissingExtra: Its package is not installed.
        UsageError: There is no such system.
    """
    if name not in ("tensorboard", "wandb"):
        raise UsageError(f"no runs can be read from '{name}'", hint="known: wandb, tensorboard")
    adapter = _load(f"lineage.adapters.trackers.{name}_past", name, name)
    made: PastRuns = adapter.TensorboardPastRuns() if name == "tensorboard" else adapter.WandbPastRuns()
    return made


def mlflow_runs(experiment: str | None, *, unfinished: bool) -> MlflowPastRuns:
    """What reads the runs that MLflow recorded; of one experiment, or of all."""
    from lineage.adapters.trackers.mlflow_past import MlflowPastRuns

    return MlflowPastRuns(experiment, unfinished=unfinished)


def _event_files() -> EventFiles:
    made: EventFiles = _load("lineage.adapters.trackers.tensorboard_past", "tensorboard", "tensorboard").TensorboardPastRuns()
    return made


def database_of(settings: Settings) -> Database:
    """The database of these settings; the spool's, where the store is a service."""
    if settings.store.startswith(("postgresql://", "postgres://")):
        found: Any = _load("lineage.adapters.stores.postgres", "psycopg", "postgres").PostgresDatabase(settings.store)
    else:
        # Runs that a service is to get wait in a file of their own: what is recorded here to stay is not among them.
        file = settings.folder / "spool.sqlite" if is_service(settings) else Path(settings.store) / "lineage.sqlite"
        found = _load("lineage.adapters.stores.sqlite", "sqlite3", "").SqliteDatabase(file)
    made: Database = found
    return made


def is_service(settings: Settings) -> bool:
    """Whether the store is a service."""
    return settings.store.startswith(("http://", "https://"))


def _spooling(
    settings: Settings, local: ContinuingRunStore, rows: RowIndex, objects: ObjectStore, liveness: FileLiveness
) -> tuple[SpoolingRunStore, RowIndex, ObjectStore]:
    from lineage.adapters.stores.http import HttpRunStore
    from lineage.adapters.stores.http_client import HttpClient
    from lineage.adapters.stores.http_objects import FetchingObjectStore, HttpObjects
    from lineage.adapters.stores.http_rows import SpoolingRowIndex
    from lineage.adapters.stores.spool import SpoolingRunStore
    from lineage.adapters.stores.spool_delivery import SpoolDelivery
    from lineage.lookup.runs import settle

    client = HttpClient(settings.store, settings.token, _SERVICE_PATIENCE_S)
    lock = settings.folder / "spool.lock"
    delivery = SpoolDelivery(local, objects, client, lock, liveness, functools.partial(settle, local, liveness))
    runs = SpoolingRunStore(local, HttpRunStore(client), delivery, settings.patience_s)
    return runs, SpoolingRowIndex(rows, client), FetchingObjectStore(objects, HttpObjects(client), settings.folder / "cache")


def spool_of(ports: Ports) -> SpoolingRunStore | None:
    """The spool before a service, where the store is one."""
    from lineage.adapters.stores.spool import SpoolingRunStore

    return ports.runs if isinstance(ports.runs, SpoolingRunStore) else None


def require_own_objects(ports: Ports) -> None:
    """For what is to be kept for everybody who uses the store.

    Raises:
        UsageError: The store is a service's: its objects are kept behind it.
    """
    if spool_of(ports) is not None:
        raise UsageError(
            "LINEAGE_STORE names a service: rows that are archived here would be on this machine only",
            hint="run this where the service runs, with the LINEAGE_STORE that it has",
        )


@contextmanager
def copying(source: str, target: str, *, with_objects: bool, progress: Progress) -> Iterator[Iterator[Copied]]:
    """What brings every record of one store to another: folders, ``postgresql://…`` or ``http://…``.

    Raises:
        NotFound: There is no store to copy from.
        UsageError: An address has another form, or both are the same.
    """
    from lineage.adapters.stores.copying import LocalTarget, ObjectSender, copy_store
    from lineage.adapters.stores.http import HttpRunStore
    from lineage.adapters.stores.http_client import HttpClient
    from lineage.adapters.stores.http_objects import FetchingObjectStore, HttpObjects
    from lineage.record.reindex import enter_run

    settings, other = (load_settings(store=address) for address in (source, target))
    if settings.store == other.store:
        raise UsageError("both stores are the same one", hint="lineage store copy FROM TO")
    if "://" not in settings.store and not (Path(settings.store) / "lineage.sqlite").is_file():
        raise NotFound("store", settings.store, hint="FROM is a folder with a lineage.sqlite in it, or an address")
    with contextlib.ExitStack() as stack:
        aside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lineage-copy-")))

        def opened(chosen: Settings) -> tuple[RunStore, ObjectStore, Ports | HttpClient]:
            if is_service(chosen):
                client = HttpClient(chosen.store, chosen.token, _COPY_PATIENCE_S)
                stack.callback(client.close)
                return HttpRunStore(client), FetchingObjectStore(FolderObjectStore(aside / "objects"), HttpObjects(client), aside), client
            ports = wire(chosen)
            stack.callback(ports.runs.close)
            return ports.runs, ports.objects, ports

        runs, objects, _ = opened(settings)
        there, their_objects, made = opened(other)
        sender = None
        if with_objects:
            sender = ObjectSender(objects, HttpObjects(made) if isinstance(made, HttpClient) else LocalTarget(their_objects))

        def enter(run: Run) -> None:
            if isinstance(made, Ports):  # a service does it by itself
                with contextlib.suppress(LineageError):  # its objects are not there; `lineage doctor` names what is not findable
                    enter_run(made, run)

        yield copy_store(runs, there, sender, enter, progress)


def _dataset_backend(folder: Path) -> DatasetBackend:
    from lineage.adapters.datasets.choose import ChoosingBackend  # NumPy comes with it

    return ChoosingBackend(folder / "cache")


def _environments(folder: Path, objects: ObjectStore, probe: LocalEnvironmentProbe, builds: bool) -> EnvironmentBuilder:
    from lineage.adapters.environment.uv import UvEnvironmentBuilder  # not needed by a run that is recorded

    return UvEnvironmentBuilder(folder / "environments", objects, probe, builds=builds)


def _pictures() -> Pictures:
    made: Pictures = _load("lineage.adapters.pictures.imagehash", "imagehash", "pictures").ImageHashPictures()
    return made


def _wandb(folder: Path, patience_s: float) -> Tracker:
    made: Tracker = _load("lineage.adapters.trackers.wandb", "wandb", "wandb").WandbTracker(folder, patience_s)
    return made


def _watcher() -> Watcher:
    for package in ("torch", "xxhash"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "training")
    made: Watcher = _load("lineage.adapters.frameworks.torch", "torch", "training").TorchWatcher()
    return made


def _load(module: str, package: str, extra: str) -> Any:
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(package, extra)
    return importlib.import_module(module)


def keep_out_of_git(folder: Path) -> None:
    """Make a store's folder, so that it is no part of a run's code. Only for a new one: in one of the user's it would hide their files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")


def environment_of(ports: Ports, program: Path) -> tuple[EnvironmentProbe, str] | None:
    """What describes the environment that a program runs in, and its folder; ``None`` when the program is no part of one.

    Raises:
        Unavailable: Its interpreter cannot be asked.
    """
    from lineage.adapters.environment.elsewhere import interpreter_of, probe_elsewhere

    python = interpreter_of(program)
    return None if python is None else probe_elsewhere(python, ports.environment, os.environ)


def child_variables(settings: Settings) -> dict[str, str]:
    """Environment variables that lead a child process to the same store, wherever it is started."""
    return {**os.environ, "LINEAGE_STORE": settings.store, "LINEAGE_FOLDER": str(settings.folder)}


def available_trackers(wandb: str) -> tuple[str, ...]:
    """Trackers to tell, by what was asked of W&B: ``auto`` (offline when installed), ``offline``, ``online`` or ``disabled``.

    Raises:
        MissingExtra: W&B was asked for by name and is not installed.
    """
    if wandb == "disabled":
        return ()
    if importlib.util.find_spec("wandb") is None:
        if wandb == "auto":
            return ()
        raise MissingExtra("wandb", "wandb")
    if wandb != "auto":
        os.environ["WANDB_MODE"] = wandb
    return () if os.environ.get("WANDB_MODE") == "disabled" else ("wandb",)
