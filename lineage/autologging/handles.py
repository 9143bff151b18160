"""Which open Deep Lake objects show which data, and which of their rows were read.

Nothing keeps an object alive that the program lets go of. Marks of rows lie in memory that forked worker processes share with this one, so
what they read is known here.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any


class _Process:
    """Whether this is the process that records, or one that was forked from it."""

    def __init__(self) -> None:
        self.is_forked = False

    def _in_child(self) -> None:
        self.is_forked = True


PROCESS = _Process()
os.register_at_fork(after_in_child=PROCESS._in_child)


MOST_READ = 1000
"""So many things that were read and closed wait for a run."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What an open object shows, by names.

    Attributes:
        uri: Address as Deep Lake was given it, normalised.
        branch: Branch.
        commit_id: Deep Lake's id of the version.
        tag_id: The saved view, when it is one.
        tag_name: Its name.
        queries: Queries asked of that, one after the other.
    """

    uri: str
    branch: str
    commit_id: str
    tag_id: str | None = None
    tag_name: str | None = None
    queries: tuple[str, ...] = ()

    def __str__(self) -> str:
        view = f", view '{self.tag_name or self.tag_id}'" if self.tag_id else ""
        return f"{self.uri} at {self.commit_id}{view}" + "".join(f", {query}" for query in self.queries[-1:])

    def asked(self, query: str) -> Shown:
        """The same, asked a query."""
        return replace(self, queries=(*self.queries, query))


class Data:
    """One thing that a program reads: a version, a saved view, or the rows of a query.

    Attributes:
        shown: What it is.
        rows: Number of rows.
        seen: One byte a row, 1 when it was read; shared with forked processes.
        handle: The object, while it lives; the newest of several that show the same.
        keep: Objects that must live as long as it does.
        is_fed: Whether a loader was made of it.
        names: Names that the program gave it, when it was read.
        trouble: Why it is not pinned, one sentence each.
        is_foreign: Whether it was opened in a forked process, whose marks nobody else sees.
        known_to: The run that has it as an input, so that a read has no more to do than to mark.
    """

    __slots__ = ("__weakref__", "handle", "is_fed", "is_foreign", "keep", "known_to", "names", "rows", "seen", "shown", "trouble")

    def __init__(self, shown: Shown, handle: Any, keep: Any = None) -> None:
        self.shown = shown
        self.rows = len(handle)
        self.seen = memoryview(mmap.mmap(-1, self.rows + 1))  # the byte behind the rows says that there is a mark at all
        self.handle: weakref.ref[Any] = weakref.ref(handle)
        self.keep = keep
        self.is_fed = False
        self.is_foreign = PROCESS.is_forked
        self.known_to: object | None = None
        self.names: tuple[str, ...] = ()
        self.trouble: list[str] = []

    def mark(self, key: Any) -> None:
        """Rows at a position, a slice or a list of positions were read."""
        rows = self.rows
        if type(key) is int:
            if not -rows <= key < rows:
                raise IndexError(key)
            self.seen[key + rows if key < 0 else key] = 1
        elif isinstance(key, slice):
            chosen = range(*key.indices(rows))
            if chosen.step == 1:
                self.seen[chosen.start : chosen.stop] = b"\1" * len(chosen)
            else:
                for position in chosen:
                    self.seen[position] = 1
        else:
            for position in [key] if hasattr(key, "__index__") else key:
                self.seen[range(rows)[int(position)]] = 1
        self.seen[rows] = 1

    @property
    def is_read(self) -> bool:
        """Whether a row was read since the marks were last taken, here or in a forked process."""
        return self.seen[self.rows] == 1

    def take(self) -> list[int]:
        """Positions that were read, ascending; clears the marks."""
        import numpy as np

        marks = np.frombuffer(self.seen, np.uint8)
        found: list[int] = np.flatnonzero(marks[: self.rows]).tolist()
        marks[:] = 0
        return found


class Handles:
    """Open objects of this process, by identity."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[weakref.ref[Any], Data]] = {}
        self.columns: dict[int, tuple[weakref.ref[Any], Data]] = {}
        self.parts: dict[int, tuple[weakref.ref[Any], Callable[[Any], None]]] = {}
        self.data: list[weakref.ref[Data]] = []
        self.read: list[Data] = []

    def data_of(self, handle: Any) -> Data | None:
        """What an object shows; ``None`` when it is not followed."""
        entry = self.known.get(id(handle))
        return None if entry is None else entry[1]

    def follow(self, handle: Any, shown: Shown, keep: Any = None, trouble: str | None = None) -> Data:
        """Follow an object. Several that show the same share their marks.

        Args:
            handle: The object.
            shown: What it shows.
            keep: What must live as long.
            trouble: Why it is not pinned; of no interest when a pinned object shows the same.
        """
        alike = (item for item in self.alive() if item.shown == shown and item.rows == len(handle))
        data = next((item for item in alike if trouble is not None or not item.trouble), None)
        if data is None:
            data = Data(shown, handle, keep)
            data.trouble = [] if trouble is None else [trouble]
            self.data = [item for item in self.data if item() is not None]
            self.data.append(weakref.ref(data))
        else:
            data.handle = weakref.ref(handle)
            data.keep = (data.keep, keep)
        self.remember(self.known, handle, data)
        return data

    def alive(self) -> Iterator[Data]:
        """Everything that is still open, or was read and is not recorded yet."""
        return (data for item in self.data if (data := item()) is not None)

    def forget(self, handle: Any) -> None:
        """What an object shows has changed; it is found out again when it is read."""
        self.known.pop(id(handle), None)

    @staticmethod
    def remember(table: dict[int, tuple[weakref.ref[Any], Any]], key: Any, value: Any) -> None:
        """Put an object into a table until it dies."""
        number = id(key)

        def forget(dead: weakref.ref[Any]) -> None:
            entry = table.get(number)
            if entry is not None and entry[0] is dead:
                del table[number]
                if isinstance(value, Data) and value.is_read and len(HANDLES.read) < MOST_READ:
                    HANDLES.read.append(value)  # a worker process marked it, or no run is there yet

        table[number] = (weakref.ref(key, forget), value)


HANDLES = Handles()

_quiet = threading.local()


@contextmanager
def unobserved() -> Iterator[None]:
    """What this thread reads meanwhile is our own doing."""
    before = getattr(_quiet, "on", False)
    _quiet.on = True
    try:
        yield
    finally:
        _quiet.on = before


def is_unobserved() -> bool:
    """Whether this thread is at work for a record."""
    return getattr(_quiet, "on", False)
