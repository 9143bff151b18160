"""One connection a thread and process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class _Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


class Connections(Generic[C]):
    """Connections by thread. None is carried over a fork: neither SQLite's locks nor a socket's conversation survive it.

    Args:
        connect: Makes one.
    """

    def __init__(self, connect: Callable[[], C]) -> None:
        self._connect = connect
        self._local = threading.local()
        self._open: list[tuple[int, threading.Thread, C]] = []
        self._lock = threading.Lock()
        self._being_made = 0

    def place(self) -> int:
        """How many others this process had open, or was making, when this thread began to make its own."""
        found: int = getattr(self._local, "place", 0)
        return found

    def mine(self) -> C:
        """This thread's connection, made when there is none yet."""
        known: tuple[int, C] | None = getattr(self._local, "mine", None)
        if known is not None and known[0] == os.getpid():
            return known[1]
        with self._lock:
            self._close_those_of_ended_threads()
            self._local.place = self._being_made + sum(pid == os.getpid() for pid, _, _ in self._open)
            self._being_made += 1
        try:
            connection = self._connect()
            with self._lock:
                self._open.append((os.getpid(), threading.current_thread(), connection))
        finally:
            with self._lock:
                self._being_made -= 1
        self._local.mine = (os.getpid(), connection)
        return connection

    def forget_mine(self) -> None:
        """Close this thread's connection, which is broken; the next use makes another."""
        known: tuple[int, C] | None = getattr(self._local, "mine", None)
        self._local.mine = None
        if known is not None and known[0] == os.getpid():
            with self._lock:
                self._open = [item for item in self._open if item[2] is not known[1]]
            known[1].close()

    def _close_those_of_ended_threads(self) -> None:
        # A process that starts many runs starts a thread for each; their connections must not pile up. The main thread counts as ended
        # while functions registered with atexit still run in it.
        main = threading.main_thread()
        ended = [item for item in self._open if item[0] == os.getpid() and item[1] is not main and not item[1].is_alive()]
        self._open = [item for item in self._open if item not in ended]
        for _, _, connection in ended:
            connection.close()

    def close(self) -> None:
        """Close every connection that this process opened; those of a parent are the parent's."""
        with self._lock:
            for pid, _, connection in self._open:
                if pid == os.getpid():
                    connection.close()
            self._open.clear()
        self._local = threading.local()
