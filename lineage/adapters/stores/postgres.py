"""PostgreSQL: one database for a team."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg

from lineage.adapters.stores.connections import Connections
from lineage.adapters.stores.database import Database, Execute
from lineage.errors import Unavailable

_WRITER_LOCK = 0x6C696E65  # "line": an advisory lock of our own, so that writers queue as they do in SQLite


class PostgresDatabase(Database):
    """A PostgreSQL database.

    Args:
        url: ``postgresql://user:password@host:port/database``.

    Raises:
        Unavailable: The server cannot be reached or refuses.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connections = Connections(lambda: psycopg.connect(url, autocommit=True))
        self.migrate()

    @property
    def location(self) -> str:
        """Host and database, without user and password."""
        parts = urlsplit(self._url)
        return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @contextmanager
    def writing(self) -> Iterator[Execute]:
        with self._errors():
            connection = self._connections.mine()
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_WRITER_LOCK,))
                yield _execute_on(connection)

    @contextmanager
    def reading(self) -> Iterator[Execute]:
        with self._errors():
            yield _execute_on(self._connections.mine())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError):
                self._connections.forget_mine()  # the server ended it; a later use connects again
            raise Unavailable(
                f"the store {self.location} cannot be used: {_first_line(error)}", hint="check LINEAGE_STORE and the server"
            ) from error

    def insert_many(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows; see :class:`Database`."""
        with self._connections.mine().cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def close(self) -> None:
        """Close every connection this process opened."""
        self._connections.close()


def _execute_on(connection: psycopg.Connection[tuple[Any, ...]]) -> Execute:
    def execute(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        # Every statement is a constant of ours with '?' for parameters; none holds a percent sign or a question mark of its own.
        # Binary answers: a block of bytes would come as twice as many digits otherwise.
        cursor = connection.execute(sql.replace("?", "%s"), tuple(parameters), binary=True)
        return cursor.fetchall() if cursor.description else []

    return execute


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
