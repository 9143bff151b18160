"""Settings, all from environment variables with the prefix ``LINEAGE_``; every one has a default that works on a laptop."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from lineage.errors import UsageError

STORE_FOLDER = ".lineage"


def _keys_folder() -> Path:
    named = os.environ.get("LINEAGE_KEYS")
    if named:
        return Path(named).expanduser().absolute()
    # Not Path.home(): it fails where an account has no home, and nobody asked for a key yet.
    return Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")) / "lineage" / "keys"


def _cache_folder() -> Path:
    named = os.environ.get("LINEAGE_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "dataset-lineage"


def _seconds(variable: str, hint: str) -> float:
    text = os.environ.get(variable) or "15"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise UsageError(f"{variable} is '{text}'", hint=hint)
    return seconds


def _patience_s() -> float:
    return _seconds("LINEAGE_WAIT", "give seconds, for example 15")


def _system_s() -> float:
    return _seconds("LINEAGE_SYSTEM_SECONDS", "give seconds, for example 15; 0 for no samples")


SandboxMode = Literal["require", "auto", "off"]


def _sandbox() -> SandboxMode:
    text = os.environ.get("LINEAGE_SANDBOX") or "auto"
    for mode in get_args(SandboxMode):
        if text == mode:
            chosen: SandboxMode = mode
            return chosen
    raise UsageError(f"LINEAGE_SANDBOX is '{text}'", hint="give require, auto or off; docs/sandbox.md says what they mean")


def _token() -> str | None:
    return os.environ.get("LINEAGE_TOKEN") or None


def _sweeps() -> str | None:
    return os.environ.get("LINEAGE_SWEEPS") or None


def _signing_key() -> str:
    return os.environ.get("LINEAGE_SIGN") or "default"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    Attributes:
        store: ``LINEAGE_STORE``: a folder, ``postgresql://…`` for records in PostgreSQL, or ``http://…`` for a service that keeps them.
        folder: Local folder for objects, locks, caches and workspaces (``LINEAGE_FOLDER``; the store itself when that is a folder).
        project: ``LINEAGE_PROJECT``: project of runs that name none.
        keys: ``LINEAGE_KEYS``: folder of the keys that sign records and of those that are trusted (the user's configuration folder).
        sign: ``LINEAGE_SIGN``: name of the key that signs every run when it ends, where there is such a key; ``off`` for none.
        patience_s: ``LINEAGE_WAIT``: seconds that the end of a run waits for a tracker's server (15).
        token: ``LINEAGE_TOKEN``: bearer token for a service. Never on a command line, never printed.
        sandbox: ``LINEAGE_SANDBOX``: whether a worker's commands need a sandbox: ``require``, ``auto`` (where the host has one), ``off``.
        system_s: ``LINEAGE_SYSTEM_SECONDS``: seconds between samples of what the machine and a run's processes use (15); 0 for none.
        sweeps: ``LINEAGE_SWEEPS``: where sweeps are kept: a file, one that ends in ``.journal``, or ``postgresql://…`` (the store's place).
        cache: ``LINEAGE_CACHE``: what is known of installed packages on this machine, whatever the store (the user's cache folder).
    """

    store: str
    folder: Path
    project: str = "default"
    keys: Path = field(default_factory=_keys_folder)
    sign: str = field(default_factory=_signing_key)
    cache: Path = field(default_factory=_cache_folder)
    patience_s: float = field(default_factory=_patience_s)
    system_s: float = field(default_factory=_system_s)
    token: str | None = field(default_factory=_token, repr=False)
    sandbox: SandboxMode = field(default_factory=_sandbox)
    sweeps: str | None = field(default_factory=_sweeps, repr=False)


def load_settings(start: Path | None = None, store: str | None = None) -> Settings:
    """Settings for work in ``start`` (the working folder by default).

    ``store`` stands for ``LINEAGE_STORE``. Without either the store is the nearest ``.lineage`` folder upwards, else one beside the
    repository, else one right here.

    Raises:
        UsageError: ``LINEAGE_STORE`` has a form that is not known.
    """
    here = (start or Path.cwd()).absolute()
    store = os.environ.get("LINEAGE_STORE", "") if store is None else store
    project = os.environ.get("LINEAGE_PROJECT", "default")
    if store.startswith(("postgresql://", "postgres://", "http://", "https://")):
        folder = os.environ.get("LINEAGE_FOLDER")
        return Settings(store, Path(folder).absolute() if folder else _default_folder(here), project)
    if "://" in store:
        raise UsageError(
            f"LINEAGE_STORE has the unknown form '{store.partition('://')[0]}://…'",
            hint="give a folder, postgresql://user:password@host/database or http://host:port of a service",
        )
    chosen = Path(store).expanduser().absolute() if store else _default_folder(here)
    return Settings(str(chosen), chosen, project)


def _default_folder(here: Path) -> Path:
    for folder in (here, *here.parents):
        if (folder / STORE_FOLDER).is_dir():
            return folder / STORE_FOLDER
        if (folder / ".git").exists():
            return _main_worktree(folder) / STORE_FOLDER
    return here / STORE_FOLDER


def _main_worktree(folder: Path) -> Path:
    if (folder / ".git").is_dir():
        return folder
    # A linked worktree: its records belong with those of the repository, or they vanish with the worktree.
    answer = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--path-format=absolute", "--git-common-dir"], capture_output=True, text=True, check=False
    )
    common = Path(answer.stdout.strip())
    return common.parent if answer.returncode == 0 and common.name == ".git" else folder
