"""Which runs still have a process: a lock file a run, which the kernel releases when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path

from lineage.model.event import Event
from lineage.model.run import Run


class FileLiveness:
    """Lock files in one folder of this machine.

    Args:
        folder: Where they are.
        leavings: Finds what a dead process left beside them that belongs into its record.
    """

    def __init__(self, folder: Path, leavings: Callable[[str], list[Event]] | None = None) -> None:
        self._folder = folder
        self._leavings = leavings
        self._held: dict[str, int] = {}
        os.register_at_fork(after_in_child=self._let_go)

    def _let_go(self) -> None:
        # A lock belongs to the open file, which a forked worker shares: it would outlive a killed process for as long as its workers do.
        for handle in self._held.values():
            os.close(handle)
        self._held.clear()

    def hold(self, run_id: str) -> None:
        """Declare that this process is the run's."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._folder / run_id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._held[run_id] = handle

    def release(self, run_id: str) -> None:
        """Give it up."""
        handle = self._held.pop(run_id, None)
        if handle is not None:
            (self._folder / run_id).unlink(missing_ok=True)
            os.close(handle)

    def leavings(self, run_id: str) -> list[Event]:
        """Events for what its process had no time to record."""
        return [] if self._leavings is None else self._leavings(run_id)

    def is_alive(self, run: Run) -> bool | None:
        """Whether some process holds it; ``None`` for a run of another machine, or one that keeps its lock in another folder."""
        if run.id in self._held:
            return True
        if run.host != socket.gethostname():
            return None
        try:
            handle = os.open(self._folder / run.id, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            # Several folders share a store in PostgreSQL, and containers may share a host name: its lock is elsewhere, or was deleted.
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that look at once do not see each other
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False
