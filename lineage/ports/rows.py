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
