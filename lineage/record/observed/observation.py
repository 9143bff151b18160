"""Observing a command that knows nothing of this package, from the process that started it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from lineage.errors import LineageError
from lineage.model.event import CommandObserved
from lineage.model.observed import Observed
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.live import LiveRun
from lineage.record.observed.files import VOLATILE, Reads, record_reads, record_writes
from lineage.record.observed.printed import PrintedPoint, parse_line
from lineage.record.observed.spool import Spool
from lineage.record.sinks import describe_error

HOOK = Path(__file__).parent / "hook"
"""The folder that comes first on a child's ``PYTHONPATH``."""

_FOLDER = "observed"
_POLL_S = 0.25
_MOST_LISTED = 1000


@contextmanager
def observed_again(ports: Ports, original: Run, live: LiveRun) -> Iterator[Callable[[Mapping[str, str]], dict[str, str]]]:
    """Observe the repetition of a run as that one was observed, if it was; gives what turns a child's variables into those to use."""
    if original.observed is None:
        yield dict
        return
    with Observation(ports, live, printed=original.observed.printed, volatile=original.observed.volatile) as observation:
        yield observation.variables


class Observation:
    """Observes a command from its start to its end; use it in a ``with`` block around the execution.

    Every Python process of the command takes part, whoever starts it, unless it is told to ignore ``PYTHONPATH``. When the block ends,
    also by an exception, files that were read and written become part of the record. Printed metrics do while the command runs, unless it
    imports what records metrics by itself: then those of other names, when it has ended.

    Args:
        ports: The outside world.
        live: The run of the command.
        printed: Whether to take printed numbers as metrics.
        volatile: Patterns of files whose content is not compared in a reproduction.
        prefix: Folder of the environment that was recorded; a note names others. ``None``: any may be used.
    """

    def __init__(
        self, ports: Ports, live: LiveRun, *, printed: bool = True, volatile: Sequence[str] = (), prefix: str | None = None
    ) -> None:
        self._ports = ports
        self._live = live
        self._printed = printed
        self._volatile = tuple(dict.fromkeys([*VOLATILE, *volatile]))
        self._prefix = prefix
        self._folder = ports.folder / _FOLDER / live.id
        self._spool = Spool(self._folder)
        self._reads = Reads(ports, live.record)
        self._held: list[PrintedPoint] = []
        self._counts: dict[str, int] = {}
        self._streamed: set[str] = set()
        self._last: PrintedPoint | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lineage-observe", daemon=True)

    def variables(self, given: Mapping[str, str]) -> dict[str, str]:
        """A child's variables, with what makes it tell."""
        path = os.pathsep.join(filter(None, [str(HOOK), given.get("PYTHONPATH", "")]))
        what = ",".join(["files", "data", *(["printed"] if self._printed else [])])
        return {**given, "PYTHONPATH": path, "LINEAGE_OBSERVED": str(self._folder), "LINEAGE_OBSERVED_WHAT": what}

    def __enter__(self) -> Observation:
        self._clear_up()
        self._folder.mkdir(parents=True, mode=0o700)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        try:
            self._take()
            self._record()
        except (LineageError, OSError) as failure:
            self._live.note(f"what the command read, wrote and printed is not wholly recorded: {describe_error(failure)}")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _clear_up(self) -> None:
        """Delete what was left by an observer that was killed."""
        for folder in self._folder.parent.glob("*"):
            try:
                is_left = self._ports.liveness.is_alive(self._ports.runs.get(folder.name)) is False
            except LineageError:
                is_left = True
            if is_left:
                shutil.rmtree(folder, ignore_errors=True)

    def _work(self) -> None:
        while not self._over.wait(_POLL_S):
            try:
                self._take()
            except (LineageError, OSError):
                continue  # once more at the end, where it is told

    def _take(self) -> None:
        for line in self._spool.read():
            point = parse_line(line) if self._printed and not line.startswith("wandb:") else None
            if point is None or (point == self._last and "%|" in line):  # a full bar is often drawn twice
                continue
            self._last = point
            if self._spool.seen.records_itself:
                self._held.append(point)
            else:
                self._streamed.update(point.values)
                self._log(point.values, point.step)
        self._reads.take(self._spool.seen.read)

    def _log(self, values: Mapping[str, float], step: int | None) -> None:
        number = max(self._counts.get(name, 0) for name in values) if step is None else step
        self._counts.update(dict.fromkeys(values, number + 1))
        self._live.log(values, number)

    def _record(self) -> None:
        seen, live = self._spool.seen, self._live
        if self._held:
            own = {name for point in self._ports.runs.metrics(live.id) for name in point.values} - self._streamed
            for point in self._held:
                values = {name: value for name, value in point.values.items() if name not in own}
                if values:
                    self._log(values, point.step)
        record_writes(self._ports, live, seen, self._reads, self._volatile)
        record_reads(self._ports, live, self._reads, seen)
        for problem in seen.problems:
            live.note(problem)
        self._tell_interpreters()
        read = sorted(self._reads.in_snapshot)
        observed = Observed(
            printed=self._printed,
            volatile=self._volatile,
            processes=seen.processes,
            interpreters=tuple(f"{path} {version}" for path, version, _ in seen.interpreters),
            read=tuple(read[:_MOST_LISTED]),
            read_more=max(0, len(read) - _MOST_LISTED),
            native=tuple(sorted(seen.native)),
        )
        self._ports.runs.append(live.id, CommandObserved(at=datetime.now(UTC), observed=observed))

    def _tell_interpreters(self) -> None:
        seen, live = self._spool.seen, self._live
        if not seen.processes:
            live.note("no Python process of the command told what it did: files that it read and wrote and what it printed are not known")
        others = sorted({path for path, _, prefix in seen.interpreters if self._prefix not in (None, prefix)})
        if others:
            live.note(
                f"the environment recorded is that of {self._prefix}; Python processes of the command ran in another: {', '.join(others)}"
            )
