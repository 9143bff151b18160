"""Code, environment, processes, other trackers; and every port together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from lineage.model.code import CodeFile, CodeVersion
from lineage.model.dataset import InputRecord
from lineage.model.environment import Environment, Lock
from lineage.model.run import Artifact, MetricPoint, Run
from lineage.ports.boxed_pictures import BoxedPicture
from lineage.ports.datasets import DatasetBackend
from lineage.ports.foreign import EventFiles
from lineage.ports.keys import Keyring
from lineage.ports.objects import ObjectStore
from lineage.ports.pictures import Pictures
from lineage.ports.rows import RowIndex
from lineage.ports.runs import Liveness, RunStore
from lineage.ports.stages import StageProbe
from lineage.ports.steps import Watcher
from lineage.ports.usage import Usage

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
        """``None`` when the snapshot can be checked out from here, inner repositories included, else the reason."""

    def lacking(self, code: CodeVersion) -> dict[str, str]:
        """Path to reason, for each repository of :meth:`CodeVersion.parts` whose snapshot is not at hand."""

    def names(self, code: CodeVersion) -> frozenset[str]:
        """Paths of all files in the snapshot and in inner ones, relative to the outermost top folder.

        Raises:
            CaptureError: They cannot be read.
        """

    def content(self, code: CodeVersion, path: str) -> bytes | None:
        """What the snapshot has at a path, as a check-out writes it; ``None`` when there is nothing, or the snapshot is lost."""

    def differing(self, code: CodeVersion, paths: Sequence[str]) -> frozenset[str]:
        """Those of some files of the snapshot that are not what it has, in the folder that it was taken of; each must be there.

        Raises:
            CaptureError: They cannot be compared.
        """

    def large_files(self, code: CodeVersion) -> list[tuple[CodeFile, Path | None]]:
        """Files of which the tree holds a Git LFS pointer only, where the folder held the content; and where that is now, if anywhere.

        Raises:
            CaptureError: They cannot be listed.
        """

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

    def check_out(
        self, code: CodeVersion, folder: Path, packs: Sequence[Path] = (), inner_packs: Mapping[str, Sequence[Path]] | None = None
    ) -> None:
        """Put the snapshot and inner ones into a new folder, sharing nothing that could change the original.

        Args:
            code: The snapshot.
            folder: New.
            packs: What :meth:`pack` wrote for it and before it, for when its repository is lost.
            inner_packs: The same for inner repositories, by path.

        Raises:
            IntegrityError: The files there do not have the recorded tree.
        """

    def settle(self, code: CodeVersion, folder: Path, paths: Sequence[str]) -> None:
        """Tell a check-out in ``folder`` that contents of Git LFS files, which were put there since, are no changes.

        Raises:
            CaptureError: git cannot be told.
        """


@dataclass(frozen=True, slots=True)
class AlteredInstalled:
    """A file among installed packages that is not what was installed.

    Attributes:
        package: Who lists it; ``None`` when nobody does.
        path: Relative to the folder that packages are installed in, with ``/``.
        file: Where it is.
    """

    package: str | None
    path: str
    file: Path


class EnvironmentProbe(Protocol):
    """Knows interpreter, packages and machine."""

    def describe(self) -> Environment: ...

    def altered(self, files: Sequence[str] | None = None, *, known: Sequence[str] = ()) -> list[AlteredInstalled]:
        """Files that are not what their package's list of installed files says, or that no list has.

        Args:
            files: Those that this process loaded; libraries that it mapped are looked at, too. ``None``: those that runs in this
                environment are known to have loaded, as they are now.
            known: Without ``files``: more of them, as :meth:`loaded` named them.

        Raises:
            OSError: They cannot be read.
        """

    def loaded(self, files: Sequence[str]) -> list[str]:
        """Files of installed packages that this process loaded, relative to the folder that packages are installed in, in order.

        Args:
            files: Of its modules, by whole path; libraries that it mapped are added.
        """

    def content_key(self, name: str, environment: Environment, without: str | None) -> str | None:
        """A name for what :meth:`pack` would pack, found without reading it; ``None`` when there is nothing worth a copy."""

    def pack(self, name: str, environment: Environment, without: str | None, folder: Path) -> Path:
        """Make a wheel of an installed package: installed again, it gives the same list of files. The same files give the same wheel.

        Args:
            name: The package.
            environment: This process's own.
            without: Code of an editable package in this folder is left out: it is kept elsewhere.
            folder: Gets the wheel.

        Raises:
            CaptureError: It is too large, files are missing or altered, or there is no list of them.
        """


@dataclass(frozen=True, slots=True)
class BuiltEnvironment:
    """An environment for a reproduction, with exactly the locked packages as far as ``differences`` does not tell otherwise.

    Attributes:
        python: Its interpreter.
        probe: Describes it.
        differences: One sentence for each package that is not as it was recorded.
        was_there: Whether it had been built before.
    """

    python: Path
    probe: EnvironmentProbe
    differences: tuple[str, ...]
    was_there: bool


@dataclass(frozen=True, slots=True)
class Buildable:
    """What building an environment would take.

    Attributes:
        problems: One sentence for each thing that cannot be had; empty when it can be built.
        downloads: Whether something is not at hand and would be fetched.
        notes: What else is worth knowing, one sentence each.
    """

    problems: tuple[str, ...]
    downloads: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CachedEnvironment:
    """An environment that was built before.

    Attributes:
        size_bytes: Of its files; most are shared with the installer's cache and take no space of their own.
        used_at: When it was last chosen, in seconds since the epoch.
    """

    folder: Path
    description: str
    size_bytes: int
    used_at: float


class EnvironmentBuilder(Protocol):
    """Builds environments from locks, and keeps them."""

    def program(self) -> str:
        """What it builds with, and its version.

        Raises:
            Unavailable: It is not installed.
        """

    def find(self, lock: Lock) -> BuiltEnvironment | None:
        """One that was built before and is still as it was then; ``None`` when there is none. One that was altered is deleted.

        Raises:
            Conflict: It was altered, and a reproduction is running in it.
            IntegrityError: The lock holds words that are no name, version or address; so, too, in the other methods.
        """

    def check(self, lock: Lock) -> Buildable:
        """Whether it could be built. Nothing is installed, and no package's code is executed.

        Raises:
            Unavailable: There is nothing to build with.
        """

    def build(self, lock: Lock, waiting: Callable[[], None] = ...) -> BuiltEnvironment:
        """Build it aside, compare it with the lock, and keep it. Two that build the same one at once: the second takes the first one's.

        Args:
            lock: What is wanted.
            waiting: Called twice a second while packages are fetched and installed; what it raises ends that.

        Raises:
            Unavailable: An interpreter or a package cannot be had, or there is nothing to build with.
            IntegrityError: Files are not what their package says.
        """

    def wheels(self, lock: Lock, folder: Path) -> tuple[dict[str, Path], list[str]]:
        """(package name to a wheel that installs exactly the recorded files, one sentence for each package that has none).

        Made of what is installed here or in a rebuilt environment. Packages whose wheel is in the object store are left out.

        Args:
            lock: What is wanted.
            folder: Gets the wheels; empty.
        """

    def platform(self) -> str:
        """System and processor of this machine, for which its wheels are: ``Linux x86_64``."""

    def take_wheel(self, name: str, record: str, platform: str, file: str, content: IO[bytes], size: int) -> None:
        """Keep a wheel, for building environments of locks that have the package with this list of files.

        Args:
            name: The package.
            record: Digest of its list of files.
            platform: What it is for, as :meth:`platform` says it.
            file: The wheel's name.
            content: Read from where it stands.
            size: In bytes.
        """

    def all(self) -> list[CachedEnvironment]:
        """Those that are kept."""

    def delete(self, folder: Path) -> int:
        """Delete one that nobody uses now; return its size in bytes, 0 when it stays. Leftovers of killed builds go, too."""


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

    def execute(self, step: Step, on_line: Callable[[str], None] | None = None, should_stop: Callable[[], bool] | None = None) -> int:
        """Run to the end and return the exit status.

        With ``on_line`` the command belongs to this process: however this one ends, killed included, the command is ended too.

        Args:
            step: The command.
            on_line: Gets lines of output; they go straight through when ``None``.
            should_stop: Asked a few times a second, from another thread; once it says yes the command is ended.
        """


class Tracker(Protocol):
    """Another place that is told of a run. Best effort: its failure is reported once and never stops a run.

    Attributes:
        is_shared: After :meth:`started`: the script speaks to it as well, so metrics must be told at once, in the script's own order.
        patience_s: How long the end of a run waits for it.
    """

    name: str
    is_shared: bool
    patience_s: float

    def started(self, run: Run) -> dict[str, Any]:
        """The run began; return what the tracker calls it."""

    def input_used(self, run: Run, item: InputRecord) -> None: ...

    def logged(self, values: Mapping[str, float], step: int) -> None: ...

    def metric_defined(self, name: str, step_metric: str | None, summary: str | None) -> None: ...

    def pictures_logged(self, name: str, pictures: Sequence[BoxedPicture], classes: Mapping[int, str]) -> None:
        """The pixels are an array, or the bytes of a PNG or JPEG file."""

    def table_logged(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None: ...

    def histogram_logged(self, name: str, counts: Sequence[float], edges: Sequence[float]) -> None: ...

    def artifact_made(self, run: Run, item: Artifact, path: Path | None) -> None:
        """A dataset version, or a file; ``path`` is a place where its content stays."""

    def ended(self, run: Run) -> dict[str, Any]:
        """The run is over; return what became known since: ``delivered_at`` and ``url``, or a ``problem``."""


class Sender(Protocol):
    """Brings to a tracker's server what its client wrote into folders."""

    name: str

    def has_log(self, folder: Path) -> bool:
        """Whether the folder is there and holds a run."""

    def send(self, folder: Path, limit_s: float) -> dict[str, Any]:
        """Send a folder; returns ``delivered_at`` and ``url``, and a ``problem`` when the server has not got all of it.

        Args:
            folder: The tracker's folder of one run.
            limit_s: Seconds without a word from the server after which it is given up.
        """

    def rebuild(self, run: Run, points: Sequence[MetricPoint], path_of: Callable[[str], Path | None]) -> Path:
        """Write a folder again from the record, under the run's old name there; returns it.

        Args:
            run: The record.
            points: Its metric points.
            path_of: Digest of an object to its file, where it is kept.
        """


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
    environments: Callable[[], EnvironmentBuilder]
    executor: Executor
    trackers: Mapping[str, Callable[[], Tracker]]
    watcher: Callable[[], Watcher]
    stages: StageProbe
    event_files: Callable[[], EventFiles]
    keys: Keyring
    folder: Path
    """Where workspaces and caches go."""
    usage: Usage | None = None
    """How what the machine does is sampled while runs go on; not at all without."""
