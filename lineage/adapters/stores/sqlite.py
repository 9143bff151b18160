"""Runs in one SQLite file: no server, safe with several processes at once (write-ahead log)."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lineage.adapters.stores.sql import Execute, SqlRunStore
from lineage.errors import Unavailable

_BUSY_TIMEOUT_S = 30.0


class SqliteRunStore(SqlRunStore):
    """A run store in the file ``path``, made when absent.

    Raises:
        Unavailable: The file cannot be opened or is no SQLite database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.migrate()
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the store {path} cannot be opened: {error}", hint="LINEAGE_STORE names the folder of the store") from error

    @property
    def location(self) -> str:
        """The database file."""
        return str(self._path)

    def _connection(self) -> sqlite3.Connection:
        # One connection a thread, and none carried over a fork: SQLite's locks do not survive it.
        mine: tuple[int, sqlite3.Connection] | None = getattr(self._local, "mine", None)
        if mine is None or mine[0] != os.getpid():
            connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            # A killed process loses nothing; only a power cut can cost the last transactions, never the file.
            connection.execute("PRAGMA synchronous = NORMAL")
            mine = (os.getpid(), connection)
            self._local.mine = mine
            self._open.append(connection)
        return mine[1]

    @contextmanager
    def _writing(self) -> Iterator[Execute]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield lambda sql, parameters: connection.execute(sql, parameters).fetchall()
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[Execute]:
        connection = self._connection()
        yield lambda sql, parameters: connection.execute(sql, parameters).fetchall()

    def _insert_metrics(self, execute: Execute, rows: Sequence[tuple[Any, ...]]) -> None:
        self._connection().executemany("INSERT INTO metrics (run_id, number, step, at, payload) VALUES (?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Close every connection this process opened."""
        while self._open:
            self._open.pop().close()
        self._local = threading.local()
