"""Past MLflow runs become records: from databases and folders that MLflow 2.9.2 and 3.17.2 wrote (``tests/support/mlflow``)."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lineage.adapters.trackers.mlflow_past import MlflowPastRuns
from lineage.errors import InvalidSource, NotFound, UsageError
from lineage.model.run import RunState
from lineage.ports import ForeignRun, Ports
from lineage.record.imported import take_over
from lineage.reproduce.plan import make_plan

WRITTEN = Path(__file__).parents[1] / "support" / "mlflow"
VERSIONS = ("2.9.2", "3.17.2")
PATIENCE_S = 60


def database(place: Path, version: str) -> Path:
    """The database that the release wrote, and the files of its artifacts, in a new place."""
    file = place / "mlflow.db"
    with sqlite3.connect(file) as connection:
        connection.executescript((WRITTEN / f"database-{version}.sql").read_text().replace("@PLACE@", str(place)))
        ((run_id,),) = connection.execute("SELECT run_uuid FROM runs WHERE name = 'first'").fetchall()
    connection.close()
    artifacts = place / "artifacts" / run_id / "artifacts"
    (artifacts / "model").mkdir(parents=True)
    (artifacts / "model" / "model.bin").write_bytes(b"weights")
    (artifacts / "note.txt").write_text("hello")
    return file


def folder(place: Path, version: str, name: str = "folder") -> Path:
    """The folder that the release wrote."""
    for path, text in json.loads((WRITTEN / f"{name}-{version}.json").read_text()).items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text.replace("@PLACE@", str(place)))
    return place / "mlruns"


def read(what: Path, **options: Any) -> dict[str, ForeignRun]:
    reader = MlflowPastRuns(**options)
    return {run.name: run for run in map(reader.read, reader.places(str(what)))}


@pytest.fixture(params=[(form, version) for form in ("database", "folder") for version in VERSIONS], ids=lambda param: "-".join(param))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    form, version = request.param
    return database(tmp_path, version) if form == "database" else folder(tmp_path, version)


def test_every_value_of_every_metric_comes_with_step_and_time(store: Path) -> None:
    points = read(store)["first"].points
    series = {
        name: [(point.step, point.values[name]) for point in points if name in point.values]
        for name in {name for point in points for name in point.values}
    }
    assert series["loss"] == [(0, 1.0), (1, 0.5), (2, 1 / 3), (2, 0.25)]
    assert [step for step, _ in series["acc"]] == [0, 1, 2]
    assert math.isnan(series["acc"][0][1])
    assert [value for _, value in series["acc"][1:]] == [math.inf, -math.inf]
    assert read(store)["broken"].points[0].step == -1
    times = [point.at for point in points]
    assert times == sorted(times)
    run = read(store)["first"]
    assert all(run.started_at.timestamp() <= at <= run.ended_at.timestamp() for at in times)


def test_params_tags_commit_and_dataset_are_taken(store: Path) -> None:
    run = read(store)["first"]
    assert run.config == {"api_key": "hunter2hunter2", "epochs": "3", "lr": "0.1", "note": "a: b\nsecond line"}
    assert run.tags == ["team=vision"]
    assert run.facts["git_commit"] == "0123456789012345678901234567890123456789"
    (dataset,) = run.used
    assert (dataset.path, dataset.listing["context"], dataset.listing["digest"]) == ("data/train.csv", "training", "85abe2dc")
    assert run.project == "parking"
    assert read(store)["inner"].group == run.id


def test_states_are_mapped_and_deleted_runs_left_out(store: Path) -> None:
    reader = MlflowPastRuns()
    runs = {run.name: run for run in map(reader.read, reader.places(str(store)))}
    assert set(runs) == {"first", "inner", "broken", "elsewhere"}
    assert (runs["first"].state, runs["broken"].state) == (RunState.finished, RunState.failed)
    assert reader.left_out == {"deleted": 1}


def test_one_experiment_is_taken_when_asked_for(store: Path) -> None:
    assert set(read(store, experiment="other")) == {"elsewhere"}
    with pytest.raises(NotFound, match="other, parking"):
        read(store, experiment="nothing like it")


def test_what_a_reproduction_would_lack_is_named_and_blocks_it(store: Path, ports: Ports) -> None:
    run, is_new = take_over(ports, read(store)["first"])
    assert is_new
    assert run.imported is not None
    text = "\n".join(run.imported.missing)
    for word in ("command line", "git commit 0123456789", "train 85abe2dc", "environment", "seed"):
        assert word in text
    assert make_plan(ports, run).blockers


def test_importing_again_changes_nothing_and_secrets_never_arrive(store: Path, ports: Ports, tmp_path: Path) -> None:
    first = {name: take_over(ports, run) for name, run in read(store).items()}
    again = {name: take_over(ports, run) for name, run in read(store).items()}
    assert all(is_new for _, is_new in first.values())
    assert not any(is_new for _, is_new in again.values())
    assert {name: run for name, (run, _) in first.items()} == {name: run for name, (run, _) in again.items()}
    held = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    assert b"hunter2" not in held


def test_a_past_run_is_not_written_to(store: Path, ports: Ports) -> None:
    files = [store] if store.is_file() else sorted(file for file in store.rglob("*") if file.is_file())
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}
    for run in read(store).values():
        take_over(ports, run)
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files} == before
    if store.is_file():
        assert sorted(file.name for file in store.parent.glob("mlflow.db*")) == ["mlflow.db"]


@pytest.mark.parametrize("version", VERSIONS)
def test_artifacts_are_kept_under_their_digest(tmp_path: Path, ports: Ports, version: str) -> None:
    run, _ = take_over(ports, read(database(tmp_path, version))["first"])
    kept = {item.name: ports.objects.get_bytes(item.digest) for item in run.outputs}
    assert kept == {"model/model.bin": b"weights", "note.txt": b"hello"}


def test_a_logged_model_brings_its_files_and_what_it_asks_for(tmp_path: Path, ports: Ports) -> None:
    run = read(folder(tmp_path, "3.17.2", "models"))["m"]
    assert {(item.name, item.kind) for item in run.made} >= {("detector/MLmodel", "model"), ("detector/requirements.txt", "model")}
    assert (run.packages, run.python) == ({"mlflow": "3.17.2", "numpy": "2.0"}, "3.11.7")
    assert any("only what its model asks for" in text for text in run.missing)


def test_a_run_that_is_not_over_waits_until_asked_for(tmp_path: Path) -> None:
    file = database(tmp_path, "3.17.2")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE runs SET status = 'RUNNING', end_time = NULL WHERE name = 'first'")
    connection.close()
    reader = MlflowPastRuns()
    assert "first" not in {reader.read(place).name for place in reader.places(str(file))}
    assert reader.left_out == {"deleted": 1, "not over": 1}
    run = read(file, unfinished=True)["first"]
    assert run.state is RunState.aborted
    assert run.ended_at.timestamp() == max(point.at for point in run.points)
    assert any("never said that it ended" in note for note in run.notes)


def test_artifacts_on_a_server_are_named_as_missing(tmp_path: Path) -> None:
    file = database(tmp_path, "3.17.2")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE runs SET artifact_uri = 's3://bucket/runs/1' WHERE name = 'first'")
    connection.close()
    run = read(file)["first"]
    assert run.made == []
    assert "files at s3://bucket/runs/1: on a server, which was not asked" in run.missing


def test_a_damaged_line_and_a_damaged_run_are_named_and_the_rest_imported(tmp_path: Path) -> None:
    runs = folder(tmp_path, "3.17.2")
    (metric,) = runs.glob("*/*/metrics/acc")
    metric.write_text("1795261630285 nan 0\n179526163\n1795261630286 -inf 2\n")
    assert [note for note in read(runs)["first"].notes if "metrics/acc, line 2" in note]
    (metric.parents[1] / "meta.yaml").write_text("run_id: [broken\n")
    done = lineage_import(tmp_path, runs)
    assert done.returncode == InvalidSource.exit_code
    assert f"{metric.parents[1] / 'meta.yaml'}: expected MLflow's facts as YAML" in done.stderr.replace("\n", "")
    assert {item["name"] for item in json.loads(done.stdout)} == {"inner", "broken", "elsewhere"}


def lineage_import(place: Path, what: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["lineage", "import", "mlflow", str(what), "--json"], cwd=place, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_the_command_prints_each_record(tmp_path: Path) -> None:
    file = database(tmp_path, "3.17.2")
    first, again = lineage_import(tmp_path, file), lineage_import(tmp_path, file)
    assert first.returncode == again.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert [item["run_id"] for item in told] == [item["run_id"] for item in json.loads(again.stdout)]
    assert {item["is_new"] for item in told} == {True}
    assert {item["is_new"] for item in json.loads(again.stdout)} == {False}
    assert "1 runs are deleted and left out" in first.stderr


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be taken for one" * 20])
def test_what_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    with pytest.raises(InvalidSource, match="expected a database of MLflow"):
        MlflowPastRuns().places(str(tmp_path / "mlflow.db"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidSource, match=r"found no <experiment>/meta\.yaml"):
        MlflowPastRuns().places(str(tmp_path / "empty"))
    with pytest.raises(NotFound):
        MlflowPastRuns().places(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="only MLflow's SQLite database"):
        MlflowPastRuns().places("http://127.0.0.1:5000")


def test_sqlite_addresses_and_file_addresses_are_understood(tmp_path: Path) -> None:
    file = database(tmp_path, "3.17.2")
    assert len(MlflowPastRuns().places(f"sqlite:///{file}")) == 4
    runs = folder(tmp_path, "2.9.2")
    assert len(MlflowPastRuns().places(runs.as_uri())) == 4
