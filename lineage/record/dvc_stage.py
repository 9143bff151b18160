"""What a live run records of the DVC repository around it: the lock at once, the stage's dependencies as they are read.

DVC takes the MD5 of a stage's dependencies when the command is over: what is edited meanwhile goes into its lock as if it had been read.
Here they are read while the command begins, and again when it is over where a file was written since.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lineage.errors import LineageError
from lineage.model.dvc import DvcDependency, DvcRecord
from lineage.model.event import DvcDescribed
from lineage.model.plain import plain
from lineage.model.secrets import redact_text, redact_values
from lineage.ports import StageReading
from lineage.record.joining import is_secondary
from lineage.record.recording import Recording
from lineage.record.sinks import describe_error

_SHOWN = 5


class DvcStage:
    """The DVC repository around a live run; does nothing where there is none.

    Args:
        recording: The record.
        keeps: Whether this process began the record. Another one adds nothing: whoever began it told already.
    """

    def __init__(self, recording: Recording, *, keeps: bool) -> None:
        ports, run = recording.ports, recording.run
        self._ports, self._append, self._note = ports, recording.append, recording.note
        self._began_ns = int(run.started_at.timestamp() * 1e9)
        self._pid = os.getpid()
        self._reading: StageReading | None = None
        self._known: DvcRecord | None = None
        if not keeps or run.reproduces is not None or run.repeats is not None or is_secondary():
            return
        top = Path.cwd() if run.code is None else Path(run.code.root)
        self._folder = Path(top, run.working_directory)
        found = ports.stages.around(self._folder)
        if found is None:
            return
        self._root = Path(found.root)
        self._known = found.model_copy(update={"root": _relative(self._root, top)})
        self._append(DvcDescribed(at=datetime.now(UTC), dvc=self._known))
        if found.stage is not None:
            try:
                self._reading = ports.stages.read(self._root, found.stage, self._folder)
            except LineageError as error:
                self._not_known(error)

    def close(self) -> None:
        """Record the stage's dependencies, and what was written to them since the run began."""
        if self._reading is None or self._known is None or self._known.stage is None or os.getpid() != self._pid:
            return
        reading, self._reading = self._reading, None
        try:
            known = self._recordable(reading.result())
        except LineageError as error:
            self._not_known(error)
            return
        except KeyboardInterrupt:
            # Whoever stops a run does not wait for gigabytes to be read; and its record is ended all the same.
            self._note("what DVC's stage depends on is not recorded: reading it was interrupted")
            return
        self._append(DvcDescribed(at=datetime.now(UTC), dvc=known))
        self._tell_differences(known.dependencies or ())
        written = [item for item in known.dependencies or () if self._was_written(item)]
        if written:
            self._tell_written(written, known)

    def _recordable(self, found: Mapping[str, Any]) -> DvcRecord:
        assert self._known is not None
        try:
            params = {file: redact_values(plain(dict(values), file)) for file, values in found["params"].items()}
        except TypeError as error:
            params = {}
            self._note(f"parameters of the DVC stage are not recorded: {error}")
        return DvcRecord.model_validate({**self._known.model_dump(), **found, "params": params})

    def _tell_differences(self, dependencies: tuple[DvcDependency, ...]) -> None:
        for item in dependencies:
            if item.locked_md5 is not None and item.md5 != item.locked_md5:
                self._note(f"{item.path}: dvc.lock named MD5 {item.locked_md5} when the run began, and {item.md5 or 'nothing'} was there")

    def _was_written(self, item: DvcDependency) -> bool:
        return item.md5 is not None and any(ns >= self._began_ns for ns in _changed_ns(self._root / item.path))

    def _was_written_early(self, item: DvcDependency, known: DvcRecord) -> bool:
        read_ns = 0 if known.read_at is None else int(known.read_at.timestamp() * 1e9)
        return any(self._began_ns <= ns <= read_ns for ns in _changed_ns(self._root / item.path))

    def _tell_written(self, written: list[DvcDependency], known: DvcRecord) -> None:
        try:
            later = self._ports.stages.read(self._root, str(known.stage), self._folder).result()
        except LineageError as error:
            self._not_known(error)
            return
        now = {item.path: item.md5 for item in later["dependencies"]}
        for item in written[:_SHOWN]:
            if now.get(item.path) != item.md5:
                self._note(
                    f"{item.path} was edited while the run was going: MD5 {item.md5} was there when it began, {now.get(item.path)} when it "
                    "ended, which is what DVC writes into dvc.lock: lock and outputs do not belong together"
                )
            elif self._was_written_early(item, known):
                self._note(f"{item.path} was written in the first moments of the run, before its MD5 was taken: what was read is not known")

    def _not_known(self, error: LineageError) -> None:
        self._note(redact_text(f"what DVC's stage depends on is not recorded: {describe_error(error)}"))


def _relative(folder: Path, top: Path) -> str:
    return folder.relative_to(top).as_posix() if folder.is_relative_to(top) else str(folder)


def _changed_ns(path: Path) -> Iterator[int]:
    """When a file, or each file and folder in a folder, was last changed, in nanoseconds since the epoch."""
    pending = [str(path)]
    while pending:
        place = pending.pop()
        try:
            yield os.stat(place).st_ctime_ns
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir():
                        pending.append(entry.path)
                    else:
                        yield entry.stat().st_ctime_ns
        except NotADirectoryError:
            continue
        except OSError:
            yield 0  # gone: another reading would say so, too
