"""Past runs of which TensorBoard's event files are what is left."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from lineage.adapters.trackers.tensorboard_events import EventLog, read_events
from lineage.errors import InvalidSource, NotFound
from lineage.model.run import MetricPoint, RunState
from lineage.ports import ForeignFile, ForeignRun

_NAMES = "*tfevents*"
_STATES = {"STATUS_SUCCESS": RunState.finished, "STATUS_FAILURE": RunState.failed, "STATUS_RUNNING": RunState.aborted}
_MISSING = (
    "the command line",
    "the code: event files name no commit",
    "the data: event files name none",
    "the environment: interpreter, packages and machine are not known",
    "the seed and the settings that decide the bits",
)


class TensorboardPastRuns:
    """Event files behind :class:`lineage.ports.PastRuns`, and behind :class:`lineage.ports.EventFiles`."""

    def __init__(self) -> None:
        self._roots: dict[str, Path] = {}

    def places(self, what: str) -> Sequence[str]:
        """Every folder with event files in and under a folder: one run each, as TensorBoard itself shows them."""
        root = Path(what).expanduser()
        if not root.is_dir():
            raise NotFound("folder", what, hint="name the folder that TensorBoard is given as --logdir")
        root = root.resolve()
        found = sorted({file.parent for file in root.rglob(_NAMES) if file.is_file()})
        if not found:
            raise NotFound("event file", what, detail="no file there has 'tfevents' in its name")
        self._roots |= {str(folder): root for folder in found}
        return [str(folder) for folder in found]

    def read(self, place: str) -> ForeignRun:
        """All event files of a folder, one after the other."""
        folder = Path(place)
        root = self._roots.get(place, folder)
        files = sorted((file for file in folder.glob(_NAMES) if file.is_file()), key=lambda file: file.name)
        logs: list[tuple[Path, EventLog]] = []
        notes: list[str] = []
        for file in files:
            try:
                logs.append((file, read_events(file)))
            except InvalidSource as error:
                notes.append(error.message)
        if not logs:
            raise InvalidSource(f"{folder}: expected event files that can be read, found none", problems=notes)
        logs.sort(key=lambda item: item[1].began_at)
        points = [point for _, log in logs for point in log.points]
        others: Counter[str] = sum((log.others for _, log in logs), Counter())
        if others:
            notes.append(f"not taken over: {', '.join(f'{count} {kind}' for kind, count in sorted(others.items()))}; they are in the files")
        notes += [f"{file.name} is torn {log.torn}" for file, log in logs if log.torn is not None]
        status = next((log.status for _, log in reversed(logs) if log.status), "")
        if not status:
            notes.append("event files do not say how the run ended: it is taken as finished with the last of them")
        name = folder.relative_to(root).as_posix() if folder != root else folder.name
        return ForeignRun(
            tracker="tensorboard",
            id=_identity(logs[0]),
            place=str(folder),
            called={"logdir": str(root), "run": name},
            name=name,
            project=root.name,
            state=_STATES.get(status, RunState.finished),
            started_at=datetime.fromtimestamp(logs[0][1].began_at, UTC),
            ended_at=datetime.fromtimestamp(max(log.ended_at for _, log in logs), UTC),
            config={name: value for _, log in logs for name, value in log.config.items()},
            summary={name: value for point in points for name, value in point.values.items()},
            points=points,
            made=[ForeignFile(file.name, "events", str(file), file.stat().st_size, file) for file, _ in logs],
            missing=_MISSING,
            notes=notes,
        )

    def metrics(self, file: Path) -> tuple[list[MetricPoint], Mapping[str, object], str | None]:
        """Numbers and hyperparameters of one file, and why the rest of it could not be read."""
        log = read_events(file)
        return log.points, log.config, log.torn


def _identity(first: tuple[Path, EventLog]) -> str:
    # The name holds time, host and process; a copy elsewhere has the same name and the same first record.
    file, log = first
    return hashlib.sha256(f"{file.name}\n{log.began_at!r}".encode()).hexdigest()[:32]
