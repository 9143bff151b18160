"""One SQLite file: no server, safe with several processes at once (write-ahead log)."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lineage.adapters.stores.connections import Connections
from lineage.adapters.stores.database import Database, Execute
from lineage.errors import NoSpace, Unavailable
from lineage.ports.progress import Progress

_BUSY_TIMEOUT_S = 30.0
_LARGE_CACHES = 4
_PAGES_AT_ONCE = 4096


class SqliteDatabase(Database):
    """The database in the file ``path``, made when absent.

    Raises:
        Unavailable: The file cannot be opened or is no SQLite database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connections = Connections(self._connect)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"the store {path} cannot be opened: {error}", hint="LINEAGE_STORE names the folder of the store") from error
        self.migrate()

    @property
    def location(self) -> str:
        """The database file."""
        return str(self._path)

    @property
    def members(self) -> str:
        """Members of a JSON list."""
        return "SELECT value FROM json_each(?)"

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            _use_write_ahead_log(connection)
            # A killed process loses nothing; only a power cut can cost the last transactions, never the file.
            connection.execute("PRAGMA synchronous = NORMAL")
            # Of what was read; 2 MB is the default, and a look-up over thousands of runs needs more. Not in each of a service's forty
            # threads: together they took 1.6 GB (measured with a file of 1.5 GB).
            if self._connections.place() < _LARGE_CACHES:
                connection.execute("PRAGMA cache_size = -32768")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def writing(self) -> Iterator[Execute]:
        with self._errors():
            connection = self._connections.mine()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield lambda sql, parameters: connection.execute(sql, parameters).fetchall()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has ended it already
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[Execute]:
        with self._errors():
            connection = self._connections.mine()
            yield lambda sql, parameters: connection.execute(sql, parameters).fetchall()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise NoSpace(f"the store {self._path} has no room left: {error}", hint="make room on its disk, then try again") from error
            raise Unavailable(
                f"the store {self._path} cannot be used: {error}", hint="LINEAGE_STORE names the folder of the store"
            ) from error

    def insert_many(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows; see :class:`Database`."""
        self._connections.mine().executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", rows)

    def copy_to_file(self, path: Path, progress: Progress) -> None:
        """Write everything to another file; see :class:`Database`."""
        with self._errors():
            source, target = self._connect(), sqlite3.connect(path)
            try:
                # One state from the first page to the last: without it every change by somebody else starts the copy anew.
                source.execute("BEGIN")
                source.execute("SELECT version FROM schema_version").fetchall()
                source.backup(
                    target, pages=_PAGES_AT_ONCE, progress=lambda _, left, pages: progress("copying records", pages - left, pages), sleep=0
                )
            finally:
                target.close()
                source.close()

    def close(self) -> None:
        """Close every connection this process opened."""
        self._connections.close()


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    # The mode stays with the file. Changing it does not wait for a lock as every other statement does, so that of two processes
    # that make a store together one would fail at once.
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
