"""Where Optuna keeps sweeps: a SQLite file, a journal file, or a schema of PostgreSQL; and a lock around what must happen at once."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from lineage.errors import NoSpace, Unavailable
from lineage.model.words import first_line

SCHEMA = "lineage_sweeps"
_LOCK = 0x73776570  # "swep": an advisory lock of our own
_PATIENCE_S = 60.0
_HINT = "check LINEAGE_SWEEPS, or the store that sweeps are kept beside"


class Kept(Protocol):
    """A storage of Optuna's, and what its own interface lacks.

    Attributes:
        storage: Reads and writes.
        location: For people, without credentials.
    """

    storage: BaseStorage
    location: str

    def alone(self, study_id: int) -> Any:
        """A context in which nobody else changes this study; gives the time in seconds since 1970."""

    def check(self) -> None:
        """Raise ``OSError`` when the storage is not the one that was opened."""

    def close(self) -> None:
        """Release what is held open."""


def open_storage(place: str) -> Kept:
    """Open, and make where there is none.

    Args:
        place: ``postgresql://…``, a path that ends in ``.journal``, or that of a SQLite file.

    Raises:
        Unavailable: It cannot be opened.
    """
    if place.startswith(("postgresql://", "postgres://")):
        location = _without_credentials(place)
        with told(location):
            return _Postgres(place, location)
    with told(place):
        return _File(Path(place))


@contextmanager
def told(location: str) -> Iterator[None]:
    """Errors of a storage as one of ours."""
    try:
        yield
    except (OSError, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = _reason(error)
        if "full" in reason or "No space" in reason or "quota" in reason:
            raise NoSpace(f"sweeps cannot be kept in {location}: {reason}", hint="make room there; no trial was lost") from error
        raise Unavailable(f"sweeps cannot be kept in {location}: {reason}", hint=_HINT) from error
    except ValueError as error:  # what a journal's reader says of a line
        if not isinstance(error, json.JSONDecodeError) and "log format" not in str(error):
            raise
        raise Unavailable(
            f"sweeps cannot be read from {location}: the file is damaged ({error})", hint="restore it, or name another"
        ) from error
    except RuntimeError as error:  # tables of another release of Optuna's
        if "optuna version" not in str(error):
            raise
        reason = first_line(error).rstrip(".")
        raise Unavailable(f"sweeps cannot be kept in {location}: {reason}", hint="name another place with LINEAGE_SWEEPS") from error


def _reason(error: BaseException) -> str:
    # Optuna's own sentence says "invalid data" whatever happened; what it was made from knows.
    while isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        return first_line(error.orig) if isinstance(error.orig, Exception) else type(error).__name__
    if isinstance(error, OSError):
        return error.strerror or first_line(error)
    return first_line(error) if isinstance(error, Exception) else type(error).__name__


class _File:
    """A SQLite or a journal file with a lock file beside it, which the kernel releases when its holder dies."""

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self._path = path
        self._lock = path.with_name(f"{path.name}.guard")  # not ".lock": that name is one of Optuna's, which deletes what it finds there
        self._journal = path.suffix == ".journal"
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._held():
            self.storage = self._open()
        # Held open, so that no other file gets its number. Not opened for reading: to close that would end SQLite's own locks.
        self._descriptor = os.open(path, os.O_PATH)

    def _open(self) -> BaseStorage:
        if self._journal:
            self._repair()
            return JournalStorage(JournalFileBackend(str(self._path), lock_obj=_Unlocked(str(self._path))))
        url = sqlalchemy.URL.create("sqlite", database=str(self._path)).render_as_string(hide_password=False)
        made = RDBStorage(_escaped(url), engine_kwargs={"connect_args": {"timeout": _PATIENCE_S}})
        made.engine.dispose()  # connections made from here on have the settings below
        sqlalchemy.event.listen(made.engine, "connect", _prepare)
        self._rdb = made
        return get_storage(made)

    @contextmanager
    def alone(self, study_id: int) -> Iterator[float]:
        self.check()
        with self._held():
            self.check()  # once more: it may have been taken away while we waited
            if self._journal:
                self._repair()
            yield time.time()

    def check(self) -> None:
        # SQLite goes on writing to a file that was deleted, and a journal would begin anew.
        if not os.path.samestat(os.stat(self._path), os.fstat(self._descriptor)):
            raise OSError("the file was replaced")

    def close(self) -> None:
        if not self._journal:
            self._rdb.engine.dispose()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @contextmanager
    def _held(self) -> Iterator[None]:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, self._lock)
            yield
        finally:
            os.close(descriptor)

    def _repair(self) -> None:
        """Cut off a last line that was not written to its end: whoever wrote it is gone, and nobody has read it."""
        if not self._path.exists():
            return
        with self._path.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                return
            file.seek(size - 1)
            if file.read(1) == b"\n":
                return
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


class _Unlocked(JournalFileOpenLock):
    """Optuna's own lock is taken away from a holder that is slow; every write here happens under ours, which is not."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class _Postgres:
    """A schema of its own in a PostgreSQL database. The time is the database's: clocks of agents may differ."""

    def __init__(self, url: str, location: str) -> None:
        self.location = location
        self._url = f"postgresql+psycopg://{url.partition('://')[2]}"
        with _for_a_moment(self._url) as engine, engine.begin() as connection:
            # Two agents that make the tables at the same time would both fail.
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            connection.execute(sqlalchemy.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        with _for_a_moment(self._url) as engine, engine.begin() as connection:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            options = {"connect_args": {"options": f"-csearch_path={SCHEMA}"}, "pool_pre_ping": True}
            self._rdb = RDBStorage(_escaped(self._url), engine_kwargs=options)
        self.storage = get_storage(self._rdb)

    @contextmanager
    def alone(self, study_id: int) -> Iterator[float]:
        with self._rdb.engine.begin() as connection:
            connection.execute(sqlalchemy.text(f"SET LOCAL lock_timeout = '{int(_PATIENCE_S)}s'"))
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key, :study)"), {"key": _LOCK, "study": study_id})
            yield float(connection.execute(sqlalchemy.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    def check(self) -> None:
        pass  # a server that is gone says so itself

    def close(self) -> None:
        self._rdb.engine.dispose()


@contextmanager
def _for_a_moment(url: str) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _escaped(url: str) -> str:
    # Optuna fills braces in an address in.
    return url.replace("{", "%7B").replace("}", "%7D")


def _prepare(connection: Any, record: object) -> None:
    with closing(connection.cursor()) as cursor:
        cursor.execute("PRAGMA journal_mode=WAL")  # readers do not stop writers
        cursor.execute("PRAGMA synchronous=NORMAL")


def _lock(descriptor: int, path: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    pause_s = 0.0005
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise OSError(f"{path} is held by another process for more than {_PATIENCE_S:.0f} s") from None
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.02)
        else:
            return


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"
