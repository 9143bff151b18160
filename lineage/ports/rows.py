"""Which views and runs hold which rows, and which runs made which files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A dataset version whose rows were digested, all or some of them.

    Attributes:
        manifest: Digest of the version's log files; empty when the technology has none.
        signature: What the stored files looked like then (names, sizes, times), without reading them; ``None`` when that cannot be known.
        space: Numbering of rows it belongs to.
    """

    uri: str
    dataset_id: str
    branch_id: str
    commit_id: str
    manifest: str
    signature: str | None
    rows_total: int
    space: str


class Sighting(NamedTuple):
    """A run that read a view, in short. A tuple: one look-up may find thousands, and they are made in a third of the time.

    Attributes:
        started_at: UTC, ISO 8601 with microseconds.
        ordinal: Number of the input in the run's record.
        models: (name, digest) of each model the run made.
    """

    run_id: str
    run_name: str
    project: str
    job_type: str
    state: str
    started_at: str
    ordinal: int
    role: str
    uri: str
    commit_id: str
    view_id: str | None
    view_name: str | None
    view_key: str | None
    reproduces: str | None
    models: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ArtifactEdge:
    """A run and a file that it made, or started from."""

    run_id: str
    run_name: str
    started_at: str
    name: str
    kind: str
    digest: str


KeyKind = Literal["picture", "sample"]

LinkKind = Literal["holds", "reads", "makes", "starts", "repeats", "uploads"]
"""What leads from one thing to a later one: a dataset version ``holds`` a view, a run ``reads`` a view and ``makes`` a file, a run
``starts`` from a file, a run ``repeats`` another, and a run ``uploads`` a dataset version."""


def texts_of(kind: LinkKind, *, forward: bool) -> int:
    """Of how many texts a thing consists that such links lead from, in this direction."""
    return {("holds", True): 2, ("holds", False): 3, ("reads", True): 3, ("uploads", False): 2}.get((kind, forward), 1)


class Link(NamedTuple):
    """One step between two things, seen from ``near``.

    A thing is a tuple of texts: ``(run id)``, ``(digest of a file)``, ``(dataset id, commit id)`` of a version, and ``(dataset id, commit
    id, content digest)`` of a view.

    Attributes:
        near: What was asked about.
        far: What it is connected with.
        role: What a view was read for, or a file used for; empty where that says nothing.
        name: Of the view or file; ``None`` without one.
        place: Address of the dataset, or kind of the file.
        total: How many links of this kind ``near`` has in this direction.
    """

    near: tuple[str, ...]
    far: tuple[str, ...]
    role: str
    name: str | None
    place: str
    total: int


@dataclass(frozen=True, slots=True)
class RunName:
    """A run in one line, as the tables have it. ``started_at`` is UTC, ISO 8601 with microseconds."""

    run_id: str
    name: str
    project: str
    group: str | None
    job_type: str
    state: str
    started_at: str


@dataclass(frozen=True, slots=True)
class DatasetName:
    """A dataset that runs read. Times are UTC, ISO 8601 with microseconds.

    Attributes:
        uri: One of its addresses.
        versions: Number of versions that were read.
        inputs: How often runs read any of them: a run that reads two views counts twice.
        last_at: When the newest of those runs began.
    """

    dataset_id: str
    uri: str
    versions: int
    inputs: int
    last_at: str


@dataclass(frozen=True, slots=True)
class VersionRead:
    """A version of a dataset, as runs read it.

    Attributes:
        uri: One of its addresses.
        rows: Number of its rows; ``None`` for one that was digested elsewhere only.
        views: Number of different contents that were read of it.
        runs: Number of runs that read it.
        roles: (role, number of runs) by role.
        models: Number of different models that those runs made.
        first_at: When the first of those runs began.
        last_at: Likewise the last.
    """

    commit_id: str
    branch: str
    uri: str
    rows: int | None
    views: int
    runs: int
    roles: tuple[tuple[str, int], ...]
    models: int
    first_at: str
    last_at: str


@dataclass(frozen=True, slots=True)
class ViewRead:
    """Rows of a version, one for each content, as runs read them.

    Attributes:
        run_id: The newest run that read them.
        ordinal: Number of the input in its record.
        inputs: Number of inputs of runs that are these rows.
        last_at: When that run began.
    """

    commit_id: str
    content_digest: str
    run_id: str
    ordinal: int
    inputs: int
    last_at: str


@dataclass(frozen=True, slots=True)
class SweepName:
    """A sweep in one line, of its trials' records. ``began_at`` (UTC, ISO 8601 with microseconds) is when the first of them began.

    Attributes:
        sweep: Its id.
        definition: Object with its definition.
        runs: Number of runs that were one of its trials, every attempt counted.
        complete: Number of trials in this state, of each the attempt that counts; so are the next three.
        best_run: Run of the best complete trial, if there is one with a finite value.
        best_value: That value.
    """

    sweep: str
    began_at: str
    project: str
    metric: str | None
    goal: str
    definition: str
    runs: int
    complete: int
    stopped: int
    running: int
    failed: int
    best_run: str | None
    best_value: float | None


class RowIndex(Protocol):
    """Finds views and runs by what is in them. Rebuilt from records and objects when it is lost."""

    def versions(self, uri: str, dataset_id: str, branch_id: str) -> list[KnownVersion]:
        """Versions of a branch whose rows were digested, newest note first."""

    def put_version(self, version: KnownVersion) -> None:
        """Note a version; it replaces the one with the same address, branch, commit and manifest."""

    def ledger(self, space: str) -> str | None:
        """Digest of the newest ledger of a space."""

    def put_ledger(self, space: str, expected: str | None, ledger: str) -> bool:
        """Replace the newest ledger when it still is ``expected``; say whether it was replaced."""

    def ledgers(self) -> list[tuple[str, str]]:
        """(space, digest of its newest ledger), every one."""

    def add_keys(self, space: str, kind: KeyKind, keys: Any, rows: Any) -> None:
        """Note where keys occur.

        Args:
            space: Numbering of rows.
            kind: What the keys are of.
            keys: First eight bytes of digests as numbers (big-endian), uint64, shape (n,).
            rows: Rows, int64, shape (n,).
        """

    def find_keys(self, kind: KeyKind, key: int) -> list[tuple[str, int]]:
        """(space, row) of every occurrence of a key, in order, each once."""

    def add_view(self, key: str, space: str, rows: Any) -> None:
        """Note the rows of a view, int64, shape (n,), in any order; nothing to do when the view is known."""

    def has_view(self, key: str) -> bool:
        """Whether a view is known."""

    def views_with(self, space: str, rows: Sequence[int]) -> dict[str, list[int]]:
        """Views of a space that hold any of ``rows``: view key to those it holds."""

    def sightings(self, keys: Sequence[str]) -> list[Sighting]:
        """Inputs of runs that are one of these views, newest run first."""

    def unindexed_inputs(self) -> list[tuple[str, int]]:
        """(run id, ordinal) of inputs whose rows are not in the index: look-ups by row would miss them."""

    def point_input(self, run_id: str, ordinal: int, key: str) -> None:
        """Say which view an input is, for records that do not."""

    def makers(self, digests: Sequence[str]) -> list[ArtifactEdge]:
        """Runs that made a file with one of these digests, also one they replaced later; newest first."""

    def users(self, digests: Sequence[str]) -> list[ArtifactEdge]:
        """Runs that started from a file with one of these digests, newest first."""

    def made_by(self, run_ids: Sequence[str], *, replaced: bool = False) -> list[ArtifactEdge]:
        """Files that these runs made; those that they replaced later only when asked for."""

    def used_by(self, run_ids: Sequence[str]) -> list[ArtifactEdge]:
        """Files that these runs started from."""

    def links(self, kind: LinkKind, near: Sequence[tuple[str, ...]], *, forward: bool, most: int, skip: int = 0) -> list[Link]:
        """Links of each of these things, of the newest run first; in the direction of time or against it.

        Args:
            kind: Which links.
            near: Where they begin (forward) or end.
            forward: In the direction of time.
            most: So many for each thing at most; ``total`` counts all of them.
            skip: Leave out so many of each.
        """

    def run_names(self, run_ids: Sequence[str]) -> list[RunName]:
        """What runs are called; those that are known, in any order."""

    def datasets(self, after: str, most: int) -> list[DatasetName]:
        """Datasets that runs read, by id; at most so many behind the id ``after``."""

    def versions_read(self, dataset_id: str, most: int, skip: int = 0) -> list[VersionRead]:
        """Versions of a dataset that runs read, the one that was read last first, without the first ``skip``."""

    def views_read(self, dataset_id: str, commit_id: str | None, most: int, skip: int = 0) -> list[ViewRead]:
        """Views of a dataset, or of one version of it, that runs read; the one that was read last first, without the first ``skip``."""

    def uploads(self, dataset_id: str, commit_id: str | None, most: int) -> list[str]:
        """Ids of runs that wrote versions of a dataset, or this one, newest first."""

    def sweeps(self, most: int, *, after: tuple[str, str] | None = None, prefix: str = "") -> list[SweepName]:
        """Sweeps that runs belong to, the newest first, at most so many.

        Args:
            most: So many at most.
            after: Go on behind this (began_at, id).
            prefix: Only those whose ids begin so.
        """

    def archive(self, content_digest: str) -> str | None:
        """Object that lists a kept copy of a view's rows (``lineage.record.archive``)."""

    def put_archive(self, content_digest: str, listing: str) -> None:
        """Note a kept copy."""

    def archives(self) -> list[tuple[str, str]]:
        """(content digest, listing), every one."""

    def picture_hashes(self, method: str, keys: Sequence[int]) -> dict[int, int]:
        """Perceptual hashes that were computed before: key of the picture digest to 64-bit hash, both unsigned."""

    def put_picture_hashes(self, method: str, hashes: Mapping[int, int]) -> None:
        """Keep perceptual hashes."""
