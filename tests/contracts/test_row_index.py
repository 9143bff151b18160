"""What every row index promises: the same tests over memory, SQLite, PostgreSQL and a service (HTTP), against plain dictionaries.

With a service, rows are noted on this machine and runs are the service's: look-ups ask both.
"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineage.adapters.stores import key_blocks, view_blocks
from lineage.adapters.stores.database import Database
from lineage.adapters.stores.http_client import HttpClient
from lineage.adapters.stores.http_rows import SpoolingRowIndex
from lineage.adapters.stores.memory import MemoryDatabase
from lineage.adapters.stores.postgres import PostgresDatabase
from lineage.adapters.stores.row_index import SqlRowIndex
from lineage.adapters.stores.sql import SqlRunStore
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.model.dataset import InputRecord
from lineage.model.event import ArtifactMade, ArtifactUsed, Described, Ended, InputUsed, Started
from lineage.model.run import Artifact, Run, RunState, UsedArtifact
from lineage.ports import ArtifactEdge, KnownVersion, RowIndex, RunStore, Sighting
from lineage.settings import Settings
from lineage.wiring import wire
from service.app import create_app
from tests.support.serving import serving

AT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
A, B, C = ("sha256:" + letter * 64 for letter in "abc")
LARGEST = 2**64 - 1


@dataclass(frozen=True)
class Place:
    """Where rows are noted, the service behind it if there is one, and what is promised of both."""

    database: Database
    rows: RowIndex
    runs: RunStore


@pytest.fixture(params=["memory", "sqlite", "postgresql", "http"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty index."""
    if request.param == "http":
        ports = wire(Settings(str(tmp_path / "service"), tmp_path / "service"))
        with serving(create_app(ports)) as address, closing(HttpClient(address, patience_s=0.5)) as client:
            local = SqliteDatabase(tmp_path / "lineage.sqlite")
            yield Place(local, SpoolingRowIndex(SqlRowIndex(local), client), ports.runs)
            local.close()
        ports.runs.close()
        return
    made: Database
    if request.param == "postgresql":
        made = PostgresDatabase(request.getfixturevalue("postgres_url"))
    else:
        made = MemoryDatabase() if request.param == "memory" else SqliteDatabase(tmp_path / "lineage.sqlite")
    yield Place(made, SqlRowIndex(made), SqlRunStore(made))
    made.close()


DATABASES = pytest.mark.parametrize("place", ["memory", "sqlite", "postgresql"], indirect=True)
"""For what is noted of runs: a service does that by itself."""


@pytest.fixture
def database(place: Place) -> Database:
    return place.database


@pytest.fixture
def rows(place: Place) -> RowIndex:
    return place.rows


@pytest.fixture
def runs(place: Place) -> RunStore:
    return place.runs


def keys_of(*numbers: int) -> Any:
    return np.array(numbers, np.uint64)


def rows_of(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def count(database: Database, sql: str) -> int:
    with database.reading() as execute:
        found: int = execute(f"SELECT COUNT(*) FROM {sql}", ())[0][0]
    return found


# --- keys -----------------------------------------------------------------------------------------------------------------


def test_a_key_is_found_wherever_it_occurs(rows: RowIndex) -> None:
    """In several rows, spaces and calls, in order, each once; the other kind and other keys do not show."""
    rows.add_keys("s2", "picture", keys_of(7, 9, 7), rows_of(5, 1, 2))
    rows.add_keys("s1", "picture", keys_of(7, 7), rows_of(2**40, 0))
    rows.add_keys("s2", "picture", keys_of(7), rows_of(2))
    rows.add_keys("s1", "sample", keys_of(7), rows_of(3))
    rows.add_keys("s1", "sample", keys_of(), rows_of())

    assert rows.find_keys("picture", 7) == [("s1", 0), ("s1", 2**40), ("s2", 2), ("s2", 5)]
    assert rows.find_keys("sample", 7) == [("s1", 3)]
    assert rows.find_keys("picture", 8) == []
    assert rows.find_keys("sample", 9) == []


def test_keys_at_the_ends_of_their_range(rows: RowIndex) -> None:
    """The smallest and the largest key, and neighbours that share all but the last bit."""
    keys = [0, 1, 2**63 - 1, 2**63, LARGEST - 1, LARGEST]
    for copies in (1, 9000):  # in one block, and cut into many
        rows.add_keys("s", "picture", keys_of(*keys * copies), rows_of(*range(len(keys) * copies)))

    for place, key in enumerate(keys):
        found = rows.find_keys("picture", key)
        assert [row for _, row in found] == list(range(place, len(keys) * 9000, len(keys)))


def test_rows_without_keys_are_refused(rows: RowIndex) -> None:
    """Two lists of different lengths would pair rows with other rows' keys."""
    with pytest.raises(ValueError, match="each of 2 keys, found 1"):
        rows.add_keys("s", "picture", keys_of(1, 2), rows_of(1))


@pytest.mark.parametrize("calls", [[1] * 60, [3000] * 40, [20_000] * 20, [1, 9000, 1, 140_000, 5] + [2] * 20])
def test_many_calls_are_merged_and_lose_nothing(rows: RowIndex, database: Database, calls: list[int]) -> None:
    """Each key is found with all its rows; no size has more than sixteen segments to look through, and none is cut too coarsely."""
    source = np.random.default_rng(7)
    expected: dict[int, set[tuple[str, int]]] = {}
    for number, size in enumerate(calls):
        keys = source.integers(0, LARGEST, size, np.uint64, endpoint=True)
        keys[: size // 3] = source.integers(0, 50, size // 3, np.uint64) * np.uint64(2**58)  # repeated within and between calls
        where = source.integers(0, 2**33 if number % 5 == 0 else 1000, size)
        rows.add_keys(f"s{number % 3}", "picture", keys, where)
        for key, row in zip(keys.tolist(), where.tolist(), strict=True):
            expected.setdefault(key, set()).add((f"s{number % 3}", row))

    asked = [*random.Random(7).sample(sorted(expected), min(60, len(expected))), 2**58, 5]
    assert all(rows.find_keys("picture", key) == sorted(expected.get(key, set())) for key in asked)
    with database.reading() as execute:
        sizes = execute("SELECT bits, COUNT(*), SUM(entries) FROM key_segments GROUP BY bits", ())
        largest = execute("SELECT bits, MAX(entries) FROM key_segments GROUP BY bits", ())
    assert all(segments <= 16 for _, segments, _ in sizes)
    assert all(key_blocks.bits_for(entries * 16 // 17) <= bits for bits, entries in largest)
    assert sum(int(entries) for _, _, entries in sizes) == sum(calls)
    assert count(database, "key_blocks b LEFT JOIN key_segments s ON s.number = b.segment AND s.bits = b.bits WHERE s.number IS NULL") == 0


@given(
    entries=st.lists(st.tuples(st.integers(0, LARGEST) | st.integers(0, 9), st.integers(0, 2**40), st.integers(0, 3)), max_size=60),
    bits=st.sampled_from(key_blocks.BITS),
)
def test_blocks_hold_what_was_cut(entries: list[tuple[int, int, int]], bits: int) -> None:
    """Cutting sorts entries into the bucket of their key and keeps each; reading a block finds exactly a key's occurrences."""
    keys, where, spaces = (np.array([entry[part] for entry in entries], kind) for part, kind in enumerate((np.uint64, np.int64, np.uint32)))
    blocks = list(key_blocks.cut(keys, spaces, where, bits))

    assert [bucket for bucket, _ in blocks] == sorted({key_blocks.bucket_of(key, bits) for key, _, _ in entries})
    for bucket, block in blocks:
        inside = {entry for entry in entries if key_blocks.bucket_of(entry[0], bits) == bucket}
        for key in {key for key, _, _ in inside} | {5}:
            assert set(key_blocks.occurrences(block, key)) == {(space, row) for other, row, space in inside if other == key}
        found = zip(*(part.tolist() for part in key_blocks.merged([block, block])), strict=True)
        assert sorted((key, row, space) for key, space, row in found) == sorted(inside)


@pytest.mark.parametrize("change", [lambda block: block[:-1], lambda block: b"\x09" + block[1:], lambda block: b""])
def test_a_spoilt_block_is_not_read(change: Any) -> None:
    """Bytes that are no block are refused, not searched."""
    [(_, block)] = key_blocks.cut(keys_of(1, 2), 1, rows_of(1, 2), 0)
    with pytest.raises(ValueError, match="block"):
        list(key_blocks.occurrences(change(block), 1))


# --- views ----------------------------------------------------------------------------------------------------------------

SHAPES: dict[str, Any] = {
    "whole": np.arange(200_000),
    "range": np.arange(60_000, 140_000),
    "backwards": np.arange(100_000)[::-1],
    "random": np.random.default_rng(1).permutation(200_000)[:20_000],
    "clustered": np.concatenate([np.arange(start, start + 700) for start in range(0, 200_000, 7000)]),
    "one": rows_of(65_536),
    "all but one": np.delete(np.arange(131_072), 70_000),
    "far": rows_of(0, 2**40),
    "twice": rows_of(5, 3, 5, 3),
    "empty": rows_of(),
}


def test_views_are_found_by_their_rows(rows: RowIndex) -> None:
    """Exactly the views of the space that hold any of the rows, each with those it holds, whatever the shape of the view."""
    for name, held in SHAPES.items():
        rows.add_view(f"s/{name}", "s", held.astype(np.int64))
    rows.add_view("other/whole", "other", SHAPES["whole"])
    sets = {f"s/{name}": set(held.tolist()) for name, held in SHAPES.items()}
    borders = [
        0,
        1,
        3,
        5,
        59_999,
        60_000,
        65_535,
        65_536,
        65_537,
        70_000,
        131_071,
        131_072,
        139_999,
        140_000,
        199_999,
        200_000,
        2**40,
        2**50,
    ]

    for asked in [[row] for row in borders] + [borders, borders[::-1] * 2, list(range(64_000, 67_000)), []]:
        expected = {key: sorted(held & set(asked)) for key, held in sets.items() if held & set(asked)}
        assert rows.views_with("s", asked) == expected
    assert rows.views_with("other", [7]) == {"other/whole": [7]}
    assert rows.views_with("nowhere", [7]) == {}


def test_a_view_is_noted_once(rows: RowIndex, database: Database) -> None:
    """The first note stands: a view's key says which rows it holds. An empty view is known, too."""
    assert not rows.has_view("s/a")
    rows.add_view("s/a", "s", rows_of(1, 2))
    rows.add_view("s/a", "s", rows_of(3))
    rows.add_view("s/none", "s", rows_of())

    assert rows.has_view("s/a")
    assert rows.has_view("s/none")
    assert rows.views_with("s", [1, 3]) == {"s/a": [1]}
    assert count(database, "view_blocks") == 1


def test_a_whole_version_is_tiny(rows: RowIndex, database: Database) -> None:
    """Ten million rows in order take a few bytes for each 65,536 of them."""
    rows.add_view("s/whole", "s", np.arange(10_000_000))

    with database.reading() as execute:
        blocks, size = execute("SELECT COUNT(*), SUM(LENGTH(payload)) FROM view_blocks", ())[0]
    assert (blocks, int(size) < 20 * blocks) == (153, True)
    assert rows.views_with("s", [9_999_999, 10_000_000]) == {"s/whole": [9_999_999]}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(held=st.lists(st.integers(0, 300_000) | st.integers(65_500, 65_600)), asked=st.sets(st.integers(65_500, 65_600)))
def test_bitmaps_hold_what_was_cut(held: list[int], asked: set[int]) -> None:
    """Any rows, repeated and in any order: the blocks hold exactly them."""
    different, blocks = view_blocks.cut(np.array(held, np.int64))
    bitmaps = dict(blocks)

    assert different == len(set(held))
    assert sorted(bitmaps) == sorted({view_blocks.block_of(row) for row in held})
    for row in asked | set(held):
        block = view_blocks.block_of(row)
        assert (row in held) == (block in bitmaps and view_blocks.held(bitmaps[block], [row]) == [row])


# --- versions, ledgers, kept copies, picture hashes -----------------------------------------------------------------------


def test_versions_of_a_branch_newest_note_first(rows: RowIndex) -> None:
    """A version with the same address, branch, commit and manifest is replaced and becomes the newest; other branches do not show."""
    first = KnownVersion("file:///a", "d", "b", "c1", "m1", "sig", 2**40, "s")
    second = KnownVersion("file:///a", "d", "b", "c2", "", None, 7, "s")
    for version in (first, second, KnownVersion("file:///a", "d", "other", "c1", "m1", None, 7, "t")):
        rows.put_version(version)

    assert rows.versions("file:///a", "d", "b") == [second, first]
    again = KnownVersion("file:///a", "d", "b", "c1", "m1", "new", 3, "u")
    rows.put_version(again)
    assert rows.versions("file:///a", "d", "b") == [again, second]
    assert rows.versions("file:///a", "elsewhere", "b") == []


def test_a_ledger_is_replaced_by_who_saw_it(rows: RowIndex) -> None:
    """Of two that extend the same ledger, one is told that it was too late."""
    assert rows.ledger("s") is None
    assert rows.put_ledger("s", None, A)
    assert not rows.put_ledger("s", None, B)
    assert not rows.put_ledger("s", C, B)
    assert rows.put_ledger("s", A, B)
    assert rows.put_ledger("a", None, C)

    assert rows.ledger("s") == B
    assert rows.ledgers() == [("a", C), ("s", B)]


def test_one_of_many_threads_replaces_a_ledger(rows: RowIndex) -> None:
    """Comparing and replacing are one step."""
    rows.put_ledger("s", None, A)
    said: list[bool] = []
    threads = [threading.Thread(target=lambda: said.append(rows.put_ledger("s", A, B))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(said) == [False] * 7 + [True]


def test_kept_copies(rows: RowIndex) -> None:
    """A newer listing replaces an older one."""
    assert rows.archive(A) is None
    rows.put_archive(B, C)
    rows.put_archive(A, B)
    rows.put_archive(A, C)

    assert (rows.archive(A), rows.archives()) == (C, [(A, C), (B, C)])


def test_picture_hashes_keep_every_bit(rows: RowIndex) -> None:
    """Any unsigned 64-bit numbers, by method; a newer hash replaces an older one."""
    source = random.Random(7)
    hashes = {source.getrandbits(64): source.getrandbits(64) for _ in range(2500)} | {0: LARGEST, LARGEST: 0, 2**63: 2**63}
    rows.put_picture_hashes("p", hashes)
    rows.put_picture_hashes("p", {0: 5})
    rows.put_picture_hashes("q", {0: 6})
    rows.put_picture_hashes("q", {})

    assert rows.picture_hashes("p", [*hashes, 1, 0]) == hashes | {0: 5}
    assert rows.picture_hashes("q", [0, LARGEST]) == {0: 6}
    assert rows.picture_hashes("p", []) == {}


# --- runs -----------------------------------------------------------------------------------------------------------------


def run_id(number: int) -> str:
    return f"{number:032x}"


def start(runs: RunStore, number: int, minute: int = 0, **fields: Any) -> None:
    facts: dict[str, Any] = {"name": f"r{number}", "project": "parking", "job_type": "train"} | fields
    run = Run(id=run_id(number), started_at=AT + timedelta(minutes=minute), **facts)
    runs.append(run.id, Started(at=AT, run=run))


def use(runs: RunStore, number: int, space: str | None, digest: str = A, role: str = "train", name: str | None = None) -> None:
    item = InputRecord(
        role=role,
        uri="file:///ds",
        dataset_id="d",
        branch="main",
        branch_id="b",
        commit_id="c1",
        view_id="v1",
        view_name=name,
        rows=1,
        rows_total=2,
        rows_digest=digest,
        content_digest=C,
        rows_object=C,
        space=space,
        columns={},
        backend="deeplake 4.7.4",
        used_at=AT,
    )
    runs.append(run_id(number), InputUsed(at=AT, input=item))


def use_other(runs: RunStore, number: int, **facts: str) -> None:
    item = runs.get(run_id(0)).inputs[0].model_copy(update=facts)
    runs.append(run_id(number), InputUsed(at=AT, input=item))


def make(runs: RunStore, number: int, digest: str, name: str = "model.pth", kind: str = "model") -> None:
    runs.append(run_id(number), ArtifactMade(at=AT, artifact=Artifact(name=name, kind=kind, path=name, digest=digest, size_bytes=1)))


def start_from(runs: RunStore, number: int, digest: str, path: str = "base.pth") -> None:
    used = UsedArtifact(role="base", kind="model", path=path, digest=digest, size_bytes=1, used_at=AT)
    runs.append(run_id(number), ArtifactUsed(at=AT, artifact=used))


def told(edges: Sequence[ArtifactEdge]) -> list[tuple[int, str, str]]:
    return [(int(edge.run_id, 16), edge.name, edge.digest) for edge in edges]


def test_runs_that_read_a_view(rows: RowIndex, runs: RunStore) -> None:
    """Each input that is one of the views, newest run first, with the models that the run has now, and everything else in short."""
    key, other = f"s/{'a' * 64}", f"s/{'b' * 64}"
    start(runs, 1)
    use(runs, 1, "s", A, name="cars")
    start(runs, 2, minute=1, reproduces=run_id(1))
    use(runs, 2, "s", B)
    use(runs, 2, "s", A, role="validation")
    use(runs, 2, "s", A, role="test")
    for digest, name, kind in ((C, "z.pth", "model"), (A, "a.pth", "model"), (B, "a.pth", "model"), (A, "report", "file")):
        make(runs, 2, digest, name, kind)
    runs.append(run_id(2), Ended(at=AT, state=RunState.failed))
    start(runs, 3)
    use(runs, 3, "t", A)

    found = rows.sightings([key])
    assert [(int(item.run_id, 16), item.ordinal, item.role) for item in found] == [(2, 1, "validation"), (2, 2, "test"), (1, 0, "train")]
    assert {item.models for item in found[:2]} == {(("a.pth", B), ("z.pth", C))}
    assert (found[0].state, found[0].reproduces, found[0].started_at) == ("failed", run_id(1), "2024-05-06T07:09:09.000000+00:00")
    last = found[2]
    assert (last.run_name, last.project, last.job_type, last.state) == ("r1", "parking", "train", "running")
    assert (last.uri, last.commit_id, last.view_id, last.view_name, last.view_key) == ("file:///ds", "c1", "v1", "cars", key)
    assert (last.models, last.reproduces) == ((), None)
    runs.append(run_id(1), Described(at=AT, name="renamed", project="streets", job_type="tune"))
    changed = rows.sightings([key])[2]
    assert (changed.run_name, changed.project, changed.job_type, changed.ordinal) == ("renamed", "streets", "tune", 0)
    assert [item.ordinal for item in rows.sightings([other, key, key]) if item.run_id == run_id(2)] == [0, 1, 2]
    assert rows.sightings([]) == rows.sightings(["s/none"]) == []


def test_runs_that_read_many_views(rows: RowIndex, runs: RunStore) -> None:
    """More views than one statement takes: one list, in the order of the runs."""
    digests = [f"sha256:{number:064x}" for number in range(1201)]
    for number in range(3):
        start(runs, number, minute=number)
        for digest in digests[number * 600 : number * 600 + 1]:
            use(runs, number, "s", digest)

    found = rows.sightings([f"s/{digest[7:]}" for digest in digests])
    assert [int(item.run_id, 16) for item in found] == [2, 1, 0]


@DATABASES
def test_inputs_that_look_ups_would_miss(rows: RowIndex, runs: RunStore) -> None:
    """Inputs of records without a view key, and those whose view is not noted; pointing and noting take them off the list."""
    start(runs, 1)
    use(runs, 1, None)
    use(runs, 1, "s", A)
    make(runs, 1, B)
    make(runs, 1, C, "another.pth")
    assert rows.unindexed_inputs() == [(run_id(1), 0), (run_id(1), 1)]

    rows.add_view(f"s/{'a' * 64}", "s", rows_of(1))
    assert rows.unindexed_inputs() == [(run_id(1), 0)]
    rows.point_input(run_id(1), 0, f"s/{'a' * 64}")
    assert rows.unindexed_inputs() == []
    pointed, other = rows.sightings([f"s/{'a' * 64}"])
    assert (pointed.ordinal, other.ordinal) == (0, 1)
    assert pointed == other._replace(ordinal=0)
    runs.append(run_id(1), Ended(at=AT, state=RunState.failed))
    assert [item.state for item in rows.sightings([f"s/{'a' * 64}"])] == ["failed", "failed"]


def test_who_made_and_who_used_a_file(rows: RowIndex, runs: RunStore) -> None:
    """Both ways, newest run first; a replaced file is still found by its digest, and is not among what a run made."""
    start(runs, 1)
    make(runs, 1, A)
    start(runs, 2, minute=1)
    make(runs, 2, A, "copy.pth")
    start_from(runs, 2, A)
    start_from(runs, 2, C, "other.pth")
    make(runs, 2, B, "copy.pth")
    start(runs, 3, minute=2)
    start_from(runs, 3, A)

    assert told(rows.makers([A])) == [(2, "copy.pth", A), (1, "model.pth", A)]
    assert told(rows.makers([B, A, A])) == [(2, "copy.pth", A), (2, "copy.pth", B), (1, "model.pth", A)]
    assert told(rows.made_by([run_id(1), run_id(2), run_id(3)])) == [(2, "copy.pth", B), (1, "model.pth", A)]
    assert told(rows.users([A])) == [(3, "base.pth", A), (2, "base.pth", A)]
    assert told(rows.used_by([run_id(2)])) == [(2, "base.pth", A), (2, "other.pth", C)]
    assert rows.users([A])[0] == ArtifactEdge(run_id(3), "r3", "2024-05-06T07:10:09.000000+00:00", "base.pth", "model", A)
    make(runs, 2, A, "copy.pth")
    assert told(rows.makers([A])) == [(2, "copy.pth", A), (1, "model.pth", A)]
    assert rows.makers([]) == rows.users([C.replace("c", "d")]) == []


def test_links_lead_both_ways_in_time(rows: RowIndex, runs: RunStore) -> None:
    """A version holds a view, runs read it, one makes a model, another starts from it and repeats the first."""
    view, version = ("d", "c1", C), ("d", "c1")
    start(runs, 1)
    use(runs, 1, "s", A, name="cars")
    make(runs, 1, A)
    make(runs, 1, B, "report.txt", "file")
    start(runs, 2, minute=1, reproduces=run_id(1))
    use(runs, 2, "s", A, role="validation", name="streets")
    use(runs, 2, "s", A, name="streets")
    start_from(runs, 2, A, "weights/base.pth")

    def ends(kind: Any, near: tuple[str, ...], forward: bool) -> list[tuple[Any, ...]]:
        return [(*link.far, link.role, link.name, link.place, link.total) for link in rows.links(kind, [near], forward=forward, most=9)]

    one, two = run_id(1), run_id(2)
    assert ends("holds", version, True) == [(*view, "", "streets", "file:///ds", 1)]
    assert ends("holds", view, False) == [(*version, "", None, "", 1)]
    assert ends("reads", view, True) == [
        (two, "train", "streets", "file:///ds", 3),
        (two, "validation", "streets", "file:///ds", 3),
        (one, "train", "streets", "file:///ds", 3),  # called as it was called last
    ]
    assert ends("reads", (one,), False) == [(*view, "train", "cars", "file:///ds", 1)]
    assert ends("makes", (one,), True) == [(A, "", "model.pth", "model", 1)]  # nobody asks for a report
    assert ends("makes", (A,), False) == [(one, "", "model.pth", "model", 1)]
    assert ends("starts", (A,), True) == [(two, "base", "weights/base.pth", "model", 1)]
    assert ends("starts", (two,), False) == [(A, "base", "weights/base.pth", "model", 1)]
    assert ends("repeats", (one,), True) == [(two, "", None, "", 1)]
    assert ends("repeats", (two,), False) == [(one, "", None, "", 1)]
    assert ends("repeats", (one,), False) == ends("holds", ("d", "c2"), True) == ends("starts", (B,), True) == []
    start_from(runs, 2, B, "report.txt")
    make(runs, 1, C)  # in place of the weights that the other run had taken
    assert [end[0] for end in ends("makes", (one,), True)] == [A, B, C]
    names = {item.run_id: (item.name, item.project, item.state, item.started_at) for item in rows.run_names([two, one, "0" * 32])}
    assert names == {
        one: ("r1", "parking", "running", "2024-05-06T07:08:09.000000+00:00"),
        two: ("r2", "parking", "running", "2024-05-06T07:09:09.000000+00:00"),
    }


def test_who_wrote_a_version_is_known_from_both_sides(rows: RowIndex, runs: SqlRunStore) -> None:
    """Each run that wrote it, newest first; what names no version is passed over."""

    def write(number: int, name: str, **details: Any) -> None:
        artifact = Artifact(name=name, kind="dataset", path="file:///p", digest=A, size_bytes=1, details=details)
        runs.append(run_id(number), ArtifactMade(at=AT, artifact=artifact))

    for number in (1, 2):
        start(runs, number, minute=number)
        write(number, "data", dataset_id="d", commit_id="c1", uri="file:///ds")
    write(2, "more", dataset_id="d", commit_id="c2", uri=["odd"])
    write(2, "odd", dataset_id="d", commit_id=7)
    write(2, "none")

    start(runs, 3)
    write(3, "without a version")

    assert [(link.near, link.name) for link in rows.links("makes", [(run_id(2),), (run_id(3),)], forward=True, most=9)] == [
        ((run_id(3),), "without a version")
    ]
    found = rows.links("uploads", [("d", "c1")], forward=False, most=9)
    assert [(int(link.far[0], 16), link.place, link.total) for link in found] == [(2, "file:///ds", 2), (1, "file:///ds", 2)]
    assert [(link.far, link.place) for link in rows.links("uploads", [(run_id(2),)], forward=True, most=9)] == [
        (("d", "c1"), "file:///ds"),
        (("d", "c2"), "file:///p"),
    ]
    assert [int(found, 16) for found in rows.uploads("d", None, 9)] == [2, 1]
    assert [int(found, 16) for found in rows.uploads("d", "c2", 9)] == [2]
    assert rows.uploads("d", None, 1) == [run_id(2)]
    assert rows.uploads("e", None, 9) == []


def test_links_of_many_things_are_counted_and_cut(rows: RowIndex, runs: RunStore) -> None:
    """Each thing has its own newest links, and tells how many there are; more things than fit into one statement."""
    digests = [f"sha256:{number:064x}" for number in range(120)]
    for number in range(6):
        start(runs, number, minute=number)
        for digest in digests[number * 20 : number * 20 + 20]:
            start_from(runs, number, digest, f"{digest[-3:]}.pth")
        start_from(runs, number, A)

    things = [(digest,) for digest in (*digests, A, A)]
    found = rows.links("starts", things, forward=True, most=2)
    assert [(link.near, int(link.far[0], 16), link.total) for link in found[:120]] == [
        ((digest,), at // 20, 1) for at, digest in enumerate(digests)
    ]
    assert [(link.near, int(link.far[0], 16), link.total) for link in found[120:]] == [((A,), 5, 6), ((A,), 4, 6)]
    assert [int(link.far[0], 16) for link in rows.links("starts", [(A,)], forward=True, most=3, skip=4)] == [1, 0]
    assert rows.links("starts", [(A,)], forward=True, most=3, skip=6) == rows.links("starts", [], forward=True, most=3) == []


@DATABASES
def test_datasets_as_runs_read_them(rows: RowIndex, runs: RunStore) -> None:
    """By id, a page at a time; versions and views with who read them, the last read first."""
    for number in range(4):
        start(runs, number, minute=number)
        use(runs, number, "s", A, name="cars")
        use(runs, number, "s", A, role="validation")
        make(runs, number, A if number < 2 else B)
    make(runs, 3, C, "report", "file")
    start(runs, 4, minute=9)
    use_other(runs, 4, dataset_id="e", commit_id="c1", content_digest=B)
    use_other(runs, 4, dataset_id="d", commit_id="c2", content_digest=B)
    rows.put_version(KnownVersion("file:///ds", "d", "b", "c2", A, None, 77, "s"))

    assert [(item.dataset_id, item.uri, item.versions, item.inputs) for item in rows.datasets("", 9)] == [
        ("d", "file:///ds", 2, 9),
        ("e", "file:///ds", 1, 1),
    ]
    assert [item.dataset_id for item in rows.datasets("d", 9)] == ["e"]
    assert [item.dataset_id for item in rows.datasets("", 1)] == ["d"]
    newest, older = rows.versions_read("d", 9)
    assert (newest.commit_id, newest.rows, newest.views, newest.runs, newest.roles, newest.models) == ("c2", 77, 1, 1, (("train", 1),), 0)
    assert (older.commit_id, older.rows, older.views, older.runs, older.models) == ("c1", None, 1, 4, 2)
    assert older.roles == (("train", 4), ("validation", 4))
    assert (older.first_at[14:16], older.last_at[14:16], newest.last_at[14:16]) == ("08", "11", "17")
    assert rows.versions_read("d", 9, 1) == rows.versions_read("d", 1, 1) == [older]
    views = rows.views_read("d", None, 9)
    assert [(item.commit_id, item.content_digest, int(item.run_id, 16), item.ordinal, item.inputs) for item in views] == [
        ("c2", B, 4, 1, 1),
        ("c1", C, 3, 0, 8),
    ]
    assert rows.views_read("d", "c1", 9) == rows.views_read("d", None, 9, 1) == views[1:]
    assert rows.versions_read("none", 9) == rows.views_read("none", None, 9) == rows.datasets("e", 9) == []


# --- the database ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["sqlite", "postgresql", "http"], indirect=True)
def test_many_processes_add_at_once(rows: RowIndex, database: Database, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Keys and views that several processes add together are all there."""
    opened = (
        f"from lineage.adapters.stores.sqlite import SqliteDatabase; database = SqliteDatabase(Path({database.location!r}))"
        if isinstance(database, SqliteDatabase)
        else "from lineage.adapters.stores.postgres import PostgresDatabase;"
        f" database = PostgresDatabase({request.getfixturevalue('postgres_url')!r})"
    )
    program = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom lineage.adapters.stores.row_index import SqlRowIndex\n"
        f"{opened}\nrows, me = SqlRowIndex(database), int(sys.argv[1])\n"
        "for i in range(25):\n"
        "    rows.add_keys('shared', 'picture', np.array([i, 100 + me], np.uint64), np.array([me, i], np.int64))\n"
        "    rows.add_view(f'shared/{i}', 'shared', np.array([i], np.int64))\n"
        "database.close()\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", program, str(me)]) for me in range(3)]

    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert rows.find_keys("picture", 24) == [("shared", 0), ("shared", 1), ("shared", 2)]
    assert rows.find_keys("picture", 101) == [("shared", row) for row in range(25)]
    assert count(database, "views") == 25


def test_a_run_without_data_loads_neither_numbers_nor_bitmaps() -> None:
    """The index is put together for every run; only its use may cost an import."""
    program = "import sys, lineage.adapters.stores.row_index; print([m for m in ('numpy', 'pyroaring') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_store_of_the_first_release_is_migrated(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Its inputs keep no view key, are listed as missing from look-ups, and can be pointed to a view."""
    from lineage.adapters.stores.schema import MIGRATIONS

    old = (*MIGRATIONS[0], "CREATE TABLE schema_version (version INTEGER NOT NULL)", "INSERT INTO schema_version (version) VALUES (1)")
    old += (
        "INSERT INTO runs VALUES ('r', 'n', 'p', NULL, 't', 'finished', '2024', '2025', 'f', NULL, '{}')",
        "INSERT INTO run_inputs VALUES ('r', 0, 'train', 'u', 'd', 'main', 'c', NULL, 'x', 'y')",
        "INSERT INTO run_outputs VALUES ('r', 'm.pth', 'model', 'z'), ('r', 'a.txt', 'file', 'q')",
    )
    with sqlite3.connect(tmp_path / "old.sqlite") as connection:
        for statement in old:
            connection.execute(statement)
    connection.close()
    url = request.getfixturevalue("postgres_url")
    with psycopg.connect(url, autocommit=True) as server:
        for statement in old:
            server.execute(statement)

    for database in (SqliteDatabase(tmp_path / "old.sqlite"), PostgresDatabase(url)):
        index = SqlRowIndex(database)
        assert index.unindexed_inputs() == [("r", 0)]
        index.add_view("s/x", "s", rows_of(1))
        index.point_input("r", 0, "s/x")
        assert index.unindexed_inputs() == []
        told = Sighting("r", "n", "p", "t", "finished", "2024", 0, "train", "u", "c", None, None, "s/x", None, (("m.pth", "z"),))
        assert index.sightings(["s/x"]) == [told]
        database.close()
