"""The row index in SQL: which views and runs hold which rows, and which runs made or used which files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lineage.adapters.stores import key_blocks, view_blocks
from lineage.adapters.stores.briefs import brief_from_tables, sightings
from lineage.adapters.stores.catalogue import find_datasets, find_versions, find_views
from lineage.adapters.stores.database import Database, Execute, in_lists
from lineage.adapters.stores.links import find_links, find_run_names, find_uploads
from lineage.adapters.stores.sweeps import find_sweeps
from lineage.ports import (
    ArtifactEdge,
    DatasetName,
    KeyKind,
    KnownVersion,
    Link,
    LinkKind,
    RunName,
    Sighting,
    SweepName,
    VersionRead,
    ViewRead,
)

_SEGMENTS_OF_A_SIZE = 16
# In bits: segments of up to two million entries. Every other writer waits meanwhile: five million entries took 1.1 s of processor time.
_LARGEST_MERGED = 8
_FIND_KEY = " UNION ALL ".join("SELECT payload FROM key_blocks WHERE kind = ? AND bits = ? AND bucket = ?" for _ in key_blocks.BITS)
# The next key each time, through the index: hundreds of runs read one view, and whoever asks for an unknown picture waits for this.
_MISSING_VIEWS = (
    "WITH RECURSIVE read (key) AS (SELECT MIN(view_key) FROM run_inputs UNION ALL"
    " SELECT (SELECT MIN(view_key) FROM run_inputs WHERE view_key > read.key) FROM read WHERE read.key IS NOT NULL)"
    " SELECT key FROM read WHERE key IS NOT NULL AND NOT EXISTS (SELECT 1 FROM views WHERE views.key = read.key)"
)
_MADE, _USED = ("run_outputs", "replaced_outputs"), ("(SELECT run_id, path AS name, kind, digest FROM run_uses)",)


class SqlRowIndex:
    """Row index over a relational database; see :class:`lineage.ports.RowIndex`.

    Args:
        database: The run store's: runs are found through its tables.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- versions and ledgers ---------------------------------------------------------------------------------------------

    def versions(self, uri: str, dataset_id: str, branch_id: str) -> list[KnownVersion]:
        """Versions of a branch whose rows were digested, newest note first."""
        with self._database.reading() as execute:
            found = execute(
                "SELECT uri, dataset_id, branch_id, commit_id, manifest, signature, rows_total, space FROM dataset_versions"
                " WHERE uri = ? AND dataset_id = ? AND branch_id = ? ORDER BY noted DESC",
                (uri, dataset_id, branch_id),
            )
        return [KnownVersion(*row) for row in found]

    def put_version(self, version: KnownVersion) -> None:
        """Note a version; it replaces the one with the same address, branch, commit and manifest."""
        identity = (version.uri, version.branch_id, version.commit_id, version.manifest)
        with self._database.writing() as execute:
            execute("DELETE FROM dataset_versions WHERE uri = ? AND branch_id = ? AND commit_id = ? AND manifest = ?", identity)
            noted = execute("SELECT COALESCE(MAX(noted), 0) + 1 FROM dataset_versions", ())[0][0]
            execute(
                "INSERT INTO dataset_versions (uri, branch_id, commit_id, manifest, dataset_id, signature, rows_total, space, noted)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*identity, version.dataset_id, version.signature, version.rows_total, version.space, noted),
            )

    def ledger(self, space: str) -> str | None:
        """Digest of the newest ledger of a space."""
        with self._database.reading() as execute:
            found: str | None = _only(execute("SELECT digest FROM ledgers WHERE space = ?", (space,)))
        return found

    def put_ledger(self, space: str, expected: str | None, ledger: str) -> bool:
        """Replace the newest ledger when it still is ``expected``; say whether it was replaced."""
        with self._database.writing() as execute:
            if _only(execute("SELECT digest FROM ledgers WHERE space = ?", (space,))) != expected:
                return False
            _upsert(execute, "ledgers", "space", "digest", space, ledger)
        return True

    def ledgers(self) -> list[tuple[str, str]]:
        """(space, digest of its newest ledger), every one."""
        with self._database.reading() as execute:
            return [(space, digest) for space, digest in execute("SELECT space, digest FROM ledgers ORDER BY space", ())]

    # --- keys -------------------------------------------------------------------------------------------------------------

    def add_keys(self, space: str, kind: KeyKind, keys: Any, rows: Any) -> None:
        """Note where keys occur (uint64 keys, int64 rows, both of shape (n,)).

        Raises:
            ValueError: There are not as many rows as keys.
        """
        if len(keys) != len(rows):
            raise ValueError(f"expected a row for each of {len(keys)} keys, found {len(rows)} rows")
        if len(keys) == 0:
            return
        bits, number = key_blocks.bits_for(len(keys)), self._space(space)
        blocks = list(key_blocks.cut(keys, number, rows, bits))  # before the transaction: nobody waits while this sorts
        with self._database.writing() as execute:
            self._insert_blocks(kind, bits, _new_segment(execute, kind, bits, len(keys)), blocks)
            self._merge(execute, kind)

    def _space(self, name: str) -> int:
        with self._database.reading() as execute:
            found: int | None = _only(execute("SELECT number FROM spaces WHERE name = ?", (name,)))
        if found is None:
            with self._database.writing() as execute:
                found = _only(execute("SELECT number FROM spaces WHERE name = ?", (name,)))  # somebody else may have been faster
                if found is None:
                    found = _next(execute, "spaces")
                    execute("INSERT INTO spaces (number, name) VALUES (?, ?)", (found, name))
        return found

    def _insert_blocks(self, kind: str, bits: int, segment: int, blocks: Iterable[tuple[int, bytes]]) -> None:
        rows = ((kind, bits, bucket, segment, payload) for bucket, payload in blocks)
        self._database.insert_many("key_blocks", ("kind", "bits", "bucket", "segment", "payload"), rows)

    def _merge(self, execute: Execute, kind: str) -> None:
        # As in a log-structured merge tree: many small calls must not make many small blocks to look through.
        for bits in key_blocks.BITS[: key_blocks.BITS.index(_LARGEST_MERGED) + 1]:
            found = execute("SELECT number, entries FROM key_segments WHERE kind = ? AND bits = ?", (kind, bits))
            if len(found) <= _SEGMENTS_OF_A_SIZE:
                continue
            entries = sum(count for _, count in found)
            larger = bits if key_blocks.bits_for(entries) == bits else bits + 4
            execute("DELETE FROM key_segments WHERE kind = ? AND bits = ?", (kind, bits))
            segment = _new_segment(execute, kind, larger, entries)
            where = "FROM key_blocks WHERE kind = ? AND bits = ? AND bucket = ?"
            for bucket in range(1 << bits):  # a bucket at a time, so that no merge needs much memory
                blocks = [payload for (payload,) in execute(f"SELECT payload {where}", (kind, bits, bucket))]
                execute(f"DELETE {where}", (kind, bits, bucket))
                if blocks:
                    self._insert_blocks(kind, larger, segment, key_blocks.cut(*key_blocks.merged(blocks), larger))

    def find_keys(self, kind: KeyKind, key: int) -> list[tuple[str, int]]:
        """(space, row) of every occurrence of a key, in order, each once."""
        # One statement: segments that are being merged are seen before or after, never in between.
        parameters = [part for bits in key_blocks.BITS for part in (kind, bits, key_blocks.bucket_of(key, bits))]
        with self._database.reading() as execute:
            found = {place for (block,) in execute(_FIND_KEY, parameters) for place in key_blocks.occurrences(block, key)}
            names = dict(_where_in(execute, "SELECT number, name FROM spaces WHERE number IN ({})", {space for space, _ in found}))
        return sorted((names[space], row) for space, row in found)

    # --- views ------------------------------------------------------------------------------------------------------------

    def add_view(self, key: str, space: str, rows: Any) -> None:
        """Note the rows of a view, int64, shape (n,), in any order; nothing to do when the view is known."""
        if self.has_view(key):
            return
        in_space = self._space(space)
        count, blocks = view_blocks.cut(rows)
        bitmaps = list(blocks)
        with self._database.writing() as execute:
            if execute("SELECT 1 FROM views WHERE key = ?", (key,)):
                return
            number = _next(execute, "views")
            execute("INSERT INTO views (number, key, space, row_count) VALUES (?, ?, ?, ?)", (number, key, in_space, count))
            rows_of_table = ((in_space, block, number, bitmap) for block, bitmap in bitmaps)
            self._database.insert_many("view_blocks", ("space", "block", "view", "payload"), rows_of_table)

    def has_view(self, key: str) -> bool:
        """Whether a view is known."""
        with self._database.reading() as execute:
            return bool(execute("SELECT 1 FROM views WHERE key = ?", (key,)))

    def views_with(self, space: str, rows: Sequence[int]) -> dict[str, list[int]]:
        """Views of a space that hold any of ``rows``: view key to those it holds, ascending."""
        wanted: dict[int, list[int]] = {}
        for row in sorted({int(row) for row in rows}):
            wanted.setdefault(view_blocks.block_of(row), []).append(row)
        views: dict[int, list[int]] = {}
        with self._database.reading() as execute:
            number = _only(execute("SELECT number FROM spaces WHERE name = ?", (space,)))
            for block, inside in wanted.items():
                for view, payload in execute("SELECT view, payload FROM view_blocks WHERE space = ? AND block = ?", (number, block)):
                    if found := view_blocks.held(payload, inside):
                        views.setdefault(view, []).extend(found)
            names = dict(_where_in(execute, "SELECT number, key FROM views WHERE number IN ({})", views))
        return {names[view]: found for view, found in sorted(views.items())}

    # --- runs -------------------------------------------------------------------------------------------------------------

    def sightings(self, keys: Sequence[str]) -> list[Sighting]:
        """Inputs of runs that are one of these views, newest run first."""
        with self._database.reading() as execute:
            found = list(_where_in(execute, "SELECT view_key, brief FROM run_inputs WHERE view_key IN ({})", keys))
        return sightings((key, brief) for key, brief in found)

    def unindexed_inputs(self) -> list[tuple[str, int]]:
        """(run id, ordinal) of inputs whose rows are not in the index: look-ups by row would miss them."""
        with self._database.reading() as execute:
            missing = [key for (key,) in execute(_MISSING_VIEWS, ())]
            found = execute("SELECT run_id, ordinal FROM run_inputs WHERE view_key IS NULL", ())
            found += _where_in(execute, "SELECT run_id, ordinal FROM run_inputs WHERE view_key IN ({})", missing)
        return sorted((run_id, ordinal) for run_id, ordinal in found)

    def point_input(self, run_id: str, ordinal: int, key: str) -> None:
        """Say which view an input is, for records that do not."""
        with self._database.writing() as execute:
            brief = brief_from_tables(execute, run_id, ordinal)
            execute("UPDATE run_inputs SET view_key = ?, brief = ? WHERE run_id = ? AND ordinal = ?", (key, brief, run_id, ordinal))

    # --- files ------------------------------------------------------------------------------------------------------------

    def makers(self, digests: Sequence[str]) -> list[ArtifactEdge]:
        """Runs that made a file with one of these digests, also one they replaced later; newest first."""
        return self._edges(_MADE, "digest", digests)

    def users(self, digests: Sequence[str]) -> list[ArtifactEdge]:
        """Runs that started from a file with one of these digests, newest first."""
        return self._edges(_USED, "digest", digests)

    def made_by(self, run_ids: Sequence[str], *, replaced: bool = False) -> list[ArtifactEdge]:
        """Files that these runs made; those that they replaced later only when asked for."""
        return self._edges(_MADE if replaced else _MADE[:1], "run_id", run_ids)

    def used_by(self, run_ids: Sequence[str]) -> list[ArtifactEdge]:
        """Files that these runs started from."""
        return self._edges(_USED, "run_id", run_ids)

    def _edges(self, tables: Sequence[str], column: str, values: Sequence[str]) -> list[ArtifactEdge]:
        # One table after the other: SQLite would put a union of both together, all of it, before it looked for the values. What is
        # replaced meanwhile is seen twice, never missed, as long as today's files come first.
        found: set[tuple[Any, ...]] = set()
        with self._database.reading() as execute:
            for table in tables:
                sql = (
                    f"SELECT o.run_id, r.name, r.started_at, o.name, o.kind, o.digest FROM {table} o JOIN runs r ON r.id = o.run_id"
                    f" WHERE o.{column} IN ({{}})"
                )
                found.update(_where_in(execute, sql, values))
        edges = [ArtifactEdge(*row) for row in found]
        edges.sort(key=lambda edge: (edge.name, edge.digest))
        edges.sort(key=lambda edge: (edge.started_at, edge.run_id), reverse=True)
        return edges

    def links(self, kind: LinkKind, near: Sequence[tuple[str, ...]], *, forward: bool, most: int, skip: int = 0) -> list[Link]:
        """Links of each of these things, of the newest run first; in the direction of time or against it."""
        with self._database.reading() as execute:
            return find_links(execute, kind, near, forward=forward, most=most, skip=skip)

    def run_names(self, run_ids: Sequence[str]) -> list[RunName]:
        """What runs are called; those that are known, in any order."""
        with self._database.reading() as execute:
            return find_run_names(execute, run_ids)

    # --- datasets -----------------------------------------------------------------------------------------------------------

    def datasets(self, after: str, most: int) -> list[DatasetName]:
        """Datasets that runs read, by id; at most so many behind the id ``after``."""
        with self._database.reading() as execute:
            return find_datasets(execute, after, most)

    def sweeps(self, most: int, *, after: tuple[str, str] | None = None, prefix: str = "") -> list[SweepName]:
        """Sweeps that runs belong to, the newest first."""
        with self._database.reading() as execute:
            return find_sweeps(execute, most, after, prefix)

    def versions_read(self, dataset_id: str, most: int, skip: int = 0) -> list[VersionRead]:
        """Versions of a dataset that runs read, the one that was read last first, without the first ``skip``."""
        with self._database.reading() as execute:
            return find_versions(execute, dataset_id, most, skip)

    def views_read(self, dataset_id: str, commit_id: str | None, most: int, skip: int = 0) -> list[ViewRead]:
        """Views of a dataset, or of one version of it, that runs read; the one that was read last first, without the first ``skip``."""
        with self._database.reading() as execute:
            return find_views(execute, dataset_id, commit_id, most, skip)

    def uploads(self, dataset_id: str, commit_id: str | None, most: int) -> list[str]:
        """Ids of runs that wrote versions of a dataset, or this one, newest first."""
        with self._database.reading() as execute:
            return find_uploads(execute, dataset_id, commit_id, most)

    # --- kept copies and picture hashes -----------------------------------------------------------------------------------

    def archive(self, content_digest: str) -> str | None:
        """Object that lists a kept copy of a view's rows."""
        with self._database.reading() as execute:
            found: str | None = _only(execute("SELECT listing FROM archives WHERE content_digest = ?", (content_digest,)))
        return found

    def put_archive(self, content_digest: str, listing: str) -> None:
        """Note a kept copy."""
        with self._database.writing() as execute:
            _upsert(execute, "archives", "content_digest", "listing", content_digest, listing)

    def archives(self) -> list[tuple[str, str]]:
        """(content digest, listing), every one."""
        with self._database.reading() as execute:
            found = execute("SELECT content_digest, listing FROM archives ORDER BY content_digest", ())
        return [(content_digest, listing) for content_digest, listing in found]

    def picture_hashes(self, method: str, keys: Sequence[int]) -> dict[int, int]:
        """Perceptual hashes that were computed before: key of the picture digest to 64-bit hash, both unsigned."""
        sql = "SELECT picture, hash FROM picture_hashes WHERE picture IN ({}) AND method = ?"
        with self._database.reading() as execute:
            found = list(_where_in(execute, sql, map(_signed, keys), method))
        return {_unsigned(picture): _unsigned(value) for picture, value in found}

    def put_picture_hashes(self, method: str, hashes: Mapping[int, int]) -> None:
        """Keep perceptual hashes."""
        with self._database.writing() as execute:
            for marks, part in in_lists(map(_signed, hashes)):
                execute(f"DELETE FROM picture_hashes WHERE picture IN ({marks}) AND method = ?", (*part, method))
            rows = ((method, _signed(picture), _signed(value)) for picture, value in hashes.items())
            self._database.insert_many("picture_hashes", ("method", "picture", "hash"), rows)


def _where_in(execute: Execute, sql: str, values: Iterable[Any], *more: Any) -> Iterator[tuple[Any, ...]]:
    for marks, part in in_lists(values):
        yield from execute(sql.format(marks), (*part, *more))


def _only(found: list[tuple[Any, ...]]) -> Any:
    return found[0][0] if found else None


def _upsert(execute: Execute, table: str, key_column: str, column: str, key: str, value: str) -> None:
    execute(
        f"INSERT INTO {table} ({key_column}, {column}) VALUES (?, ?) ON CONFLICT ({key_column}) DO UPDATE SET {column} = excluded.{column}",
        (key, value),
    )


def _next(execute: Execute, table: str) -> int:
    number: int = execute(f"SELECT COALESCE(MAX(number), 0) + 1 FROM {table}", ())[0][0]
    return number


def _new_segment(execute: Execute, kind: str, bits: int, entries: int) -> int:
    number = _next(execute, "key_segments")
    execute("INSERT INTO key_segments (number, kind, bits, entries) VALUES (?, ?, ?, ?)", (number, kind, bits, entries))
    return number


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _unsigned(number: int) -> int:
    return number + (1 << 64) if number < 0 else number
