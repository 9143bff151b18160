"""The step log of a live run: grows beside the record, and becomes part of it when the run ends."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lineage.errors import LineageError, UsageError
from lineage.model.event import Event, Noted, StepsLogged
from lineage.model.run import Run
from lineage.model.steps import StepLogRecord, StepRecord, StepRows
from lineage.ports import ObjectStore, Ports, Watch, Watcher
from lineage.record.step_log import StepLogHeader, first_head, header_line, packed, read_log, whole_part

FOLDER = "steps"
_SYNC_S = 1.0


class StepWriter:
    """Writes the step log of one process of a run. Nothing is written before the first record.

    A record is handed to the kernel as soon as it is complete, so that a killed process loses none; it reaches the disk within about a
    second. When the file cannot be written the log ends there and training goes on.

    Args:
        file: Where it grows.
        header: What holds for every record.
        note: Adds a sentence to the run's record.
    """

    def __init__(self, file: Path, header: StepLogHeader, note: Callable[[str], None]) -> None:
        self.header = header
        self._file = file
        self._note = note
        self._head = first_head(header.every)
        self._handle: int | None = None
        self._pid = os.getpid()
        self._synced = time.monotonic()
        self._next_step = 0
        self._rows: list[StepRows] = []
        self._batches: list[bytes] = []
        self._is_over = False

    @property
    def next_step(self) -> int:
        """Number of the step that comes next."""
        return self._next_step

    @property
    def head(self) -> str:
        """Chain digest after the last record, hexadecimal."""
        return self._head.hex()

    def read(self, rows: StepRows, batch: bytes | None) -> None:
        """Rows were handed to the training loop, with the digest of their batch where there is one."""
        if batch is None and self._rows and not self._batches and self._rows[-1][:2] == rows[:2]:  # a loop that reads row by row
            self._rows[-1] = rows._replace(positions=self._rows[-1].positions + rows.positions)
        else:
            self._rows.append(rows)
        if batch is not None:
            self._batches.append(batch)

    def take_batch(self) -> tuple[tuple[StepRows, ...], bytes | None]:
        """What was read since the last call."""
        rows, batches = tuple(self._rows), self._batches
        self._rows, self._batches = [], []
        return rows, batches[0] if len(batches) == 1 else _joined(batches)

    def take_over(self, records: Iterable[StepRecord]) -> None:
        """Begin with the records of the run that is resumed, so that the log is whole.

        Raises:
            UsageError: Steps were logged already.
        """
        if self._handle is not None:
            raise UsageError("steps were logged before the checkpoint was restored", hint="restore it before the first step")
        for record in records:
            self.add(record)

    def add(self, record: StepRecord) -> None:
        """Write one line."""
        if self._is_over or os.getpid() != self._pid:
            return
        line, head = packed(record, self._head)
        try:
            if self._handle is None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
                line = header_line(self.header) + line
            _write(self._handle, line)
            if time.monotonic() - self._synced > _SYNC_S:
                os.fdatasync(self._handle)
                self._synced = time.monotonic()
        except OSError as error:
            self.fail(f"the step log ends before step {record.step}: {error.strerror or error}")
            return
        self._head = head
        self._next_step = max(self._next_step, record.step + 1)

    def fail(self, reason: str) -> None:
        """The log ends here."""
        if not self._is_over:
            self._is_over = True
            self._note(reason)
            warnings.warn(f"lineage: {reason}", stacklevel=2)

    def seal(self, objects: ObjectStore) -> StepLogRecord | None:
        """Put the log into the object store; ``None`` when nothing was logged."""
        if self._handle is None or os.getpid() != self._pid:
            return None
        os.close(self._handle)
        self._handle, self._is_over = None, True
        return seal_file(self._file, objects)


def seal_file(file: Path, objects: ObjectStore) -> StepLogRecord | None:
    """Put a finished or broken-off log into the object store, without what was cut off at its end, and delete the file.

    Raises:
        IntegrityError: It was altered or damaged.
    """
    content = file.read_bytes()
    log = read_log(content, f"step log {file.name}")
    if not log.records:
        file.unlink()
        return None
    kept = objects.put_bytes(whole_part(content, log))
    file.unlink()
    return StepLogRecord(rank=log.header.rank, steps=log.steps, every=log.header.every, head=log.head, object=kept, torn=log.torn)


def optimizers_of(optimizer: Any, every: int) -> list[Any]:
    """What ``run.watch`` was given, checked.

    Raises:
        UsageError: There is no optimizer, or ``every`` is below 1.
    """
    optimizers = list(optimizer) if isinstance(optimizer, Sequence) else [optimizer]
    if not optimizers or optimizers[0] is None:
        raise UsageError("run.watch needs the optimizer: a step is one call of its step()", hint="run.watch(model, optimizer)")
    if every < 1:
        raise UsageError(f"run.watch: expected every to be 1 or more, found {every}")
    return optimizers


def rank_of_process() -> int:
    """Number of this process among those of a distributed training, as ``torchrun`` tells it; 0 when it is alone."""
    return whole_number("RANK", 0)


def whole_number(variable: str, default: int) -> int:
    """What ``torchrun`` says in an environment variable.

    Raises:
        UsageError: It is no whole number.
    """
    text = os.environ.get(variable, str(default))
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"variable {variable}: expected a whole number, found {text!r}", hint="torchrun sets it") from None


def leavings(folder: Path, objects: ObjectStore, run_id: str) -> list[Event]:
    """Step logs that a killed process left: sealed, as events. One that cannot be read is said so and stays where it is."""
    found: list[Event] = []
    for file in files_of(folder, run_id):
        try:
            sealed = seal_file(file, objects)
        except FileNotFoundError:
            continue  # somebody else looks at the same time
        except (LineageError, OSError) as error:
            found.append(Noted(at=datetime.now(UTC), note=f"the step log in {file.name} is not part of the record: {error}"))
        else:
            if sealed is not None:
                found.append(StepsLogged(at=datetime.now(UTC), log=sealed))
    return found


def files_of(folder: Path, run_id: str) -> list[Path]:
    """Logs of a run that were not sealed."""
    return sorted((folder / FOLDER).glob(f"{run_id}-*.steps"))


class Steps:
    """What a live run knows of its steps: made when something is watched.

    Args:
        ports: The outside world.
        run: The run's record at that time.
        watcher: Of the framework.
        every: Digest gradients and parameters every so many steps.
        note: Adds a sentence to the record.
    """

    def __init__(self, ports: Ports, run: Run, watcher: Watcher, every: int, note: Callable[[str], None]) -> None:
        rank, world_size = rank_of_process(), whole_number("WORLD_SIZE", 1)
        self._objects = ports.objects
        self._watcher = watcher
        self._watches: list[Watch] = []
        self.writer = StepWriter(ports.folder / FOLDER / f"{run.id}-{rank}.steps", StepLogHeader(rank, world_size, every), note)

    def check_interval(self, every: int) -> None:
        """Raise ``UsageError`` for another interval than the log has."""
        if self.writer.header.every != every:
            raise UsageError(f"run.watch: every is {self.writer.header.every} for this run's step log already, found {every}")

    def watch(self, model: Any, optimizers: Sequence[Any]) -> None:
        """Hook into a model."""
        self._watches.append(self._watcher.watch(model, optimizers, self.writer, self.writer.header.every))

    def read(self, ordinal: int, epoch: int | None, positions: Sequence[int], batch: Any) -> None:
        """A batch, or single rows, were handed to the training loop."""
        digest = None if batch is None else self._watcher.digest(batch)
        self.writer.read(StepRows(ordinal, epoch, tuple(int(position) for position in positions)), digest)

    def flush(self) -> None:
        """Write what is still on its way from a device."""
        for watch in self._watches:
            watch.flush()

    def close(self, append: Callable[[Event], Run]) -> None:
        """Stop watching, and make the log part of the record."""
        for watch in self._watches:
            watch.close()
        sealed = self.writer.seal(self._objects)
        if sealed is not None:
            append(StepsLogged(at=datetime.now(UTC), log=sealed))


def _write(handle: int, line: bytes) -> None:
    while line:  # a full disk may take a part
        line = line[os.write(handle, line) :]


def _joined(batches: Sequence[bytes]) -> bytes | None:
    return hashlib.blake2b(b"".join(batches), digest_size=16).digest() if batches else None
