"""Importance of sweeps, kept for those who ask again, and pages of a list of sweeps."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
from collections import OrderedDict
from datetime import datetime

from lineage.errors import LineageError, UsageError
from lineage.lookup.importance import report_of
from lineage.lookup.sweeps import list_sweeps
from lineage.model.sweep_findings import SweepReport, SweepView
from lineage.ports import Ports
from lineage.wiring_importance import importance_meter
from service.schemas_sweeps import SweepPage, sweep_brief

_KEPT = 64


class SweepReports:
    """Tells what mattered in a sweep. One at a time: that takes a processor for a second or two, and is the same until a trial ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, SweepReport] = OrderedDict()

    def report(self, view: SweepView, *, with_stopped: bool = False) -> SweepReport:
        """The sweep with importance, or the reason for none."""
        # What a trial that goes on does is of no matter.
        ended = [
            (item.number, item.state, item.value, sorted(item.parameters.items(), key=str))
            for item in view.trials
            if item.state != "running"
        ]
        words = repr((view.id, view.metric, view.goal, view.parameters, with_stopped, ended))
        key = hashlib.sha256(words.encode("utf-8", "backslashreplace")).hexdigest()
        with self._lock:
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = _computed(view, with_stopped)
                if len(self._known) > _KEPT:
                    self._known.popitem(last=False)
            else:
                self._known.move_to_end(key)
        return known.model_copy(update={"sweep": view})


def _computed(view: SweepView, with_stopped: bool) -> SweepReport:
    try:
        return report_of(view, importance_meter(), with_stopped=with_stopped)
    except LineageError as error:  # what measures it is not installed
        return SweepReport(sweep=view, importance=None, refused=error.message)


def sweep_page(ports: Ports, limit: int, cursor: str | None) -> SweepPage:
    """Sweeps, newest first.

    Raises:
        UsageError: The cursor is not one of ours.
    """
    found = list_sweeps(ports, limit + 1, after=None if cursor is None else _parse(cursor))
    items = tuple(sweep_brief(ports.objects, item) for item in found[:limit])
    last = found[limit - 1] if len(found) > limit else None
    made = None if last is None else base64.urlsafe_b64encode(f"{last.began_at} {last.sweep}".encode()).decode().rstrip("=")
    return SweepPage(items=items, next_cursor=made)


def _parse(cursor: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        began_at, sweep_id = text.split(" ")
        if datetime.fromisoformat(began_at).utcoffset() is None or not re.fullmatch(r"[0-9a-z]{8}", sweep_id):
            raise ValueError(text)
    except (binascii.Error, ValueError) as error:
        raise UsageError("the cursor is not one that this service gave", hint="leave it out to begin with the newest sweep") from error
    return began_at, sweep_id
