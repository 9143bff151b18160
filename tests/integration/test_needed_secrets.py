"""Secrets that a command was given: the record has their names, a reproduction asks for them, and their values are nowhere on disk."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lineage.cli.secrets import ask_secrets
from lineage.errors import UsageError
from lineage.model.run import Run
from lineage.reproduce.needed_secrets import needed_secrets, with_secrets, without_secrets

TIMEOUT_S = 60
VALUE, OTHER = "hush-1234-quiet", "still-9876-quiet"

TRAIN = """
import hashlib
import os
import sys
from pathlib import Path

import lineage
import remote

with lineage.start_run(project="secrets", job_type="train", seed=7, config={"api_key": sys.argv[2]}) as run:
    print("using", sys.argv[2], remote.key())
    state = hashlib.sha256((sys.argv[2] + remote.key()).encode())
    run.log({"loss": state.digest()[0] / 256})
    Path("model.bin").write_bytes(state.digest())
    run.log_artifact("model.bin", kind="model")
"""
REMOTE = """
import os

def key():
    return os.environ["STORE_PASSWORD"]
"""


def run_of(*command: str, names: tuple[str, ...] = ()) -> Run:
    return Run(id="0" * 32, name="a", project="b", job_type="c", started_at=datetime.now(UTC), command=command, secret_variables=names)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("python", "a.py", "--token", "<redacted>"), [("TOKEN", "argument --token", 3)]),
        (("python", "a.py", "--api-key=<redacted>"), [("API_KEY", "argument --api-key", 2)]),
        (("env", "API_KEY=<redacted>", "python", "a.py"), [("API_KEY", "argument API_KEY", 1)]),
        (("python", "a.py", "apiKey=<redacted>"), [("API_KEY", "argument apiKey", 2)]),
        (("bash", "-c", "API_KEY=<redacted> python a.py --password <redacted>"),
         [("API_KEY", "argument API_KEY", 2), ("PASSWORD", "argument --password", 2)]),
        (("python", "a.py", "--token", "<redacted>", "--token", "<redacted>"),
         [("TOKEN", "argument --token", 3), ("TOKEN_2", "argument --token", 5)]),
        (("python", "a.py", "s3://<redacted>@host/x"), [("LINEAGE_SECRET_2", "word 2 of the command", 2)]),
        (("python", "a.py", "<redacted>:<redacted>"),
         [("LINEAGE_SECRET_2", "word 2 of the command", 2), ("LINEAGE_SECRET_2_2", "word 2 of the command", 2)]),
        (("curl", "--header", "Authorization: Bearer <redacted>"), [("AUTHORIZATION", "argument Authorization", 2)]),
        (("python", "a.py"), []),
    ],
)  # fmt: skip
def test_a_secret_has_the_name_that_it_stood_under(command: tuple[str, ...], expected: list[tuple[str, str, int]]) -> None:
    """Option, setting, variable or header; by its place where it stood under no name; each place has a name of its own."""
    assert [(item.variable, item.words, item.word) for item in needed_secrets(run_of(*command))] == expected


def test_every_secret_goes_to_its_place() -> None:
    """Two in one word, and one behind an option; a printed line loses them again, the longer one first."""
    run = run_of("bash", "-c", "API_KEY=<redacted> a --password <redacted>", "--token", "<redacted>")
    given = {"API_KEY": "one", "PASSWORD": "one-two", "TOKEN": "x <redacted> y"}

    assert with_secrets(run, run.command, given) == ("bash", "-c", "API_KEY=one a --password one-two", "--token", "x <redacted> y")
    assert without_secrets(run, "it is one-two, then one", given) == "it is <redacted>, then <redacted>"


def test_a_variable_that_is_an_argument_too_is_asked_for_once() -> None:
    """The code reads the variable that the command sets."""
    run = run_of("env", "API_KEY=<redacted>", "python", "a.py", names=("API_KEY", "STORE_PASSWORD"))
    assert [item.variable for item in needed_secrets(run)] == ["API_KEY", "STORE_PASSWORD"]


class Place:
    """A repository with a training that takes a secret as an argument, and another one from a variable."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder, self.repository = folder, repository
        (repository / "train.py").write_text(TRAIN)
        (repository / "remote.py").write_text(REMOTE)
        (repository / ".gitignore").write_text("*.bin\n__pycache__/\n")

    def execute(self, *words: str | Path, expect: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        home = {f"XDG_{name}_HOME": str(self.folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA", "STATE")}
        known = {"LINEAGE_STORE": str(self.folder / "store"), "WANDB_MODE": "disabled", "TMPDIR": str(self.folder), "COLUMNS": "1000"}
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=self.repository,
            env=os.environ | home | known | variables,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    def lineage(self, *words: str | Path, expect: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.execute("-m", "lineage", *words, expect=expect, **variables)

    def newest(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.lineage("runs", "--json").stdout)
        return max(found, key=lambda run: str(run["started_at"]))

    def files_with(self, *values: str) -> list[str]:
        """Files in which a value stands as it is, or packed into a git object or an archive that can be read as text."""
        found = []
        for file in self.folder.rglob("*"):
            if file.is_file() and any(value.encode() in file.read_bytes() for value in values):
                found.append(str(file.relative_to(self.folder)))
        return found


@pytest.fixture
def place(tmp_path: Path, repository: Path) -> Place:
    return Place(tmp_path, repository)


def test_what_was_secret_is_asked_for_by_name_and_kept_nowhere(place: Place) -> None:
    """Blocked with every name at once; given, the result is identical, and no file has a value: record, log, workspace or bundle."""
    place.execute("train.py", "--token", VALUE, STORE_PASSWORD=OTHER)
    run = place.newest()["id"]

    blocked = place.lineage("reproduce", run, "--plan", expect=4).stdout
    assert "needs argument --token (a secret, not recorded): set the variable TOKEN, or say --secret TOKEN" in blocked
    assert "needs variable STORE_PASSWORD (a secret, not recorded)" in blocked
    half = json.loads(place.lineage("reproduce", run, "--json", expect=4, TOKEN=VALUE).stdout)
    assert [line.partition(" missing")[0] for line in half["plan"]["blockers"]] == ["secret: STORE_PASSWORD"]

    place.lineage("bundle", run, place.folder / "run.lineage")
    done = place.lineage("reproduce", run, "--keep", TOKEN=VALUE, STORE_PASSWORD=OTHER)

    assert "verdict: identical" in done.stdout
    assert [value for value in (VALUE, OTHER) if value in done.stdout + done.stderr] == []
    assert "using <redacted> <redacted>" in done.stderr
    assert place.files_with(VALUE, OTHER) == []


def test_another_value_makes_another_result(place: Place) -> None:
    """The value that is given is the one that is used; it is told by what differs, not shown."""
    place.execute("train.py", "--token", VALUE, STORE_PASSWORD=OTHER)

    done = place.lineage("reproduce", place.newest()["id"], expect=1, TOKEN="not-the-same", STORE_PASSWORD=OTHER)

    assert "verdict: diverged" in done.stdout
    assert "not-the-same" not in done.stdout + done.stderr
    assert place.files_with("not-the-same") == []


def test_variables_that_the_code_does_not_name_are_not_asked_for(place: Place) -> None:
    """A secret of the account that the program has nothing to do with is no part of the record."""
    place.execute("train.py", "--token", VALUE, STORE_PASSWORD=OTHER, UNRELATED_API_KEY="whatever-1234")
    record = json.loads(place.lineage("show", place.newest()["id"], "--json").stdout)
    assert record["secret_variables"] == ["STORE_PASSWORD"]


def test_a_name_that_is_none_is_not_repeated() -> None:
    """What was typed may be the secret."""
    with pytest.raises(UsageError) as raised:
        ask_secrets(["hush=1234"])
    assert "1234" not in str(raised.value)


def test_without_a_terminal_nobody_is_asked(place: Place) -> None:
    """It does not wait for an answer that nobody gives."""
    place.execute("train.py", "--token", VALUE, STORE_PASSWORD=OTHER)
    done = place.lineage("reproduce", place.newest()["id"], "--secret", "TOKEN", expect=2)
    assert "nobody can be asked for TOKEN" in done.stderr


def test_a_secret_is_typed_in_unseen(place: Place) -> None:
    """On a terminal it is asked for by name, and what is typed is not shown."""
    place.execute("train.py", "--token", VALUE, STORE_PASSWORD=OTHER)
    run = place.newest()["id"]
    leader, follower = pty.openpty()
    with (place.folder / "told").open("wb") as told:
        child = subprocess.Popen(
            [sys.executable, "-m", "lineage", "reproduce", run, "--secret", "TOKEN"],
            cwd=place.repository,
            env=os.environ | {"LINEAGE_STORE": str(place.folder / "store"), "WANDB_MODE": "disabled", "STORE_PASSWORD": OTHER},
            stdin=follower,
            stdout=told,
            stderr=follower,
            start_new_session=True,
        )
    os.close(follower)
    shown, is_answered = b"", False
    limit = time.monotonic() + TIMEOUT_S
    try:
        while time.monotonic() < limit and child.poll() is None:
            if select.select([leader], [], [], 0.2)[0]:
                with suppress(OSError):  # the terminal is gone with its last process
                    shown += os.read(leader, 4096)
            if b"TOKEN: " in shown and not is_answered:  # what was typed before is thrown away
                os.write(leader, f"{VALUE}\n".encode())
                is_answered = True
        child.wait(1)
    finally:
        child.kill()
        os.close(leader)
    assert "verdict: identical" in (place.folder / "told").read_text()
    assert VALUE.encode() not in shown
    assert place.files_with(VALUE) == []
