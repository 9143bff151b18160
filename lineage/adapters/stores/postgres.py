"""Runs in PostgreSQL: one store for a team."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg

from lineage.adapters.stores.sql import Execute, SqlRunStore
from lineage.errors import Unavailable

_WRITER_LOCK = 0x6C696E65  # "line": an advisory lock of our own, so that writers queue as they do in SQLite


class PostgresRunStore(SqlRunStore):
    """A run store in a PostgreSQL database.

    Args:
        url: ``postgresql://user:password@host:port/database``.

    Raises:
        Unavailable: The server cannot be reached or refuses.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = threading.local()
        self._open: list[psycopg.Connection[tuple[Any, ...]]] = []
        try:
            self.migrate()
        except psycopg.OperationalError as error:
            raise Unavailable(
                f"the store {self.location} cannot be reached: {_first_line(error)}", hint="check LINEAGE_STORE and the server"
            ) from error

    @property
    def location(self) -> str:
        """Host and database, without user and password."""
        parts = urlsplit(self._url)
        port = f":{parts.port}" if parts.port else ""
        return f"postgresql://{parts.hostname or ''}{port}{parts.path}"

    def _connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        mine: tuple[int, psycopg.Connection[tuple[Any, ...]]] | None = getattr(self._local, "mine", None)
        if mine is None or mine[0] != os.getpid() or mine[1].closed:
            connection = psycopg.connect(self._url, autocommit=True)
            mine = (os.getpid(), connection)
            self._local.mine = mine
            self._open.append(connection)
        return mine[1]

    @contextmanager
    def _writing(self) -> Iterator[Execute]:
        connection = self._connection()
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_WRITER_LOCK,))
            yield _execute_on(connection)

    @contextmanager
    def _reading(self) -> Iterator[Execute]:
        yield _execute_on(self._connection())

    def _insert_metrics(self, execute: Execute, rows: Sequence[tuple[Any, ...]]) -> None:
        with (
            self._connection().cursor() as cursor,
            cursor.copy("COPY metrics (run_id, number, step, at, payload) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(row)

    def close(self) -> None:
        """Close every connection this process opened."""
        while self._open:
            self._open.pop().close()
        self._local = threading.local()


def _execute_on(connection: psycopg.Connection[tuple[Any, ...]]) -> Execute:
    def execute(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        # Every statement is a constant of ours with '?' for parameters; none holds a percent sign or a question mark of its own.
        cursor = connection.execute(sql.replace("?", "%s"), tuple(parameters))
        return cursor.fetchall() if cursor.description else []

    return execute


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
