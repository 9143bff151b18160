"""A database in memory: for tests of what uses this layer, and for records that nobody is to keep. It ends with its object."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lineage.adapters.stores.database import Database, Execute
from lineage.errors import Unavailable
from lineage.ports.progress import Progress


class MemoryDatabase(Database):
    """SQLite without a file: the same statements and the same migrations, so it cannot promise something else than a store on disk.

    One connection, used by one thread at a time. Other processes, and a fork, do not share it.
    """

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._lock = threading.RLock()
        weakref.finalize(self, self._connection.close)
        self.migrate()

    @property
    def location(self) -> str:
        """The word for it."""
        return ":memory:"

    @property
    def members(self) -> str:
        """Members of a JSON list."""
        return "SELECT value FROM json_each(?)"

    @contextmanager
    def writing(self) -> Iterator[Execute]:
        with self.reading() as execute:
            execute("BEGIN IMMEDIATE", ())
            try:
                yield execute
                execute("COMMIT", ())
            except BaseException:
                if self._connection.in_transaction:
                    execute("ROLLBACK", ())
                raise

    @contextmanager
    def reading(self) -> Iterator[Execute]:
        with self._lock:
            try:
                yield lambda sql, parameters: self._connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise Unavailable(f"the store in memory cannot be used: {error}") from error

    def insert_many(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows; see :class:`Database`."""
        self._connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", rows)

    def copy_to_file(self, path: Path, progress: Progress) -> None:
        """Write everything to a file; see :class:`Database`."""
        with self.reading(), closing(sqlite3.connect(path)) as target:
            self._connection.backup(target, progress=lambda _, left, pages: progress("copying records", pages - left, pages))

    def close(self) -> None:
        """Nothing: a closed store opens again when it is used, and there is nowhere to read it from."""
