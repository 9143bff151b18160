"""Who did what: every change, and everybody who was refused. Looking is not noted here; the service's own log has it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from lineage.errors import LineageError
from lineage.model.access import AuditEntry
from lineage.ports.access import AccessStore

_ONE_LINE_S = 60.0
_WRITTEN_EVERY_S = 5.0
_MOST_LINES = 1_000
_log = logging.getLogger("service.audit")


@dataclass(slots=True)
class _Line:
    number: int
    entry: AuditEntry
    began: float
    written: float
    written_count: int


class AuditLog:
    """Writes the audit log. The first time is written at once; repetitions within a minute are counted, and written every five seconds.

    A run that logs metrics makes four requests a second: a line for each would be most of the database. A process that is killed loses
    counts of its last seconds, never a line.
    """

    def __init__(self, store: AccessStore) -> None:
        self._store = store
        self._lines: dict[tuple[str, str, int], _Line] = {}
        self._lock = threading.Lock()

    def note(self, who: str, what: str, outcome: int) -> None:
        """Note something. A store that cannot be written is reported in the log: the request was answered already."""
        try:
            with self._lock:
                self._note((who, what, outcome), datetime.now(UTC), time.monotonic())
        except LineageError as error:
            _log.error("the audit log cannot be written: %s", error.message)

    def _note(self, key: tuple[str, str, int], at: datetime, now: float) -> None:
        line = self._lines.get(key)
        if line is None or now - line.began > _ONE_LINE_S:
            if len(self._lines) >= _MOST_LINES or line is not None:
                self._flush()
            if len(self._lines) >= _MOST_LINES:
                self._lines.clear()
            entry = AuditEntry(*key, at, at)
            self._lines[key] = _Line(self._store.note(entry), entry, now, now, 1)
            return
        line.entry = replace(line.entry, last_at=at, count=line.entry.count + 1)
        if now - line.written > _WRITTEN_EVERY_S:
            self._write(line, now)

    def _write(self, line: _Line, now: float) -> None:
        self._store.repeat(line.number, line.entry.last_at, line.entry.count)
        line.written, line.written_count = now, line.entry.count

    def _flush(self) -> None:
        for line in self._lines.values():
            if line.entry.count > line.written_count:
                self._write(line, time.monotonic())

    def close(self) -> None:
        """Write what is only counted yet."""
        try:
            with self._lock:
                self._flush()
        except LineageError as error:
            _log.error("the audit log cannot be written: %s", error.message)
