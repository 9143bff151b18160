"""``lineage store copy``: every record of one kind of store in another, as it was, and compared there."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lineage.model.event import Noted
from lineage.ports import Ports, RunQuery
from lineage.record.start import start_run
from lineage.settings import Settings
from lineage.wiring import wire
from service.app import create_app
from tests.support.serving import serving


@pytest.fixture
def source(tmp_path: Path, repository: Path) -> Iterator[Ports]:
    """A folder with three runs; one was taken over from elsewhere."""
    ports = wire(Settings(str(tmp_path / "from"), tmp_path / "from"))
    for number in range(2):
        with start_run(ports, folder=repository, command=["python", "train.py"], seed=number) as run:
            for step in range(6_000 if number else 3):
                run.log({"loss": step / 3, "bad": float("inf")})
            (repository / "model.bin").write_bytes(os.urandom(100))
            run.log_artifact(repository / "model.bin", kind="model")
    other = wire(Settings(str(tmp_path / "other"), tmp_path / "other"))
    with start_run(other, folder=repository, command=["python", "train.py"]) as run:
        run.log({"loss": 1.0})
    events = other.runs.events(run.id)
    named = json.loads(events[0][0])["run"]["environment"]
    texts = {named: other.runs.environment_text(named)}
    ports.runs.adopt(run.id, events, texts, other.runs.metrics(run.id), "a colleague")
    other.runs.close()
    yield ports
    ports.runs.close()


def copy(tmp_path: Path, source: str, target: str, *options: str, fails: bool = False) -> dict[str, str]:
    """Run the command; run id to outcome."""
    variables = os.environ | {"LINEAGE_FOLDER": str(tmp_path / "local")}
    command = [sys.executable, "-m", "lineage", "store", "copy", source, target, "--json", *options]
    told = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=100)
    assert (told.returncode != 0) == fails, told.stderr
    return {item["run_id"]: item["outcome"] for item in json.loads(told.stdout)}


def contents(ports: Ports) -> dict[str, Any]:
    """Everything that a store says of its runs."""
    runs = ports.runs
    return {run.id: (run, runs.events(run.id), repr(runs.metrics(run.id)), runs.origin(run.id)) for run in runs.find(RunQuery())}


def test_from_folder_to_postgresql_to_service_to_folder(source: Ports, tmp_path: Path, new_postgres_database: Callable[[], str]) -> None:
    """After three copies everything is as it was; done again nothing is new; what grew is brought."""
    url = new_postgres_database()
    team = wire(Settings(str(tmp_path / "team"), tmp_path / "team"))
    with serving(create_app(team)) as address:
        ways = [(str(tmp_path / "from"), url), (url, address), (address, str(tmp_path / "to"))]
        for start, end in ways:
            assert set(copy(tmp_path, start, end, "--objects").values()) == {"copied"}
        assert set(copy(tmp_path, *ways[1]).values()) == {"known"}
        own = next(run.id for run in source.runs.find(RunQuery()) if source.runs.origin(run.id) is None)
        source.runs.append(own, Noted(at=datetime.now(UTC), note="later"))
        for start, end in ways:
            assert copy(tmp_path, start, end)[own] == "grown"
    back = wire(Settings(str(tmp_path / "to"), tmp_path / "to"))

    assert contents(back) == contents(team) == contents(source)
    for run in source.runs.find(RunQuery()):
        for item in run.outputs:
            assert back.objects.get_bytes(item.digest) == source.objects.get_bytes(item.digest)
    back.runs.close()
    team.runs.close()


def test_what_does_not_hold_is_named_and_the_rest_is_copied(source: Ports, tmp_path: Path) -> None:
    """A record that was altered is not passed on; one that is in the target with other events is left alone there."""
    copy(tmp_path, str(tmp_path / "from"), str(tmp_path / "to"))
    ids = [run.id for run in source.runs.find(RunQuery())]
    altered, forked = [run_id for run_id in ids if source.runs.origin(run_id) is None]
    back = wire(Settings(str(tmp_path / "to"), tmp_path / "to"))
    for ports, note in ((source, "here"), (back, "there")):
        ports.runs.append(forked, Noted(at=datetime.now(UTC), note=note))
    with sqlite3.connect(tmp_path / "from" / "lineage.sqlite") as behind:
        behind.execute("UPDATE events SET payload = REPLACE(payload, 'train.py', 'other.py') WHERE run_id = ?", (altered,))
    behind.close()
    outcomes = copy(tmp_path, str(tmp_path / "from"), str(tmp_path / "to"), fails=True)

    assert outcomes == {run_id: "failed" if run_id in (altered, forked) else "known" for run_id in ids}
    assert back.runs.get(forked).notes[-1] == "there"
    fresh = copy(tmp_path, str(tmp_path / "from"), str(tmp_path / "fresh"), fails=True)
    assert fresh == {run_id: "failed" if run_id == altered else "copied" for run_id in ids}
    back.runs.close()


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A typing mistake in FROM makes no empty store."""
    command = [sys.executable, "-m", "lineage", "store", "copy", str(tmp_path / "nothing"), str(tmp_path / "to")]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert told.returncode == 5
    assert "no store" in told.stderr
    assert not (tmp_path / "nothing").exists()
