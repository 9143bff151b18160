"""Who may ask the service what: tokens, scopes, limits, the audit log, and that no secret comes out."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lineage.adapters.stores.access import SqlAccessStore
from lineage.adapters.stores.postgres import PostgresDatabase
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.errors import Conflict, NotFound
from lineage.model.access import AuditEntry, Scope, new_token
from lineage.ports import Ports
from lineage.settings import Settings
from lineage.wiring import access_store, wire
from service import access
from service.app import create_app
from service.logs import JsonLines

WRITE = f"/api/v1/store/runs/{'a' * 32}/events"
LIST = "/api/v1/runs"


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[Ports]:
    made = wire(Settings(str(tmp_path / "store"), tmp_path / "store"))
    yield made
    made.runs.close()


@pytest.fixture
def store(ports: Ports) -> Iterator[SqlAccessStore]:
    made = access_store(Settings(str(ports.folder), ports.folder))
    yield made
    made.close()


@pytest.fixture
def browse(ports: Ports, store: SqlAccessStore) -> Iterator[Callable[..., TestClient]]:
    """Clients of services that need tokens."""
    opened: list[TestClient] = []

    def begin(**options: Any) -> TestClient:
        app = create_app(ports, tokens=store, **({"need_tokens": True} | options))
        client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        opened.append(client.__enter__())
        return client

    yield begin
    for client in opened:
        client.__exit__(None, None, None)


def give(store: SqlAccessStore, *scopes: str, name: str = "ada", lasts: timedelta | None = None, now: datetime | None = None) -> str:
    now = now or datetime.now(UTC)
    text, token = new_token(name, frozenset(map(Scope, scopes)), now, None if lasts is None else now + lasts)
    store.add_token(token)
    return text


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_nothing_is_answered_without_a_token_but_that_it_runs(browse: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every route asks for one, and says how to send it."""
    monkeypatch.setattr(access.Buckets, "wait_s", lambda *_: 0.0)  # there are more routes than refusals in a row
    client = browse()
    described: dict[str, dict[str, Any]] = client.app.openapi()["paths"]  # type: ignore[attr-defined]
    asked = [(method.upper(), path) for path, methods in described.items() if path not in access.OPEN for method in methods]
    assert len(asked) > 15

    for method, path in [*asked, ("GET", "/"), ("GET", "/runs"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/nowhere")]:
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (401, "no_access"), (method, path)
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert answer.headers["content-type"] == "application/problem+json"
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    assert client.get("/static/style.css").status_code == 200


def test_a_token_allows_what_its_scopes_say(browse: Callable[..., TestClient], store: SqlAccessStore) -> None:
    """Reading, recording and executing are apart; each includes reading; what is refused is named."""
    client = browse()
    read, record, execute = (bearer(give(store, scope, name=scope)) for scope in ("read", "record", "execute"))

    assert [client.get(LIST, headers=who).status_code for who in (read, record, execute)] == [200, 200, 200]
    refused = client.post(WRITE, headers=read, json={})
    assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    assert "'record'" in refused.json()["detail"]
    assert 'error="insufficient_scope", scope="record"' in refused.headers["www-authenticate"]
    assert client.post(WRITE, headers=execute, json={}).status_code == 403
    assert client.post(WRITE, headers=record, json={}).status_code == 422  # let in; the body is wrong


def test_a_token_that_is_not_valid_opens_nothing(
    browse: Callable[..., TestClient], store: SqlAccessStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expired, revoked, altered in one place, cut off, or of another form: 401."""
    monkeypatch.setattr(access, "_KEPT_S", 0.0)
    client = browse()
    good = give(store, "read")
    expired = give(store, "read", name="old", lasts=timedelta(hours=1), now=datetime.now(UTC) - timedelta(hours=2))
    altered = good[:-1] + ("A" if good[-1] != "A" else "B")

    assert client.get(LIST, headers=bearer(good)).status_code == 200
    for text in (expired, altered, good[:-1], good + "A", "", "lin_", "é" * 5):
        assert client.get(LIST, headers={"Authorization": f"Bearer {text}".encode()}).status_code == 401, text
    assert client.get(LIST, headers={"Authorization": "Basic !!"}).status_code == 401
    store.revoke("ada", datetime.now(UTC))
    assert client.get(LIST, headers=bearer(good)).status_code == 401


def test_a_browser_may_give_the_token_as_password(browse: Callable[..., TestClient], store: SqlAccessStore) -> None:
    """Pages are looked at by people, whose browser asks for a name and a password."""
    assert browse().get("/runs", auth=("anybody", give(store, "read"))).status_code == 200


def test_only_the_digest_is_kept(store: SqlAccessStore, ports: Ports) -> None:
    """The token is in no file of the store."""
    text = give(store, "read")
    store.close()

    secret = text.rpartition("_")[2].encode()
    assert [path for path in ports.folder.rglob("*") if path.is_file() and secret in path.read_bytes()] == []


def test_a_page_of_another_site_cannot_write(browse: Callable[..., TestClient]) -> None:
    """Neither on an open service of this machine nor with a remembered password; programs and own pages can."""
    client = browse(need_tokens=False)

    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post(WRITE, headers=headers, json={}).status_code == 403
        assert client.get(LIST, headers=headers).status_code == 200
    assert client.post(WRITE, headers={"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}, json={}).status_code == 422
    assert client.post(WRITE, json={}).status_code == 422
    answer = client.options(LIST, headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"})
    assert [name for name in answer.headers if name.startswith("access-control")] == []


# --- limits ---------------------------------------------------------------------------------------------------------


def test_a_token_may_ask_only_so_often(browse: Callable[..., TestClient], store: SqlAccessStore) -> None:
    """Ten seconds' worth at once, then 429 with the time to wait; another token is not held up."""
    client = browse(rate_per_s=0.5)
    first, second = (bearer(give(store, "read", name=name)) for name in ("first", "second"))

    answers = [client.get(LIST, headers=first) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 3
    assert answers[-1].json()["code"] == "too_many_requests"
    assert client.get(LIST, headers=second).status_code == 200


def test_guessing_is_slowed_down(browse: Callable[..., TestClient]) -> None:
    """Thirty refusals in a row from one address, and it has to wait."""
    client = browse()

    assert [client.get(LIST, headers=bearer(f"lin_{n:012x}_{'a' * 43}")).status_code for n in range(30)] == [401] * 30
    assert client.get(LIST, headers=bearer(f"lin_{99:012x}_{'a' * 43}")).status_code == 429


def test_a_large_body_is_refused(browse: Callable[..., TestClient]) -> None:
    """By its announced size, and when it comes in parts without one."""
    client = browse(need_tokens=False, most_body_bytes=1000)

    def parts() -> Iterator[bytes]:
        yield from (b"x" * 600 for _ in range(3))

    for body in (b"x" * 1001, parts()):
        answer = client.post(WRITE, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


# --- what is written down -------------------------------------------------------------------------------------------


def test_changes_and_refusals_are_audited(browse: Callable[..., TestClient], store: SqlAccessStore) -> None:
    """Who, what, how often, with which outcome; looking is not noted; repetitions are one line."""
    client = browse()
    headers = bearer(give(store, "read"))
    client.get(LIST, headers=headers)
    for _ in range(3):
        client.post(WRITE, headers=headers, json={})
    client.get(LIST)
    client.__exit__(None, None, None)  # counts are written at the end
    lines = store.audit(10)
    client.__enter__()

    assert [(line.who.partition(" ")[0], line.what, line.outcome, line.count) for line in lines] == [
        ("address", "GET (none)", 401, 1),
        ("token", f"POST {WRITE}", 403, 3),
    ]
    assert lines[1].who.endswith(" (ada)")


def test_no_token_comes_out(
    browse: Callable[..., TestClient], store: SqlAccessStore, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Wherever somebody puts a token by mistake: not in an answer, the log, the figures or the audit log."""
    text = give(store, "read", "record")
    secret = text.rpartition("_")[2]
    client = browse(need_tokens=False)
    caplog.set_level(logging.DEBUG, "service")
    told = []
    for path in (f"/api/v1/runs?limit={text}", f"/api/v1/runs?{text}=1", f"/api/v1/runs/{text}", f"/{text}", f"/api/v1/samples?id={text}"):
        for headers in ({}, bearer(text), {"X-Request-ID": text, "Accept": "text/html"}, {"Host": text}):
            answer = client.get(path, headers=headers)
            told.append(answer.text + str(answer.headers))
    told.append(client.post(WRITE, json={"token": text}).text)
    told.append(client.get("/metrics").text)
    told += [str(line) for line in store.audit(100)]
    told += [JsonLines().format(record) for record in caplog.records]
    told += capfd.readouterr()

    assert len(caplog.records) >= 20
    assert [text for text in told if secret in text] == []


def test_an_address_of_a_file_reads_no_file(browse: Callable[..., TestClient], tmp_path: Path) -> None:
    """A parameter that names a file of the server's machine tells nothing of its content or whether it is there."""
    client = browse(need_tokens=False)
    (tmp_path / "secret.txt").write_text("inside")
    for name in (f"file://{tmp_path}/secret.txt", f"{tmp_path}/secret.txt"):
        answers = [client.get(LIST, params={"dataset": asked}) for asked in (name, name.replace("secret.txt", "absent.txt"))]
        assert [(answer.status_code, answer.json()["items"]) for answer in answers] == [(200, []), (200, [])]
    for path in ("/api/v1/runs/..%2f..%2fetc%2fpasswd", "/static/..%2f..%2fapp.py", f"/api/v1/models/{tmp_path}%2Fsecret.txt/data"):
        answer = client.get(path)
        assert answer.status_code in (400, 404, 422)
        assert "root:" not in answer.text


# --- the store of tokens, on both databases -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_tokens_and_audit_are_kept(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """What was put in comes out, newest first; a name denotes one valid token."""
    database = SqliteDatabase(tmp_path / "x.sqlite") if kind == "sqlite" else PostgresDatabase(request.getfixturevalue("postgres_url"))
    store, now = SqlAccessStore(database), datetime.now(UTC)
    first = new_token("a", frozenset({Scope.read, Scope.record}), now - timedelta(days=2), now - timedelta(days=1))[1]
    second = new_token("a", frozenset({Scope.execute}), now, None)[1]

    store.add_token(first)
    store.add_token(second)  # the first has expired
    assert store.tokens() == [second, first]
    assert store.token(first.id) == first
    assert store.token("0" * 12) is None
    with pytest.raises(Conflict, match="there is a token 'a' already"):
        store.add_token(new_token("a", frozenset({Scope.read}), now, None)[1])
    assert store.revoke(second.id, now).revoked_at == now
    assert store.revoke("a", now).id == first.id
    with pytest.raises(NotFound):
        store.revoke("a", now)

    number = store.note(AuditEntry("w", "GET /x", 403, now, now))
    store.note(AuditEntry("w", "GET /y", 401, now, now))
    store.repeat(number, now + timedelta(seconds=1), 7)
    assert [(item.what, item.count) for item in store.audit(10)] == [("GET /y", 1), ("GET /x", 7)]
    store.check()
    store.close()


# --- the command line -----------------------------------------------------------------------------------------------


def test_a_service_for_others_needs_a_token_and_ends_in_order(tmp_path: Path) -> None:
    """Refused without one; with one it answers who has it, logs JSON without it, and ends when asked to."""
    environment = os.environ | {"LINEAGE_STORE": str(tmp_path / "store")}

    def lineage(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lineage", *words], env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    refused = lineage("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 2
    assert "lineage tokens new" in refused.stderr
    assert lineage("tokens", "new", "x", "--expires", "soon").returncode == 2
    text = lineage("tokens", "new", "ci", "--scope", "record", "--expires", "12h").stdout.strip()
    listed = json.loads(lineage("tokens", "list", "--json").stdout)
    assert [(item["name"], item["scopes"], item["state"]) for item in listed] == [("ci", ["record"], "valid")]

    log = tmp_path / "log"
    command = [sys.executable, "-m", "lineage", "serve", "--host", "0.0.0.0", "--port", "0"]
    with log.open("w") as file:
        server = subprocess.Popen(command, env=environment, stderr=file)
    try:
        port = _port(server, log)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/v1/runs?token={text}", headers=bearer(text) | {"X-Request-ID": "mine-1"}
        )
        with pytest.raises(urllib.error.HTTPError, match="422"):
            urllib.request.urlopen(request, timeout=20)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/runs", timeout=20)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    finally:
        server.kill()
        server.wait(30)
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [(line["route"], line["status"]) for line in lines] == [("/api/v1/runs", 422), ("(none)", 401)]
    assert lines[0]["request_id"] == "mine-1"
    assert lines[0]["who"].endswith(" (ci)")
    assert text.rpartition("_")[2] not in log.read_text()

    assert [item["status"] for item in json.loads(lineage("tokens", "audit", "--json").stdout)] == [401]
    assert lineage("tokens", "revoke", "ci").returncode == 0
    assert lineage("serve", "--need-tokens", "--port", "0").returncode == 2


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    import re
    import time

    for _ in range(600):
        if found := re.search(r":(\d+) \(API", log.read_text()):
            return int(found.group(1))
        assert server.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())
