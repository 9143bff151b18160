"""Bad addresses, missing permissions and stores that do not answer: one clear error each, at once, and never with a secret in it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import deeplake
import pytest
from deeplake import types

import lineage
from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.errors import LineageError, NotFound, Unavailable, UsageError
from lineage.model.source import Column

SECRET = "wJalrXUtnFEMIK7MDENG"
COLUMNS = (Column(name="n", kind="array", dtype="int32", ndim=1), Column(name="sample_id", kind="text"))


def build(folder: Path) -> str:
    dataset = deeplake.create(str(folder), schema={"k": types.Int32(), "sample_id": types.Text()})
    dataset.append({"k": [1, 2, 3], "sample_id": ["a", "b", "c"]})
    dataset.commit()
    return f"file://{folder}"


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A live run in a repository of its own."""
    monkeypatch.chdir(repository)
    with lineage.start_run(project="parking", job_type="train", seed=7) as live:
        yield live


# --- permissions ------------------------------------------------------------------------------------------------------------------

PROGRAM = """
import json, os, sys
from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.errors import LineageError
from lineage.model.source import Column
backend, uri = DeepLakeBackend(), sys.argv[1]
if os.geteuid() == 0:  # root is let through everywhere
    os.setgid(65534)
    os.setuid(65534)
columns = [Column(name="k", kind="array", dtype="int32")]
calls = {
    "read": lambda: backend.resolve(uri).version.rows_total,
    "save": lambda: backend.save_view(uri, "select * where k > 1", "some", "m").name,
    "upload": lambda: backend.write(uri + "/../new", columns, source={}).present,
}
try:
    print(json.dumps({"value": calls[sys.argv[2]]()}))
except LineageError as error:
    print(json.dumps({"code": error.code, "message": error.message, "hint": error.hint}))
"""


@pytest.fixture
def locked() -> Iterator[Path]:
    """A dataset that may be read and not written, in a folder that is the same."""
    folder = Path(tempfile.mkdtemp(prefix="lineage-locked-"))
    build(folder / "ds")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def as_somebody(folder: Path, what: str) -> dict[str, Any]:
    """Run a call as a user to whom permissions apply."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"file://{folder / 'ds'}", what],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "HOME": str(folder)},
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_saving_a_view_in_a_read_only_dataset_blames_the_permission(locked: Path) -> None:
    """The dataset can be used; what is said about saving names the permission and the dataset, not the query."""
    assert as_somebody(locked, "read") == {"value": 3}

    found = as_somebody(locked, "save")

    assert found["code"] == "unavailable"
    assert found["message"].startswith(f"no permission at file://{locked / 'ds'}: ")
    assert "select" not in found["message"]
    assert "write" in found["hint"]


def test_uploading_into_a_read_only_folder_blames_the_permission(locked: Path) -> None:
    """The error names the address and that it is not permitted."""
    found = as_somebody(locked, "upload")

    assert found["code"] == "unavailable"
    assert "no permission at" in found["message"]


def test_a_dataset_that_may_not_be_read_blames_the_permission(locked: Path) -> None:
    """A log folder without the right to read."""
    (locked / "ds" / "_deeplake_log").chmod(0)

    found = as_somebody(locked, "read")

    assert found["code"] in ("unavailable", "not_found")
    assert "ermission" in found["message"]


# --- addresses ----------------------------------------------------------------------------------------------------------------------


def test_a_home_folder_is_the_users(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` is the home folder, never a folder of that name."""
    home = Path(os.environ["HOME"])
    build(home / "ds")

    view = run.use_dataset("~/ds", role="train")

    assert (view.record.uri, len(view)) == (f"file://{home / 'ds'}", 3)
    assert not Path("~").exists()
    with pytest.raises(UsageError, match="home folder"):
        run.use_dataset("~nobody-of-this-name/ds", role="train")


@pytest.mark.parametrize("spelling", ["FILE://{}", "File://{}", "file://{}", "{}", "{}/", "{}/../ds", "file://{}/./"])
def test_every_spelling_of_a_local_address_is_the_same(run: Any, tmp_path: Path, spelling: str) -> None:
    """Upper case, slashes and dots: one address in the record."""
    build(tmp_path / "ds")

    assert run.use_dataset(spelling.format(tmp_path / "ds"), role="train").record.uri == f"file://{tmp_path / 'ds'}"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder.write_text("x"), "it is a file, and a dataset is a folder"),
        (lambda folder: folder.mkdir(), "ds"),
        (lambda folder: None, "ds"),
    ],
    ids=["a file", "an empty folder", "nothing"],
)
def test_what_is_no_dataset(tmp_path: Path, make: Callable[[Path], Any], says: str) -> None:
    """A file, an empty folder, nothing: not found, by its address; a path below a file too."""
    make(tmp_path / "ds")

    with pytest.raises(NotFound, match=says) as missing:
        DeepLakeBackend().resolve(f"file://{tmp_path / 'ds'}")
    assert str(tmp_path / "ds") in missing.value.message
    with pytest.raises(NotFound, match="ds/below"):
        DeepLakeBackend().resolve(f"file://{tmp_path / 'ds'}/below")


# --- secrets ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", [f"s3://AKIAEXAMPLE:{SECRET}@bucket/ds", f"foo://user:{SECRET}@bucket/ds", f"s3://bucket/ds?secret={SECRET}"]
)
def test_credentials_in_an_address_go_nowhere(
    run: Any, address: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not into the error, its cause, the log, the output, the record or any file of the store."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port()}")
    caplog.set_level(logging.DEBUG)

    for call in (lambda: run.use_dataset(address, role="train"), lambda: DeepLakeBackend().resolve(address)):
        with pytest.raises(LineageError) as caught:
            call()
        assert SECRET not in f"{caught.value.message} {caught.value.hint} {caught.value!r}"

    assert SECRET not in caplog.text
    assert SECRET not in "".join(capfd.readouterr())
    assert SECRET not in lineage.get(run.id).model_dump_json()
    assert [path for path in Path(".lineage").rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []


# --- object stores ------------------------------------------------------------------------------------------------------------------


def closed_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up credentials, so that nothing looks for real ones."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "AWS_PROFILE", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:{}", "http://no-such-host.invalid:{}"])
@pytest.mark.parametrize("call", ["resolve", "exists", "open"])
def test_a_store_that_does_not_answer_is_said_at_once(monkeypatch: pytest.MonkeyPatch, endpoint: str, call: str) -> None:
    """Nothing listens, or the name is unknown: an error within seconds that names the server; Deep Lake alone takes a minute."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.format(closed_port()))
    arguments = ("s3://bucket/ds", "main", "0000000001m00000000") if call == "open" else ("s3://bucket/ds",)
    started = time.monotonic()

    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        getattr(DeepLakeBackend(), call)(*arguments)

    assert time.monotonic() - started < 10
    assert "s3://bucket/ds" in caught.value.message
    assert "AWS_ENDPOINT_URL" in str(caught.value.hint)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, str], None]]:
    """A real HTTP server that answers every request with one error of an object store."""
    answer = {"status": 404, "code": "NoSuchBucket"}

    class Handler(BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            body = f"<?xml version='1.0'?><Error><Code>{answer['code']}</Code><Message>refused</Message></Error>".encode()
            self.send_response(int(answer["status"]))
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _refuse

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")

    def choose(status: int, code: str) -> None:
        answer.update(status=status, code=code)

    yield choose
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("account")
def test_a_missing_bucket_is_said(refusing: Callable[[int, str], None]) -> None:
    """One error that names the address and says that there is no such bucket."""
    refusing(404, "NoSuchBucket")
    started = time.monotonic()

    with pytest.raises(NotFound, match="no bucket 'absent'") as caught:
        DeepLakeBackend().resolve("s3://absent/ds")

    assert time.monotonic() - started < 10
    assert "s3://absent/ds" in caught.value.message
    assert SECRET not in str(caught.value)


@pytest.mark.usefixtures("account")
def test_a_store_that_refuses_blames_the_permission(refusing: Callable[[int, str], None]) -> None:
    """Wrong credentials: it is the permission, and no key is in the message."""
    refusing(403, "AccessDenied")

    with pytest.raises(Unavailable, match="no permission at s3://bucket/ds") as caught:
        DeepLakeBackend().resolve("s3://bucket/ds")

    assert SECRET not in str(caught.value)
