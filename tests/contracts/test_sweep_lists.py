"""What every store tells of its sweeps without reading a record: the same over memory, SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lineage.adapters.stores.database import Database
from lineage.adapters.stores.memory import MemoryDatabase
from lineage.adapters.stores.postgres import PostgresDatabase
from lineage.adapters.stores.row_index import SqlRowIndex
from lineage.adapters.stores.sql import SqlRunStore
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.model.event import Described, Ended, Started, TrialStopped
from lineage.model.run import Run, RunState
from lineage.model.sweep import Goal, StoppedEarly, SweepTrial
from tests.support.sweeps import AT

DEFINITION = "sha256:" + "1" * 64


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    made: Database
    if request.param == "postgresql":
        made = PostgresDatabase(request.getfixturevalue("postgres_url"))
    else:
        made = MemoryDatabase() if request.param == "memory" else SqliteDatabase(tmp_path / "lineage.sqlite")
    yield made
    made.close()


def add(
    store: SqlRunStore, sweep: str, number: int, value: object, *, attempt: int = 1, minutes: int = 0, ends: str = "finished", goal: Goal
) -> str:
    """Write a trial's run; its id."""
    trial = SweepTrial(sweep=sweep, number=number, attempt=attempt, parameters={"x": 1}, metric="m", goal=goal, definition=DEFINITION)
    run = Run(
        id=f"{sum(map(ord, sweep)):08x}{number:08x}{attempt:08x}{minutes:08x}",
        name="t",
        project="p",
        group=sweep,
        job_type="trial",
        started_at=AT + timedelta(minutes=minutes),
        sweep=trial,
    )
    store.append(run.id, Started(at=run.started_at, run=run))
    if ends == "stopped":
        store.append(run.id, TrialStopped(at=run.started_at, stopped=StoppedEarly(points=1, step=0, iteration=1, value=float(str(value)))))
        ends = "finished"
    if ends != "running":
        state = RunState(ends)
        store.append(run.id, Ended(at=run.started_at, state=state, summary={"m": value}))  # type: ignore[arg-type]  # one that is over
    return run.id


def test_sweeps_are_listed_by_what_became_of_their_trials(database: Database) -> None:
    """Newest first by their first trial, whichever was recorded first; counts and the best of the attempts that count, by goal."""
    store, rows = SqlRunStore(database), SqlRowIndex(database)
    assert rows.sweeps(9) == []
    add(store, "bbbbbbbb", 1, 0.4, minutes=50, goal="minimize")
    low = add(store, "bbbbbbbb", 0, 0.1, minutes=10, goal="minimize")  # recorded later, began earlier
    add(store, "bbbbbbbb", 2, "nan", minutes=51, goal="minimize")
    add(store, "bbbbbbbb", 3, -9.0, minutes=52, ends="stopped", goal="minimize")
    add(store, "bbbbbbbb", 4, -9.0, minutes=53, ends="failed", goal="minimize")
    add(store, "bbbbbbbb", 5, 0.0, minutes=54, ends="running", goal="minimize")
    add(store, "aaaaaaaa", 0, 0.9, minutes=20, ends="aborted", goal="maximize")
    high = add(store, "aaaaaaaa", 0, 0.7, attempt=2, minutes=21, goal="maximize")
    add(store, "aaaaaaaa", 1, "inf", minutes=22, goal="maximize")

    newer, older = rows.sweeps(9)
    assert (newer.sweep, newer.runs, newer.complete, newer.failed, newer.best_run, newer.best_value) == ("aaaaaaaa", 3, 2, 0, high, 0.7)
    counts = (older.complete, older.stopped, older.failed, older.running)
    assert (older.sweep, older.runs, counts, older.best_run, older.best_value) == ("bbbbbbbb", 6, (3, 1, 1, 1), low, 0.1)
    assert (older.project, older.metric, older.goal, older.definition) == ("p", "m", "minimize", DEFINITION)
    assert rows.sweeps(1) == [newer]
    assert rows.sweeps(9, after=(newer.began_at, newer.sweep)) == [older]
    assert rows.sweeps(9, prefix="bb") == [older]
    assert rows.sweeps(9, prefix="%") == rows.sweeps(0) == []
    last = add(store, "aaaaaaaa", 2, 0.8, minutes=30, ends="running", goal="maximize")
    assert rows.sweeps(1)[0].running == 1
    store.append(last, Described(at=AT, project="its own"))  # as W&B code does that names one
    store.append(last, Ended(at=AT, state=RunState.finished, summary={"m": 0.8}))
    assert rows.sweeps(1) == [replace(newer, project="its own", runs=4, complete=3, best_run=last, best_value=0.8)]
