"""What the verbs need of the outside world: small protocols, each with one adapter per technology in ``lineage.adapters``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from lineage.model.code import CodeVersion
from lineage.model.dataset import DatasetVersion, InputRecord, LogManifest, View
from lineage.model.environment import Environment
from lineage.model.event import Event
from lineage.model.run import Artifact, MetricPoint, Run, RunState
from lineage.model.source import Column, SourceSample, SourceScan

OnError = Literal["fail", "skip"]


class Progress(Protocol):
    """Told how far a long piece of work is: ``progress("uploading", 12, 200)``."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


def no_progress(what: str, done: int, total: int) -> None:
    """A progress report that goes nowhere."""


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs to list; ``None`` means any. Newest first, ties by id."""

    project: str | None = None
    group: str | None = None
    job_type: str | None = None
    state: RunState | None = None
    dataset_uri: str | None = None
    dataset_id: str | None = None
    commit_id: str | None = None
    view_id: str | None = None
    output_digest: str | None = None
    output_kind: str | None = None
    reproduces: str | None = None
    after: tuple[str, str] | None = None
    """Continue below this (started_at, id): the last line of the page before."""
    limit: int | None = None


class RunStore(Protocol):
    """Keeps records: append-only events, and the folded record beside them."""

    @property
    def location(self) -> str:
        """Where it is, without credentials."""

    def append(self, run_id: str, event: Event) -> Run:
        """Add an event and return the record after it.

        Raises:
            Conflict: The event does not fit the record.
            NotFound: There is no such run (unless the event starts one).
        """

    def get(self, run_id: str) -> Run:
        """The record with this whole id.

        Raises:
            NotFound: There is none.
        """

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Ids that begin with ``prefix``, at most ``limit``."""

    def find(self, query: RunQuery) -> list[Run]:
        """Records that fit, newest first."""

    def events(self, run_id: str) -> list[tuple[str, str]]:
        """(payload text, chain digest) of every event, in order."""

    def add_metrics(self, run_id: str, points: Sequence[MetricPoint]) -> None:
        """Append metric points, in the order of their calls."""

    def metrics(self, run_id: str) -> list[MetricPoint]:
        """Every metric point, in the order of the calls."""

    def close(self) -> None:
        """Release what the store holds open."""


class Liveness(Protocol):
    """Knows which runs still have a process behind them."""

    def hold(self, run_id: str) -> None:
        """Declare that this process is the run's, until it ends or :meth:`release` is called."""

    def release(self, run_id: str) -> None:
        """Give it up."""

    def is_alive(self, run: Run) -> bool | None:
        """Whether some process holds it; ``None`` when that cannot be known from here (another machine)."""


class ObjectStore(Protocol):
    """Keeps bytes under their digest."""

    def put_bytes(self, content: bytes) -> str:
        """Keep ``content`` and return its digest."""

    def put_file(self, path: Path) -> tuple[str, int]:
        """Keep a file's content; return its digest and size in bytes."""

    def get_bytes(self, digest: str) -> bytes:
        """The content.

        Raises:
            NotFound: It is not kept here.
            IntegrityError: It is no longer what its digest says.
        """

    def has(self, digest: str) -> bool:
        """Whether it is kept here (not whether it is intact)."""

    def path_of(self, digest: str) -> Path | None:
        """A local file with the content, when there is one."""


class DatasetReader(Protocol):
    """One open dataset version, pinned: nothing that is committed later changes what it reads."""

    @property
    def version(self) -> DatasetVersion: ...

    @property
    def columns(self) -> Mapping[str, Column]: ...

    @property
    def column_types(self) -> Mapping[str, str]:
        """Column name to type, as the backend spells it."""

    def read(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """Values of the rows, in the order asked for: encoded bytes for pictures, arrays, texts."""


class DatasetWriter(Protocol):
    """A dataset that is being filled."""

    @property
    def present(self) -> Sequence[str]:
        """``sample_id`` of each row already committed, in order."""

    def append(self, rows: Mapping[str, Sequence[Any]]) -> None:
        """Add rows, given as columns."""

    def checkpoint(self, message: str) -> None:
        """Commit what was added, so that an interruption loses no more than what follows."""

    def complete(self, message: str) -> DatasetVersion:
        """Commit, mark the dataset as complete and return its version."""


class DatasetBackend(Protocol):
    """A technology that keeps datasets."""

    @property
    def name(self) -> str:
        """For example ``deeplake 4.7.4``."""

    def exists(self, uri: str) -> bool: ...

    def address_of(self, handle: Any) -> str:
        """The address of an open dataset, for callers that hold one instead of an address.

        Raises:
            UncommittedData: It has changes that no commit holds.
            UsageError: It is no dataset of this technology.
        """

    def resolve(
        self, uri: str, *, branch: str | None = None, commit_id: str | None = None, view: str | None = None, query: str | None = None
    ) -> View:
        """Names to rows: a saved view by name or id, a query, or the whole version.

        Raises:
            NotFound: No dataset, branch, commit or view of that name.
            UncommittedData: The dataset has changes that no commit holds.
            InvalidQuery: The query cannot be answered, or keeps no row.
        """

    def open(self, uri: str, branch: str, commit_id: str) -> DatasetReader:
        """Open a version for reading.

        Raises:
            NotFound: No such dataset, branch or commit.
        """

    def manifest(self, version: DatasetVersion) -> LogManifest | None:
        """Digest of the log files behind a version; ``None`` when the technology has none."""

    def save_view(self, uri: str, query: str, name: str, message: str) -> View:
        """Save a query's rows under a name, read the view back and compare.

        Raises:
            Conflict: The name is taken by other rows.
            InvalidQuery: The query cannot be answered, or keeps no row.
            IntegrityError: The saved view reads back as other rows.
        """

    def write(self, uri: str, columns: Sequence[Column], *, source: Mapping[str, Any]) -> DatasetWriter:
        """Create a dataset, or continue an interrupted upload of the same source.

        Args:
            uri: Where.
            columns: Its columns.
            source: What is uploaded, for telling a continuation from a collision: compared as a whole.

        Raises:
            Conflict: Something else is there, or a finished upload.
        """


class Importer(Protocol):
    """Reads a foreign folder layout. Found by name through the entry point group ``lineage.importers``."""

    name: str

    def scan(self, source: Path, *, on_error: OnError = "fail", progress: Callable[[int, int], None] | None = None) -> SourceScan:
        """Look through the whole source before anything is stored.

        Raises:
            InvalidSource: It is no such layout, or (with ``fail``) it holds errors; all of them are named.
        """

    def read(self, sample: SourceSample) -> dict[str, Any]:
        """One row: column to value."""


class SourceControl(Protocol):
    """Knows what code is in a folder, and can put it elsewhere."""

    def describe(self, folder: Path, run_id: str) -> CodeVersion:
        """Capture the code in and around ``folder`` without touching the user's index, files, HEAD or configuration.

        Raises:
            CaptureError: There is no repository, or git cannot be run.
        """

    def has(self, code: CodeVersion) -> str | None:
        """``None`` when the snapshot can be checked out from here, else the reason."""

    def check_out(self, code: CodeVersion, folder: Path) -> None:
        """Put the snapshot into a new folder, sharing nothing that could change the original.

        Raises:
            IntegrityError: The files there do not have the recorded tree.
        """


class EnvironmentProbe(Protocol):
    """Knows interpreter, packages and machine."""

    def describe(self) -> Environment: ...


@dataclass(frozen=True, slots=True)
class Step:
    """A command to execute.

    Attributes:
        command: Program and arguments.
        folder: Working folder.
        variables: The whole environment of the child.
    """

    command: tuple[str, ...]
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)


class Executor(Protocol):
    """Executes a command."""

    def execute(self, step: Step, on_line: Callable[[str], None] | None = None) -> int:
        """Run to the end and return the exit status; lines of output go to ``on_line``, or straight through when ``None``."""


class Tracker(Protocol):
    """Another place that is told of a run. Best effort: its failure is reported once and never stops a run."""

    name: str

    def started(self, run: Run) -> dict[str, Any]:
        """The run began; return what the tracker calls it."""

    def input_used(self, run: Run, item: InputRecord) -> None: ...

    def logged(self, values: Mapping[str, float], step: int) -> None: ...

    def metric_defined(self, name: str, step_metric: str | None) -> None: ...

    def artifact_made(self, run: Run, item: Artifact, path: Path | None) -> None: ...

    def ended(self, run: Run) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port, put together by ``lineage.wiring``."""

    runs: RunStore
    objects: ObjectStore
    liveness: Liveness
    datasets: Callable[[], DatasetBackend]
    source: SourceControl
    environment: EnvironmentProbe
    executor: Executor
    trackers: Mapping[str, Callable[[], Tracker]]
    folder: Path
    """Where workspaces and caches go."""


__all__ = [
    "DatasetBackend",
    "DatasetReader",
    "DatasetWriter",
    "EnvironmentProbe",
    "Executor",
    "Importer",
    "Liveness",
    "ObjectStore",
    "OnError",
    "Ports",
    "Progress",
    "RunQuery",
    "RunStore",
    "SourceControl",
    "Step",
    "Tracker",
    "no_progress",
]
