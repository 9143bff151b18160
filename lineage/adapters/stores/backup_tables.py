"""The tables of a store in a SQLite file, and from one into a database: as they are, row by row."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lineage.adapters.stores.database import Database, Execute
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.errors import Conflict, IntegrityError, Unavailable
from lineage.ports import Progress

Scan = Callable[[str], Iterable[tuple[Any, ...]]]
"""Rows of one statement, from one state of a database for all statements."""


def fill_file(path: Path, scan: Scan, progress: Progress) -> None:
    """Write every table of a store to a new file.

    Raises:
        Unavailable: The file cannot be written.
    """
    SqliteDatabase(path).close()  # makes the tables
    with _written(path), closing(_plain(path)) as target:
        tables = _tables(target)
        target.execute("BEGIN")
        for number, (table, columns) in enumerate(tables.items(), 1):
            target.execute(f"DELETE FROM {table}")  # its version is copied, too
            named, places = ", ".join(columns), ", ".join("?" * len(columns))
            target.executemany(f"INSERT INTO {table} ({named}) VALUES ({places})", scan(f"SELECT {named} FROM {table}"))
            progress("copying tables", number, len(tables))
        target.execute("COMMIT")


def refuse_filled(path: Path, database: Database) -> None:
    """Find out whether a file can be brought to a database.

    Raises:
        Conflict: Something is in the database already.
        Unavailable: The database cannot be used.
    """
    with closing(_plain(path)) as source, database.reading() as execute:
        _refuse_filled(_data_tables(source), execute, database.location)


def load_file(path: Path, database: Database, progress: Progress) -> None:
    """Bring every table of a file to a database of the same release, all or nothing.

    Raises:
        Conflict: Something is in the database already.
        Unavailable: The database cannot be used.
    """
    with closing(_plain(path)) as source, database.writing() as execute:
        tables = _data_tables(source)
        _refuse_filled(tables, execute, database.location)
        for number, (table, columns) in enumerate(tables.items(), 1):
            database.insert_many(table, columns, source.execute(f"SELECT {', '.join(columns)} FROM {table}"))
            progress("loading tables", number, len(tables))


def _refuse_filled(tables: Iterable[str], execute: Execute, location: str) -> None:
    for table in tables:
        if execute(f"SELECT 1 FROM {table} LIMIT 1", ()):
            raise Conflict(f"there is something in {location} already (table {table})", hint="restore to an empty database")


def finish_file(path: Path) -> int:
    """Make a copy one plain file that is whole on the disk; how many runs are in it.

    Raises:
        IntegrityError: The database is damaged.
        Unavailable: The file cannot be written.
    """
    with _written(path), closing(_plain(path)) as made:
        found = made.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise IntegrityError("the store's database", expected="a sound SQLite database", found=found)
        runs: int = made.execute("SELECT COUNT(*) FROM runs").fetchone()[0]
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return runs


def runs_in(path: Path) -> set[str]:
    """Ids of the runs in a file."""
    with closing(_plain(path)) as file:
        return {run_id for (run_id,) in file.execute("SELECT id FROM runs")}


def _plain(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")  # no second file beside it
    return connection


def _data_tables(connection: sqlite3.Connection) -> dict[str, list[str]]:
    return {table: columns for table, columns in _tables(connection).items() if table != "schema_version"}


def _tables(connection: sqlite3.Connection) -> dict[str, list[str]]:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    return {name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for (name,) in names.fetchall()}


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"{path} cannot be written: {error}", hint="is the disk full?") from error
