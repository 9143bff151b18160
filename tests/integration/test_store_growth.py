"""What a look-up costs must not grow with runs that have nothing to do with it: counted in steps of SQLite's machine, not in time."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lineage.adapters.stores.continuing import ContinuingRunStore
from lineage.adapters.stores.liveness import FileLiveness
from lineage.adapters.stores.row_index import SqlRowIndex
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.lookup.models import exposures_of_version, models_of
from lineage.model.dataset import InputRecord
from lineage.model.event import ArtifactMade, ArtifactUsed, Ended, InputUsed, Started
from lineage.model.run import Artifact, Run, RunState, UsedArtifact
from lineage.ports import RunQuery

AT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
ID = "a" * 32
MODEL, BASE = "sha256:" + "c" * 64, "sha256:" + "d" * 64
OTHERS = 3_000
Ask = Callable[[ContinuingRunStore, SqlRowIndex], Any]

LISTS = {
    "the newest": RunQuery(limit=1),
    "a project": RunQuery(project="parking", limit=5),
    "a group": RunQuery(group="sweep", limit=5),
    "a group's finished runs in a project": RunQuery(project="crossing", group="sweep", state=RunState.finished, limit=5),
    "what failed": RunQuery(state=RunState.failed, limit=5),
    "what failed in a large project": RunQuery(project="crossing", state=RunState.failed, limit=5),
    "a rare kind of job": RunQuery(job_type="upload", limit=5),
    "a dataset version": RunQuery(dataset_id="shop", commit_id="c7", limit=5),
    "a dataset that nearly all runs read": RunQuery(dataset_uri="s3://b/other", limit=5),
    "the same by its id": RunQuery(dataset_id="other", limit=5),
    "a view by its name": RunQuery(view="cars", limit=5),
    "makers of a file": RunQuery(output_digest=MODEL, limit=5),
}
EDGES: dict[str, Ask] = {
    "makers": lambda _, rows: rows.makers([MODEL]),
    "users": lambda _, rows: rows.users([BASE]),
    "made by, replaced ones too": lambda _, rows: rows.made_by([ID], replaced=True),
    "used by": lambda _, rows: rows.used_by([ID]),
    "inputs whose rows are not known": lambda _, rows: rows.unindexed_inputs(),
}


class Counted(SqliteDatabase):
    """Counts steps of SQLite's machine, in tens."""

    steps = 0

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.set_progress_handler(self._count, 10)
        return connection

    def _count(self) -> int:
        self.steps += 1
        return 0


def _read() -> InputRecord:
    names = {"uri": "s3://b/shop", "dataset_id": "shop", "branch": "main", "branch_id": "main", "commit_id": "c7", "backend": "deeplake"}
    digests = dict.fromkeys(("rows_digest", "content_digest", "rows_object"), MODEL)
    return InputRecord(role="train", rows=5, rows_total=9, columns={}, used_at=AT, **names, **digests)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Counted]:
    """One run of its own kind, before thousands of others."""
    database = Counted(tmp_path / "lineage.sqlite")
    store = ContinuingRunStore(database)
    run = Run(id=ID, name="one", project="parking", group="sweep", job_type="upload", started_at=AT)
    store.append(ID, Started(at=AT, run=run))
    store.append(ID, InputUsed(at=AT, input=_read()))
    used = UsedArtifact(role="base", kind="model", path="base.pth", digest=BASE, size_bytes=1, used_at=AT)
    store.append(ID, ArtifactUsed(at=AT, artifact=used))
    store.append(ID, ArtifactMade(at=AT, artifact=Artifact(name="model.pth", kind="model", path="model.pth", digest=MODEL, size_bytes=1)))
    store.append(ID, Ended(at=AT, state=RunState.failed))
    yield database
    database.close()


def add_others(database: Counted) -> None:
    """Later runs, all alike, with what they read, used and made."""
    ids = [f"b{number:031x}" for number in range(OTHERS)]
    with database.reading() as execute:
        brief = execute("SELECT brief FROM runs WHERE id = ?", (ID,))[0][0]  # anything that can be read
    others = ("other", "crossing", "train", "finished", "2025-01-01T00:00:00.000000+00:00", "f", "{}", brief)
    columns = ("id", "run_group", "name", "project", "job_type", "state", "started_at", "fingerprint", "document", "brief")
    inputs = ("train", "s3://b/other", "other", "main", "c1", "r", "c", others[4], "v", "{}")
    input_columns = (
        "run_id",
        "ordinal",
        "role",
        "uri",
        "dataset_id",
        "branch",
        "commit_id",
        "rows_digest",
        "content_digest",
        "started_at",
        "view_key",
        "brief",
    )
    made = ("run_id", "name", "kind", "digest")
    with database.writing():
        database.insert_many("runs", columns, ((run_id, f"g{run_id[-4:-1]}", *others) for run_id in ids))
        database.insert_many("views", ("number", "key", "space", "row_count"), [(1, "v", 1, 1)])
        database.insert_many("run_inputs", input_columns, ((run_id, 0, *inputs) for run_id in ids))
        for table in ("run_outputs", "replaced_outputs"):
            database.insert_many(table, made, ((run_id, "model.pth", "model", f"sha256:{run_id}") for run_id in ids))
        uses = ("run_id", "ordinal", "role", "kind", "path", "digest")
        database.insert_many("run_uses", uses, ((run_id, 0, "base", "model", "x.pth", f"sha256:{run_id}") for run_id in ids))


def cost(database: Counted, ask: Ask) -> int:
    """Steps of one look-up, when its statements are known."""
    store, rows = ContinuingRunStore(database), SqlRowIndex(database)
    ask(store, rows)
    before = database.steps
    ask(store, rows)
    return 10 * (database.steps - before)


def test_the_cost_of_a_look_up_does_not_grow_with_runs_that_do_not_fit(database: Counted) -> None:
    asked = {name: lambda store, _, query=query: store.briefs(query) for name, query in LISTS.items()} | EDGES
    alone = {name: cost(database, ask) for name, ask in asked.items()}
    add_others(database)
    grown = {name: cost(database, ask) for name, ask in asked.items()}
    assert SqlRowIndex(database).unindexed_inputs() == [(ID, 0)]
    assert {name: steps for name, steps in grown.items() if steps > alone[name] + 600} == {}


def test_which_runs_read_a_version_is_told_without_their_whole_records(database: Counted, tmp_path: Path) -> None:
    with database.writing() as execute:
        execute("UPDATE runs SET document = 'damaged'", ())
    found = exposures_of_version(ContinuingRunStore(database), FileLiveness(tmp_path / "locks"), "shop", "c7")
    assert [(item.sighting.run_id, item.sighting.ordinal, item.sighting.role, item.sighting.state) for item in found] == [
        (ID, 0, "train", "failed")
    ]
    assert [(use.run_id, use.model_digest) for use in models_of(SqlRowIndex(database), found)] == [(ID, MODEL)]


def test_a_run_that_died_is_told_as_aborted_among_those_that_read_a_version(database: Counted, tmp_path: Path) -> None:
    store, run_id = ContinuingRunStore(database), "c" * 32
    begun = Run(id=run_id, name="died", project="parking", job_type="train", started_at=AT, host=socket.gethostname())
    store.append(run_id, Started(at=AT, run=begun))
    store.append(run_id, InputUsed(at=AT, input=_read()))
    locks = tmp_path / "locks"
    locks.mkdir()
    (locks / run_id).touch()  # and nobody holds it
    found = exposures_of_version(store, FileLiveness(locks), "shop", "c7")
    assert {item.sighting.run_id: item.sighting.state for item in found} == {run_id: "aborted", ID: "failed"}


def test_caches_of_many_threads_together_stay_small(database: Counted) -> None:
    sizes_kib: list[int] = []
    all_there = threading.Barrier(40)

    def look() -> None:
        with database.reading() as execute:
            sizes_kib.append(-execute("PRAGMA cache_size", ())[0][0])
        all_there.wait(60)  # a connection is closed when its thread has ended

    threads = [threading.Thread(target=look) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(sizes_kib) == 40
    assert max(sizes_kib) == 32 * 1024  # a look-up over thousands of runs wants it
    assert sum(sizes_kib) < 256 * 1024
