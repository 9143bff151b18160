"""What every run store promises: the same tests over memory, SQLite, PostgreSQL and a service (HTTP)."""

from __future__ import annotations

import json
import math
import random
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lineage.adapters.stores.continuing import ContinuingRunStore
from lineage.adapters.stores.database import Database
from lineage.adapters.stores.http import HttpRunStore
from lineage.adapters.stores.http_client import HttpClient
from lineage.adapters.stores.memory import MemoryDatabase
from lineage.adapters.stores.postgres import PostgresDatabase
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.errors import Conflict, IntegrityError, NotFound, Unavailable
from lineage.model.code import CodeVersion, InnerRepository
from lineage.model.dataset import InputRecord
from lineage.model.environment import Environment, Package
from lineage.model.event import ArtifactMade, Described, Ended, InputUsed, Noted, Reproduced, Started, TrackerTold, chain_digest, replay
from lineage.model.listing import brief
from lineage.model.metrics import stored_points
from lineage.model.run import Artifact, MetricPoint, Reproduction, Run, RunState
from lineage.ports import Position, RunQuery, RunStore
from lineage.settings import Settings
from lineage.wiring import wire
from service.app import create_app
from tests.support.serving import serving

AT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64

# Another process: opens the store and does what its arguments say.
CHILD = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from lineage.adapters.stores.continuing import ContinuingRunStore
from lineage.model.event import Noted, Started
from lineage.model.run import MetricPoint, Run

kind, place, what, run_id, count, begin = sys.argv[1:]
if kind == "sqlite":
    from lineage.adapters.stores.sqlite import SqliteDatabase
    open_store = lambda: ContinuingRunStore(SqliteDatabase(Path(place)))
elif kind == "http":
    from lineage.adapters.stores.http import HttpRunStore
    from lineage.adapters.stores.http_client import HttpClient
    open_store = lambda: HttpRunStore(HttpClient(place))
else:
    from lineage.adapters.stores.postgres import PostgresDatabase
    open_store = lambda: ContinuingRunStore(PostgresDatabase(place))
while time.time() < float(begin):
    time.sleep(0.001)
store = open_store()
for number in range(int(count)):
    at = datetime.now(UTC)
    if what == "note":
        store.append(run_id, Noted(at=at, note=f"{sys.argv[0]} {number}"))
    elif what == "metrics":
        store.add_metrics(run_id, [MetricPoint(step=number, values={"m": float(number)}, at=0.0)] * 3)
    else:
        own = f"{run_id}{number:08x}"
        store.append(own, Started(at=at, run=Run(id=own, name="r", project="p", job_type="t", started_at=at)))
store.close()
"""


class Place:
    """One database: opens stores on it, in this process or another, and reaches behind them.

    Attributes:
        address: Of the database, or of the service before it.
    """

    def __init__(self, kind: str, address: str, database: str) -> None:
        self.kind = kind
        self.address = address
        self._database = database
        self._open: list[RunStore] = []
        self._memory = MemoryDatabase() if kind == "memory" else None

    def open(self) -> RunStore:
        store: RunStore
        if self.kind == "http":
            store = HttpRunStore(HttpClient(self.address, patience_s=0.5))
        else:
            database: Database
            if self._memory is not None:
                database = self._memory
            else:
                database = SqliteDatabase(Path(self.address)) if self.kind == "sqlite" else PostgresDatabase(self.address)
            store = ContinuingRunStore(database)
        self._open.append(store)
        return store

    def behind(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """A statement on the bare database, as somebody who alters records would give it."""
        if self._memory is not None:
            with self._memory.reading() as execute:
                return execute(sql, parameters)
        if self.kind != "postgresql":
            with sqlite3.connect(self._database) as connection:
                found = connection.execute(sql, parameters).fetchall()
            connection.close()
            return found
        with psycopg.connect(self.address, autocommit=True) as server:
            cursor = server.execute(sql.replace("?", "%s"), parameters)
            return cursor.fetchall() if cursor.description else []

    def start(self, what: str, run_id: str, count: int, begin: float = 0.0) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", CHILD, self.kind, self.address, what, run_id, str(count), str(begin)])

    def close(self) -> None:
        for store in self._open:
            store.close()


@pytest.fixture(params=["memory", "sqlite", "postgresql", "http"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty database."""
    folder = tmp_path / "store"
    database = request.getfixturevalue("postgres_url") if request.param == "postgresql" else str(folder / "lineage.sqlite")
    if request.param == "http":
        ports = wire(Settings(str(folder), folder))
        with serving(create_app(ports)) as address:
            found = Place("http", address, database)
            yield found
            found.close()
        ports.runs.close()
        return
    found = Place(request.param, ":memory:" if request.param == "memory" else database, database)
    yield found
    found.close()


SHARED = pytest.mark.parametrize("place", ["sqlite", "postgresql", "http"], indirect=True)
"""For what several processes do: memory belongs to one."""


@pytest.fixture
def store(place: Place) -> RunStore:
    return place.open()


def run_id(number: int) -> str:
    return f"{number:032x}"


def start(store: RunStore, number: int = 1, **fields: Any) -> Run:
    """Store a new run and return it."""
    facts: dict[str, Any] = {"name": "first", "project": "parking", "job_type": "train", "started_at": AT} | fields
    run = Run(id=run_id(number), **facts)
    return store.append(run.id, Started(at=run.started_at, run=run))


def used(
    uri: str = "file:///ds", dataset_id: str = "d1", commit_id: str = "c1", view_id: str | None = None, role: str = "train"
) -> InputUsed:
    names = {"uri": uri, "dataset_id": dataset_id, "branch": "main", "branch_id": "b", "commit_id": commit_id, "backend": "deeplake 4.7.4"}
    digests = {"rows_digest": A, "content_digest": A, "rows_object": A, "digests_object": A}
    return InputUsed(at=AT, input=InputRecord(role=role, view_id=view_id, rows=5, rows_total=9, columns={}, used_at=AT, **names, **digests))


def made(digest: str = A, name: str = "model.pth", kind: str = "model") -> ArtifactMade:
    return ArtifactMade(at=AT, artifact=Artifact(name=name, kind=kind, path=name, digest=digest, size_bytes=1))


def point(step: int, **values: float) -> MetricPoint:
    return MetricPoint(step=step, values=values, at=1715000000.123456)


def found(store: RunStore, **conditions: Any) -> list[int]:
    return [int(run.id, 16) for run in store.find(RunQuery(**conditions))]


# --- records --------------------------------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_written(store: RunStore, place: Place) -> None:
    """Every field of a record, odd texts, large numbers and other time zones included, is read back equal, also by another store."""
    config = {"ü": ["駐車場", 'quote " and \\', "\x00\x1f", None, True], "big": 2**80, "tiny": 5e-324, "neg": -0.0}
    zone = timezone(timedelta(hours=5, minutes=30))
    run = start(
        store, started_at=datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=zone), config=config, seed=2**70, tags=("a", "b"), group="g?%s"
    )
    store.append(run.id, used(view_id="v"))
    store.append(run.id, made())
    ended = store.append(run.id, Ended(at=AT, state=RunState.failed, summary={"loss": 0.1}, error="RuntimeError: it's broken"))

    assert store.get(run.id) == ended == place.open().get(run.id)
    assert ended.config == config
    assert ended.seed == 2**70
    assert (ended.state, ended.error, ended.summary) == (RunState.failed, "RuntimeError: it's broken", {"loss": 0.1})
    assert [item.view_id for item in ended.inputs] == ["v"]
    assert [item.digest for item in ended.outputs] == [A]


def test_each_append_returns_the_record_after_it(store: RunStore) -> None:
    """What ``append`` returns is what ``get`` finds."""
    run = start(store)
    described = store.append(run.id, Described(at=AT, name="second", config={"lr": 0.1}, tags=("x",)))

    assert described == store.get(run.id)
    assert (described.name, described.config, described.tags) == ("second", {"lr": 0.1}, ("x",))


def test_a_tracker_s_word_may_come_after_the_end_and_finds_the_run(store: RunStore) -> None:
    """What a tracker calls a run leads to it, signs of pattern languages taken as they are; later facts join those known."""
    run = start(store)
    start(store, 2)
    store.append(run.id, Described(at=AT, trackers={"wandb": {"id": "ab_c-1.%x", "url": None}}))
    store.append(run.id, Ended(at=AT, state=RunState.finished))
    told = store.append(run.id, TrackerTold(at=AT, tracker="wandb", facts={"url": "https://example.org/r", "delivered_at": "now"}))

    assert told.trackers == {"wandb": {"id": "ab_c-1.%x", "url": "https://example.org/r", "delivered_at": "now"}}
    assert found(store, mentions="ab_c-1.%x") == [int(run.id, 16)]
    assert found(store, mentions="ab_") == [int(run.id, 16)]
    assert found(store, mentions="abxc") == found(store, mentions="a%1") == []


def test_an_unknown_run_is_not_found(store: RunStore) -> None:
    """Reading it, or adding to it, names the run; nothing is stored."""
    with pytest.raises(NotFound, match=run_id(9)):
        store.get(run_id(9))
    with pytest.raises(NotFound, match=run_id(9)):
        store.append(run_id(9), Noted(at=AT, note="x"))

    assert store.events(run_id(9)) == []
    assert store.metrics(run_id(9)) == []
    assert store.find(RunQuery()) == []


def test_what_does_not_fit_is_a_conflict_and_changes_nothing(store: RunStore) -> None:
    """A second start, anything but notes and verdicts after the end, or a record under another id."""
    run = start(store)
    other = run.model_copy(update={"name": "other"})
    with pytest.raises(Conflict, match="started twice"):
        store.append(run.id, Started(at=AT, run=other))
    with pytest.raises(Conflict, match="cannot be stored"):
        store.append(run_id(2), Started(at=AT, run=other))
    ended = store.append(run.id, Ended(at=AT, state=RunState.finished))
    for event in (used(), made(), Described(at=AT, name="x"), Ended(at=AT, state=RunState.aborted)):
        with pytest.raises(Conflict, match="finished"):
            store.append(run.id, event)

    assert store.get(run.id) == ended
    assert len(store.events(run.id)) == 2
    assert found(store) == [1]
    assert found(store, dataset_uri="file:///ds") == []


def test_notes_and_verdicts_may_follow_the_end(store: RunStore) -> None:
    """A later reproduction adds its verdict to the record of the original."""
    run = start(store)
    store.append(run.id, Ended(at=AT, state=RunState.finished))
    store.append(run.id, Noted(at=AT, note="late"))
    last = store.append(run.id, Reproduced(at=AT, reproduction=Reproduction(run_id=run_id(2), verdict="identical", at=AT)))

    assert last.state is RunState.finished
    assert last.notes == ("late",)
    assert [item.verdict for item in store.get(run.id).reproductions] == ["identical"]


# --- events ---------------------------------------------------------------------------------------------------------------


def test_the_events_add_up_to_the_record(store: RunStore) -> None:
    """Replaying the stored events gives the stored record: nothing is kept only in the fold."""
    run = start(store, config={"a": [1, 2.5, None]})
    for event in (
        used(),
        made(),
        made(B, "log.txt", "file"),
        Noted(at=AT, note="n"),
        Described(at=AT, determinism={"threads": 2}),
        made(B),
    ):
        store.append(run.id, event)
    store.append(run.id, Ended(at=AT, state=RunState.finished, summary={"x": 1}))

    assert replay(store.events(run.id), run.id) == store.get(run.id)
    assert len(store.events(run.id)) == 8


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_tampered_payload_is_found(place: Place, store: RunStore, number: int) -> None:
    """One changed character in any stored event breaks the chain there."""
    run = start(store, config={"lr": 0.1})
    store.append(run.id, Noted(at=AT, note="lr is 0.1"))
    store.append(run.id, Ended(at=AT, state=RunState.finished, summary={"lr": 0.1}))
    payload = store.events(run.id)[number][0]
    place.behind("UPDATE events SET payload = ? WHERE run_id = ? AND number = ?", payload.replace("0.1", "0.2"), run.id, number)

    with pytest.raises(IntegrityError, match=f"event {number}"):
        replay(store.events(run.id), run.id)


def test_a_deleted_event_is_found(place: Place, store: RunStore) -> None:
    """Taking an event out of the middle breaks the chain; taking the last one leaves a record that the events do not add up to."""
    run = start(store)
    store.append(run.id, Noted(at=AT, note="one"))
    store.append(run.id, Noted(at=AT, note="two"))
    place.behind("DELETE FROM events WHERE run_id = ? AND number = 2", run.id)

    assert replay(store.events(run.id), run.id) != store.get(run.id)
    store.append(run.id, Noted(at=AT, note="three"))
    place.behind("DELETE FROM events WHERE run_id = ? AND number = 1", run.id)
    with pytest.raises(IntegrityError, match="event 1"):
        replay(store.events(run.id), run.id)


def test_an_unreadable_document_is_an_integrity_error(place: Place, store: RunStore) -> None:
    """A record that was overwritten with something else is reported, not half read."""
    run = start(store)
    place.behind("UPDATE runs SET document = ? WHERE id = ?", '{"id": "x"}', run.id)

    with pytest.raises(IntegrityError, match=run.id[:12]):
        store.get(run.id)


# --- environments -----------------------------------------------------------------------------------------------------------


def environment(**fields: Any) -> Environment:
    packages = {f"package-{number}": Package(version="1.0", record=A) for number in range(100)}
    facts = {"python": "3.11.7", "implementation": "CPython", "executable": "/ü/python", "packages": packages, "digest": B}
    machine = {"platform": "Linux", "libc": "glibc 2.36", "cpu": "c", "cpu_count": 2, "gpus": ("g",), "variables": {"OMP_NUM_THREADS": "1"}}
    return Environment(**facts | machine | fields)


def test_an_environment_is_kept_once(place: Place, store: RunStore) -> None:
    """Records come back equal, whole and from their events, while the packages of many runs are stored once for each environment."""
    first, second = environment(), environment(cpu_count=4)
    kept = [start(store, number, environment=first if number < 9 else second) for number in range(10)]
    ended = store.append(run_id(3), Ended(at=AT, state=RunState.finished))

    for reader in (store, place.open()):
        assert reader.get(run_id(9)) == kept[9]
        assert reader.get(run_id(3)) == ended
        assert ended.environment == first
        assert replay(reader.events(run_id(3)), run_id(3), reader.environment) == ended
        assert {run.id: run.environment for run in reader.find(RunQuery())} == {run.id: run.environment for run in kept}
    assert place.behind("SELECT COUNT(*) FROM environments") == [(2,)]
    assert (
        place.behind("SELECT SUM(LENGTH(payload)) FROM events")[0][0] + place.behind("SELECT SUM(LENGTH(document)) FROM runs")[0][0]
        < 22_000
    )


@pytest.mark.parametrize(
    "change",
    ["UPDATE environments SET payload = REPLACE(payload, '\"cpu_count\":2', '\"cpu_count\":3')", "DELETE FROM environments"],
)
def test_an_altered_environment_is_found(place: Place, store: RunStore, change: str) -> None:
    """One changed sign, or a lost environment: reading the record and checking its chain both name the record."""
    run = start(store, environment=environment())
    assert store.get(run.id) == run
    place.behind(change)

    if place.kind != "http":  # a service has it in memory, however many clients it gets
        with pytest.raises(IntegrityError, match=f"record {run.id[:12]}, environment: expected sha256"):
            place.open().get(run.id)
    for reader in (store, place.open()):  # the first has it in memory
        with pytest.raises(IntegrityError, match=f"record {run.id[:12]}, event 0, environment: expected sha256"):
            replay(reader.events(run.id), run.id, reader.environment)


def test_a_record_cannot_be_given_another_environment(place: Place, store: RunStore) -> None:
    """The chain covers the digest: a start that names another environment than the one it was written with is found."""
    run = start(store, environment=environment())
    start(store, 2, environment=environment(cpu_count=4))
    one, other = (json.loads(store.events(run_id(number))[0][0])["run"]["environment"] for number in (1, 2))
    place.behind("UPDATE events SET payload = REPLACE(payload, ?, ?)", one, other)

    with pytest.raises(IntegrityError, match="event 0"):
        replay(store.events(run.id), run.id, store.environment)


def test_records_of_the_first_release_hold_their_environment(place: Place, store: RunStore) -> None:
    """They read back, their chain holds, and they can be added to."""
    run = start(store, environment=environment())
    payload = Started(at=run.started_at, run=run).model_dump_json(exclude={"run": {"duration_s", "fingerprint"}})
    place.behind("DELETE FROM environments")
    place.behind("UPDATE events SET payload = ?, digest = ?", payload, chain_digest(None, payload))
    place.behind("UPDATE runs SET document = ?", run.model_dump_json(exclude={"duration_s", "fingerprint"}))

    old = place.open()
    assert old.get(run.id) == run
    noted = old.append(run.id, Noted(at=AT, note="x"))
    assert place.open().get(run.id) == noted
    assert noted.environment == environment()
    assert replay(old.events(run.id), run.id, old.environment) == noted


def test_a_refused_start_leaves_no_environment_behind(place: Place, store: RunStore) -> None:
    """What was rolled back is written again by the next run that needs it."""
    run = Run(id=run_id(1), name="r", project="p", job_type="t", started_at=AT, environment=environment())
    with pytest.raises(Conflict):
        store.append(run_id(2), Started(at=AT, run=run))
    assert place.behind("SELECT COUNT(*) FROM environments") == [(0,)]
    store.append(run.id, Started(at=AT, run=run))

    assert place.open().get(run.id) == store.get(run.id) == run


# --- finding --------------------------------------------------------------------------------------------------------------


def test_newest_first_ties_by_id(store: RunStore) -> None:
    """The order is total: by start, then id, whatever the order of writing, the spelling of the time zone or missing microseconds."""
    zone = timezone(timedelta(hours=-3))
    times = {1: AT, 2: AT + timedelta(microseconds=1), 3: (AT + timedelta(seconds=1)).astimezone(zone), 4: AT, 5: AT - timedelta(days=400)}
    for number in (4, 2, 5, 1, 3):
        start(store, number, started_at=times[number])

    assert found(store) == [3, 2, 4, 1, 5]


@pytest.mark.parametrize("spelled", ["+00:00", "Z"])
def test_pages_join_without_gap_or_repetition(store: RunStore, spelled: str) -> None:
    """Reading on from the last line of a page gives every run once, ties at the border included, in either spelling of UTC."""
    for number in range(1, 12):
        start(store, number, started_at=AT + timedelta(seconds=number // 4))
    whole, pages, after = found(store), [], None
    while page := store.find(RunQuery(after=after, limit=3)):
        pages.append([int(run.id, 16) for run in page])
        after = (page[-1].started_at.isoformat().replace("+00:00", spelled), page[-1].id)

    assert [number for page in pages for number in page] == whole
    assert [len(page) for page in pages] == [3, 3, 3, 2]


def test_conditions_narrow_and_combine(store: RunStore) -> None:
    """Every condition of a query holds for what it finds."""
    start(store, 1, group="g")
    start(store, 2, project="other", group="g", reproduces=run_id(1))
    start(store, 3, job_type="evaluate")
    store.append(run_id(3), Ended(at=AT, state=RunState.finished))

    assert found(store, project="parking") == [3, 1]
    assert found(store, group="g") == [2, 1]
    assert found(store, group="g", project="parking") == [1]
    assert found(store, job_type="evaluate") == [3]
    assert found(store, state=RunState.running) == [2, 1]
    assert found(store, state=RunState.finished) == [3]
    assert found(store, reproduces=run_id(1)) == [2]
    assert found(store, project="' OR '1'='1") == []
    assert found(store, limit=2) == [3, 2]


def test_finding_follows_a_changed_description(store: RunStore) -> None:
    """A run whose project became known later is found by the new one only."""
    start(store)
    store.append(run_id(1), Described(at=AT, project="streets", group="late", job_type="tune"))

    assert found(store, project="parking") == []
    assert found(store, project="streets", group="late", job_type="tune") == [1]


def test_runs_are_found_by_what_they_read(store: RunStore) -> None:
    """All conditions on an input hold for one and the same input."""
    start(store, 1)
    store.append(run_id(1), used("file:///a", "d1", "c1", "v1"))
    store.append(run_id(1), used("file:///b", "d2", "c2", None, "validation"))
    start(store, 2)
    store.append(run_id(2), used("file:///a", "d1", "c2"))
    store.append(run_id(2), used("file:///a", "d1", "c2"))

    assert found(store, dataset_uri="file:///a") == [2, 1]
    assert found(store, dataset_uri="file:///b") == [1]
    assert found(store, dataset_uri="file:///a", commit_id="c2") == [2]
    assert found(store, dataset_id="d2", commit_id="c2") == [1]
    assert found(store, view_id="v1") == [1]
    assert found(store, dataset_uri="file:///b", view_id="v1") == []
    assert found(store, dataset_uri="file:///c") == []


def test_runs_are_found_by_a_view_s_name_or_id_or_by_any_of_many_views(store: RunStore) -> None:
    """The name and the id of a saved view both lead to it; of many views any one is enough, and of none there is no run."""
    for number, key in ((1, "a" * 64), (2, "b" * 64)):
        start(store, number)
        event = used(view_id="v1")
        item = event.input.model_copy(update={"view_name": "wide", "space": "s", "rows_digest": f"sha256:{key}"})
        store.append(run_id(number), event.model_copy(update={"input": item}))
    many = tuple(f"s/{number:064x}" for number in range(40_000))  # more than a statement takes parameters

    assert found(store, view="v1") == found(store, view="wide") == [2, 1]
    assert found(store, view="wide-not") == found(store, view_keys=()) == found(store, view_keys=many) == []
    assert found(store, view_keys=(*many, f"s/{'b' * 64}")) == [2]
    assert found(store, view_keys=(f"s/{'b' * 64}", f"s/{'a' * 64}"), view="wide", dataset_id="d1") == [2, 1]
    assert found(store, view_keys=(f"s/{'b' * 64}",), dataset_id="d2") == []


def code(sha: str, tree: str, *inner: str) -> CodeVersion:
    facts = {"branch": "main", "is_dirty": False, "repository": "r", "root": "/r"}
    parts = tuple(InnerRepository(path=f"in{n}", is_submodule=True, code=code(name, name)) for n, name in enumerate(inner))
    return CodeVersion(git_sha=sha, snapshot_sha="5" * 40, tree_sha=tree, inner=parts, **facts)


def test_runs_are_found_by_their_code(store: RunStore) -> None:
    """By git commit, snapshot or tree, whole or how it begins, those of inner repositories included."""
    start(store, 1, code=code("a1" * 20, "b2" * 20))
    start(store, 2, code=code("a1" * 20, "c3" * 20, "d4" * 20))
    start(store, 3, code=code("e5" * 20, "b2" * 20))

    assert found(store, code="a1" * 20) == found(store, code="a1a1") == [2, 1]
    assert found(store, code="b2" * 20) == [3, 1]
    assert found(store, code="5555") == [3, 2, 1]
    assert found(store, code="d4d4") == [2]
    assert found(store, code=store.get(run_id(2)).code.content) == [2]  # type: ignore[union-attr]
    assert found(store, code="e5e5", project="parking") == [3]
    assert found(store, code="a1a2") == found(store, code="sha256:" + "0" * 64) == []


def test_runs_are_found_by_their_packages(store: RunStore) -> None:
    """By name in any spelling, with or without the version; runs without an environment are found by none."""
    old = {"scikit-learn": Package(version="1.4.0"), "torch": Package(version="2.8.0")}
    start(store, 1, environment=environment(packages=old))
    start(store, 2, environment=environment(packages=old | {"torch": Package(version="2.9.0")}))
    start(store, 3)
    store.append(run_id(1), Ended(at=AT, state=RunState.finished))

    assert found(store, package="torch") == found(store, package="Scikit_Learn") == [2, 1]
    assert found(store, package="torch", package_version="2.8.0") == [1]
    assert found(store, package="torch", package_version="2.8.0", state=RunState.running) == []
    assert found(store, package="torch", package_version="2.8") == found(store, package="numpy") == []


def test_runs_are_found_by_when_they_began(store: RunStore) -> None:
    """At the first moment or later, and before the last, in any zone; joined with the place of a page."""
    for number in range(1, 6):
        start(store, number, started_at=AT + timedelta(hours=number))
    zone = timezone(timedelta(hours=5, minutes=30))

    assert found(store, since=(AT + timedelta(hours=2)).astimezone(zone), until=AT + timedelta(hours=4)) == [3, 2]
    assert found(store, since=AT + timedelta(hours=2), after=((AT + timedelta(hours=4)).isoformat(), run_id(4))) == [3, 2]
    assert found(store, until=AT + timedelta(hours=1)) == []


def test_lists_show_what_the_records_say(place: Place, store: RunStore) -> None:
    """A run in short is the run's own, at every step of its life, in the order and number of the query."""
    zone = timezone(timedelta(hours=5, minutes=30))
    for number in range(1, 4):
        start(
            store,
            number,
            started_at=AT.astimezone(zone) + timedelta(seconds=number),
            seed=2**70,
            group="g\x00?%s",
            environment=environment(),
        )
    steps = (
        used(view_id="v"),
        made(),
        made(B, "ü.txt", "file"),
        made(B),
        Described(at=AT, name='second "name"', project="streets", config={"x": 1}),
        Ended(at=AT + timedelta(seconds=90), state=RunState.failed, summary={"loss": 1}),
        Reproduced(at=AT, reproduction=Reproduction(run_id=run_id(9), verdict="identical", at=AT)),
        Reproduced(at=AT, reproduction=Reproduction(run_id=run_id(8), verdict="diverged", at=AT, checked="steps 0 to 9")),
    )
    for event in steps:
        store.append(run_id(2), event)
        assert store.briefs(RunQuery()) == [brief(run) for run in store.find(RunQuery())]
    [told] = store.briefs(RunQuery(project="streets", limit=5))
    assert (told.name, told.state, told.duration_s, told.verdicts) == ('second "name"', RunState.failed, 88.0, ("identical",))
    assert [item.id for item in place.open().briefs(RunQuery(limit=2))] == [run_id(3), run_id(2)]


def test_runs_are_found_by_what_they_made(store: RunStore) -> None:
    """By digest and kind; an artifact that was replaced under its name is found by its old content, too."""
    start(store, 1)
    store.append(run_id(1), made(A))
    start(store, 2)
    store.append(run_id(2), made(A, "copy.pth", "file"))
    store.append(run_id(2), made(B))

    assert found(store, output_digest=A) == [2, 1]
    assert found(store, output_digest=A, output_kind="model") == [1]
    assert found(store, output_digest=B) == [2]
    store.append(run_id(2), made(A))
    assert found(store, output_digest=B) == [2]
    assert found(store, output_digest=A, output_kind="model") == [2, 1]


def test_ids_are_found_by_prefix(store: RunStore) -> None:
    """Ascending, at most so many, exactly those that begin so; no sign in a prefix has a meaning of its own."""
    ids = ["0a" + "0" * 30, "0a" + "f" * 30, "0af" + "1" * 29, "0b" + "0" * 30, "f" * 32]
    for identity in ids:
        store.append(identity, Started(at=AT, run=Run(id=identity, name="r", project="p", job_type="t", started_at=AT)))

    assert store.ids_with_prefix("0a", 10) == sorted(ids[:3])
    assert store.ids_with_prefix("0a", 2) == sorted(ids[:3])[:2]
    assert store.ids_with_prefix("0af", 10) == sorted([ids[1], ids[2]])
    assert store.ids_with_prefix("f", 10) == [ids[4]]
    assert store.ids_with_prefix(ids[0], 10) == [ids[0]]
    assert store.ids_with_prefix("", 10) == sorted(ids)
    assert store.ids_with_prefix("0c", 10) == store.ids_with_prefix("%", 10) == store.ids_with_prefix("0_", 10) == []


# --- metrics --------------------------------------------------------------------------------------------------------------


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def test_metrics_keep_every_bit(store: RunStore, place: Place) -> None:
    """Any float comes back with its bits: 1000 random ones, the extremes, both zeros; not-a-number and infinities as themselves."""
    source = random.Random(7)
    values = [struct.unpack("<d", source.randbytes(8))[0] for _ in range(1000)]
    values = [value for value in values if not math.isnan(value)]
    values += [0.0, -0.0, 5e-324, sys.float_info.max, -sys.float_info.max, sys.float_info.epsilon, 0.1, math.inf, -math.inf, math.nan]
    start(store)
    store.add_metrics(run_id(1), [point(step, m=value) for step, value in enumerate(values)])
    found = place.open().metrics(run_id(1))

    assert [bits(item.values["m"]) for item in found] == [bits(value) for value in values]
    assert {item.at for item in found} == {1715000000.123456}


def test_metrics_keep_the_order_of_the_calls(store: RunStore) -> None:
    """Not the order of the steps: a step may repeat, go back or be huge; odd names are kept."""
    start(store)
    start(store, 2)
    store.add_metrics(run_id(1), [point(5, a=1.0), point(3, b=2.0)])
    store.add_metrics(run_id(2), [point(0, other=1.0)])
    store.add_metrics(run_id(1), [])
    store.add_metrics(run_id(1), [point(3, **{'ü/"x"\t\\N\n\x00': 3.0, "": 4.0}), point(2**62, a=4.0)])

    assert [item.step for item in store.metrics(run_id(1))] == [5, 3, 3, 2**62]
    assert store.stored_metrics(run_id(1)) == list(stored_points(store.metrics(run_id(1))))
    assert [[item.step for item in store.metrics(run_id(1), skip)] for skip in (1, 3, 4, 9)] == [[3, 3, 2**62], [2**62], [], []]
    assert store.metrics(run_id(1))[2].values == {'ü/"x"\t\\N\n\x00': 3.0, "": 4.0}
    assert [item.values for item in store.metrics(run_id(2))] == [{"other": 1.0}]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE metrics SET payload = REPLACE(payload, '0.1', '0.2') WHERE number = 20001",
        "UPDATE metrics SET step = step + 1 WHERE number = 1",
        "UPDATE metrics SET at = at + 0.001 WHERE number = 1",
        "DELETE FROM metrics WHERE number = 20003",
        "UPDATE metrics SET number = CASE number WHEN 0 THEN 20004 ELSE number - 1 END",
    ],
)
def test_the_digest_of_metrics_sees_every_change(store: RunStore, place: Place, change: str) -> None:
    """A value, a step, a time, a lost point, another order; also behind the first part that is read at once."""
    start(store)
    assert store.metrics_digest(run_id(1)) is None
    store.add_metrics(run_id(1), [point(step, m=0.1 + step) for step in range(20_001)] + [point(9, m=0.1), point(8, m=-0.0), point(7)])
    before = store.metrics_digest(run_id(1))
    assert place.open().metrics_digest(run_id(1)) == before

    if "CASE" in change:  # the key may not clash on the way
        place.behind("UPDATE metrics SET number = number + 100000")
        place.behind("UPDATE metrics SET number = CASE number WHEN 100000 THEN 20004 ELSE number - 100001 END")
    else:
        place.behind(change)
    assert store.metrics_digest(run_id(1)) != before


def test_the_digest_of_metrics_is_the_same_in_every_store(store: RunStore) -> None:
    """It belongs to the record, which may be copied to another store."""
    start(store)
    store.add_metrics(run_id(1), [point(0, a=1.5, b=math.inf), point(3, ü=1e-300)])

    assert store.metrics_digest(run_id(1)) == "sha256:7449802ff7294bc8565e13129de07755f3eea8404263926dc77f9164f6f5f0ac"


# --- several at once ------------------------------------------------------------------------------------------------------


@SHARED
def test_two_processes_append_to_one_run(place: Place, store: RunStore) -> None:
    """Nothing is lost, doubled or chained wrongly when two processes add to one record."""
    start(store)
    children = [place.start("note", run_id(1), 40) for _ in range(2)]

    assert [child.wait(60) for child in children] == [0, 0]
    run = store.get(run_id(1))
    assert len(run.notes) == 80
    assert replay(store.events(run.id), run.id) == run


@SHARED
def test_processes_log_and_start_at_once(place: Place, store: RunStore) -> None:
    """Metrics of one run from two processes, and runs of others meanwhile, are all there."""
    start(store)
    children = [place.start("metrics", run_id(1), 30), place.start("metrics", run_id(1), 30), place.start("start", "f" * 24, 30)]

    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert len(store.metrics(run_id(1))) == 180
    assert len(store.find(RunQuery())) == 31


def test_threads_append_to_one_run(store: RunStore) -> None:
    """One store serves several threads."""
    start(store)

    def work(number: int) -> None:
        for i in range(20):
            store.append(run_id(1), Noted(at=AT, note=f"{number}.{i}"))
            store.add_metrics(run_id(1), [point(i, m=1.0)])

    in_threads(4, work)
    run = store.get(run_id(1))
    assert sorted(run.notes) == sorted(f"{number}.{i}" for number in range(4) for i in range(20))
    assert replay(store.events(run.id), run.id) == run
    assert len(store.metrics(run.id)) == 80


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - handed on to the test
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@SHARED
def test_processes_may_make_the_store_together(place: Place) -> None:
    """Four processes that open a store which does not exist yet all find it made, once."""
    import time

    begin = time.time() + 1.5
    children = [place.start("start", f"{number}" * 24, 3, begin) for number in range(4)]

    assert [child.wait(60) for child in children] == [0] * 4
    assert len(place.open().find(RunQuery())) == 12
    assert place.behind("SELECT COUNT(*) FROM schema_version") == place.behind("SELECT MAX(version) FROM schema_version")


@pytest.mark.parametrize("place", ["sqlite", "postgresql"], indirect=True)
def test_connections_of_ended_threads_are_closed(place: Place, store: RunStore) -> None:
    """A process that starts many short threads (each run has one) does not pile up connections."""
    start(store)
    for _ in range(20):
        in_threads(1, lambda _: store.add_metrics(run_id(1), [point(0, m=1.0)]))

    if place.kind == "sqlite":
        held = [path for path in Path("/proc/self/fd").iterdir() if str(path.resolve()) == place.address]
        assert len(held) <= 4
    else:
        assert place.behind("SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()")[0][0] <= 4
    assert len(store.metrics(run_id(1))) == 20


def test_a_failed_write_leaves_nothing_and_the_store_usable(place: Place, store: RunStore) -> None:
    """An error in the middle of an append is one clear error, rolls back, and the next append works."""
    start(store)
    place.behind("ALTER TABLE run_inputs RENAME TO moved")
    with pytest.raises(Unavailable, match="cannot be used"):
        store.append(run_id(1), used())
    place.behind("ALTER TABLE moved RENAME TO run_inputs")

    assert store.get(run_id(1)).inputs == ()
    assert len(store.events(run_id(1))) == 1
    assert len(store.append(run_id(1), used()).inputs) == 1


# --- the store itself ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["sqlite", "postgresql"], indirect=True)
def test_a_newer_schema_is_refused(place: Place) -> None:
    """A store that a newer release has migrated is not touched: the message says what to do."""
    place.open()
    place.behind("INSERT INTO schema_version (version) VALUES (999)")

    with pytest.raises(Unavailable, match=r"schema version 999, this release knows \d+") as refused:
        place.open()
    assert "newer release" in str(refused.value.hint)


def test_opening_again_keeps_everything(place: Place, store: RunStore) -> None:
    """Opening and closing a store changes nothing in it; a closed store opens again when it is used."""
    start(store)
    store.close()

    assert place.open().get(run_id(1)).name == "first"
    assert store.get(run_id(1)).name == "first"


def test_a_location_shows_no_password(place: Place, store: RunStore) -> None:
    """Where the store is can be printed: it holds no user and no password."""
    assert "postgres:" not in store.location
    assert "@" not in store.location
    assert (place.address == store.location) == (place.kind != "postgresql")


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """Garbage, or a folder that cannot be made, is one clear error that names the place."""
    (tmp_path / "lineage.sqlite").write_bytes(b"this is no database, whatever its name says" * 40)
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "lineage.sqlite", tmp_path / "file" / "store" / "lineage.sqlite"):
        with pytest.raises(Unavailable, match=str(path)):
            SqliteDatabase(path)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    """A refused connection is one clear error without the password."""
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1/runs") as refused:
        PostgresDatabase("postgresql://kim:hunter22@127.0.0.1:1/runs")
    assert "hunter22" not in refused.value.message


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_lost_connection_is_made_again(place: Place, store: RunStore) -> None:
    """A server that restarts ends connections: those that nobody is using are made again without a word."""
    start(store)
    ended = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert place.behind(ended)

    assert store.get(run_id(1)).name == "first"


def test_documents_are_plain_json(place: Place, store: RunStore) -> None:
    """Anybody can read a record out of the database without this project."""
    start(store, config={"lr": 0.1})

    assert json.loads(place.behind("SELECT document FROM runs")[0][0])["config"] == {"lr": 0.1}


# --- records from elsewhere -----------------------------------------------------------------------------------------------


def elsewhere(folder: Path, *more: Any) -> tuple[list[tuple[str, str]], dict[str, str], list[MetricPoint]]:
    """A whole record as another store has it: (events, environments, metric points)."""
    other = ContinuingRunStore(SqliteDatabase(folder / "other" / "lineage.sqlite"))
    run = start(other, environment=environment())
    for event in (used(), made(), made(B)):
        other.append(run.id, event)
    other.add_metrics(run.id, [point(0, loss=1.0, accuracy=math.nan), point(1, loss=-0.0)])
    other.append(run.id, Ended(at=AT, state=RunState.finished, metrics_digest=other.metrics_digest(run.id)))
    for event in more:
        other.append(run.id, event)
    named = json.loads(other.events(run.id)[0][0])["run"]["environment"]
    found = other.events(run.id), {named: other.environment_text(named)}, other.metrics(run.id)
    other.close()
    return found


def test_a_record_is_taken_over_letter_by_letter(store: RunStore, tmp_path: Path) -> None:
    """The chain, the environment, the metrics and all that look-ups know; a second time nothing is new."""
    events, environments, points = elsewhere(tmp_path)

    assert store.adopt(run_id(1), events, environments, points, "a file") == len(events)
    assert store.adopt(run_id(1), events, environments, points, "another file") == 0

    assert store.events(run_id(1)) == events
    assert store.get(run_id(1)) == replay(events, run_id(1), store.environment)
    assert store.metrics_digest(run_id(1)) == store.get(run_id(1)).metrics_digest
    assert store.origin(run_id(1)) == "a file"
    assert found(store, dataset_uri="file:///ds") == [1]
    assert found(store, output_digest=A) == [1], "a replaced output"
    assert found(store, output_digest=B) == [1]


def test_a_record_that_was_taken_over_grows(store: RunStore, tmp_path: Path) -> None:
    """With what came since where it is from; an older state changes nothing; what grew here apart is a conflict."""
    note = Noted(at=AT, note="seen")
    events, environments, points = elsewhere(tmp_path / "a")
    later = [*events]
    later += elsewhere(tmp_path / "b", note)[0][len(events) :]
    store.adopt(run_id(1), events, environments, points, "a file")

    assert store.adopt(run_id(1), later, environments, points, "a file") == 1
    assert store.adopt(run_id(1), events, environments, points, "a file") == 0
    assert store.get(run_id(1)).notes == ("seen",)
    store.append(run_id(1), Noted(at=AT, note="here"))
    further = elsewhere(tmp_path / "c", note, Noted(at=AT, note="there"))[0]
    with pytest.raises(Conflict, match="another record"):
        store.adopt(run_id(1), further, environments, points, "a file")


def test_an_own_record_is_never_changed_from_outside(store: RunStore, tmp_path: Path) -> None:
    run = start(store, environment=environment())
    own = store.events(run.id)
    events, environments, points = elsewhere(tmp_path)
    assert events[:1] == own

    assert store.adopt(run.id, events, environments, points, "a file") == 0

    assert store.events(run.id) == own
    assert store.origin(run.id) is None
    assert store.metrics(run.id) == []


@pytest.mark.parametrize("wrong", ["event", "order", "environment", "no environment", "metrics", "id"])
def test_a_record_that_does_not_hold_together_is_not_taken_over(store: RunStore, tmp_path: Path, wrong: str) -> None:
    """Everything or nothing."""
    events, environments, points = elsewhere(tmp_path)
    (named,) = environments
    match wrong:
        case "event":
            events[1] = (events[1][0].replace("train", "test"), events[1][1])
        case "order":
            events[1], events[2] = events[2], events[1]
        case "environment":
            environments[named] = environments[named].replace("3.11", "3.12")
        case "no environment":
            environments = {}
        case "metrics":
            points = points[:1]

    with pytest.raises((IntegrityError, Conflict)):
        store.adopt(run_id(2 if wrong == "id" else 1), events, environments, points, "a file")

    assert store.ids_with_prefix("", 5) == []
    assert store.metrics(run_id(1)) == []
    assert store.origin(run_id(1)) is None


# --- records that grow by events from elsewhere ---------------------------------------------------------------------------


def test_a_record_grows_by_events_from_elsewhere(store: RunStore, tmp_path: Path) -> None:
    """Part by part, the points before the end; the record is this store's own, as it was written."""
    events, environments, points = elsewhere(tmp_path)
    assert store.extend(run_id(1), 0, events[:2], environments) == 2
    assert store.extend_metrics(run_id(1), 0, points[:1]) == 1
    assert store.extend_metrics(run_id(1), 1, points[1:]) == 1
    assert store.extend(run_id(1), 2, events[2:], {}) == len(events) - 2

    assert store.events(run_id(1)) == events
    assert store.get(run_id(1)) == replay(events, run_id(1), store.environment)
    assert store.origin(run_id(1)) is None
    assert store.position(run_id(1)) == Position(len(events), events[-1][1], 2)
    assert found(store, output_digest=A) == found(store, dataset_uri="file:///ds") == [1]


def test_a_place_that_is_taken_is_refused_at_first_and_fits_again(store: RunStore, tmp_path: Path) -> None:
    """The same once more is new to a first try and known to a further one; other events never fit; a gap never does."""
    events, environments, points = elsewhere(tmp_path)
    other = [(events[1][0].replace("train", "test"), events[1][1])]
    store.extend(run_id(1), 0, events[:3], environments)
    store.extend_metrics(run_id(1), 0, points)

    assert store.extend(run_id(1), 0, events[:3], environments) is None
    assert store.extend(run_id(1), 1, events[1:3], {}, again=True) == 0
    assert store.extend(run_id(1), 1, events[1:4], {}, again=True) == 1
    assert store.extend(run_id(1), 1, other, {}, again=True) is None
    assert store.extend(run_id(1), 9, events[1:], {}, again=True) is None
    assert store.extend_metrics(run_id(1), 0, points) is None
    assert store.extend_metrics(run_id(1), 1, points[1:], again=True) == 0
    assert store.extend_metrics(run_id(1), 0, points[::-1], again=True) is None
    assert store.extend_metrics(run_id(1), 7, points, again=True) is None
    assert store.events(run_id(1)) == events[:4]
    assert len(store.metrics(run_id(1))) == 2


@pytest.mark.parametrize("wrong", ["event", "order", "environment", "no environment", "metrics", "id"])
def test_events_that_do_not_hold_together_are_not_added(store: RunStore, tmp_path: Path, wrong: str) -> None:
    """Everything or nothing."""
    events, environments, points = elsewhere(tmp_path)
    number = run_id(2 if wrong == "id" else 1)
    (named,) = environments
    if wrong != "metrics":
        events = events[:-1]  # the end says what the points are, which are not there
    match wrong:
        case "event":
            events[1] = (events[1][0].replace("train", "test"), events[1][1])
        case "order":
            events[1], events[2] = events[2], events[1]
        case "environment":
            environments[named] = environments[named].replace("3.11", "3.12")
        case "no environment":
            environments = {}
        case "metrics":
            store.extend(number, 0, events[:1], environments)
            store.extend_metrics(number, 0, points[:1])
    with pytest.raises((IntegrityError, Conflict)):
        store.extend(number, 0, events, environments, again=True)

    assert len(store.events(number)) == (1 if wrong == "metrics" else 0)


def test_points_of_a_run_that_is_not_there_are_refused(store: RunStore) -> None:
    with pytest.raises(NotFound, match=run_id(3)):
        store.extend_metrics(run_id(3), 0, [point(0, m=1.0)])
    assert store.position(run_id(3)) == Position(0, None, 0)
