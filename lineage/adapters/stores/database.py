"""A database: transactions, statements with ``?`` for a parameter, the newest schema. Subclasses know one technology each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from lineage.adapters.stores.schema import MIGRATIONS
from lineage.errors import Unavailable
from lineage.ports.progress import Progress

Execute = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Runs one statement and returns what it found."""

T = TypeVar("T")
_IN_A_LIST = 500  # older builds of SQLite allow 999 parameters in a statement


class Database(ABC):
    """A relational database that several processes use at once. Both run stores and row indexes are kept in one."""

    @property
    @abstractmethod
    def location(self) -> str:
        """Where it is, without credentials."""

    @property
    @abstractmethod
    def members(self) -> str:
        """Subquery for the members of a JSON list of texts, which is its one parameter: lists of any length, where ``IN (?, …)`` ends."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Execute]:
        """A transaction that excludes other writers; rolls back on an exception.

        Raises:
            Unavailable: The database cannot be used.
        """

    @abstractmethod
    def reading(self) -> AbstractContextManager[Execute]:
        """A look at the database: each statement sees one state of it, two statements may see two.

        Raises:
            Unavailable: The database cannot be used.
        """

    @abstractmethod
    def insert_many(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows quickly, inside the transaction that this thread has open."""

    def copy_to_file(self, path: Path, progress: Progress) -> None:
        """Write everything, as it is at one moment, to a new SQLite file, while others go on writing.

        Raises:
            Unavailable: The database cannot be used or copied, or the file not be written.
        """
        raise Unavailable(f"{self.location} cannot be copied to {path}", hint="only SQLite files and PostgreSQL databases can")

    @abstractmethod
    def close(self) -> None:
        """Close every connection that this process opened; a later use opens others."""

    def migrate(self) -> None:
        """Bring the schema to the newest version; nothing to do when it is there already.

        Raises:
            Unavailable: The database was written by a newer release.
        """
        try:
            self._migrate()
        except BaseException:
            self.close()  # nobody gets to hold the database, so nobody else could close what was opened
            raise

    def _migrate(self) -> None:
        with self.writing() as execute:
            execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)", ())
            found = execute("SELECT MAX(version) FROM schema_version", ())[0][0] or 0
            if found > len(MIGRATIONS):
                raise Unavailable(
                    f"the store {self.location} has schema version {found}, this release knows {len(MIGRATIONS)}",
                    hint="install a newer release of dataset-lineage",
                )
            for version in range(found + 1, len(MIGRATIONS) + 1):
                for step in MIGRATIONS[version - 1]:
                    if callable(step):
                        step(execute)
                    else:
                        execute(step, ())
                execute("INSERT INTO schema_version (version) VALUES (?)", (version,))


def in_lists(values: Iterable[T]) -> Iterator[tuple[str, list[T]]]:
    """Parts of ``values``, each once and small enough for one statement: ("?, ?, …", values)."""
    left = iter(dict.fromkeys(values))
    while part := list(islice(left, _IN_A_LIST)):
        yield ", ".join("?" * len(part)), part
