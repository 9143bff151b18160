"""Inputs of a live run: opened pinned, recorded, and watched while they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from lineage.model.dataset import InputRecord, View, normalise_uri
from lineage.model.event import Event, InputUsed, LoaderMade, RowsSeen
from lineage.model.run import RowsRead, Run
from lineage.model.steps import LoaderRecord
from lineage.ports import DatasetBackend, Ports, Progress, no_progress
from lineage.record.identity import enter_view, record_input, recorded_digests, recorded_rows
from lineage.record.opening import open_recorded
from lineage.record.reads import ReadLog
from lineage.record.recorded_view import DatasetPlace, RecordedView
from lineage.record.reproducing import Reproducing


class Inputs:
    """Opens datasets for one run.

    Args:
        ports: The outside world.
        append: Adds an event to the record and returns the record; another process may have added to it, too.
        record: The record as this process knows it.
        note: Adds a sentence to the record.
        reproducing: The run that is repeated, if one is.
        on_batch: Told of what is handed to the training loop.
        is_secondary: The first process of the training records the inputs; this one only says which rows it read.

    Attributes:
        is_open: Whether the run still takes inputs.
        before_end: Called once, while the run can still be added to.
    """

    def __init__(
        self,
        ports: Ports,
        append: Callable[[Event], Run],
        record: Callable[[], Run],
        note: Callable[[str], None],
        reproducing: Reproducing | None,
        on_batch: Callable[[int, int | None, Sequence[int], Any], None],
        *,
        is_secondary: bool = False,
    ) -> None:
        self._is_secondary = is_secondary
        self._on_batch = on_batch
        self._ports = ports
        self._append = append
        self._record = record
        self._note = note
        self._reproducing = reproducing
        self._logs: list[ReadLog] = []
        self._roles: list[str] = []
        self._pid = os.getpid()
        self.is_open = True
        self.before_end: list[Callable[[], None]] = []

    def use(
        self,
        dataset: Any,
        role: str,
        *,
        view: str | None,
        query: str | None,
        commit_id: str | None,
        branch: str | None,
        seed: int | None,
        progress: Progress,
    ) -> RecordedView:
        """Open and record; see :meth:`lineage.record.live.LiveRun.use_dataset`."""
        if self._reproducing is not None:
            opened = self._use_recorded(self._reproducing, role, seed, progress)
            if opened is not None:
                return opened
        backend = self._ports.datasets()
        uri, branch, commit_id = _address(backend, dataset, view, branch, commit_id)
        chosen = backend.resolve(uri, branch=branch, commit_id=commit_id, view=view, query=query)
        item = self._identify(backend, chosen, role, progress)
        digests = recorded_digests(self._ports.objects, item, chosen.rows)
        place = DatasetPlace(backend, item.uri, item.branch, item.commit_id)
        return RecordedView(item, chosen.rows, digests, place, seed=seed, reads=self._used(item))

    def observed(self, view: View, role: str) -> ReadLog:
        """Record what the program opened by itself; its log takes the positions of the view that were read.

        Raises:
            LineageError: The rows cannot be read.
        """
        return self._used(self._identify(self._ports.datasets(), view, role, no_progress))

    def identify(self, view: View, role: str) -> InputRecord:
        """Identity of a dataset version that the run made.

        Raises:
            LineageError: The rows cannot be read.
        """
        return self._identify(self._ports.datasets(), view, role, no_progress)

    def settle(self) -> None:
        """Let those who collect beside the run hand over what they have."""
        while self.before_end and self._pid == os.getpid():
            self.before_end.pop(0)()

    def _identify(self, backend: DatasetBackend, view: View, role: str, progress: Progress) -> InputRecord:
        item = record_input(backend, self._ports.objects, self._ports.rows, view, role, progress)
        if item.manifest is not None and item.manifest.gaps:
            gaps = ", ".join(item.manifest.gaps[:3])
            self._note(f"the log of {item.uri} has gaps ({gaps}): a writer may still change commit {item.commit_id}")
        return item

    def _use_recorded(self, reproducing: Reproducing, role: str, seed: int | None, progress: Progress) -> RecordedView | None:
        # Counted in the record: a command may be several processes, one after the other.
        ordinal = self._roles.count(role) if self._is_secondary else len(self._record().inputs_by_role().get(role, ()))
        recorded = reproducing.input(role, ordinal)
        if recorded is None:
            self._note(f"input '{role}' number {ordinal + 1} is not in the record of {reproducing.original.id[:12]}")
            return None
        item, uri = recorded
        ports = self._ports
        opened, check = open_recorded(ports.datasets, ports.objects, ports.rows, item, uri, progress, seed=seed)
        if opened.origin == "archive":
            self._note(f"input '{role}' was read from the archive: {'; '.join(check.detail)}")
        used = item.model_copy(update={"used_at": datetime.now(UTC)})
        opened.record = used
        enter_view(ports.rows, used, recorded_rows(ports.objects, used))  # a store that was copied may lack it
        opened.reads = self._used(used)
        return opened

    def _used(self, item: InputRecord) -> ReadLog:
        self._roles.append(item.role)
        ordinal = len(self._logs) if self._is_secondary else len(self._append(InputUsed(at=datetime.now(UTC), input=item)).inputs) - 1

        log = ReadLog(self._ports.objects, ordinal, item.rows, self)
        self._logs.append(log)
        return log

    # --- what its read logs tell it (:class:`lineage.record.reads.ReadListener`) ---

    @property
    def root(self) -> str | None:
        """Top folder of the run's code."""
        code = self._record().code
        return None if code is None else code.root

    def rows_read(self, reads: RowsRead) -> None:
        """Record which rows were read."""
        self._append(RowsSeen(at=datetime.now(UTC), reads=reads))

    def loader_made(self, loader: LoaderRecord) -> None:
        """Record how batches are made."""
        self._append(LoaderMade(at=datetime.now(UTC), loader=loader))

    def handed(self, ordinal: int, epoch: int | None, positions: Sequence[int], batch: Any) -> None:
        """Pass on what the training loop was handed."""
        self._on_batch(ordinal, epoch, positions, batch)

    def note(self, text: str) -> None:
        """Record a sentence."""
        self._note(text)

    def close(self) -> None:
        """Record what was read since the last whole epoch."""
        self.is_open = False
        for log in self._logs:
            log.close_all()


def _address(
    backend: DatasetBackend, dataset: Any, view: str | None, branch: str | None, commit_id: str | None
) -> tuple[str, str | None, str | None]:
    if isinstance(dataset, str | os.PathLike):
        return normalise_uri(os.fspath(dataset)), branch, commit_id
    uri = normalise_uri(backend.address_of(dataset))
    own_branch = str(dataset.current_branch.name)
    if view is None and branch in (None, own_branch):
        # An open dataset means what it shows: its branch and version, not the newest rows of main.
        return uri, own_branch, commit_id or str(dataset.version)
    return uri, branch, commit_id
