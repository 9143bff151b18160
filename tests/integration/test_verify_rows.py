"""Verifying a store in which something cannot be read, or is large; and base weights that only the code's snapshot has."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import lineage
from lineage.errors import LineageError
from lineage.reproduce.plan import make_plan
from lineage.reproduce.verify import Verifier
from lineage.wiring import wire

SCRIPT = """
import lineage

with lineage.start_run(project="p", job_type="train", seed=1) as run:
    run.use_artifact("base.bin", role="base")
    run.log({"loss": 1.0})
    open("model.bin", "wb").write(b"model")
    run.log_artifact("model.bin", kind="model")
print(run.id)
"""


def asked(*words: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(["lineage", *words, "--json"], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def trained(repository: Path, monkeypatch: pytest.MonkeyPatch) -> lineage.Run:
    """A run that started from a file that nobody committed, and that git does not ignore."""
    (repository / "train.py").write_text(SCRIPT)
    (repository / "base.bin").write_bytes(b"base weights")
    monkeypatch.setenv("LINEAGE_STORE", str(repository.parent / "store"))
    done = subprocess.run([sys.executable, "train.py"], cwd=repository, capture_output=True, text=True, timeout=60, check=True)
    monkeypatch.chdir(repository.parent)
    return lineage.get(done.stdout.strip())


def statement(folder: Path, text: str, *values: str) -> None:
    database = sqlite3.connect(folder / "store" / "lineage.sqlite")
    database.execute(text, values)
    database.commit()
    database.close()


@pytest.mark.parametrize(
    "text",
    [
        """UPDATE environments SET payload = replace(payload, '"python":"3', '"python":"4')""",
        "UPDATE runs SET document = '{'",
        """UPDATE runs SET document = replace(document, '"job_type":', '"kind_of_job":')""",
    ],
)
@pytest.mark.parametrize("level", ["--full", "--quick"])
def test_a_document_that_cannot_be_read_is_one_row(trained: lineage.Run, repository: Path, text: str, level: str) -> None:
    """Of one run and of all; everything else is looked at, and told."""
    statement(repository.parent, text)

    for words in (("verify", trained.id[:8], level), ("verify", "--all", level)):
        code, answer = asked(*words)
        (run,) = answer["runs"]
        found = {check["subject"]: check["status"] for check in run["checks"] if check["subject"] != "signature"}
        assert (code, run["run_id"]) == (9, trained.id)
        assert found == {"record": "changed", "code": "intact", "objects": "intact"}


def test_a_run_without_a_readable_event_is_told(trained: lineage.Run, repository: Path) -> None:
    """There is nothing to look at but the record."""
    statement(repository.parent, "UPDATE runs SET document = '{'")
    statement(repository.parent, "UPDATE events SET payload = '{' WHERE number = 0")

    code, answer = asked("verify", trained.id)

    assert code == 9
    assert [check["status"] for check in answer["runs"][0]["checks"]] == ["changed"]


def test_metrics_that_were_added_to_a_run_without_any_are_found(trained: lineage.Run, repository: Path) -> None:
    """It recorded that it had none."""
    (repository / "train.py").write_text("import lineage\nwith lineage.start_run(project='p') as run:\n    pass\nprint(run.id)\n")
    done = subprocess.run([sys.executable, "train.py"], cwd=repository, capture_output=True, text=True, timeout=60, check=True)
    empty = done.stdout.strip()
    assert asked("verify", empty)[0] == 0
    statement(repository.parent, "INSERT INTO metrics SELECT ?, number, step, at, payload FROM metrics", empty)

    code, answer = asked("verify", empty)

    assert code == 9
    assert "logged values were changed, added or lost" in answer["runs"][0]["checks"][0]["detail"][0]


class Counting:
    """The real store, which counts how often objects are read whole."""

    def __init__(self, objects: Any) -> None:
        self.checked: Counter[str] = Counter()
        self._objects = objects

    def check(self, digest: str) -> None:
        self.checked[digest] += 1
        self._objects.check(digest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)


@pytest.mark.parametrize(("level", "times"), [("quick", 0), ("full", 1)])
def test_packs_of_a_lost_repository_are_read_once_or_not_at_all(trained: lineage.Run, repository: Path, level: Any, times: int) -> None:
    """A quick look asks whether they are there; a full one reads each once."""
    from dataclasses import replace

    shutil.rmtree(repository)
    ports = wire()
    counting = Counting(ports.objects)

    found = Verifier(replace(ports, objects=counting), level).verify(trained)  # type: ignore[arg-type]

    assert found.is_intact
    assert trained.code_packs
    assert [counting.checked[digest] for digest in trained.code_packs] == [times] * len(trained.code_packs)


def test_a_damaged_pack_is_found_by_a_full_look(trained: lineage.Run, repository: Path) -> None:
    """Which tells it of the code, too."""
    shutil.rmtree(repository)
    ports = wire()
    pack = ports.objects.path_of(trained.code_packs[0])
    assert pack is not None
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:-1] + b"x")

    found = {check.subject: check.status for check in Verifier(ports, "full").verify(trained).checks}

    assert (found["code"], found["objects"]) == ("missing", "changed")


def test_base_weights_are_taken_from_the_snapshot(trained: lineage.Run, repository: Path) -> None:
    """Their repository is lost; its packs hold them, and the reproduction is identical."""
    shutil.rmtree(repository)
    (item,) = (item for item in make_plan(wire(), trained).ingredients if item.name == "file: base")
    assert (item.status, item.found) == ("ready", "same content in the snapshot of the code")

    code, answer = asked("reproduce", trained.id, "--env", "current")

    assert (code, answer["verdict"]) == (0, "identical")


def test_base_weights_that_were_edited_since_are_taken_from_the_snapshot(trained: lineage.Run, repository: Path) -> None:
    """Today's file is another one, and is not used."""
    (repository / "base.bin").write_bytes(b"other weights")

    (item,) = (item for item in make_plan(wire(), trained).ingredients if item.name == "file: base")

    assert item.status == "ready"


def test_base_weights_that_nothing_holds_block(trained: lineage.Run, repository: Path) -> None:
    """The packs are lost, too."""
    shutil.rmtree(repository)
    ports = wire()
    for digest in trained.code_packs:
        kept = ports.objects.path_of(digest)
        assert kept is not None
        kept.unlink()

    blockers = make_plan(ports, trained).blockers

    assert any("file: base missing" in line for line in blockers)
    with pytest.raises(LineageError):
        ports.objects.check(trained.code_packs[0])
