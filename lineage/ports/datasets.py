"""Where datasets are kept, and the layouts they come from and go to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from lineage.model.dataset import DatasetVersion, LogManifest, View
from lineage.model.source import Column, SourceSample, SourceScan
from lineage.ports.rows import KnownVersion

OnError = Literal["fail", "skip"]


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

    @property
    def earlier(self) -> Sequence[str]:
        """Ids of the runs whose interrupted upload is continued, oldest first."""

    def append(self, rows: Mapping[str, Sequence[Any]]) -> None:
        """Add rows, given as columns."""

    def checkpoint(self, message: str) -> None:
        """Commit what was added, so that an interruption loses no more than what follows.

        Raises:
            Conflict: Somebody else added rows meanwhile.
        """

    def complete(self, message: str) -> DatasetVersion:
        """Commit, mark the dataset as complete, let go of it and return its version."""

    def close(self) -> None:
        """Let go of the dataset, complete or not; what was not committed is gone."""


class DatasetBackend(Protocol):
    """A technology that keeps datasets."""

    def name_of(self, uri: str) -> str:
        """The technology behind an address, with its release: ``deeplake 4.7.4``, for example."""

    def kind_of(self, uri: str) -> str:
        """What is at an address, in one word: ``deeplake``, ``dvc``, ``folder``."""

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

    def signature(self, version: DatasetVersion) -> str | None:
        """What the files behind a version look like (names, sizes, times), without reading them; ``None`` when that cannot be known.

        While it stays the same, digests computed before are taken to hold; :meth:`DatasetReader.read` is what finds damage without a trace.
        """

    def only_appended(self, older: KnownVersion, newer: DatasetVersion) -> bool:
        """Whether ``newer`` holds every row of ``older`` unchanged, at the same positions, with rows added behind at most.

        ``False`` when that cannot be known. A version is its own successor when its manifest is still the same.
        """

    def save_view(self, uri: str, query: str, name: str, message: str) -> View:
        """Save a query's rows under a name, read the view back and compare.

        Raises:
            Conflict: The name is taken by other rows.
            InvalidQuery: The query cannot be answered, or keeps no row.
            IntegrityError: The saved view reads back as other rows.
        """

    def write(self, uri: str, columns: Sequence[Column], *, source: Mapping[str, Any], job: str | None = None) -> DatasetWriter:
        """Create a dataset, or continue an interrupted upload of the same source.

        Args:
            uri: Where.
            columns: Its columns.
            source: What is uploaded, for telling a continuation from a collision: compared as a whole.
            job: Id of the run that uploads; others are kept out meanwhile. ``None`` for an address that nobody else knows.

        Raises:
            Conflict: Something else is there, a finished upload, or another job uploads there now (it is named).
        """


class Importer(Protocol):
    """Reads a foreign folder layout. Found by name through the entry point group ``lineage.importers``; see ``docs/importers.md``."""

    name: str

    def scan(self, source: Path, *, on_error: OnError = "fail", progress: Callable[[int, int], None] | None = None) -> SourceScan:
        """Look through the whole source before anything is stored.

        Raises:
            InvalidSource: It is no such layout, or (with ``fail``) it holds errors; all of them are named.
        """

    def read(self, sample: SourceSample) -> dict[str, Any]:
        """One row: column to value. Called from several threads; ``sample.contents()`` gives the bytes of the files, as checked.

        Raises:
            InvalidSource: A file is gone, or was changed since it was checked.
        """


class Exporter(Protocol):
    """Writes rows as a foreign folder layout. Found by name through the entry point group ``lineage.exporters``."""

    name: str

    def write(
        self,
        folder: Path,
        rows: Iterable[Mapping[str, Any]],
        columns: Mapping[str, Column],
        *,
        total: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Path]:
        """Write every row into a new, empty folder; pictures byte for byte.

        Args:
            folder: Exists and is empty.
            rows: Column to value, in order; pictures as encoded bytes.
            columns: Every column, with its class names.
            total: Number of rows.
            progress: Told of rows written.

        Returns:
            The picture file of each row, in order; the caller reads them back.

        Raises:
            InvalidSource: A row cannot be said in this layout (a column is missing, two rows want one file name); it is named.
        """
