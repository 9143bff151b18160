"""Records that lead elsewhere: what they name is not opened, not executed, and not told. Each stays closed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from lineage import wiring_jobs
from lineage.adapters.datasets.choose import ChoosingBackend
from lineage.adapters.environment.uv_program import call_uv
from lineage.adapters.source.git import GitSourceControl
from lineage.cli import app as command
from lineage.errors import IntegrityError
from lineage.model.code import CodeVersion
from lineage.model.event import chain_digest
from lineage.model.materialisation import JobError, JobState
from lineage.ports import Ports
from lineage.ports.executor import Limits
from lineage.reproduce.jobs.attempt import Attempt
from service.app import create_app
from tests.support.jobs import Team, team_in

AT = "2026-03-14T09:00:00+00:00"
DIGEST = f"sha256:{'d' * 64}"
FIRST, SECOND = "a" * 32, "b" * 32


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with team_in(tmp_path) as made:
        yield made


@pytest.fixture
def client(team: Team) -> TestClient:
    return TestClient(create_app(team.ports), base_url="http://127.0.0.1", raise_server_exceptions=False)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout.strip()


def record(run_id: str, *more: dict[str, Any], at: str = AT, **facts: Any) -> list[tuple[str, str]]:
    """A whole record with a chain that fits it, as anybody can make it."""
    begin = {"kind": "started", "at": at, "run": {"id": run_id, "name": "n", "project": "p", "job_type": "t", "started_at": at, **facts}}
    made: list[tuple[str, str]] = []
    for event in (begin, *more, {"kind": "ended", "at": AT, "state": "finished"}):
        payload = json.dumps(event)
        made.append((payload, chain_digest(made[-1][1] if made else None, payload)))
    return made


def code(root: Path, commit: str, tree: str) -> dict[str, Any]:
    said = {"git_sha": None, "branch": None, "is_dirty": False, "repository": "r"}
    return said | {"root": str(root), "snapshot_sha": commit, "tree_sha": tree}


def used(uri: str, at: str = AT) -> dict[str, Any]:
    facts = {"role": "train", "uri": uri, "dataset_id": "x", "branch": "main", "branch_id": "", "commit_id": "c", "rows": 1}
    digests = dict.fromkeys(("rows_digest", "content_digest", "rows_object"), DIGEST)
    return {"kind": "input_used", "at": AT, "input": {**facts, **digests, "rows_total": 1, "columns": {}, "backend": "f", "used_at": at}}


def live(ports: Ports, run_id: str, events: list[tuple[str, str]]) -> None:
    """As a client with the scope `record` has it: this store saw it grow."""
    assert ports.runs.extend(run_id, 0, events, {}) == len(events)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A repository of this machine that no record is about."""
    folder = tmp_path / "private"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for name in ("first.txt", "merger.txt"):
        (folder / name).write_text(name)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", name)
    return folder


# --- git ------------------------------------------------------------------------------------------------------------


def test_what_stands_for_a_commit_is_no_option(client: TestClient, team: Team, private: Path, tmp_path: Path) -> None:
    """`--output=FILE` in place of a tree wrote that file; `HEAD` showed what is in a repository that the record does not know."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for tree in (f"--output={victim}", "HEAD~1"):
        first, second = (f"{number:032x}" for number in (len(tree), 1000 + len(tree)))
        live(team.ports, first, record(first, code=code(private, "HEAD", tree)))
        live(team.ports, second, record(second, code=code(private, "HEAD", "HEAD")))
        told = client.get("/compare", params={"run": [first, second]})
        told_as_json = client.get("/api/v1/diff", params={"a": first, "b": second})
        assert (told.status_code, told_as_json.status_code, victim.read_text()) == (200, 200, "precious")
        assert "merger.txt" not in told.text + told_as_json.text
    with pytest.raises(IntegrityError, match="name of a commit"):
        GitSourceControl().check_out(CodeVersion(**code(private, "--help", "HEAD")), tmp_path / "out", [victim])


@pytest.mark.parametrize("origin", ["a stranger", "a client"])
def test_the_service_opens_no_repository_for_others(team: Team, private: Path, origin: str) -> None:
    """Real names of commits: no page for records from elsewhere, nor where tokens are needed, and never the API says what changed."""
    app = create_app(team.ports)
    app.state.opens_places = origin == "a stranger"
    client = TestClient(app, base_url="http://127.0.0.1")
    for run_id, commit in ((FIRST, "HEAD~1"), (SECOND, "HEAD")):
        events = record(run_id, code=code(private, *(git(private, "rev-parse", f"{commit}{kind}") for kind in ("", "^{tree}"))))
        if origin == "a stranger":
            team.ports.runs.adopt(run_id, events, {}, [], "elsewhere")
        else:
            live(team.ports, run_id, events)

    assert "merger.txt" not in client.get("/compare", params={"run": [FIRST, SECOND]}).text
    told = client.get("/api/v1/diff", params={"a": FIRST, "b": SECOND}).json()["code"]
    assert (told["is_same"], told["files"]) == (False, None)
    assert "lineage diff" in told["reason"]


def test_a_repository_in_a_record_starts_no_program(team: Team, client: TestClient, tmp_path: Path) -> None:
    """Its settings say what fetches missing objects, and what watches its files: neither is executed by this account."""
    trap, sprung = tmp_path / "trap", tmp_path / "sprung"
    (trap / ".dvc").mkdir(parents=True)
    git(trap, "init", "--quiet")
    (trap / "dvc.yaml").write_text("stages: {}\n")
    git(trap, "add", "--all")
    git(trap, "commit", "--quiet", "--message", "made")
    program = trap / "program"
    program.write_text(f"#!/bin/sh\necho $0 $@ >> {sprung}\n")
    program.chmod(0o755)
    settings = {"core.repositoryFormatVersion": "1", "extensions.partialClone": "origin", "core.fsmonitor": str(program)}
    remote = {"url": str(trap), "promisor": "true", "partialCloneFilter": "blob:none", "uploadPack": str(program)}
    for name, value in (settings | {f"remote.origin.{name}": value for name, value in remote.items()}).items():
        git(trap, "config", name, value)
    for run_id, letter in ((FIRST, "1"), (SECOND, "2")):
        live(team.ports, run_id, record(run_id, code=code(trap, letter * 40, letter * 40)))

    assert client.get("/compare", params={"run": [FIRST, SECOND]}).status_code == 200
    assert ChoosingBackend().kind_of(f"file://{trap}/data") == "deeplake"
    assert not sprung.exists(), sprung.read_text()


# --- workers --------------------------------------------------------------------------------------------------------


def test_a_worker_opens_no_address_of_a_stranger(team: Team, tmp_path: Path) -> None:
    """Data of a record from elsewhere come from what the store keeps; its address may be any folder of the worker's machine."""
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "private.txt").write_text("inside")
    team.ports.runs.adopt(FIRST, record(FIRST, used(f"file://{folder}")), {}, [], "elsewhere")

    job = team.ask(FIRST, "data")
    team.worker().work(once=True)

    done = team.queue.get(job.id)
    assert (done.state, done.error and done.error.code) == (JobState.failed, "integrity")
    assert done.error is not None
    assert "opens no dataset for a record from elsewhere" in done.error.message


def test_half_a_token_in_a_log_waits_for_the_rest(team: Team, tmp_path: Path) -> None:
    """A line longer than a block is passed on in parts; a token across their border is blotted out like any other."""
    token = f"lin_{'0' * 12}_{'x' * 43}"
    for cut in (1, 4, 30, len(token) - 1):
        job = team.ask(FIRST)
        claim = team.queue.claim("worker", ("rerun",), 30.0)
        assert claim is not None
        folder = tmp_path / str(cut)
        folder.mkdir()
        attempt = Attempt(team.queue, claim, folder, 30.0, Limits(), lambda: False)
        attempt.log.write_text("y" * ((256 << 10) - cut) + token + " and more")
        with attempt:
            pass
        team.queue.finish(claim, JobState.succeeded)
        log = team.log(job.id)
        assert log.count("y") == (256 << 10) - cut
        assert log.endswith("lin_*** and more"), log[-80:]


def test_recorded_code_does_not_see_where_the_worker_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m` puts the current folder on the path; the layer needs nothing from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    assert tmp_path not in wiring_jobs._own_folders()


def test_the_build_of_a_package_does_not_get_what_opens_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded environment may need a package that is built from its source, which executes that package's own code."""
    told = tmp_path / "told"
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\nenv > {told}\n")
    uv.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    for name in ("LINEAGE_STORE", "LINEAGE_TOKEN", "PGPASSWORD", "WANDB_API_KEY", "UV_INDEX_TEAM_PASSWORD"):
        monkeypatch.setenv(name, f"value of {name}")

    call_uv(["pip", "install"], tmp_path, 30.0)

    assert [line for line in told.read_text().splitlines() if "value of" in line] == [
        "UV_INDEX_TEAM_PASSWORD=value of UV_INDEX_TEAM_PASSWORD"
    ]


def test_a_terminal_obeys_nobody_elses_words(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of records, lines of a job's log and what is noted of a request are shown; nothing moves the cursor or sets a title."""
    for name, value in team.variables.items():
        monkeypatch.setenv(name, value)
    wish = "\x1b]0;title\x07\x9b2J\u202e"
    team.ports.runs.adopt(FIRST, record(FIRST, project=f"p{wish}q"), {}, [], "elsewhere")
    job = team.ask(FIRST)
    claim = team.queue.claim("worker", ("rerun",), 30.0)
    assert claim is not None
    team.queue.add_log(claim, f"\x1b[1;32mepoch 1\x1b[0m\r50 %{wish}\n")
    team.queue.finish(claim, JobState.failed, error=JobError(code="blocked", message=f"no {wish}"))
    shown = [
        CliRunner().invoke(command, words).output for words in (["runs"], ["show", FIRST], ["jobs", "follow", job.id], ["jobs", "list"])
    ]

    assert "epoch 1\r50 %" in shown[2]
    assert all("title" in text for text in shown)
    assert [text for text in shown if set("\x1b\x07\x9b\u202e") & set(text)] == []


BLOCKED = """
import json, os, pathlib
import lineage

if original := os.environ.get("LINEAGE_REPRODUCES"):
    report = pathlib.Path(os.environ["TMPDIR"]).parent / "report.json"
    report.unlink()
    plan = {"run_id": original, "command": [], "ingredients": []}
    reason = "lin_0123456789ab_" + "x" * 43 + " y" * 2_000_000
    report.write_text(json.dumps({"run_id": original, "verdict": "blocked", "plan": plan, "reason": reason}))
with lineage.start_run(project="p", seed=1) as run:
    run.log({"loss": 1.0})
"""


def test_recorded_code_does_not_fill_the_list_of_jobs(team: Team) -> None:
    """Why a job failed may be its own words; they are short, and no token is in them."""
    (team.repository / "blocked.py").write_text(BLOCKED)
    job = team.ask(team.record("blocked.py"))
    team.worker().work(once=True)

    error = team.queue.get(job.id).error
    assert error is not None, team.log(job.id)
    assert (error.code, error.message[:7]) == ("blocked", "lin_***")
    assert len(error.message) < 5_000


# --- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["2026-03-14T09:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_that_are_no_instants(client: TestClient, at: str) -> None:
    """As the beginning of a run such a time is refused, with its place; elsewhere in a record it is shown as it is."""
    refused = client.post(f"/api/v1/store/runs/{FIRST}/adoption", json=adoption(record(FIRST, at=at)))
    assert (refused.status_code, refused.json()["code"]) == (422, "wrong_content"), refused.text
    assert "event 0" in refused.json()["detail"]

    assert client.post(f"/api/v1/store/runs/{FIRST}/adoption", json=adoption(record(FIRST, used("s3://x/y", at)))).status_code == 200
    for path in (f"/runs/{FIRST}", f"/runs/{FIRST}/lineage", "/runs", f"/api/v1/runs/{FIRST}/data", "/datasets/x"):
        assert client.get(path).status_code == 200, path
    assert datetime.fromisoformat(client.get(f"/api/v1/runs/{FIRST}").json()["started_at"]) == datetime(2026, 3, 14, 9, tzinfo=UTC)


def adoption(events: list[tuple[str, str]]) -> dict[str, Any]:
    return {"events": events, "environments": {}, "points": [], "source": "elsewhere"}


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


def test_a_text_that_is_too_long_for_an_index(tmp_path: Path, postgres_url: str) -> None:
    """PostgreSQL's take 2,700 bytes that cannot be compressed. Such a text is refused for good: a client would send it for ever."""
    text = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(150))
    with team_in(tmp_path, postgres_url) as team:
        client = TestClient(create_app(team.ports, jobs=team.queue), base_url="http://127.0.0.1", raise_server_exceptions=False)
        long_address = record(SECOND, used(f"s3://x/{text}"))
        for run_id, events in ((FIRST, record(FIRST, project=text)), (SECOND, long_address)):
            answer = client.post(f"/api/v1/store/runs/{run_id}/adoption", json=adoption(events))
            assert (answer.status_code, answer.json()["code"]) == (400, "usage"), answer.text
        assert client.post(f"/api/v1/store/runs/{FIRST}/adoption", json=adoption(record(FIRST, name=text))).json() == {"added": 2}
        answer = client.post(f"/runs/{FIRST}/materialisations", content=f"what=rerun&key={text}", follow_redirects=False)
        assert answer.status_code == 400
