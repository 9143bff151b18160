"""Runs in DVC remotes: pushed under DVC's names, fetched by plain DVC, pulled back and checked."""

from __future__ import annotations

import gc
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from dvc.repo import Repo

import lineage
from lineage.adapters.objects.dvc_remote import DvcRemote
from lineage.adapters.objects.folder import FolderObjectStore
from lineage.errors import Conflict, IntegrityError, InvalidSource, NoSpace, NotFound, Unavailable, UsageError
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.reproduce.tidy import plan_tidying
from lineage.reproduce.transfer import dvc_file, pull_run, push_run
from lineage.wiring import wire

PATIENCE_S = 120
MODEL = b"weights" * 40_000

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def dvc(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def configure(folder: Path, name: str, url: str, *, default: bool = True, **options: str) -> None:
    with Repo(str(folder)) as repo, repo.config.edit("local") as config:
        config["remote"][name] = {"url": url, **options}
        if default:
            config["core"]["remote"] = name


@pytest.fixture(autouse=True)
def _connections_of_dvc() -> Iterator[None]:
    """Its HTTP client is closed by nobody and complains when it is collected: here, and not in somebody else's test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git and DVC repository with a store of its own and a folder ``storage`` as its default remote."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet")
    Repo.init(str(folder)).close()
    (folder / ".gitignore").write_text(".lineage/\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    configure(folder, "storage", str(tmp_path / "storage"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(project: Path, tmp_path: Path) -> Run:
    """A run over with a model and a report, and one input of plain files."""
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        (tmp_path / "data" / name).write_text(name)
    with lineage.start_run(job_type="train") as live:
        live.use_dataset(tmp_path / "data", role="train")
        (tmp_path / "model.pth").write_bytes(MODEL)
        (tmp_path / "report.txt").write_text("fine\n")
        live.log_artifact(tmp_path / "model.pth", kind="model")
        live.log_artifact(tmp_path / "report.txt", kind="report")
    return live.record


@pytest.fixture
def ports(project: Path) -> Iterator[Ports]:
    made = wire()
    yield made
    made.runs.close()


def stored(storage: Path) -> dict[str, Path]:
    return {path.parent.name + path.name: path for path in storage.glob("files/md5/??/*")}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_every_object_is_there_under_the_md5_of_its_bytes(project: Path, run: Run, ports: Ports, tmp_path: Path) -> None:
    done = push_run(ports, run, DvcRemote(project))
    there = stored(tmp_path / "storage")
    assert all(md5(path.read_bytes()) == name for name, path in there.items())
    assert {item.name: name for item, name in done.outputs} == {"model.pth": md5(MODEL), "report.txt": md5(b"fine\n")}
    assert md5(MODEL) in there
    digests = {f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in there.values()}
    assert run.code_objects() <= digests
    assert {run.inputs[0].ledger_object, run.outputs[0].digest, done.push.listing} <= digests
    assert done.not_here == ()


def test_a_second_push_sends_nothing_and_records_nothing(project: Path, run: Run, ports: Ports) -> None:
    first = push_run(ports, run, DvcRemote(project))
    events = len(ports.runs.events(run.id))
    again = push_run(ports, ports.runs.get(run.id), DvcRemote(project))
    assert first.sent == first.push.objects + 1  # the list of them, too
    assert (again.sent, again.sent_bytes) == (0, 0)
    assert len(ports.runs.events(run.id)) == events
    shown = subprocess.run(["lineage", "show", run.id], cwd=project, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert f"pushed        to 'storage' ({first.push.address})" in shown.stdout
    (recorded,) = ports.runs.get(run.id).pushes
    assert (recorded.remote, recorded.listing) == ("storage", first.push.listing)


def test_dvc_alone_fetches_the_model(project: Path, run: Run, tmp_path: Path) -> None:
    done = subprocess.run(
        ["lineage", "push", run.id[:12], "--dvc-file", "best.pth.dvc", "--json"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {item["name"]: item["md5"] for item in told["runs"][0]["outputs"]}["model.pth"] == md5(MODEL)
    colleague = tmp_path / "colleague"
    colleague.mkdir()
    git(colleague, "init", "--quiet")
    dvc(colleague, "init", "--quiet")
    dvc(colleague, "remote", "add", "--default", "theirs", str(tmp_path / "storage"))
    shutil.copy(project / "best.pth.dvc", colleague)
    dvc(colleague, "pull", "best.pth.dvc")
    assert (colleague / "best.pth").read_bytes() == MODEL
    assert "up to date" in dvc(colleague, "status").lower()


def test_what_was_lost_or_damaged_here_is_pulled_back(project: Path, run: Run, ports: Ports) -> None:
    push_run(ports, run, DvcRemote(project))
    lost = ports.objects.path_of(run.outputs[0].digest)
    damaged = ports.objects.path_of(run.outputs[1].digest)
    assert lost is not None
    assert damaged is not None
    lost.unlink()
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    done = pull_run(ports, ports.runs.get(run.id), DvcRemote(project))
    assert (done.fetched, done.fetched_bytes) == (2, len(MODEL) + 5)
    ports.objects.check(run.outputs[0].digest)
    ports.objects.check(run.outputs[1].digest)
    assert pull_run(ports, ports.runs.get(run.id), DvcRemote(project)).fetched == 0


def test_a_store_that_has_nothing_but_the_record_gets_everything(project: Path, run: Run, ports: Ports) -> None:
    pushed = push_run(ports, run, DvcRemote(project))
    shutil.rmtree(project / ".lineage" / "objects")
    done = pull_run(ports, ports.runs.get(run.id), DvcRemote(project))
    assert done.fetched == done.objects == pushed.push.objects
    verified = subprocess.run(["lineage", "verify", run.id], cwd=project, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_bundle_brings_the_record_and_the_remote_the_files(project: Path, run: Run, ports: Ports, tmp_path: Path) -> None:
    push_run(ports, run, DvcRemote(project))

    def told(*words: str, **variables: str) -> str:
        done = subprocess.run(
            ["lineage", *words], cwd=project, env=os.environ | variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    told("bundle", run.id, str(tmp_path / "run.lineage"))
    elsewhere = {"LINEAGE_STORE": str(tmp_path / "elsewhere")}
    told("import", str(tmp_path / "run.lineage"), **elsewhere)
    other = FolderObjectStore(tmp_path / "elsewhere" / "objects")
    assert not other.has(run.outputs[0].digest)
    told("pull", run.id, **elsewhere)
    assert other.get_bytes(run.outputs[0].digest) == MODEL


def test_rows_that_cannot_be_pushed_are_named(project: Path, run: Run, ports: Ports) -> None:
    ledger = run.inputs[0].ledger_object
    assert ledger is not None
    path = ports.objects.path_of(ledger)
    assert path is not None
    path.unlink()
    done = push_run(ports, run, DvcRemote(project))
    assert ledger in done.not_here
    assert "rows of 'train'" in done.unreadable[0]


def test_an_interrupted_push_goes_on_and_records_only_the_whole(project: Path, run: Run, ports: Ports) -> None:
    class Breaks(DvcRemote):
        left = 2

        def put(self, file: Path, md5: str) -> None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            super().put(file, md5)

    with pytest.raises(KeyboardInterrupt):
        push_run(ports, run, Breaks(project))
    assert ports.runs.get(run.id).pushes == ()
    done = push_run(ports, run, DvcRemote(project))
    assert done.sent == done.push.objects + 1 - 2
    assert len(ports.runs.get(run.id).pushes) == 1


def test_what_arrives_changed_is_found_by_reading_it_back(project: Path, run: Run, ports: Ports, tmp_path: Path) -> None:
    class Flips(DvcRemote):
        def put(self, file: Path, md5: str) -> None:
            super().put(file, md5)
            there = stored(tmp_path / "storage")[md5]
            there.chmod(0o644)
            content = there.read_bytes()
            there.write_bytes(bytes([content[0] ^ 1]) + content[1:])

    with pytest.raises(IntegrityError, match="expected MD5"):
        push_run(ports, run, Flips(project))
    assert ports.runs.get(run.id).pushes == ()


def test_a_remote_that_holds_other_bytes_is_refused_by_pull(project: Path, run: Run, ports: Ports, tmp_path: Path) -> None:
    push_run(ports, run, DvcRemote(project))
    there = stored(tmp_path / "storage")[md5(MODEL)]
    there.chmod(0o644)
    there.write_bytes(b"W" + MODEL[1:])
    here = ports.objects.path_of(run.outputs[0].digest)
    assert here is not None
    here.unlink()
    with pytest.raises(IntegrityError, match="MD5"):
        pull_run(ports, ports.runs.get(run.id), DvcRemote(project))
    assert not ports.objects.has(run.outputs[0].digest)


def test_what_the_remote_lost_is_named_after_the_rest_was_fetched(project: Path, run: Run, ports: Ports, tmp_path: Path) -> None:
    push_run(ports, run, DvcRemote(project))
    stored(tmp_path / "storage")[md5(MODEL)].unlink()
    shutil.rmtree(project / ".lineage" / "objects")
    with pytest.raises(NotFound, match=f"the remote lost them; first no object '{md5(MODEL)}'"):
        pull_run(ports, ports.runs.get(run.id), DvcRemote(project))
    assert ports.objects.has(run.outputs[1].digest)


def test_a_remote_that_is_gone_is_not_made_anew(project: Path, run: Run, ports: Ports, tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    configure(project, "storage", str(tmp_path / "mount" / "storage"))
    push_run(ports, run, DvcRemote(project))
    shutil.rmtree(tmp_path / "mount")
    with pytest.raises(Unavailable, match="is gone"):
        push_run(ports, run, DvcRemote(project))
    with pytest.raises(Unavailable, match="is gone"):
        DvcRemote(project).put(project / ".gitignore", "0" * 32)
    shutil.rmtree(project / ".lineage" / "objects")
    with pytest.raises(Unavailable, match="is gone"):
        pull_run(ports, ports.runs.get(run.id), DvcRemote(project))
    assert not (tmp_path / "mount").exists()


def test_a_remote_that_refuses_is_one_error(project: Path, run: Run, ports: Ports, tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("no folder, so nothing can be written into it, even by root")
    with pytest.raises(Unavailable, match="DVC remote 'storage'"):
        push_run(ports, run, DvcRemote(project))
    assert ports.runs.get(run.id).pushes == ()


def test_a_full_disk_while_pulling_is_one_error(project: Path, run: Run, ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    push_run(ports, run, DvcRemote(project))
    shutil.rmtree(project / ".lineage" / "objects")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpace, match="has no room left"):
        pull_run(ports, ports.runs.get(run.id), DvcRemote(project))


class _Refusing(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(403)

    do_GET = do_POST = do_PUT = do_HEAD

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")  # DVC's own way to log in
def test_a_server_that_refuses_is_one_error_without_the_password(project: Path, run: Run, ports: Ports) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/store"
        configure(project, "web", url, auth="basic", user="somebody", password="hunter2hunter2")
        with pytest.raises(Unavailable) as caught:
            push_run(ports, run, DvcRemote(project))
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE_S)
    assert "DVC remote 'web'" in caught.value.message
    assert "hunter2" not in caught.value.message
    assert ports.runs.get(run.id).pushes == ()


class _Storing(http.server.BaseHTTPRequestHandler):
    kept: ClassVar[dict[str, bytes]] = {}
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = b""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.kept[self.path] = content
        self._answer(200, b"")

    def do_GET(self) -> None:
        content = self.kept.get(self.path)
        self._answer(404 if content is None else 200, content or b"")

    do_HEAD = do_GET

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


def test_a_server_keeps_and_gives_back_everything(project: Path, run: Run, ports: Ports) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Storing)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        configure(project, "web", f"http://127.0.0.1:{server.server_port}/store")
        done = push_run(ports, run, DvcRemote(project))
        assert done.sent == done.push.objects + 1
        assert _Storing.kept[f"/store/files/md5/{md5(MODEL)[:2]}/{md5(MODEL)[2:]}"] == MODEL
        assert push_run(ports, ports.runs.get(run.id), DvcRemote(project)).sent == 0
        shutil.rmtree(project / ".lineage" / "objects")
        assert pull_run(ports, ports.runs.get(run.id), DvcRemote(project)).fetched == done.push.objects
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE_S)
    assert ports.objects.get_bytes(run.outputs[0].digest) == MODEL


def test_a_server_that_is_not_there_is_one_error(project: Path, run: Run, ports: Ports) -> None:
    configure(project, "web", "http://127.0.0.1:9/store", connect_timeout="2")
    with pytest.raises(Unavailable, match="DVC remote 'web'"):
        push_run(ports, run, DvcRemote(project))


def test_credentials_in_an_address_are_not_recorded(project: Path) -> None:
    configure(project, "web", "https://somebody:hunter2hunter2@host.invalid/store?token=hunter3hunter3")
    assert DvcRemote(project).address == "https://host.invalid/store"


def test_misuse_is_told_before_anything_is_sent(project: Path, run: Run, ports: Ports, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="in no DVC repository"):
        DvcRemote(tmp_path)
    with pytest.raises(UsageError, match="elsewhere"):
        DvcRemote(project, "elsewhere")
    with pytest.raises(NotFound, match="it was pushed nowhere"):
        pull_run(ports, run, DvcRemote(project))
    live = lineage.start_run()
    with pytest.raises(Conflict, match="still running"):
        push_run(ports, live.record, DvcRemote(project))
    live.finish()
    gone = ports.objects.path_of(run.outputs[0].digest)
    assert gone is not None
    gone.unlink()
    with pytest.raises(InvalidSource) as caught:
        push_run(ports, run, DvcRemote(project))
    assert "model.pth" in caught.value.problems[0]


def test_clean_up_keeps_the_list_of_what_was_pushed(project: Path, run: Run, ports: Ports) -> None:
    push = push_run(ports, run, DvcRemote(project)).push
    plan = plan_tidying(ports, now=10**11)
    assert push.listing not in {digest for digest, _ in plan.unneeded}


def test_a_dvc_file_quotes_its_name(tmp_path: Path) -> None:
    from dvc.utils.serialize import load_yaml

    (tmp_path / "x.dvc").write_text(dvc_file('a: "b" ü.pth', "0" * 32, 5))
    assert load_yaml(str(tmp_path / "x.dvc"))["outs"] == [{"md5": "0" * 32, "size": 5, "hash": "md5", "path": 'a: "b" ü.pth'}]
