"""The only place that puts adapters into ports."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineage.adapters.datasets.dvc_stage import DvcStages
from lineage.adapters.environment.local import LocalEnvironmentProbe
from lineage.adapters.executors.subprocess import SubprocessExecutor
from lineage.adapters.objects.folder import FolderObjectStore
from lineage.adapters.signing.ed25519 import FolderKeyring
from lineage.adapters.source.git import GitSourceControl
from lineage.adapters.stores.database import Database
from lineage.adapters.stores.liveness import FileLiveness
from lineage.adapters.stores.row_index import SqlRowIndex
from lineage.adapters.stores.sql import SqlRunStore
from lineage.errors import MissingExtra, UsageError
from lineage.ports import (
    DatasetBackend,
    EnvironmentBuilder,
    EnvironmentProbe,
    EventFiles,
    Exporter,
    Importer,
    PastRuns,
    Pictures,
    Ports,
    Remote,
    Sender,
    Tracker,
    Watcher,
)
from lineage.record.steps import leavings
from lineage.settings import Settings, load_settings

if TYPE_CHECKING:
    from lineage.adapters.trackers.mlflow_past import MlflowPastRuns


def wire(settings: Settings | None = None) -> Ports:
    """Ports for these settings (the environment's by default). Opens the run store; datasets and trackers are imported on first use.

    Raises:
        Unavailable: The store cannot be opened.
    """
    settings = settings or load_settings()
    folder = settings.folder
    is_new = not folder.exists()
    database = _database(settings)
    objects = FolderObjectStore(folder / "objects")
    probe = LocalEnvironmentProbe(settings.cache)
    if is_new:
        _keep_out_of_git(folder)
    return Ports(
        runs=SqlRunStore(database),
        rows=SqlRowIndex(database),
        objects=objects,
        liveness=FileLiveness(folder / "locks", functools.partial(leavings, folder, objects)),
        datasets=functools.partial(_dataset_backend, folder),
        pictures=_pictures,
        source=GitSourceControl(),
        environment=probe,
        environments=functools.partial(_environments, folder, objects, probe),
        executor=SubprocessExecutor(),
        trackers={"wandb": functools.partial(_wandb, folder, settings.patience_s)},
        watcher=_watcher,
        stages=DvcStages(),
        event_files=_event_files,
        keys=keyring(settings),
        folder=folder,
    )


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
    if name == "tensorboard":
        files: PastRuns = _load("lineage.adapters.trackers.tensorboard_past", "tensorboard", "tensorboard").TensorboardPastRuns()
        return files
    if name != "wandb":
        raise UsageError(f"no runs can be read from '{name}'", hint="known: wandb, tensorboard")
    made: PastRuns = _load("lineage.adapters.trackers.wandb_past", "wandb", "wandb").WandbPastRuns()
    return made


def mlflow_runs(experiment: str | None, *, unfinished: bool) -> MlflowPastRuns:
    """What reads the runs that MLflow recorded; of one experiment, or of all."""
    from lineage.adapters.trackers.mlflow_past import MlflowPastRuns

    return MlflowPastRuns(experiment, unfinished=unfinished)


def _event_files() -> EventFiles:
    made: EventFiles = _load("lineage.adapters.trackers.tensorboard_past", "tensorboard", "tensorboard").TensorboardPastRuns()
    return made


def _database(settings: Settings) -> Database:
    if settings.store.startswith(("postgresql://", "postgres://")):
        found: Any = _load("lineage.adapters.stores.postgres", "psycopg", "postgres").PostgresDatabase(settings.store)
    else:
        found = _load("lineage.adapters.stores.sqlite", "sqlite3", "").SqliteDatabase(Path(settings.store) / "lineage.sqlite")
    made: Database = found
    return made


def _dataset_backend(folder: Path) -> DatasetBackend:
    from lineage.adapters.datasets.choose import ChoosingBackend  # NumPy comes with it

    return ChoosingBackend(folder / "cache")


def _environments(folder: Path, objects: FolderObjectStore, probe: LocalEnvironmentProbe) -> EnvironmentBuilder:
    from lineage.adapters.environment.uv import UvEnvironmentBuilder  # not needed by a run that is recorded

    return UvEnvironmentBuilder(folder / "environments", objects, probe)


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


def _keep_out_of_git(folder: Path) -> None:
    # A store inside a repository must not show up as untracked files, least of all in the snapshot of the next run.
    # Only in a folder made here: in one of the user's it would hide their files.
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
