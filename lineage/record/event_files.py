"""Metrics of a command that wrote TensorBoard's event files: taken from the files that it was seen to write."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from lineage.errors import LineageError
from lineage.model.event import Described
from lineage.model.plain import plain
from lineage.model.run import Artifact, MetricPoint
from lineage.model.secrets import redact_values
from lineage.record.recording import Recording
from lineage.record.sinks import describe_error

_WORD = "tfevents"


class EventFileMetrics:
    """Adds to a run's metrics, when it ends, what its command wrote for TensorBoard.

    Args:
        recording: The record.
        loads_here: Whether the code runs in this process: then it logs by itself, and nothing is done.
    """

    def __init__(self, recording: Recording, *, loads_here: bool) -> None:
        self._ports, self._run_id = recording.ports, recording.run.id
        self._append, self._note = recording.append, recording.note
        self._is_open, self._pid = not loads_here, os.getpid()

    def close(self) -> None:
        """Read the files. A name that the run logged in another way is left as it is."""
        if not self._is_open or os.getpid() != self._pid:
            return
        self._is_open = False
        files = [item for item in self._ports.runs.get(self._run_id).outputs if _WORD in item.path.rpartition("/")[2]]
        if not files:
            return
        known = {name for point in self._ports.runs.metrics(self._run_id) for name in point.values}
        points: list[MetricPoint] = []
        for item in files:
            try:
                points += self._read(item)
            except LineageError as error:
                self._note(f"metrics in {item.path} are not recorded: {describe_error(error)}")
        fresh = [kept for point in points if (kept := _without(point, known)) is not None]
        self._ports.runs.add_metrics(self._run_id, fresh)

    def _read(self, item: Artifact) -> list[MetricPoint]:
        path = self._ports.objects.path_of(item.digest)
        if path is None:
            raise LineageError("its content is not kept")
        points, config, torn = self._ports.event_files().metrics(path)
        if torn is not None:
            self._note(f"{item.path} is torn {torn}")
        if config:
            self._append(Described(at=datetime.now(UTC), config=redact_values(plain(dict(config), item.path))))
        return points


def _without(point: MetricPoint, known: set[str]) -> MetricPoint | None:
    values = {name: value for name, value in point.values.items() if name not in known}
    return point.model_copy(update={"values": values}) if values else None
