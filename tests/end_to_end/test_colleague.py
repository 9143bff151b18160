"""A colleague's story: trained on one machine, looked up from another, run again by a worker, found identical."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

TRAIN = """
import json
import random

import lineage

with lineage.start_run(project="parking", job_type="train", config={"rate": 0.1}, seed=7) as run:
    numbers, weight = random.Random(7), 0.0
    for step in range(5):
        weight += 0.1 * numbers.random()
        run.log({"loss": 1.0 - weight}, step=step)
    with open("model.json", "w") as file:
        json.dump(weight, file)
    run.log_artifact("model.json", kind="model")
"""


@contextmanager
def started(*command: str, folder: Path, variables: dict[str, str], word: str) -> Iterator[str]:
    """A process that runs until the end; what it says until ``word`` comes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lineage", *command], cwd=folder, env=variables, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    try:
        told = ""
        while word not in told:
            line = process.stderr.readline()
            assert line, told
            told += line
        yield told
    finally:
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=60)[1]
        assert process.returncode == 0, rest


@pytest.mark.slow
def test_from_a_model_to_a_verdict(tmp_path: Path) -> None:
    """Machine A has the code and trains; machine B has a model's file and the service's address, and gets the verdict ``identical``."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LINEAGE_")} | {"WANDB_MODE": "disabled"}
    server, a, b = (tmp_path / name for name in ("server", "machine-a", "machine-b"))
    for folder in (server, a, b):
        (folder / "home").mkdir(parents=True)
    of_server = plain | {"LINEAGE_STORE": str(server / "store"), "HOME": str(server / "home")}

    def lineage(*words: str, folder: Path, variables: dict[str, str]) -> str:
        command = [sys.executable, "-m", "lineage", *words]
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    tokens = {
        name: lineage("tokens", "new", name, "--scope", name, folder=server, variables=of_server).split()[-1]
        for name in ("record", "execute")
    }
    with ExitStack() as stack:
        told = stack.enter_context(
            started("serve", "--port", "0", "--need-tokens", "--no-log", folder=server, variables=of_server, word="http://")
        )
        address = next(word for word in told.split() if word.startswith("http://"))

        # Machine A: a repository, a script; it records over HTTP.
        (a / "repository").mkdir()
        (a / "repository" / "train.py").write_text(TRAIN)
        for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "first"]):
            subprocess.run(["git", *arguments], cwd=a / "repository", check=True)
        of_a = plain | {
            "LINEAGE_STORE": address,
            "LINEAGE_TOKEN": tokens["record"],
            "LINEAGE_FOLDER": str(a / "local"),
            "HOME": str(a / "home"),
        }
        subprocess.run([sys.executable, "train.py"], cwd=a / "repository", env=of_a, check=True, timeout=60)
        lineage("sync", folder=a / "repository", variables=of_a)

        # Machine B: a copy of the model, and nothing else of A.
        model = b / "model.json"
        model.write_bytes((a / "repository" / "model.json").read_bytes())
        (a / "repository").rename(a / "lost")
        of_b = plain | {
            "LINEAGE_STORE": address,
            "LINEAGE_TOKEN": tokens["execute"],
            "LINEAGE_FOLDER": str(b / "local"),
            "HOME": str(b / "home"),
        }
        found: Any = json.loads(lineage("data", str(model), "--json", folder=b, variables=of_b))
        (run,) = {item["run_id"] for item in (found if isinstance(found, list) else found["runs"])}

        # The worker is where the store is. It holds no token of anybody.
        stack.enter_context(started("worker", "--lease", "10", folder=server, variables=of_server, word="worker"))
        job = json.loads(lineage("request", run, "--what", "rerun", "--follow", "--json", folder=b, variables=of_b))

        assert (job["state"], job["verdict"], job["error"]) == ("succeeded", "identical", None)
        assert job["requested_by"].endswith("(execute)")
        record = json.loads(lineage("show", run, "--json", folder=b, variables=of_b))
        assert [(item["run_id"], item["verdict"]) for item in record["reproductions"]] == [(job["result_run_id"], "identical")]
        again = json.loads(lineage("show", job["result_run_id"], "--json", folder=b, variables=of_b))
        assert [item["digest"] for item in again["outputs"]] == [item["digest"] for item in record["outputs"]]
        # Machine A's token may record; it may not have anything run.
        refused = subprocess.run(
            [sys.executable, "-m", "lineage", "request", run, "--what", "rerun"],
            cwd=a,
            env=of_a,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert refused.returncode != 0
        assert "it needs the scope 'execute'" in refused.stderr
