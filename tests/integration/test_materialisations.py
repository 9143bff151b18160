"""What people ask workers for, over HTTP: asked once, followed, fetched, refused where it has to be."""

from __future__ import annotations

import http.client
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from lineage.adapters.stores.http_client import HttpClient
from lineage.adapters.stores.http_jobs import HttpJobRequests
from lineage.cli import app as command
from lineage.errors import Conflict, LineageError, NotFound, UsageError
from lineage.model.access import Scope, new_token
from lineage.model.materialisation import JobState, MaterialisationRequest
from lineage.ports.jobs import JobQuery
from lineage.reproduce.bundle import record_of
from lineage.reproduce.jobs import folders
from lineage.settings import Settings
from lineage.wiring import access_store
from lineage.wiring_jobs import fetch_files
from service.app import create_app
from tests.support.jobs import Team, team_in
from tests.support.serving import serving

JOBS = "/api/v1/materialisations"
NOBODY = "0" * 32


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team_in(tmp_path_factory.mktemp("team")) as made:
        yield made


@pytest.fixture(scope="module")
def trained(team: Team) -> str:
    return team.record("train.py", "0.0", "0")


@pytest.fixture(scope="module")
def reader(team: Team, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run that read six rows."""
    import deeplake
    import numpy as np
    from deeplake import types

    uri = f"file://{tmp_path_factory.mktemp('data')}/scenes"
    dataset = deeplake.create(uri, schema={"boxes": types.Array("float32", 2), "fname": types.Text()})
    dataset.append({"boxes": [np.full((2, 4), row, "float32") for row in range(6)], "fname": [f"{row}.jpg" for row in range(6)]})
    dataset.commit("first")
    return team.record("read.py", uri)


@pytest.fixture(scope="module")
def app(team: Team) -> FastAPI:
    return create_app(team.ports, jobs=team.queue)


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def ask(client: TestClient, run_id: str, key: str | None = None, **body: Any) -> dict[str, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = client.post(f"/api/v1/runs/{run_id}/materialisations", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"{JOBS}/{answer.json()['id']}"
    told: dict[str, Any] = answer.json()
    return told


def test_a_run_is_run_again(team: Team, client: TestClient, trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is a queued job; a worker runs it, the verdict stands in the job and in the record, and the new run has its files."""
    monkeypatch.setenv("TEAM_PASSWORD", "hunter2")
    job = ask(client, trained[:12], what="rerun")
    assert (job["state"], job["run_id"], job["requested_by"], job["verdict"]) == ("queued", trained, "address testclient", None)

    assert team.worker().work(once=True) == 1
    done = client.get(f"{JOBS}/{job['id']}").json()
    assert (done["state"], done["verdict"], done["attempt"], done["error"]) == ("succeeded", "identical", 1, None), team.log(job["id"])
    assert done["files_url"] is None
    assert done["isolation"]
    replica = team.ports.runs.get(done["result_run_id"])
    assert (replica.reproduces, replica.state) == (trained, "finished")
    assert team.ports.objects.has(replica.outputs[0].digest)
    assert [item.verdict for item in team.ports.runs.get(trained).reproductions if item.run_id == replica.id] == ["identical"]
    # What recorded code left is a record from elsewhere: nobody saw it grow here.
    assert (team.ports.runs.origin(replica.id) or "").startswith(f"job {job['id']} (")
    assert "step 7" in team.log(job["id"])
    assert client.get(f"{JOBS}/{job['id']}/files").json()["code"] == "conflict"


def test_recorded_code_sees_nothing_of_the_team(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment holds no secret of the worker and no way to the team's store."""
    script = "import os, lineage\nwith lineage.start_run(project='p', seed=1) as run:\n    run.log({'one': 1.0})\n"
    script += "print('ENV', dict(os.environ))\n"
    (team.repository / "peek.py").write_text(script)
    run_id = team.record("peek.py")
    (team.repository / "peek.py").unlink()
    monkeypatch.setenv("TEAM_PASSWORD", "hunter2")
    monkeypatch.setenv("LINEAGE_TOKEN", "lin_0123456789ab_" + "x" * 43)
    job = team.ask(run_id)
    team.worker().work(once=True)

    log = team.log(job.id)
    assert team.queue.get(job.id).verdict == "identical", log
    assert "ENV {" in log
    assert "hunter2" not in log
    assert "lin_0123456789ab" not in log
    assert f"'LINEAGE_STORE': '{team.settings.store}'" not in log


LIAR = """
import json, os, pathlib
import lineage

mine, original = os.environ.get("LINEAGE_RUN_ID"), os.environ.get("LINEAGE_REPRODUCES")
if original:
    inside = pathlib.Path(os.environ["TMPDIR"]).parent
    LIE
    report = inside / "report.json"
    report.unlink()
    plan = {"run_id": original, "command": [], "ingredients": []}
    report.write_text(json.dumps({"run_id": original, "verdict": "identical", "plan": plan, "replica_id": named}))
with lineage.start_run(project="p", seed=1) as run:
    run.log({"loss": 2.0 if original else 1.0})
"""
LIES = {
    "its own run": "named = mine",
    "the original": "named = original",
    "a secret as its log": "named = mine; log = inside.parent / 'log'; log.unlink(); log.symlink_to(inside.parents[3] / 'lineage.sqlite')",
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_recorded_code_does_not_make_its_own_verdict(team: Team, lie: str) -> None:
    """Code that does something else when it is repeated, and puts a report of its own in place of the real one, is not believed.

    Naming its own run it has diverged. Naming the original as its result there is no verdict, also when the job is tried again. Nothing
    that this process reads can be replaced by a link.
    """
    (team.repository / "liar.py").write_text(LIAR.replace("LIE", LIES[lie]))
    run_id = team.record("liar.py")
    (team.repository / "liar.py").unlink()
    job = team.ask(run_id)
    team.worker().work(once=True)
    if lie == "the original":
        assert team.queue.get(job.id).state is JobState.failed
        team.queue.retry(job.id)
        team.worker().work(once=True)

    done = team.queue.get(job.id)
    verdicts = [item.verdict for item in team.ports.runs.get(run_id).reproductions]
    assert "SQLite format" not in team.log(job.id)
    if lie == "its own run":
        assert (done.state, done.verdict, verdicts) == (JobState.succeeded, "diverged", ["diverged"]), (done.error, team.log(job.id))
    else:
        assert "identical" not in (done.verdict, *verdicts), (done.error, team.log(job.id))


def test_data_and_workspaces_can_be_fetched(team: Team, client: TestClient, reader: str, tmp_path: Path) -> None:
    """Both come as one archive; the workspace's own script runs it again; after some days the files go, and the answer says so."""
    data, workspace = ask(client, reader, what="data", role="train"), ask(client, reader, what="workspace")
    assert team.worker().work(once=True) == 2

    told = client.get(f"{JOBS}/{data['id']}").json()
    assert (told["state"], told["error"]) == ("succeeded", None), team.log(data["id"])
    assert told["size_bytes"] > 0
    assert "6 rows of 'train'" in team.log(data["id"])
    names = fetch(client, told["files_url"], tmp_path / "data")
    assert f"{reader[:12]}-data/lineage.json" in names

    told = client.get(f"{JOBS}/{workspace['id']}").json()
    assert told["state"] == "succeeded", team.log(workspace["id"])
    names = fetch(client, told["files_url"], tmp_path / "workspace")
    place = tmp_path / "workspace" / f"{reader[:12]}-workspace"
    assert {"README.md", "run.sh", "run.lineage", "code", "data", "environment"} <= {item.name for item in place.iterdir()}
    assert (place / "code" / "read.py").read_text() == (team.repository / "read.py").read_text()
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith("LINEAGE_")} | {"WANDB_MODE": "disabled"}
    ran = subprocess.run([place / "run.sh", "--env", "current"], cwd=tmp_path, env=elsewhere, capture_output=True, text=True, timeout=120)
    assert "verdict: identical" in ran.stdout, ran.stdout + ran.stderr

    # On the command line the same files come, from the queue's own folder and over HTTP.
    job = team.queue.get(data["id"])
    fetch_files(job, tmp_path / "copied", team.settings)
    with serving(client.app) as address:  # type: ignore[arg-type]
        fetch_files(job, tmp_path / "fetched", Settings(address, tmp_path))
        with pytest.raises(Conflict, match="exists"):
            fetch_files(job, tmp_path / "fetched", Settings(address, tmp_path))
    contents = [
        {str(file.relative_to(place)): file.read_bytes() for file in place.rglob("*") if file.is_file()}
        for place in (tmp_path / "data" / f"{reader[:12]}-data", tmp_path / "copied", tmp_path / "fetched")
    ]
    assert contents[0] == contents[1] == contents[2]

    assert folders.tidy(team.ports.folder / "jobs", team.queue, keep_days=1.0) == []
    assert {data["id"], workspace["id"]} <= set(folders.tidy(team.ports.folder / "jobs", team.queue, keep_days=0.0))
    gone = client.get(told["files_url"])
    assert (gone.status_code, gone.json()["code"]) == (410, "tidied_away")
    assert client.get(f"{JOBS}/{workspace['id']}").json()["files_url"] is None


def fetch(client: TestClient, url: str, folder: Path) -> list[str]:
    answer = client.get(url)
    assert answer.status_code == 200, answer.text
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        archive.extractall(folder, filter="data")
        return archive.getnames()


def test_two_workers_do_each_job_once(team: Team, reader: str) -> None:
    """Twenty jobs, two processes: every job is begun once and ends well, and both take part."""
    workers = [team.process("--what", "data") for _ in range(2)]
    for worker in workers:
        assert worker.stderr is not None
        assert "worker" in worker.stderr.readline()  # it is there, and waits
    jobs = [team.ask(reader, what="data") for _ in range(20)]
    for job in jobs:
        team.until(job.id, lambda now: now.state.is_end)
    for worker in workers:
        worker.terminate()
        told = worker.communicate(timeout=60)[1]
        assert worker.returncode == 0, told

    done = [team.queue.get(job.id) for job in jobs]
    assert [(job.state, job.attempt) for job in done] == [(JobState.succeeded, 1)] * 20
    assert [team.log(job.id).count("6 rows of 'train'") for job in jobs] == [1] * 20
    assert len({job.worker for job in done}) == 2


def test_the_same_key_asks_once(team: Team, client: TestClient, trained: str, reader: str) -> None:
    """A request that is sent again gives the same job; another one under its key is refused, and nothing is queued."""
    first = ask(client, trained, key="monday", what="data", role="train")
    assert ask(client, trained, key="monday", what="data", role="train")["id"] == first["id"]
    for run_id, body in ((trained, {"what": "rerun"}), (reader, {"what": "data", "role": "train"})):
        refused = client.post(f"/api/v1/runs/{run_id}/materialisations", json=body, headers={"Idempotency-Key": "monday"})
        assert (refused.status_code, refused.json()["code"]) == (422, "key_reused")
    assert ask(client, trained, what="rerun")["id"] != ask(client, trained, what="rerun")["id"]
    assert [job.id for job in team.queue.find(JobQuery(run_id=trained, state=JobState.queued)).jobs].count(first["id"]) == 1
    cancel_all(team)


def cancel_all(team: Team) -> None:
    for job in team.queue.find(JobQuery(state=JobState.queued, limit=1_000)).jobs:
        team.queue.cancel(job.id)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "what"),
        ({"what": "everything"}, "what"),
        ({"what": "rerun", "format": "coco"}, "body"),
        ({"what": "data", "until_step": 3}, "body"),
        ({"what": "data", "format": "parquet"}, "format"),
        ({"what": "rerun", "until_step": -1}, "until_step"),
        ({"what": "rerun", "seconds": 0}, "seconds"),
        ({"what": "rerun", "path": "/etc"}, "path"),
        ([], "body"),
    ],
)
def test_what_cannot_be_asked_for(client: TestClient, trained: str, body: Any, place: str) -> None:
    """Each mistake is named with its place; nothing is queued."""
    refused = client.post(f"/api/v1/runs/{trained}/materialisations", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert place in refused.json()["detail"]


def test_what_is_not_there(client: TestClient, trained: str) -> None:
    """Unknown runs, jobs and cursors are told apart from wrong ones."""
    assert client.post(f"/api/v1/runs/{NOBODY}/materialisations", json={"what": "rerun"}).status_code == 404
    for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/files"), ("POST", "/cancel"), ("POST", "/retry")):
        assert client.request(method, f"{JOBS}/{NOBODY}{path}").status_code == 404, path
        assert client.request(method, f"{JOBS}/x{path}").status_code == 422, path
    assert client.get(JOBS, params={"cursor": NOBODY}).status_code == 400
    assert client.get(JOBS, params={"state": "lost"}).status_code == 422


def test_lists_are_pages(team: Team, client: TestClient, trained: str) -> None:
    """Newest first, by run and state, a page at a time; a job is called off, and tried again, once it is over."""
    asked = [ask(client, trained, what="workspace")["id"] for _ in range(5)]
    found: list[str] = []
    cursor: str | None = None
    while len(found) < 5:
        page = client.get(JOBS, params={"run": trained[:12], "state": "queued", "limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert found == asked[::-1]
    assert [item["id"] for item in client.get(JOBS, params={"prefix": asked[0][:10]}).json()["items"]] == [asked[0]]
    assert client.post(f"{JOBS}/{asked[0]}/retry").status_code == 409
    assert client.post(f"{JOBS}/{asked[0]}/cancel").json()["state"] == "cancelled"
    assert client.post(f"{JOBS}/{asked[0]}/cancel").json()["state"] == "cancelled"
    assert client.post(f"{JOBS}/{asked[0]}/retry").json()["state"] == "queued"
    cancel_all(team)


def events(text: str) -> list[tuple[int, str, Any]]:
    parts = [dict(line.split(": ", 1) for line in part.splitlines()) for part in text.split("\n\n") if part and part[0] != ":"]
    return [(int(part["id"]), part["event"], json.loads(part["data"])) for part in parts]


def test_following_goes_on_where_it_was(team: Team, client: TestClient, trained: str) -> None:
    """Log and states come in order; with the id of the last one seen nothing comes twice; over, the stream ends, also when asked again."""
    job = ask(client, trained, what="rerun")["id"]
    with team.working(), client.stream("GET", f"{JOBS}/{job}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = events(stream.read().decode())
    states = [data["state"] for _, event, data in told if event == "state"]
    assert states[0] in ("queued", "running")
    assert states[-1] == "succeeded"
    log = "".join(data["text"] for _, event, data in told if event == "log")
    assert log == team.log(job)
    numbers = [number for number, _, _ in told]
    assert numbers == sorted(numbers)

    middle = next(number for number, event, _ in told if event == "log")
    rest = events(client.get(f"{JOBS}/{job}/events", headers={"Last-Event-ID": str(middle)}).text)
    assert "".join(data["text"] for _, event, data in rest if event == "log") == log[len(told_until(told, middle)) :]
    last = events(client.get(f"{JOBS}/{job}/events", headers={"Last-Event-ID": str(numbers[-1])}).text)
    assert [(event, data["state"]) for _, event, data in last] == [("state", "succeeded")]
    assert client.get(f"{JOBS}/{job}/events", headers={"Last-Event-ID": "x"}).status_code == 422


def told_until(told: list[tuple[int, str, Any]], last: int) -> str:
    return "".join(data["text"] for number, event, data in told if event == "log" and number <= last)


def test_a_stream_ends_with_the_service(team: Team, trained: str) -> None:
    """Whoever follows a job does not keep a service up that is told to end."""
    job = team.ask(trained)
    app = create_app(team.ports, jobs=team.queue)
    with serving(app) as address:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)  # sooner than the stream's next comment
        connection.request("GET", f"{JOBS}/{job.id}/events")
        answer = connection.getresponse()
        assert answer.readline().startswith(b"id: ")
        threading.Timer(0.5, app.state.stopping.set).start()
        rest = answer.read()  # to the end, which comes although the job is not over
        connection.close()
    assert b"queued" in rest
    team.queue.cancel(job.id)


def test_asking_needs_the_scope(team: Team, trained: str) -> None:
    """Who may read or record may look at jobs, not ask for any, nor end one; who did what stands in the audit log with the job's id."""
    from datetime import UTC, datetime

    tokens = access_store(team.settings)
    texts = {}
    for name in ("record", "execute"):
        texts[name], token = new_token(name, frozenset({Scope(name)}), datetime.now(UTC), None)
        tokens.add_token(token)
    with TestClient(create_app(team.ports, tokens=tokens, need_tokens=True, jobs=team.queue), base_url="http://127.0.0.1") as client:
        recorder, executor = ({"Authorization": f"Bearer {texts[name]}"} for name in ("record", "execute"))
        path = f"/api/v1/runs/{trained}/materialisations"
        assert client.post(path, json={"what": "rerun"}).status_code == 401
        assert client.post(path, json={"what": "rerun"}, headers=recorder).status_code == 403
        job = client.post(path, json={"what": "rerun"}, headers=executor).json()
        assert job["requested_by"].startswith("token ")
        assert job["requested_by"].endswith("(execute)")
        assert client.get(f"{JOBS}/{job['id']}", headers=recorder).status_code == 200
        assert client.post(f"{JOBS}/{job['id']}/cancel", headers=recorder).status_code == 403
        assert client.post(f"{JOBS}/{job['id']}/cancel", headers=executor).status_code == 200
    noted = [(entry.what, entry.outcome) for entry in tokens.audit(20)]
    assert (f"POST /api/v1/materialisations/{job['id']}/cancel", 200) in noted
    assert (f"POST /api/v1/runs/{trained}/materialisations", 403) in noted
    tokens.close()


def test_the_client_speaks_as_the_queue_does(team: Team, app: FastAPI, trained: str) -> None:
    """What the command line uses over HTTP gives what the queue itself gives."""
    with serving(app) as address:
        jobs = HttpJobRequests(HttpClient(address))
        wanted = MaterialisationRequest(what="rerun", seconds=60)
        job = jobs.enqueue(trained, wanted, by="ignored", key="tuesday")
        assert jobs.enqueue(trained, wanted, by="ignored", key="tuesday") == job
        assert jobs.get(job.id) == team.queue.get(job.id) == job
        assert jobs.ids_with_prefix(job.id[:8], 6) == [job.id]
        assert jobs.find(JobQuery(run_id=trained, limit=1)).jobs == (job,)
        assert jobs.happened(job.id, 0) == team.queue.happened(job.id, 0)
        assert jobs.cancel(job.id).state is JobState.cancelled
        assert jobs.retry(job.id).state is JobState.queued
        with pytest.raises(Conflict):
            jobs.retry(job.id)
        with pytest.raises(NotFound):
            jobs.get(NOBODY)
        with pytest.raises(UsageError, match="used for another request"):
            jobs.enqueue(trained, MaterialisationRequest(what="data"), by="ignored", key="tuesday")
        jobs.close()
    cancel_all(team)


def test_a_record_from_elsewhere_is_not_run(team: Team, tmp_path: Path) -> None:
    """A run that nobody here saw grow, and that nobody trusted signed, is refused by the worker; the job says why."""
    with team_in(tmp_path) as others:
        run_id = others.record("train.py", "0.0", "0")
        record = record_of(others.ports, others.ports.runs.get(run_id))
        team.ports.runs.adopt(run_id, record.events, record.environments, record.points, "a friend")
    job = team.ask(run_id)
    team.worker().work(once=True)

    failed = team.queue.get(job.id)
    assert failed.error is not None
    assert (failed.state, failed.error.code) == (JobState.failed, "usage")
    assert "nobody whom this account trusts" in failed.error.message


def test_commands(team: Team, trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking, listing, calling off and trying again on the command line; wrong words are one sentence."""
    for variable in ("LINEAGE_STORE", "LINEAGE_FOLDER"):
        monkeypatch.setenv(variable, team.variables[variable])

    def lineage(*words: str, status: int = 0) -> str:
        done = CliRunner().invoke(command, words)
        if isinstance(done.exception, LineageError):
            assert done.exception.exit_code == status
            return done.exception.message
        assert done.exit_code == status, done.output
        return done.stdout if status == 0 else done.output

    job = lineage("request", trained[:12], "--what", "data", "--disk", "1GiB").strip()
    assert team.queue.get(job).options.disk_bytes == 2**30
    assert job[:12] in lineage("jobs", "list", "--state", "queued")
    assert json.loads(lineage("jobs", "cancel", job[:12], "--json"))["state"] == "cancelled"
    assert json.loads(lineage("jobs", "retry", job[:12], "--json"))["state"] == "queued"
    assert "'role' goes with data, not with rerun" in lineage("request", trained, "--what", "rerun", "--role", "x", status=2)
    assert "expected a size, found '1 elephant'" in lineage("worker", "--disk", "1 elephant", status=2)
    assert "there is no 'model'" in lineage("worker", "--what", "model", status=2)
    worker = team.process("--once")
    assert "1 jobs ended" in worker.communicate(timeout=60)[1]
    assert "not_found" in lineage("jobs", "follow", job[:12], status=10)
