"""No fork while Deep Lake is at work in another thread: the child, or the whole program, would crash or hang (measured on 4.7.4).

The pinned loader reads ahead in a thread, and may be doing so when another loader starts its workers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ForkGate:
    """Lets any number of threads in, or one fork, never both. A thread that is inside may fork itself: it is between two calls then."""

    def __init__(self) -> None:
        self._make()

    def _make(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._inside = 0
        self._forks = 0
        self._own = threading.local()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Forks of other threads wait until this is left."""
        own, depth = self._own, getattr(self._own, "depth", 0)
        if depth == 0:  # who is inside already must not wait for a fork that waits for it
            with self._changed:
                self._changed.wait_for(lambda: self._forks == 0)
                self._inside += 1
        own.depth = depth + 1
        try:
            yield
        finally:
            own.depth = depth
            if depth == 0 and own is self._own:  # else this is a child, and its gate is new
                with self._changed:
                    self._inside -= 1
                    self._changed.notify_all()

    def close(self) -> None:
        """Let no thread in any more, and wait until those that are have left."""
        self._changed.acquire()
        self._forks += 1
        mine = 1 if getattr(self._own, "depth", 0) else 0
        self._changed.wait_for(lambda: self._inside == mine)

    def open(self) -> None:
        """Let threads in again."""
        self._forks -= 1
        self._changed.notify_all()
        self._changed.release()

    def guard(self) -> None:
        """Make every fork of this program wait.

        ``os.fork`` is replaced as well: Deep Lake replaced it, and what it does before a fork must find its threads at rest, too.
        """
        fork = os.fork

        def guarded() -> int:
            self.close()
            try:
                child = fork()
            except BaseException:
                self.open()
                raise
            if child:
                self.open()
            return child

        os.fork = guarded
        # In a child the other threads are gone, and what they held stays locked for ever: it needs a gate of its own.
        os.register_at_fork(before=self.close, after_in_parent=self.open, after_in_child=self._make)


GATE = ForkGate()
GATE.guard()
