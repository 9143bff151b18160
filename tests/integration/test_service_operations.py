"""What those who run the service see: request ids, figures, readiness. And whatever is asked of it, it does not fail."""

from __future__ import annotations

import json
import logging
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.ports import Ports
from lineage.record.start import start_run
from lineage.settings import Settings
from lineage.wiring import access_store, wire
from lineage.wiring_jobs import job_queue
from service.app import create_app
from service.logs import JsonLines


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """A store with three runs."""
    folder = tmp_path_factory.mktemp("operations")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    made = wire(Settings(str(folder / "store"), folder / "store"))
    model = folder / "model.pth"
    model.write_bytes(b"weights")
    code = None
    for number in range(3):
        with start_run(made, folder=folder, command=["python", "train.py"], code=code, project="parking", job_type="train") as run:
            code = run.record.code
            run.log({"loss": 1.0})
            if number == 1:
                run.log_artifact(model, kind="model")
    yield made
    made.runs.close()


@pytest.fixture(scope="module")
def app(ports: Ports) -> Iterator[FastAPI]:
    place = Settings(str(ports.folder), ports.folder)
    tokens, jobs = access_store(place), job_queue(place)
    yield create_app(ports, tokens=tokens, jobs=jobs)
    tokens.close()
    jobs.close()


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def test_a_request_id_is_taken_over_or_made(client: TestClient) -> None:
    """It comes back with every answer, also with a refusal; one that could spoil a log is replaced."""
    assert client.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/nowhere", headers={"X-Request-ID": "abc-2"}).headers["x-request-id"] == "abc-2"
    for bad in ("a b", "x" * 65, '"', "é"):
        assert len(client.get("/healthz", headers={"X-Request-ID": bad.encode()}).headers["x-request-id"]) == 32


def test_an_unforeseen_error_has_a_request_id_and_is_counted(ports: Ports) -> None:
    """An answer with 500 can be found in the log."""
    app = create_app(ports)
    app.state.ports = None
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)

    answer = client.get("/api/v1/runs", headers={"X-Request-ID": "abc-3"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "abc-3")
    assert 'requests_total{method="GET",route="/api/v1/runs",status="500"} 1.0' in client.get("/metrics").text


def test_figures_are_by_route_not_by_path(ports: Ports) -> None:
    """Whoever asks for a thousand ids, or a thousand pages that are not there, makes no thousand series."""
    client = TestClient(create_app(ports), base_url="http://127.0.0.1")
    for number in range(20):
        client.get(f"/api/v1/runs/{number:032x}")
        client.get(f"/nowhere/{number}")

    figures = client.get("/metrics").text
    assert 'lineage_http_requests_total{method="GET",route="/api/v1/runs/{id}",status="404"} 20.0' in figures
    assert 'lineage_http_request_seconds_count{method="GET",route="/api/v1/runs/{id}"} 20.0' in figures
    assert figures.count("lineage_http_requests_total{") == 2
    assert "process_resident_memory_bytes" in figures


def test_the_log_is_json_and_names_no_path(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """One object for each request: id, route, status, time and who; nothing of what stood behind the question mark."""
    caplog.set_level(logging.INFO, "service.requests")
    client.get("/api/v1/runs?project=hidden", headers={"X-Request-ID": "abc-4"})

    (line,) = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert {name: line[name] for name in ("request_id", "method", "route", "status", "who")} == {
        "request_id": "abc-4",
        "method": "GET",
        "route": "/api/v1/runs",
        "status": 200,
        "who": "address testclient",
    }
    assert line["ms"] > 0
    assert "hidden" not in json.dumps(line)


def test_readiness_is_a_store_of_this_release(tmp_path: Path) -> None:
    """A store that another release has brought further since is not used any more; it still says that it runs."""
    place = Settings(str(tmp_path / "s"), tmp_path / "s")
    ports, tokens = wire(place), access_store(place)
    client = TestClient(create_app(ports, tokens=tokens), base_url="http://127.0.0.1")
    assert client.get("/readyz").status_code == 200

    with closing(SqliteDatabase(tmp_path / "s" / "lineage.sqlite")) as database, database.writing() as execute:
        execute("INSERT INTO schema_version (version) VALUES (999)", ())
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "schema version 999" in answer.json()["detail"]
    assert client.get("/healthz").status_code == 200
    tokens.close()
    ports.runs.close()


def test_runs_by_time_and_artifact(client: TestClient) -> None:
    """`since` includes its instant, `until` does not; both hold across pages, in any zone."""

    def ids(**query: Any) -> list[str]:
        found: list[str] = []
        cursor: str | None = None
        for _ in range(5):
            page = client.get("/api/v1/runs", params={**query, "limit": 1} | ({"cursor": cursor} if cursor else {}))
            assert page.status_code == 200, page.text
            found += [item["id"] for item in page.json()["items"]]
            cursor = page.json()["next_cursor"]
            if cursor is None:
                break
        return found

    items = client.get("/api/v1/runs").json()["items"]
    newest, middle, oldest = (item["id"] for item in items)
    at = items[1]["started_at"]
    assert ids(since=at) == [newest, middle]
    assert ids(until=at) == [oldest]
    assert ids(until=items[0]["started_at"]) == [middle, oldest]
    assert ids(since=at, until=items[0]["started_at"]) == [middle]
    east = datetime.fromisoformat(at).astimezone(timezone(timedelta(hours=9))).isoformat()
    assert ids(since=east) == [newest, middle]
    assert ids(artifact=items[1]["outputs"][0]["digest"]) == [middle]
    for bad in ({"since": "2026-01-01T00:00:00"}, {"until": "0001-01-01T00:00:00+14:00"}, {"artifact": "model.pth"}):
        assert client.get("/api/v1/runs", params=bad).status_code in (400, 422)


def test_an_environment_is_answered(client: TestClient) -> None:
    """The one of the record, told again only when it is another."""
    run = client.get("/api/v1/runs").json()["items"][0]["id"]
    answer = client.get(f"/api/v1/runs/{run}/environment")

    assert answer.json() == client.get(f"/api/v1/runs/{run}").json()["environment"]
    again = client.get(f"/api/v1/runs/{run}/environment", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_whatever_is_asked_the_service_does_not_fail(app: FastAPI, mode: GenerationMode) -> None:
    """Requests made up from the description of every route, right ones and wrong ones: none ends with a server error."""
    host = {"Host": "127.0.0.1"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=host)
    answered: Counter[int] = Counter()
    operations = [found.ok() for found in schema.get_all_operations()]
    unasked: list[str] = []

    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not (operation.path_parameters or operation.query or operation.body or operation.headers):
            continue  # nothing about it can be wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=12, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def ask(case: Any) -> None:
            response = case.call(headers=host)
            answered[response.status_code] += 1
            assert response.status_code < 500, (case.as_curl_command(), response.text)

        try:
            ask()
        except Unsatisfiable:  # a path that takes any text can hardly be wrong: all that was made up turned out to be right
            unasked.append(operation.label)
    assert len(unasked) <= (len(operations) // 5 if mode is GenerationMode.NEGATIVE else 0), unasked
    assert answered.total() > 150, answered
    assert 400 <= max(answered) < 500
