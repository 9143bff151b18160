"""Puts the engine of sweeps in its place."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from lineage.errors import MissingExtra, UsageError
from lineage.ports.sweeps import SweepEngine
from lineage.settings import Settings, load_settings
from lineage.wiring import is_service, keep_out_of_git


def sweep_engine(settings: Settings | None = None) -> SweepEngine:
    """The engine that keeps its sweeps beside the store of these settings (the environment's by default), or in ``LINEAGE_SWEEPS``.

    Raises:
        MissingExtra: Optuna is not installed.
        UsageError: The store is a service's, and ``LINEAGE_SWEEPS`` names no place.
        Unavailable: The storage cannot be opened.
    """
    settings = settings or load_settings()
    place = sweeps_place(settings)
    for package in ("optuna", "sqlalchemy"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "sweeps")
    if place.startswith(("postgresql://", "postgres://")) and importlib.util.find_spec("psycopg") is None:
        raise MissingExtra("psycopg", "postgres")
    if not settings.folder.exists() and Path(place).parent == settings.folder:
        keep_out_of_git(settings.folder)
    adapter: Any = importlib.import_module("lineage.adapters.sweeps.optuna")
    made: SweepEngine = adapter.OptunaSweepEngine(place)
    return made


def sweeps_place(settings: Settings) -> str:
    """Where sweeps are kept: ``postgresql://…``, the path of a journal (it ends in ``.journal``) or that of a SQLite file.

    Raises:
        UsageError: There is no such place, or nobody said where.
    """
    named = settings.sweeps
    if named is not None:
        if named.startswith(("postgresql://", "postgres://")):
            return named
        if "://" in named:
            raise UsageError(
                f"LINEAGE_SWEEPS has the unknown form '{named.partition('://')[0]}://…'",
                hint="give the path of a file, one that ends in .journal where several machines share a folder, or postgresql://…",
            )
        path = Path(named).expanduser().absolute()
        return str(path / "sweeps.sqlite" if path.is_dir() else path)
    if is_service(settings):
        raise UsageError(
            "LINEAGE_STORE names a service, which keeps no sweeps",
            hint="name a place that every agent reaches with LINEAGE_SWEEPS: postgresql://…, or a file",
        )
    if settings.store.startswith(("postgresql://", "postgres://")):
        return settings.store
    return str(settings.folder / "sweeps.sqlite")
