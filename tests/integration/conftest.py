"""A W&B server on loopback, for tests of what reaches it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lineage.ports import Ports

BACKEND = Path(__file__).resolve().parents[1] / "support" / "wandb_backend.py"


class WandbServer:
    """The server, in a process of its own.

    Attributes:
        variables: What a client needs to find it.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.variables = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "k" * 40, "WANDB_MODE": "online", "WANDB_ERROR_REPORTING": "false"}

    def behave(self, mode: str) -> None:
        """How it answers from now on: ``normal``, ``refuse``, ``hang``, ``nonsense`` or ``forget``."""
        request = urllib.request.Request(f"{self.address}/__behave", json.dumps({"mode": mode}).encode(), method="POST")
        urllib.request.urlopen(request, timeout=30).close()

    def state(self) -> dict[str, Any]:
        """Everything it holds; fails when it was asked something that it does not know."""
        with urllib.request.urlopen(f"{self.address}/__state", timeout=30) as answer:
            state: dict[str, Any] = json.load(answer)
        assert state["unknown"] == [], "the client asked what the server in tests/support does not know"
        return state

    def history(self, run: str) -> list[dict[str, Any]]:
        """What was logged to a run, in the order of its steps."""
        stream = self.state()["streams"].get(run, {})
        return [json.loads(line) for line in stream.get("wandb-history.jsonl", [])]


@pytest.fixture
def wandb_server() -> Iterator[WandbServer]:
    """A fresh, empty W&B server."""
    server = subprocess.Popen([sys.executable, str(BACKEND)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    assert address, "the server did not start"
    try:
        yield WandbServer(address)
    finally:
        server.communicate(timeout=30)


class PlainCode:
    """A repository with two datasets beside it, and scripts that run there in processes of their own.

    Attributes:
        train: Address of a dataset with 12 rows, whose name says what it is for.
        other: Address of one with 6 rows, whose name does not.
    """

    def __init__(self, repository: Path, folder: Path) -> None:
        self.repository = repository
        self.folder = folder
        self.train = f"file://{folder}/scenes-train"
        self.other = f"file://{folder}/scenes"
        self._make(self.train, "t", 12)
        self._make(self.other, "o", 6)

    def _make(self, uri: str, name: str, rows: int) -> None:
        import deeplake
        import numpy as np
        from deeplake import types

        dataset = deeplake.create(uri, schema={"boxes": types.Array("float32", 2), "fname": types.Text()})
        boxes = [np.full((2, 4), 10 + 2 * row, "float32") for row in range(rows)]
        dataset.append({"boxes": boxes, "fname": [f"{name}-{row}.jpg" for row in range(rows)]})
        dataset.commit("first")

    def append_row(self) -> None:
        """Let the first dataset move on."""
        import deeplake
        import numpy as np

        dataset = deeplake.open(self.train)
        dataset.append({"boxes": [np.zeros((1, 4), "float32")], "fname": ["later.jpg"]})
        dataset.commit("later")

    def run(self, body: str, *arguments: str, begin: str = "lineage.autolog()", status: int = 0, **variables: str) -> str:
        """Run a script; ``TRAIN`` and ``OTHER`` are its datasets, and ``main`` holds ``body``.

        Args:
            body: What it does.
            arguments: Of Python; the script alone without any.
            begin: What is at its top, before anything else is imported.
            status: The exit status that it must have.
            variables: Of its environment.
        """
        inside = textwrap.indent(textwrap.dedent(body).strip(), "    ")
        script = (
            f"import lineage, sys\n{begin}\nTRAIN, OTHER = {self.train!r}, {self.other!r}\n"
            f"def main():\n    import deeplake\n{inside}\n\nif __name__ == '__main__':\n    main()\n"
        )
        (self.repository / "train.py").write_text(script)
        found, told = self.python(*(arguments or ("train.py",)), **variables)
        assert found == status, told
        return told

    def python(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """Run Python there; returns its exit status and all that it said."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.repository,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def plain_code(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlainCode:
    """Scripts that use Deep Lake and W&B themselves, with a store of their own."""
    for variable in ("LINEAGE_FOLDER", "LINEAGE_STORE"):
        monkeypatch.setenv(variable, str(tmp_path / "store"))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "wandb"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb" / "data"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tmp_path / "wandb").mkdir()
    return PlainCode(repository, tmp_path / "data")


@pytest.fixture
def folder(repository: Path) -> Path:
    """A repository with a dataset and a saved view of it."""
    import deeplake
    from deeplake import types

    (repository / ".gitignore").write_text(".lineage/\nds/\nscript.py\n*.pth\n")
    dataset = deeplake.create(str(repository / "ds"), schema={"n": types.Int32()})
    dataset.append({"n": list(range(10))})
    dataset.commit("all")
    dataset.query("select * where n > 3").tag("large", "m")
    return repository


@pytest.fixture
def ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ports]:
    """A store in this test's folder, which is the current one."""
    from lineage.wiring import wire

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "store"))
    made = wire()
    yield made
    made.runs.close()
