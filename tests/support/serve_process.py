"""``lineage serve`` in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Serving:
    """A service that runs; waits until it listens.

    Attributes:
        process: Its process.
        port: On 127.0.0.1.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log
        self.port = int(until(lambda: re.search(r"127\.0\.0\.1:(\d+) \(API", log.read_text()), self.said).group(1))

    def said(self) -> str:
        """What it wrote on stderr."""
        return self._log.read_text()

    def get(self, path: str, token: str = "", seconds: float = 20, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body; each time over a new connection."""
        sent = ({"Authorization": f"Bearer {token}"} if token else {}) | dict(headers or {})
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=sent)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def until(look: Callable[[], T | None], told: Callable[[], str], seconds: float = 30) -> T:
    """What ``look`` finds, as soon as it finds something; fails with what was told after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)
    return found


@contextmanager
def serving(folder: Path, store: str, *options: str) -> Iterator[Serving]:
    """The command over a store, with its objects in ``folder/team``; killed in the end."""
    variables = os.environ | {"LINEAGE_STORE": store, "LINEAGE_FOLDER": str(folder / "team")}
    log = folder / "log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "lineage", "serve", "--port", "0", *options]
        process = subprocess.Popen(command, cwd=folder, env=variables, stderr=file)
    try:
        yield Serving(process, log)
    finally:
        process.kill()
        process.wait(30)
