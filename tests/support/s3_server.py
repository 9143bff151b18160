"""An S3 server of this machine: moto, in a process of its own."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

BUCKET = "bucket"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIATESTING", "AWS_SECRET_ACCESS_KEY": "hunter2-hunter2-hunter2"}


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Variables that lead to a fresh server with one empty bucket, without credentials."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _make_bucket(server, port)
        yield {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    finally:
        server.terminate()
        server.wait(timeout=30)


def without_aws() -> dict[str, str]:
    """The variables of this process, but for those that lead to somebody's account or through a proxy."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_") and not name.lower().endswith("_proxy")}


def _make_bucket(server: subprocess.Popen[bytes], port: int) -> None:
    limit = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("PUT", f"/{BUCKET}")
            assert connection.getresponse().status == 200
            return
        except ConnectionError:
            assert server.poll() is None, "the S3 server did not start"
            assert time.monotonic() < limit, "the S3 server did not answer within a minute"
            time.sleep(0.1)
        finally:
            connection.close()
