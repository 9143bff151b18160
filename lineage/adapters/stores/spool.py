"""Recording to a service that may go away: a run grows in a store on this machine, and what grew is handed over in the background.

Who records never waits for the service. Events are chained by digest and metric points are numbered, so that what is handed over twice
is there once. A run that is over and handed over whole is the service's alone; until then it is this machine's.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from lineage.adapters.stores.continuing import ContinuingRunStore
from lineage.adapters.stores.http import HttpRunStore
from lineage.adapters.stores.spool_delivery import Handed, SpoolDelivery
from lineage.errors import LineageError, NotFound
from lineage.model.environment import Environment
from lineage.model.event import Event
from lineage.model.metrics import StoredPoint
from lineage.model.run import MetricPoint, Run
from lineage.ports import Position, RunQuery, RunStore

if TYPE_CHECKING:
    from lineage.model.listing import RunBrief

_EVERY_S = 0.5
_LONGEST_PAUSE_S = 30.0


class SpoolingRunStore:
    """Runs that begin here are kept here until the service has them; every other run is the service's. See :class:`lineage.ports.RunStore`.

    Args:
        local: On this machine.
        remote: The service's.
        delivery: Hands over.
        patience_s: Seconds that the end of the process waits for a service that answers; one that does not is not waited for.
    """

    def __init__(self, local: ContinuingRunStore, remote: HttpRunStore, delivery: SpoolDelivery, patience_s: float) -> None:
        self._local, self._remote, self._delivery, self._patience_s = local, remote, delivery, patience_s
        self._mine: set[str] = set()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._stop = threading.Event()
        self._starting = threading.Lock()
        self._failure: str | None = None

    @property
    def location(self) -> str:
        """The service's address."""
        return self._remote.location

    def close(self) -> None:
        """Hand over what can be handed over now, and close everything."""
        self._finish()
        self._local.close()
        self._remote.close()

    # --- whose run it is ------------------------------------------------------------------------------------------------------

    def _is_here(self, run_id: str) -> bool:
        return run_id in self._mine or bool(self._local.position(run_id).events)

    def _of(self, run_id: str) -> RunStore:
        return self._local if self._is_here(run_id) else self._remote

    # --- writing --------------------------------------------------------------------------------------------------------------

    def append(self, run_id: str, event: Event) -> Run:
        """Add an event: here when the run begins, or is, here."""
        if event.kind == "started" or self._is_here(run_id):
            try:
                after = self._local.append(run_id, event)
            except NotFound:  # it was handed over meanwhile
                return self._append_there(run_id, event)
            if event.kind == "started":
                self._mine.add(run_id)
            self._begin()
            return after
        return self._append_there(run_id, event)

    def _append_there(self, run_id: str, event: Event) -> Run:
        self._delivery.send_objects(event.model_dump_json())  # a signature, for example
        return self._remote.append(run_id, event)

    def add_metrics(self, run_id: str, points: Sequence[MetricPoint]) -> None:
        """Append metric points, where the run is."""
        self._of(run_id).add_metrics(run_id, points)

    def extend(
        self, run_id: str, number: int, events: Sequence[tuple[str, str]], environments: Mapping[str, str], *, again: bool = False
    ) -> int | None:
        """Goes to the service."""
        return self._remote.extend(run_id, number, events, environments, again=again)

    def extend_metrics(self, run_id: str, number: int, points: Sequence[MetricPoint], *, again: bool = False) -> int | None:
        """Goes to the service."""
        return self._remote.extend_metrics(run_id, number, points, again=again)

    def adopt(
        self, run_id: str, events: Sequence[tuple[str, str]], environments: Mapping[str, str], points: Sequence[MetricPoint], source: str
    ) -> int:
        """Goes to the service, its objects first."""
        self._delivery.send_objects("".join(payload for payload, _ in events))
        return self._remote.adopt(run_id, events, environments, points, source)

    # --- reading --------------------------------------------------------------------------------------------------------------

    def get(self, run_id: str) -> Run:
        """From here while it is here: what grows here is ahead of the service."""
        try:
            return self._local.get(run_id)
        except NotFound:
            return self._remote.get(run_id)

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Of both, each once."""
        found = {*self._local.ids_with_prefix(prefix, limit), *self._remote.ids_with_prefix(prefix, limit)}
        return sorted(found)[:limit]

    def find(self, query: RunQuery) -> list[Run]:
        """Of both, newest first; a run that is here as it is here."""
        theirs = self._remote.find(query)
        ours = {run.id: run for run in self._local.find(query)}
        # One that is here may fit no more, though the service's older state of it does.
        found = [*ours.values(), *(run for run in theirs if run.id not in ours and not self._is_here(run.id))]
        found.sort(key=lambda run: (run.started_at, run.id), reverse=True)
        return found[: query.limit]

    def briefs(self, query: RunQuery) -> list[RunBrief]:
        """Of both, as :meth:`find`."""
        from lineage.model.listing import brief

        return [brief(run) for run in self.find(query)]

    def events(self, run_id: str) -> list[tuple[str, str]]:
        return self._of(run_id).events(run_id)

    def environment(self, digest: str) -> Environment:
        return Environment.model_validate_json(self.environment_text(digest))

    def environment_text(self, digest: str) -> str:
        try:
            return self._local.environment_text(digest)
        except LineageError:
            return self._remote.environment_text(digest)

    def metrics(self, run_id: str, skip: int = 0) -> list[MetricPoint]:
        return self._of(run_id).metrics(run_id, skip)

    def stored_metrics(self, run_id: str) -> list[StoredPoint]:
        return self._of(run_id).stored_metrics(run_id)

    def metrics_digest(self, run_id: str) -> str | None:
        return self._of(run_id).metrics_digest(run_id)

    def position(self, run_id: str) -> Position:
        return self._of(run_id).position(run_id)

    def origin(self, run_id: str) -> str | None:
        return self._of(run_id).origin(run_id)

    # --- handing over ---------------------------------------------------------------------------------------------------------

    def waiting(self) -> list[Run]:
        """Runs that the service has not got whole, oldest first."""
        return list(reversed(self._local.find(RunQuery())))

    def hand_over(self, progress: Callable[[str, int, int], None] | None = None) -> list[Handed]:
        """Hand over everything that waits, now; one outcome for each run."""
        return self._delivery.everything(keep=frozenset(), progress=progress)

    def _begin(self) -> None:
        if self._thread is not None and self._pid == os.getpid():
            return
        with self._starting:
            if self._thread is None or self._pid != os.getpid():
                if self._thread is not None:  # a fork: the thread stayed with the parent, which goes on handing over
                    return
                self._thread = threading.Thread(target=self._work, name="lineage-spool", daemon=True)
                self._thread.start()
                atexit.register(self._finish)

    def _work(self) -> None:
        pause_s = _EVERY_S
        while not self._stop.wait(pause_s):
            pause_s = _EVERY_S if self._try() else min(2 * pause_s, _LONGEST_PAUSE_S)

    def _try(self) -> bool:
        try:
            done = self._delivery.everything(keep=frozenset(self._mine))
        except LineageError as error:
            failure: str | None = error.message
        else:
            failure = next((item.detail for item in done if item.outcome in ("failed", "conflict")), None)
        is_new, self._failure = failure is not None and self._failure is None, failure
        if is_new:
            warnings.warn(f"lineage: kept on this machine for now, `lineage sync` hands it over later: {failure}", stacklevel=2)
        return failure is None

    def _finish(self) -> None:
        if self._thread is None or self._pid != os.getpid() or self._stop.is_set():
            return
        self._stop.set()
        deadline = time.monotonic() + self._patience_s
        self._thread.join(self._patience_s if self._failure is None else 0.0)
        if self._thread.is_alive() or self._failure is not None:
            return
        last = threading.Thread(target=self._last, name="lineage-spool-end", daemon=True)
        last.start()
        last.join(max(0.0, deadline - time.monotonic()))

    def _last(self) -> None:
        self._mine.clear()
        self._try()
