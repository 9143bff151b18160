"""Stores of earlier releases are brought to the newest schema, and their records are listed and found like new ones."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lineage.adapters.stores.database import Database
from lineage.adapters.stores.postgres import PostgresDatabase
from lineage.adapters.stores.row_index import SqlRowIndex
from lineage.adapters.stores.schema import MIGRATIONS
from lineage.adapters.stores.sql import SqlRunStore, json_text, run_facts
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.errors import IntegrityError
from lineage.model.code import CodeVersion
from lineage.model.digest import canonical_json, digest_of_bytes
from lineage.model.environment import Environment, Package
from lineage.model.listing import brief
from lineage.model.run import Artifact, Reproduction, Run, RunState
from lineage.ports import RunQuery

AT = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
BEFORE_LISTS = next(number for number, steps in enumerate(MIGRATIONS) if any(callable(step) for step in steps))
"""Number of migrations before lists had a column of their own."""

ENVIRONMENT = Environment(
    python="3.11.7",
    implementation="CPython",
    executable="/python",
    packages={"torch": Package(version="2.8.0")},
    digest=DIGEST,
    platform="Linux",
    libc="glibc 2.36",
    cpu="c",
    cpu_count=2,
)


def old_run(number: int) -> Run:
    code = CodeVersion(
        git_sha="ab" * 20, branch="main", is_dirty=False, snapshot_sha="cd" * 20, tree_sha="ef" * 20, repository="r", root="/r"
    )
    return Run(
        id=f"{number:032x}",
        name="ü",
        project="parking",
        job_type="train",
        state=RunState.finished,
        started_at=AT + timedelta(minutes=number),
        ended_at=AT + timedelta(minutes=number, seconds=1.5),
        code=code,
        environment=ENVIRONMENT,
        outputs=(Artifact(name="m.pth", kind="model", path="m.pth", digest=DIGEST, size_bytes=7),),
        reproductions=(Reproduction(run_id="f" * 32, verdict="identical", at=AT),),
    )


def store_of_release(version: int, count: int) -> list[tuple[str, tuple[Any, ...]]]:
    """Statements that make a store as the release with this schema version left it."""
    made: list[tuple[str, tuple[Any, ...]]] = [(step, ()) for steps in MIGRATIONS[:version] for step in steps if isinstance(step, str)]
    made.append(("CREATE TABLE schema_version (version INTEGER NOT NULL)", ()))
    made += [("INSERT INTO schema_version (version) VALUES (?)", (number,)) for number in range(1, version + 1)]
    payload = canonical_json(ENVIRONMENT.model_dump(mode="json")).decode()
    if version > 1:
        made.append(("INSERT INTO environments (digest, payload) VALUES (?, ?)", (digest_of_bytes(payload.encode()), payload)))
    for number in range(count):
        run = old_run(number)
        if version > 1:
            document = json_text(run_facts(run, digest_of_bytes(payload.encode())))
        else:  # the first release kept the environment in the record
            document = run.model_dump_json(exclude={"duration_s", "fingerprint"})
        columns = "id, name, project, run_group, job_type, state, started_at, ended_at, fingerprint, reproduces, document"
        times = (run.started_at.isoformat(timespec="microseconds"), run.ended_at.isoformat(timespec="microseconds"))  # type: ignore[union-attr]
        values = (run.id, run.name, "parking", None, "train", "finished", *times, run.fingerprint, None, document)
        made.append((f"INSERT INTO runs ({columns}) VALUES ({', '.join('?' * 11)})", values))
    return made


def make_file(path: Path, statements: list[tuple[str, tuple[Any, ...]]]) -> SqliteDatabase:
    with closing(sqlite3.connect(path)) as connection, connection:
        for sql, values in statements:
            connection.execute(sql, values)
    return SqliteDatabase(path)


def check(database: Database, count: int) -> None:
    store = SqlRunStore(database)
    runs = [old_run(number) for number in reversed(range(count))]
    assert store.find(RunQuery()) == runs
    assert store.briefs(RunQuery()) == [brief(run) for run in runs]
    with database.reading() as execute:
        assert execute("SELECT COUNT(*) FROM runs WHERE brief IS NULL", ()) == [(0,)]
    for query in (RunQuery(code="abab"), RunQuery(code="ef" * 20), RunQuery(package="torch", package_version="2.8.0")):
        assert [run.id for run in store.find(query)] == [run.id for run in runs]
    assert store.find(RunQuery(package="numpy")) == store.find(RunQuery(code="1234")) == []
    database.close()


@pytest.mark.parametrize("version", range(1, BEFORE_LISTS + 1))
def test_every_release_s_store_is_listed_and_searched(tmp_path: Path, version: int) -> None:
    """Whichever release wrote the file: each record is in the list as it says itself, and is found by its code and packages."""
    check(make_file(tmp_path / "lineage.sqlite", store_of_release(version, 3)), 3)


@pytest.mark.parametrize("version", [1, BEFORE_LISTS])
def test_a_server_s_store_is_listed_and_searched(request: pytest.FixtureRequest, version: int) -> None:
    """The same in PostgreSQL, also with more records than are read at once."""
    url = request.getfixturevalue("postgres_url")
    with psycopg.connect(url, autocommit=True) as server:
        for sql, values in store_of_release(version, 501):
            server.execute(sql.replace("?", "%s"), values)
    check(PostgresDatabase(url), 501)


def test_a_spoilt_record_does_not_keep_a_store_from_opening(tmp_path: Path) -> None:
    """What cannot be read is named when it is listed, as before; the other records are there."""
    database = make_file(
        tmp_path / "lineage.sqlite",
        [*store_of_release(BEFORE_LISTS - 1, 2), ("UPDATE runs SET document = '[1]' WHERE id = ?", ("0" * 32,))],
    )
    store = SqlRunStore(database)

    assert store.briefs(RunQuery(limit=1)) == [brief(old_run(1))]
    with pytest.raises(IntegrityError, match="record 000000000000"):
        store.briefs(RunQuery())
    assert json.loads(store.find(RunQuery(limit=1))[0].model_dump_json())["name"] == "ü"
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_uploads_of_earlier_releases_are_found_from_their_version(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """And when runs read or used something is known from their own beginning."""
    is_there = [any(isinstance(step, str) and "dataset_outputs" in step for step in steps) for steps in MIGRATIONS]
    details = {"dataset_id": "d", "commit_id": "c1", "uri": "file:///ds"}
    uploaded = Artifact(name="dataset", kind="dataset", path="p", digest=DIGEST, size_bytes=1, details=details)
    record = old_run(7).model_copy(update={"outputs": (uploaded,), "environment": None})
    reader, used, writer = (f"{number:032x}" for number in (5, 6, 7))
    output = "INSERT INTO run_outputs (run_id, name, kind, digest) VALUES (?, ?, ?, ?)"
    made = [
        *store_of_release(is_there.index(True), 8),
        ("UPDATE runs SET document = ? WHERE id = ?", (record.model_dump_json(exclude={"duration_s", "fingerprint"}), writer)),
        (output, (writer, "dataset", "dataset", DIGEST)),
        (output, (used, "m.pth", "model", DIGEST)),
        (
            "INSERT INTO run_inputs (run_id, ordinal, role, uri, dataset_id, branch, commit_id, rows_digest, content_digest)"
            " VALUES (?, 0, 'train', 'file:///ds', 'd', 'main', 'c1', 'r', 'x')",
            (reader,),
        ),
        ("INSERT INTO run_uses (run_id, ordinal, role, kind, path, digest) VALUES (?, 0, 'base', 'model', 'm', ?)", (reader, DIGEST)),
    ]
    if kind == "sqlite":
        database: Database = make_file(tmp_path / "lineage.sqlite", made)
    else:
        url = request.getfixturevalue("postgres_url")
        with psycopg.connect(url, autocommit=True) as server:
            for sql, values in made:
                server.execute(sql.replace("?", "%s"), values)
        database = PostgresDatabase(url)

    index = SqlRowIndex(database)
    assert index.uploads("d", "c1", 9) == [writer]
    (version,) = index.versions_read("d", 9)
    assert version.last_at == "2024-05-06T07:13:09.123456+00:00"
    assert [link.far for link in index.links("starts", [(DIGEST,)], forward=True, most=9)] == [(reader,)]
    database.close()
