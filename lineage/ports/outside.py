"""Code, environment, processes, other trackers; and every port together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lineage.model.code import CodeVersion
from lineage.model.dataset import InputRecord
from lineage.model.environment import Environment
from lineage.model.run import Artifact, Run
from lineage.ports.datasets import DatasetBackend
from lineage.ports.objects import ObjectStore
from lineage.ports.pictures import Pictures
from lineage.ports.rows import RowIndex
from lineage.ports.runs import Liveness, RunStore
from lineage.ports.steps import Watcher

if TYPE_CHECKING:
    from lineage.model.difference import FileChange


class SourceControl(Protocol):
    """Knows what code is in a folder, and can put it elsewhere."""

    def describe(self, folder: Path, run_id: str) -> CodeVersion:
        """Capture the code in and around ``folder`` without touching the user's index, files, HEAD or configuration.

        Raises:
            CaptureError: There is no repository, or git cannot be run.
        """

    def has(self, code: CodeVersion) -> str | None:
        """``None`` when the snapshot can be checked out from here, else the reason."""

    def changed_files(self, a: CodeVersion, b: CodeVersion) -> list[FileChange] | None:
        """Files that differ between two snapshots, by path; ``None`` when one of them cannot be reached from here (:meth:`has` says why).

        Raises:
            CaptureError: They cannot be compared.
        """

    def pack(self, code: CodeVersion, base_tree: str | None, file: Path) -> bool:
        """Write the snapshot's objects, without history, into ``file``; those of ``base_tree`` are left out where it is still known.

        Returns:
            Whether nothing was left out.

        Raises:
            CaptureError: The snapshot is not there, or too large to be kept.
        """

    def check_out(self, code: CodeVersion, folder: Path, packs: Sequence[Path] = ()) -> None:
        """Put the snapshot into a new folder, sharing nothing that could change the original.

        Args:
            code: The snapshot.
            folder: New.
            packs: What :meth:`pack` wrote for it and before it, for when its repository is lost.

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
    rows: RowIndex
    objects: ObjectStore
    liveness: Liveness
    datasets: Callable[[], DatasetBackend]
    pictures: Callable[[], Pictures]
    source: SourceControl
    environment: EnvironmentProbe
    executor: Executor
    trackers: Mapping[str, Callable[[], Tracker]]
    watcher: Callable[[], Watcher]
    folder: Path
    """Where workspaces and caches go."""
