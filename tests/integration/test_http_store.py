"""A service as store: objects, the token, and a service that is killed again and again while two clients record."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lineage.adapters.stores.http import HttpRunStore
from lineage.adapters.stores.http_client import HttpClient
from lineage.adapters.stores.http_objects import FetchingObjectStore, HttpObjects
from lineage.errors import NotFound, Unavailable, UsageError
from lineage.model.event import Noted, Started, replay
from lineage.model.run import MetricPoint, Run, RunState
from lineage.ports import Ports, RunQuery
from lineage.settings import Settings
from lineage.wiring import wire
from service.app import create_app
from tests.support.serving import serving

KILLS = int(os.environ.get("LINEAGE_TEST_KILLS", "8"))
"""How often the service is killed; 100 were run once."""

# Acknowledged things are printed as they are acknowledged.
DIRECT = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from lineage.adapters.stores.http import HttpRunStore
from lineage.adapters.stores.http_client import HttpClient
from lineage.model.event import Ended, Noted, Started
from lineage.model.run import MetricPoint, Run, RunState

address, stop = sys.argv[1:]
store = HttpRunStore(HttpClient(address, patience_s=600))
number = 0
while not Path(stop).exists():
    run_id = f"{number:032x}"
    at = datetime.now(UTC)
    store.append(run_id, Started(at=at, run=Run(id=run_id, name="d", project="p", job_type="t", started_at=at)))
    print("run", run_id, flush=True)
    for note in range(10):
        store.append(run_id, Noted(at=datetime.now(UTC), note=str(note)))
        print("note", run_id, note, flush=True)
        store.add_metrics(run_id, [MetricPoint(step=note, values={"m": 1.0}, at=0.5)])
        print("point", run_id, note, flush=True)
    store.append(run_id, Ended(at=datetime.now(UTC), state=RunState.finished, metrics_digest=store.metrics_digest(run_id)))
    print("end", run_id, flush=True)
    number += 1
"""
SPOOLED = """
import sys, time
from pathlib import Path
import lineage

stop = sys.argv[1]
while not Path(stop).exists():
    with lineage.start_run(project="p", job_type="spooled") as run:
        for number in range(10):
            run.log({"m": 1.0})
            time.sleep(0.02)
        Path("model.bin").write_text(run.id)
        run.log_artifact("model.bin", kind="model")
    print("spooled", run.id, flush=True)
"""


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Ports]:
    ports = wire(Settings(str(tmp_path / "team"), tmp_path / "team"))
    yield ports
    ports.runs.close()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_objects_go_and_come_back(team: Ports, tmp_path: Path) -> None:
    """Several blocks, nothing at all, an object that is not there; what was fetched once is kept here."""
    big = os.urandom((3 << 20) + 5)
    file = tmp_path / "file"
    file.write_bytes(big)
    with serving(create_app(team)) as address:
        client = HttpClient(address, patience_s=1)
        remote = HttpObjects(client)
        local = wire(Settings(str(tmp_path / "here"), tmp_path / "here"))
        here = FetchingObjectStore(local.objects, remote, tmp_path / "partial")
        assert not remote.has(digest_of(big))
        remote.put_file(file, digest_of(big))
        remote.put_file(file, digest_of(big))
        remote.put_bytes(b"", digest_of(b""))
        assert here.has(digest_of(big))
        assert here.get_bytes(digest_of(big)) == big
        assert here.get_bytes(digest_of(b"")) == b""
        assert here.path_of(digest_of(b"other")) is None
        with pytest.raises(NotFound, match="object"):
            here.get_bytes(digest_of(b"other"))
        client.close()
    assert here.get_bytes(digest_of(big)) == big, "the service is gone"
    assert team.objects.get_bytes(digest_of(big)) == big
    local.runs.close()


def test_an_object_that_is_not_what_its_address_says_is_refused(team: Ports) -> None:
    """Another content, or a body that breaks off: nothing is kept, and the answer says what was expected."""
    browser = TestClient(create_app(team), base_url="http://127.0.0.1", raise_server_exceptions=False)
    answer = browser.put(f"/api/v1/objects/{digest_of(b'one')}", content=b"two")
    assert answer.status_code == 400
    assert digest_of(b"one") in answer.json()["detail"]
    assert browser.put("/api/v1/objects/sha256:../../etc/passwd", content=b"x").status_code in (404, 405, 422)
    assert list(team.objects.all()) == []


def test_a_chain_that_does_not_hold_is_refused(team: Ports) -> None:
    """Made-up events are the client's mistake: 422, and nothing is kept."""
    browser = TestClient(create_app(team), base_url="http://127.0.0.1", raise_server_exceptions=False)
    body = {"number": 0, "events": [["{}", "sha256:" + "0" * 64]]}
    answer = browser.post(f"/api/v1/store/runs/{'a' * 32}/events", json=body)
    assert answer.status_code == 422
    assert answer.json()["code"] == "wrong_content"
    points = {"number": 0, "points": [[1, 0.5, "[]"]]}
    assert browser.post(f"/api/v1/store/runs/{'a' * 32}/metrics", json=points).status_code in (400, 404)
    assert team.runs.ids_with_prefix("", 5) == []


def test_an_answer_that_was_lost_is_asked_for_again_and_counts_once(team: Ports) -> None:
    """The request was acted on, its connection broke: the client sends it again, and nothing is there twice."""
    with serving(create_app(team)) as address:
        client = HttpClient(address, patience_s=5)
        honest = client._once
        lost: list[str] = []

        def losing(method: str, path: str, *rest: object) -> object:
            answer = honest(method, path, *rest)  # type: ignore[arg-type]
            if method == "POST" and len(lost) % 2 == 0:
                lost.append(path)
                raise ConnectionResetError("lost on the way")
            if method == "POST":
                lost.append("")
            return answer

        client._once = losing  # type: ignore[assignment]
        store = HttpRunStore(client)
        run = Run(id="a" * 32, name="n", project="p", job_type="t", started_at=datetime.now(UTC))
        store.append(run.id, Started(at=run.started_at, run=run))
        store.append(run.id, Noted(at=run.started_at, note="once"))
        store.add_metrics(run.id, [MetricPoint(step=0, values={"m": 1.0}, at=0.0)])
        client.close()
    assert sum(bool(item) for item in lost) == 3
    assert team.runs.get(run.id).notes == ("once",)
    assert len(team.runs.events(run.id)) == 2
    assert len(team.runs.metrics(run.id)) == 1


@pytest.mark.parametrize("address", ["http://", "http://kim:hunter2@127.0.0.1:1", "http://127.0.0.1:99999", "ftp://x", "http://x/?a=b"])
def test_an_address_that_is_none_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(UsageError) as refused:
        HttpClient(address)
    assert "hunter2" not in str(refused.value) + str(refused.value.hint)


def test_a_token_never_shows_up(tmp_path: Path) -> None:
    """Neither in an error nor in the settings' own words."""
    settings = Settings("http://127.0.0.1:1", tmp_path, token="very-secret")
    assert "very-secret" not in repr(settings)
    with pytest.raises(Unavailable) as refused:
        HttpRunStore(HttpClient(settings.store, settings.token, patience_s=0)).get("a" * 32)
    assert "very-secret" not in str(refused.value)
    with pytest.raises(UsageError) as wrong:
        HttpClient(settings.store, "very-secret\r\nX: y")
    assert "very-secret" not in str(wrong.value)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.slow
def test_a_service_is_killed_again_and_again_while_two_clients_record(tmp_path: Path, repository: Path) -> None:
    """No acknowledged record, note or point is lost, and none is there twice; the clients go on by themselves."""
    port, stop, team = _free_port(), tmp_path / "stop", tmp_path / "team"
    address = f"http://127.0.0.1:{port}"
    chance = random.Random(20240506)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LINEAGE_")}

    def serve() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "lineage", "serve", "--port", str(port)]
        child = subprocess.Popen(command, env=plain | {"LINEAGE_STORE": str(team)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return child
        raise AssertionError("the service did not start")

    def begin(script: str, *arguments: str, folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
        told = tmp_path / f"told-{folder.name}-{len(arguments)}"
        more = {"LINEAGE_STORE": address, "LINEAGE_FOLDER": str(tmp_path / "spool"), "LINEAGE_WAIT": "5"}
        with told.open("wb") as out:
            command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
            return subprocess.Popen(command, cwd=folder, env=plain | more, stdout=out), told

    service = serve()
    direct, told_direct = begin(DIRECT, address, str(stop), folder=repository)
    spooled, told_spooled = begin(SPOOLED, str(stop), folder=repository)
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 1.0))
            service.send_signal(signal.SIGKILL)
            service.wait(10)
            service = serve()
        stop.touch()
        assert direct.wait(120) == 0
        assert spooled.wait(120) == 0
        variables = plain | {"LINEAGE_STORE": address, "LINEAGE_FOLDER": str(tmp_path / "spool")}
        sync = subprocess.run([sys.executable, "-m", "lineage", "sync"], cwd=repository, env=variables, capture_output=True, timeout=120)
        assert sync.returncode == 0, sync.stderr
    finally:
        stop.touch()
        for child in (direct, spooled, service):
            child.kill()
            child.wait(10)

    ports = wire(Settings(str(team), team))
    runs = {run.id: run for run in ports.runs.find(RunQuery())}
    words = [line.split() for line in (told_direct.read_text() + told_spooled.read_text()).splitlines()]
    assert {line[1] for line in words} == set(runs)
    for line in words:
        if line[0] == "note":
            assert runs[line[1]].notes.count(line[2]) == 1
        if line[0] == "point":
            assert [point.step for point in ports.runs.metrics(line[1])].count(int(line[2])) == 1
        if line[0] in ("end", "spooled"):
            assert runs[line[1]].state is RunState.finished
            assert len(ports.runs.metrics(line[1])) == 10
        if line[0] == "spooled":
            assert ports.objects.get_bytes(runs[line[1]].outputs[0].digest) == line[1].encode()
    for run_id, run in runs.items():
        assert replay(ports.runs.events(run_id), run_id, ports.runs.environment) == run
    ports.runs.close()
    print(f"{KILLS} kills, {len(words)} acknowledged, {len(runs)} runs")  # noqa: T201 - read by who runs it alone
