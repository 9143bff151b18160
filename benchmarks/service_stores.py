"""Builds what ``service_lookups.py`` asks, in a folder that is kept: SQLite and PostgreSQL, each for us and for MLflow.

Our records go into SQLite through the store's own door for records of another store, which checks chain and metrics of each; the tables
are then copied to PostgreSQL row by row. MLflow makes its own tables, and their rows are put into them directly: its API would take more
than a day. Whether both read them right is checked with every question. A build that was broken off goes on where it stood: after a run
for ours, after a whole table for MLflow.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from service_records import BEGIN, DATASETS, METRICS, POINTS, PROJECTS, ROLES, ROWS_A_VERSION, Records, flat

from lineage.adapters.objects.folder import FolderObjectStore
from lineage.adapters.stores.continuing import ContinuingRunStore
from lineage.adapters.stores.environments import Environments
from lineage.adapters.stores.postgres import PostgresDatabase
from lineage.adapters.stores.row_index import SqlRowIndex
from lineage.adapters.stores.sql import event_text
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.model.event import chain_digest, replay
from lineage.record.ledger import Ledger, RowDigests, RowNames
from lineage.record.row_keys import picture_keys, sample_keys

Rows = Iterable[Sequence[Any]]
_PART = 1000
_MAKE_TABLES = "import sys; from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore; SqlAlchemyStore(sys.argv[1], sys.argv[2])"


class Progress:
    """Names of parts that are done, in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._done: list[str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []

    def once(self, part: str, work: Callable[[], None]) -> None:
        """Do ``work`` unless it was done before."""
        if part not in self._done:
            began = time.perf_counter()
            work()
            self._done.append(part)
            self._file.write_text(json.dumps(self._done), encoding="utf-8")
            print(f"  {part}: {time.perf_counter() - began:.0f} s", flush=True)


# --- ours ---------------------------------------------------------------------------------------------------------------------


def build_ours(folder: Path, records: Records) -> None:
    """A store in a folder: records, ledgers, row index."""
    database = SqliteDatabase(folder / "lineage.sqlite")
    with closing(database):
        store, progress = ContinuingRunStore(database), Progress(folder / "built.json")
        texts: dict[str, str] = {}
        with database.writing() as execute:
            assert records.environment is not None
            environment = Environments().keep(execute, records.environment)
            texts[environment] = Environments.text(execute, environment, "")
        progress.once("our runs", lambda: _add_runs(store, database, records, environment, texts))
        index, objects = SqlRowIndex(database), FolderObjectStore(folder / "objects")
        for dataset in range(DATASETS):
            progress.once(f"our rows of dataset {dataset}", lambda dataset=dataset: _add_rows(index, objects, records, dataset))  # type: ignore[misc]
        progress.once("statistics of our SQLite", lambda: _analyse(database))
        _check(store, records)


def _add_runs(
    store: ContinuingRunStore, database: SqliteDatabase, records: Records, environment: str, environments: dict[str, str]
) -> None:
    with database.reading() as execute:
        known = execute("SELECT COUNT(*) FROM runs", ())[0][0]
        # A rebuildable copy: nothing is lost with it, and the disk need not be waited for.
        execute("PRAGMA synchronous = OFF", ())
    for run in range(known, records.runs):
        points = records.points(run)
        chain: list[tuple[str, str]] = []
        for event in records.events(run, records.metrics_digest(points)):
            text = event_text(event, environment)
            chain.append((text, chain_digest(chain[-1][1] if chain else None, text)))
        store.adopt(records.run_id(run), chain, environments, points, "benchmark")


def _analyse(database: SqliteDatabase) -> None:
    with database.reading() as execute:
        execute("PRAGMA wal_checkpoint(TRUNCATE)", ())


def _add_rows(index: SqlRowIndex, objects: FolderObjectStore, records: Records, dataset: int) -> None:
    versions = range(dataset, records.versions, DATASETS)
    count, space = len(versions) * ROWS_A_VERSION, records.space(dataset)
    rows = np.arange(count)
    pictures = b"".join(records.picture(dataset, row) for row in range(count))
    names = tuple(records.sample_id(dataset, row) for row in range(count))
    digests = RowDigests.of(pictures, pictures)
    ledger = Ledger(objects).extended(rows, digests, RowNames(names)).save()
    index.put_ledger(space, index.ledger(space), ledger)
    index.add_keys(space, "picture", picture_keys(digests.pictures), rows)
    index.add_keys(space, "sample", sample_keys(names), rows)
    for version in versions:
        first = records.first_row(version)
        for role, (start, end) in ROLES.items():
            index.add_view(records.view_key(version, role), space, np.arange(first + start, first + end))


def _check(store: ContinuingRunStore, records: Records) -> None:
    """Of some runs: the events add up to the record, and the metrics are what it says."""
    for run in np.random.default_rng(1).integers(0, records.runs, 20).tolist():
        found = store.get(records.run_id(run))
        assert found == replay(store.events(found.id), found.id, store.environment), f"run {run}: the record is not what its events tell"
        assert found.metrics_digest == store.metrics_digest(found.id), f"run {run}: other metrics than its record says"


def copy_ours(folder: Path, url: str, records: Records) -> None:
    """The same tables in PostgreSQL, row by row."""
    source, target = SqliteDatabase(folder / "lineage.sqlite"), PostgresDatabase(url)
    with closing(source), closing(target):
        progress = Progress(folder / "built-postgresql.json")
        with source.reading() as execute:
            tables = [
                name
                for (name,) in execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'", ())
                if name != "schema_version"
            ]
            for table in tables:
                columns = [row[1] for row in execute(f"PRAGMA table_info({table})", ())]
                progress.once(f"our PostgreSQL, {table}", lambda table=table, columns=columns: _copy(source, target, table, columns))  # type: ignore[misc]
        progress.once("our PostgreSQL, statistics", lambda: _vacuum(url))
        _check(ContinuingRunStore(target), records)


def _copy(source: SqliteDatabase, target: PostgresDatabase, table: str, columns: list[str]) -> None:
    with source.reading() as read, target.writing() as write:
        write(f"DELETE FROM {table}", ())
        last = 0
        while rows := read(f"SELECT rowid, {', '.join(columns)} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT 20000", (last,)):
            last = rows[-1][0]
            target.insert_many(table, columns, (row[1:] for row in rows))


def _vacuum(url: str) -> None:
    # What the server does by itself within minutes.
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


# --- MLflow -------------------------------------------------------------------------------------------------------------------


def build_mlflow(python: str, folder: Path, url: str, records: Records) -> None:
    """Fill MLflow's own tables.

    Args:
        python: Interpreter of MLflow's environment.
        folder: Keeps what is done, and artifacts (there are none).
        url: ``sqlite:///…`` or ``postgresql://…``.
        records: The runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress(folder / "built.json")
    kind = url.partition(":")[0]
    make = [python, "-c", _MAKE_TABLES, url, str(folder / "artifacts")]
    progress.once(f"MLflow's tables in {kind}", lambda: _run(make))
    for table, columns, rows in _mlflow_tables(records, folder):
        progress.once(
            f"MLflow's {kind}, {table}",
            lambda table=table, columns=columns, rows=rows: _fill(url, table, columns, rows(), records),  # type: ignore[misc]
        )
    if kind == "postgresql":
        progress.once("MLflow's postgresql, statistics", lambda: _vacuum(url))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"MLflow could not make its tables:\n{done.stderr}")


def _mlflow_tables(records: Records, folder: Path) -> Iterator[tuple[str, tuple[str, ...], Callable[[], Rows]]]:
    """(table, columns, rows), in the order of each table's primary key where that is quick: its index then grows at its end."""
    runs = range(records.runs)
    ids = [records.run_id(run) for run in runs]
    begin_ms = [int(1000 * records.started_at(run).timestamp()) for run in runs]
    states = {"finished": "FINISHED", "failed": "FAILED", "aborted": "KILLED"}
    names = list(flat(records.config(0)))

    def experiment(run: int) -> int:
        return 1 + run % len(PROJECTS)

    def experiments() -> Rows:
        now = int(1000 * BEGIN.timestamp())
        return [(1 + i, name, "default", str(folder / "artifacts"), "active", now, now) for i, name in enumerate(PROJECTS)]

    def run_rows() -> Rows:
        for run in runs:
            state = states[records.state(run).value]
            times = (begin_ms[run], begin_ms[run] + 3_600_000)
            yield (
                ids[run],
                records.name(run),
                "UNKNOWN",
                "",
                "",
                "kim",
                state,
                *times,
                None,
                "",
                "active",
                f"{folder}/artifacts",
                experiment(run),
            )

    def params() -> Rows:
        # By key, in parts: all at once would be five million texts in memory.
        for start in range(0, records.runs, _PART * 10):
            part = [(ids[run], flat(records.config(run))) for run in range(start, min(start + _PART * 10, records.runs))]
            part.sort()
            yield from ((name, config[name], run_id) for name in names for run_id, config in part)

    def metrics() -> Rows:
        for name in METRICS:
            for run in runs:
                last, run_id, at = records.last(run, name), ids[run], begin_ms[run]
                for step in range(POINTS):
                    yield (name, last + (POINTS - 1 - step) / 64, at + 10_000 * step, step, False, run_id)

    def latest() -> Rows:
        step = POINTS - 1
        return ((name, records.last(run, name), begin_ms[run] + 10_000 * step, step, False, ids[run]) for name in METRICS for run in runs)

    def tags() -> Rows:
        told: dict[str, Callable[[int], str]] = {
            "group": records.group,
            "mlflow.runName": records.name,
            "mlflow.source.git.commit": records.git_sha,
            "mlflow.user": lambda run: "kim",
            "model_digest": records.model,
        }
        return ((name, told[name](run), ids[run]) for name in told for run in runs)

    # A version is always read in the same projects: a hundred runs at most in each.
    sources = sorted({(experiment(run), records.version(run)) for run in runs})

    def dataset_uuid(experiment_id: int, version: int, role: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{experiment_id} {version} {role}"))

    def datasets() -> Rows:
        schema = json.dumps({"mlflow_colspec": [{"name": name, "type": "binary"} for name in ("images", "boxes", "labels", "sample_id")]})
        return (
            (
                dataset_uuid(number, version, role),
                number,
                *mlflow_dataset(records, version, role),
                "http",
                json.dumps({"url": records.uri(version)}),
                schema,
                "{}",
            )
            for number, version in sources
            for role in ROLES
        )

    def inputs() -> Rows:
        for run in runs:
            for role in ROLES:
                source = dataset_uuid(experiment(run), records.version(run), role)
                yield (_input_uuid(run, role), "DATASET", source, "RUN", ids[run], 0)

    def input_tags() -> Rows:
        return ((_input_uuid(run, role), "mlflow.data.context", role) for run in runs for role in ROLES)

    yield (
        "experiments",
        ("experiment_id", "name", "workspace", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time"),
        experiments,
    )
    source_columns = ("source_type", "source_name", "entry_point_name")
    time_columns = ("start_time", "end_time", "deleted_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id")
    yield "runs", ("run_uuid", "name", *source_columns, "user_id", "status", *time_columns), run_rows
    yield "params", ("key", "value", "run_uuid"), params
    yield "metrics", ("key", "value", "timestamp", "step", "is_nan", "run_uuid"), metrics
    yield "latest_metrics", ("key", "value", "timestamp", "step", "is_nan", "run_uuid"), latest
    yield "tags", ("key", "value", "run_uuid"), tags
    dataset_columns = ("dataset_source_type", "dataset_source", "dataset_schema", "dataset_profile")
    yield "datasets", ("dataset_uuid", "experiment_id", "name", "digest", *dataset_columns), datasets
    yield "inputs", ("input_uuid", "source_type", "source_id", "destination_type", "destination_id", "step"), inputs
    yield "input_tags", ("input_uuid", "name", "value"), input_tags


def mlflow_dataset(records: Records, version: int, role: str) -> tuple[str, str]:
    """Name and digest that MLflow knows a view by."""
    return f"{records.uri(version).rpartition('/')[2]}-{role}", records.commit_id(version)


def _input_uuid(run: int, role: str) -> str:
    return str(uuid.UUID(int=(run << 8) + [*ROLES].index(role) + 1))


def _fill(url: str, table: str, columns: tuple[str, ...], rows: Rows, records: Records) -> None:
    if url.startswith("sqlite"):
        import sqlite3

        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -262144")
            connection.execute(f"DELETE FROM {table}" + (" WHERE experiment_id > 0" if table == "experiments" else ""))
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", rows)
            connection.commit()
        return
    with psycopg.connect(url) as connection:
        connection.execute(f"DELETE FROM {table}" + (" WHERE experiment_id > 0" if table == "experiments" else ""))
        with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            left = iter(rows)
            # Lines written here: half the time of handing over rows one by one.
            while part := list(islice(left, 10_000)):
                copy.write("".join("\t".join(map(_field, row)) + "\n" for row in part))


def _field(value: Any) -> str:
    if value is None:
        return "\\N"
    text = value if type(value) is str else repr(value)
    return text.replace("\\", "\\\\") if "\\" in text else text
