"""How the service ends: what was begun is finished, what was acknowledged is kept, a second signal does not wait; several processes."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from lineage.adapters.stores.http import HttpRunStore
from lineage.adapters.stores.http_client import HttpClient
from lineage.errors import LineageError
from lineage.model.event import Noted, Started
from lineage.model.run import Run
from lineage.settings import Settings
from lineage.wiring import wire
from tests.support.serve_process import Serving, serving, until


def test_an_upload_that_was_begun_is_finished(tmp_path: Path) -> None:
    """Told to end in the middle of an object, the service takes the rest, answers, takes nobody new, and ends with 0."""
    content = os.urandom(3 << 20)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with serving(tmp_path, str(tmp_path / "team")) as service:
        upload = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        upload.putrequest("PUT", f"/api/v1/objects/{digest}")
        upload.putheader("Content-Length", str(len(content)))
        upload.endheaders(content[: 1 << 20])
        objects = tmp_path / "team" / "objects"
        until(lambda: any(file.stat().st_size for file in objects.glob(".partial-*")), service.said)  # its beginning is on the disk
        service.process.send_signal(signal.SIGTERM)

        def is_refused() -> bool:
            try:
                return service.get("/healthz", seconds=2)[0] != 200
            except OSError:
                return True

        until(lambda: is_refused() or None, service.said)
        upload.send(content[1 << 20 :])
        answer = upload.getresponse()
        answer.read()
        assert answer.status == 204
        upload.close()
        assert service.process.wait(20) == 0, service.said()
    ports = wire(Settings(str(tmp_path / "team"), tmp_path / "team"))
    assert ports.objects.get_bytes(digest) == content
    ports.runs.close()


def test_what_was_acknowledged_is_kept(tmp_path: Path) -> None:
    """Four clients write without a pause while it is told to end: each write either was acknowledged and is there, or failed."""
    acknowledged: list[tuple[str, int]] = []
    with serving(tmp_path, str(tmp_path / "team")) as service:

        def write(run_id: str) -> None:
            client = HttpClient(f"http://127.0.0.1:{service.port}", patience_s=0)
            store, at = HttpRunStore(client), datetime.now(UTC)
            try:
                store.append(run_id, Started(at=at, run=Run(id=run_id, name="d", project="p", job_type="t", started_at=at)))
                for number in range(100_000):
                    store.append(run_id, Noted(at=at, note=str(number)))
                    acknowledged.append((run_id, number))
            except LineageError:
                client.close()

        writers = [threading.Thread(target=write, args=(f"{number:032x}",)) for number in range(4)]
        for writer in writers:
            writer.start()
        until(lambda: len(acknowledged) > 60 or None, service.said)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0, service.said()
        for writer in writers:
            writer.join(30)
    ports = wire(Settings(str(tmp_path / "team"), tmp_path / "team"))
    kept = {(f"{number:032x}", int(note)) for number in range(4) for note in ports.runs.get(f"{number:032x}").notes}
    ports.runs.close()
    assert len(acknowledged) > 60
    assert kept.issuperset(acknowledged)
    assert len(kept) - len(acknowledged) <= 4, "at most what was on its way"


STREAM = """
import socket, sys, time
from pathlib import Path
from fastapi import Request
from fastapi.responses import StreamingResponse
from lineage.settings import Settings
from lineage.wiring import wire
from service.app import create_app
from service.server import Server

app = create_app(wire(Settings(sys.argv[1], Path(sys.argv[1]))))

@app.get("/stream")
def stream(request: Request) -> StreamingResponse:
    def lines():
        while not request.app.state.stopping.wait(0.05):
            yield "data: on\\n\\n"
        yield "data: the end\\n\\n"
    return StreamingResponse(lines(), media_type="text/event-stream")

listening = socket.create_server(("127.0.0.1", 0))
print(f"127.0.0.1:{listening.getsockname()[1]} (API", file=sys.stderr, flush=True)
Server(app, 20).run(sockets=[listening])
"""


def test_a_stream_is_told(tmp_path: Path) -> None:
    """A stream of events learns that the service ends: it says a last word and closes, long before the time that requests have."""
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-c", STREAM, str(tmp_path / "team")], stderr=file)
    try:
        service = Serving(process, log)
        with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/stream", timeout=20) as answer:
            assert answer.readline() == b"data: on\n"
            service.process.send_signal(signal.SIGTERM)
            assert answer.read().endswith(b"data: the end\n\n")
        assert process.wait(10) == 0, service.said()
    finally:
        process.kill()
        process.wait(30)


@contextmanager
def blocked(url: str) -> Iterator[None]:
    """Nobody can read runs while this lasts."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
        yield


def waits(url: str) -> bool:
    """Whether a look-up waits for the lock."""
    with psycopg.connect(url, autocommit=True) as connection:
        of_this_one = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        found = connection.execute(f"SELECT count(*) FROM pg_locks WHERE NOT granted AND {of_this_one}")
        return bool(found.fetchone() != (0,))


def ask(service: Serving, answers: list[int | str]) -> threading.Thread:
    """A look-up in a thread."""

    def look() -> None:
        try:
            answers.append(service.get("/api/v1/runs", seconds=60)[0])
        except OSError as error:
            answers.append(type(error).__name__)

    thread = threading.Thread(target=look)
    thread.start()
    return thread


def test_a_slow_look_up_is_finished_or_cut_off(tmp_path: Path, new_postgres_database: Callable[[], str]) -> None:
    """In time it is answered, with status 0; after that the answer is 503, with the signal's status; a second signal does not wait."""
    url = new_postgres_database()
    for way in ("in time", "too late", "second signal"):
        answers: list[int | str] = []
        with serving(tmp_path, url, "--grace", "1" if way == "too late" else "60") as service:
            assert service.get("/readyz")[0] == 200
            with blocked(url):
                asking = ask(service, answers)
                until(lambda: waits(url) or None, service.said)
                service.process.send_signal(signal.SIGTERM)
                if way == "too late":
                    assert service.process.wait(20) == 128 + signal.SIGTERM
                elif way == "second signal":
                    with pytest.raises(subprocess.TimeoutExpired):
                        service.process.wait(0.5)
                    service.process.send_signal(signal.SIGTERM)
                    assert service.process.wait(5) == 128 + signal.SIGTERM
            if way == "in time":
                assert service.process.wait(20) == 0, service.said()
            asking.join(30)
        assert answers == [{"in time": 200, "too late": 503, "second signal": "RemoteDisconnected"}[way]]


def test_a_lost_database_is_said_and_found_again(tmp_path: Path, new_postgres_database: Callable[[], str]) -> None:
    """The database refuses everybody for a while: 503 as a problem document, and 200 again without a new start."""
    url = new_postgres_database()
    name = url.partition("?")[0].rpartition("/")[2]
    with serving(tmp_path, url) as service, psycopg.connect(url.replace(f"/{name}", "/postgres"), autocommit=True) as server:
        assert service.get("/readyz")[0] == 200
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        for path in ("/readyz", "/healthz", "/api/v1/runs"):
            status, body = service.get(path)
            assert (status, json.loads(body)["code"]) == (503, "unavailable"), path
            assert url not in body.decode()
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert [service.get(path)[0] for path in ("/readyz", "/healthz", "/api/v1/runs")] == [200] * 3
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0


def children_of(process: int) -> set[int]:
    """Ids of the processes that it started and that are alive."""
    listed = subprocess.run(["ps", "-o", "pid=,stat=", "--ppid", str(process)], capture_output=True, text=True, check=False, timeout=20)
    return {int(line.split()[0]) for line in listed.stdout.splitlines() if "Z" not in line.split()[1]}


def test_several_processes_on_one_database(tmp_path: Path, new_postgres_database: Callable[[], str]) -> None:
    """Both answer and their figures are one; a revoked token is refused by both; one that is killed comes back; all end with the first."""
    url = new_postgres_database()
    variables = os.environ | {"LINEAGE_STORE": url, "LINEAGE_FOLDER": str(tmp_path / "team")}

    def lineage(*words: str) -> str:
        command = [sys.executable, "-m", "lineage", *words]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=True, timeout=60).stdout

    token, other = lineage("tokens", "new", "ada").strip(), lineage("tokens", "new", "ben").strip()
    with serving(tmp_path, url, "--workers", "2", "--need-tokens") as service:
        assert service.get("/api/v1/runs", token)[0] == 200
        workers = until(lambda: found if len(found := children_of(service.process.pid)) == 2 else None, service.said)

        for _ in range(60):
            assert service.get("/api/v1/runs", token)[0] == 200
        asked = re.search(rb'requests_total\{method="GET",route="/api/v1/runs",status="200"\} (\d+)', service.get("/metrics", token)[1])
        assert asked is not None
        assert int(asked.group(1)) == 61, "each process alone has a part of them"

        lineage("tokens", "revoke", "ada")
        time.sleep(5)
        assert {service.get("/api/v1/runs", token)[0] for _ in range(20)} <= {401, 429}

        killed = min(workers)
        os.kill(killed, signal.SIGKILL)
        until(lambda: (killed not in (found := children_of(service.process.pid)) and len(found) == 2) or None, service.said)
        assert service.get("/api/v1/runs", other)[0] == 200
        workers = children_of(service.process.pid)
        service.process.kill()
        service.process.wait(20)

        def is_there(process: int) -> bool:
            try:
                return b"serve" in Path(f"/proc/{process}/cmdline").read_bytes()  # empty once it is over and nobody asked how
            except OSError:
                return False

        until(lambda: not any(map(is_there, workers)) or None, service.said)
