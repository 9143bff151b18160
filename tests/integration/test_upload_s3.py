"""Datasets in an object store: upload, read, reproduce, and what goes wrong there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import deeplake
import numpy as np
import pytest
from PIL import Image

from tests.support.s3_server import BUCKET, CREDENTIALS, s3_server, without_aws

pytest.importorskip("moto", reason="needs moto, an S3 server for tests")

TRAIN = """
import numpy as np
import lineage

with lineage.start_run(project="parking", job_type="train", seed=7) as run:
    train = run.use_dataset("s3://bucket/{name}", role="train")
    weights = np.zeros(4)
    for position in range(len(train)):
        weights += train[position]["boxes"].mean(axis=0)
        run.log({{"loss": float(weights.sum())}})
    np.save("weights.npy", weights)
    run.log_artifact("weights.npy", kind="model")
print(run.id)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


@pytest.fixture
def source(repository: Path) -> Path:
    (repository / ".gitignore").write_text(".lineage/\nsource/\n*.npy\n")
    folder = repository / "source"
    for part in ("images", "annotations"):
        (folder / part).mkdir(parents=True)
    for number in range(12):
        buffer = BytesIO()
        noise = np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(buffer, "JPEG")
        (folder / "images" / f"{number:04d}.jpg").write_bytes(buffer.getvalue())
        (folder / "annotations" / f"{number:04d}.txt").write_text(f"1,2,{10 + number},25,1,4,0,0\n")
    return folder


def lineage(folder: Path, variables: dict[str, str], *arguments: str, program: str | None = None) -> subprocess.CompletedProcess[str]:
    start = ["-m", "lineage"] if program is None else ["-c", program]
    environment = {**without_aws(), "WANDB_MODE": "disabled", **variables}
    return subprocess.run(
        [sys.executable, *start, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def creds_of(server: dict[str, str]) -> dict[str, str]:
    return {
        "aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        "aws_region": server["AWS_REGION"],
        "endpoint_url": server["AWS_ENDPOINT_URL"],
    }


def stored(server: dict[str, str], name: str) -> tuple[list[str], list[bytes]]:
    dataset = deeplake.open_read_only(f"s3://{BUCKET}/{name}", creds=creds_of(server))
    names = list(dataset["sample_id"][:])
    return names, list(dataset["images"].get_bytes(list(range(len(names)))))


def whole(source: Path) -> tuple[list[str], list[bytes]]:
    files = sorted((source / "images").iterdir())
    return [path.stem for path in files], [path.read_bytes() for path in files]


def test_from_upload_to_reproduction(server: dict[str, str], repository: Path, source: Path) -> None:
    """Uploaded to a bucket, read from it by a recorded run, and made again with the verdict ``identical``; no secret in the store."""
    account = {**server, **CREDENTIALS}
    uploaded = lineage(repository, account, "upload", "visdrone", "source", f"s3://{BUCKET}/whole", "--json")
    assert uploaded.returncode == 0, uploaded.stderr
    (repository / "train.py").write_text(TRAIN.format(name="whole"))
    trained = subprocess.run(
        [sys.executable, "train.py"],
        cwd=repository,
        env={**without_aws(), **account, "WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert trained.returncode == 0, trained.stderr
    run_id = trained.stdout.strip()

    again = lineage(repository, account, "reproduce", run_id, "--env", "current", "--json")

    assert stored(server, "whole") == whole(source)
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads(again.stdout)["verdict"] == "identical"
    shown = json.loads(lineage(repository, account, "show", run_id, "--json").stdout)
    assert shown["inputs"][0]["uri"] == f"s3://{BUCKET}/whole"
    assert shown["inputs"][0]["content_digest"] == json.loads(uploaded.stdout)["content_digest"]
    secret = CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode()
    assert [path for path in (repository / ".lineage").rglob("*") if path.is_file() and secret in path.read_bytes()] == []


def test_a_killed_upload_continues_in_the_bucket(server: dict[str, str], repository: Path, source: Path) -> None:
    """SIGKILL after some commits; the same command stores the rest, each row once."""
    program = (
        "import sys, os, signal, lineage.record.upload as u\n"
        "from lineage.adapters.datasets.deeplake_write import DeepLakeWriter as W\n"
        "u._BATCH_ROWS, u._COMMIT_ROWS = 2, 2\n"
        "commit, n = W.checkpoint, []\n"
        "def third(self, message):\n"
        "    commit(self, message); n.append(1)\n"
        "    if len(n) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "W.checkpoint = third\n"
        "from lineage.cli import main; sys.argv[0] = 'lineage'; main()"
    )
    account, command = {**server, **CREDENTIALS}, ("upload", "visdrone", "source", f"s3://{BUCKET}/killed", "--json")
    killed = lineage(repository, account, *command, program=program)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert stored(server, "killed")[0] == whole(source)[0][:6]

    again = lineage(repository, account, *command)

    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["continued"]["rows"] == 6
    assert stored(server, "killed") == whole(source)


def test_a_kill_before_the_first_commit_leaves_nothing_in_the_way(server: dict[str, str], repository: Path, source: Path) -> None:
    """An empty dataset without a mark, which no rename can hide in a bucket, is taken over; somebody's own empty dataset is not."""
    program = (
        "import sys, os, signal\n"
        "import lineage.adapters.datasets.deeplake_write as w\n"
        "w._begin = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from lineage.cli import main; sys.argv[0] = 'lineage'; main()"
    )
    account, command = {**server, **CREDENTIALS}, ("upload", "visdrone", "source", f"s3://{BUCKET}/bare", "--json")
    assert lineage(repository, account, *command, program=program).returncode == -signal.SIGKILL

    again = lineage(repository, account, *command)

    assert again.returncode == 0, again.stderr
    assert stored(server, "bare") == whole(source)
    own = deeplake.create(f"s3://{BUCKET}/own", schema={"x": deeplake.types.Text()}, creds=creds_of(server))
    own.commit()
    refused = lineage(repository, account, "upload", "visdrone", "source", f"s3://{BUCKET}/own")
    assert (refused.returncode, "was not uploaded by this command" in refused.stderr) == (6, True)


def test_without_credentials_it_is_said_within_seconds(server: dict[str, str], repository: Path, source: Path) -> None:
    """One error, exit code 11, with the way out."""
    began = time.monotonic()

    done = lineage(repository, server, "upload", "visdrone", "source", f"s3://{BUCKET}/closed")

    assert done.returncode == 11, done.stderr
    assert "no credentials were found" in done.stderr
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in done.stderr
    assert done.stderr.count("error:") == 1
    assert time.monotonic() - began < 15


class Closed(BaseHTTPRequestHandler):
    """A server that tells nobody anything."""

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    do_GET = do_PUT = do_HEAD

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("account", "says"),
    [({}, "the bucket is closed to strangers, and no credentials were found"), (CREDENTIALS, "no permission at")],
    ids=["none", "wrong"],
)
def test_a_bucket_that_is_closed_is_said_with_no_secret(
    server: dict[str, str], repository: Path, source: Path, account: dict[str, str], says: str
) -> None:
    """Without credentials, and with ones that are refused: exit code 11, and the secret is in no message and no record."""
    closed = HTTPServer(("127.0.0.1", 0), Closed)
    thread = threading.Thread(target=closed.serve_forever, daemon=True)
    thread.start()
    try:
        endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{closed.server_port}"}
        done = lineage(repository, {**server, **endpoint, **account}, "upload", "visdrone", "source", f"s3://{BUCKET}/x")
    finally:
        closed.shutdown()
        closed.server_close()
        thread.join(10)

    assert done.returncode == 11, done.stderr
    assert says in done.stderr
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in done.stderr + done.stdout
    secret = CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode()
    assert [path for path in (repository / ".lineage").rglob("*") if path.is_file() and secret in path.read_bytes()] == []


def test_no_server_and_no_bucket_are_told_apart(server: dict[str, str], repository: Path, source: Path) -> None:
    """Before the source is looked through: it may be large."""
    (source / "images" / "0000.jpg").write_bytes(b"")
    nowhere = lineage(
        repository, {**server, **CREDENTIALS, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "upload", "visdrone", "source", "s3://a/b"
    )
    missing = lineage(repository, {**server, **CREDENTIALS}, "upload", "visdrone", "source", "s3://not-there/b")

    assert (nowhere.returncode, missing.returncode) == (11, 5)
    assert "127.0.0.1:1, where s3://a/b is kept, cannot be reached" in nowhere.stderr
    assert "no bucket 'not-there'" in missing.stderr
