"""PostgreSQL: one database for a team."""

from __future__ import annotations

import select
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from lineage.adapters.stores.connections import Connections
from lineage.adapters.stores.database import Database, Execute
from lineage.errors import NoSpace, Unavailable, UsageError
from lineage.model.words import first_line
from lineage.ports.progress import Progress

_ROWS_AT_ONCE = 2_000
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

    @property
    def members(self) -> str:
        """Members of a JSON list."""
        return "SELECT json_array_elements_text(CAST(? AS json))"

    @contextmanager
    def writing(self) -> Iterator[Execute]:
        with self._errors():
            connection = self._mine()
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_WRITER_LOCK,))
                yield _execute_on(connection)

    @contextmanager
    def reading(self) -> Iterator[Execute]:
        with self._errors():
            yield _execute_on(self._mine())

    def _mine(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection = self._connections.mine()
        # A server that was started again has ended connections of every thread: without a look each of them would fail once more.
        if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE and _says_something(connection):
            self._connections.forget_mine()
            connection = self._connections.mine()
        return connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.ProgramLimitExceeded as error:  # trying it again would change nothing
            raise UsageError(
                f"the store {self.location} cannot keep a text: {first_line(error)}",
                hint="shorten it: names and addresses that can be looked up have a few thousand letters at most",
            ) from error
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError):
                self._connections.forget_mine()  # the server ended it; a later use connects again
            if isinstance(error, psycopg.errors.DiskFull):
                raise NoSpace(f"the store {self.location} has no room left", hint="make room on the server's disk") from error
            raise Unavailable(
                f"the store {self.location} cannot be used: {first_line(error)}", hint="check LINEAGE_STORE and the server"
            ) from error

    def connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        """This thread's connection, for what has to happen in its transaction."""
        return self._connections.mine()

    def insert_many(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows; see :class:`Database`."""
        with self._connections.mine().cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def copy_to_file(self, path: Path, progress: Progress) -> None:
        """Write everything to a SQLite file; see :class:`Database`."""
        from lineage.adapters.stores.backup_tables import fill_file

        with self._errors(), psycopg.connect(self._url) as connection:
            connection.isolation_level, connection.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True

            def scan(sql: str) -> Iterator[tuple[Any, ...]]:
                # A named cursor stays on the server: a table need not fit into memory.
                with connection.cursor(name="scan") as cursor:
                    cursor.itersize = _ROWS_AT_ONCE
                    cursor.execute(sql, binary=True)
                    yield from cursor

            fill_file(path, scan, progress)

    def close(self) -> None:
        """Close every connection this process opened."""
        self._connections.close()


def _says_something(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    # Nobody asked: it can only be the end of the connection, or a notice about it.
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _execute_on(connection: psycopg.Connection[tuple[Any, ...]]) -> Execute:
    def execute(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        # Every statement is a constant of ours with '?' for parameters; none holds a percent sign or a question mark of its own.
        # Binary answers: a block of bytes would come as twice as many digits otherwise.
        cursor = connection.execute(sql.replace("?", "%s"), tuple(map(_without_nul, parameters)), binary=True)
        return cursor.fetchall() if cursor.description else []

    return execute


def _without_nul(value: Any) -> Any:
    # PostgreSQL keeps no NUL in a text. Records and events have it escaped, as JSON does; what is left are names that runs are found by.
    return value.replace("\0", "\ufffd") if type(value) is str and "\0" in value else value
