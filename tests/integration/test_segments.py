"""Spot checks: a part of a run, from one checkpoint to the next, repeated and compared bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import lineage
from lineage.api import process
from lineage.errors import UsageError
from lineage.reproduce.segment import chosen_segments, segments_of
from lineage.wiring import wire

STEPS, EVERY = 14, 4

TRAINING = """
import sys
from pathlib import Path

import torch

import lineage
from lineage.training import Checkpoints, make_deterministic

watched, restores, places = sys.argv[1] == "watched", sys.argv[2] == "restores", Path(sys.argv[3])
with lineage.start_run(seed=3) as run:
    make_deterministic(run, threads=1)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    if watched:
        run.watch(model, optimizer)
    checks = (places / "checks").read_text() if (places / "checks").exists() else "every"
    checkpoints = Checkpoints(run, model=model, optimizer=optimizer, every_steps=4)
    begin = checkpoints.restore().step if restores else 0
    for step in range(begin, 14):
        factor = float((places / "factor").read_text()) if step >= 9 else 1.0
        loss = (model(torch.rand(3, 4)) * factor).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log({"loss": loss})
        if checks == "every":
            checkpoints.step()
        if checks == "ends" and step == begin + 3:
            sys.exit(0)
        with (places / "steps").open("a") as done:
            done.write(f"{step} ")
    torch.save(model.state_dict(), places / "model.pth")
    run.log_artifact(places / "model.pth", kind="model")
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Trainings of 14 steps with a checkpoint after each fourth: with a step log, without one, and one that never restores."""
    folder = tmp_path_factory.mktemp("segments")
    repository = folder / "repository"
    repository.mkdir()
    (repository / "train.py").write_text(TRAINING)
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "first"]):
        subprocess.run(["git", *words], cwd=repository, check=True)
    found: dict[str, Any] = {"folder": folder, "repository": repository}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAGE_STORE", str(folder / "store"))
        for name, words in {"watched": "watched restores", "plain": "plain restores", "stubborn": "watched not"}.items():
            places = folder / name
            places.mkdir()
            (places / "factor").write_text("1.0")
            subprocess.run(
                [sys.executable, "-W", "ignore", "train.py", *words.split(), str(places)], cwd=repository, check=True, timeout=120
            )
    return found


@pytest.fixture(autouse=True)
def _there(trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(trained["repository"])
    monkeypatch.setenv("LINEAGE_STORE", str(trained["folder"] / "store"))
    yield
    for name in ("watched", "plain", "stubborn"):
        (trained["folder"] / name / "factor").write_text("1.0")
        (trained["folder"] / name / "checks").unlink(missing_ok=True)
    process.wired.cache_clear()


def run_of(name: str) -> lineage.Run:
    """The training of that name; reproductions have the same command."""
    return next(run for run in lineage.runs() if run.reproduces is None and run.command[-1].endswith(name))


def reproduced(name: str, trained: dict[str, Any], *words: str) -> tuple[int, dict[str, Any], list[int]]:
    """Exit code, the answer, and the steps that were really trained."""
    steps = trained["folder"] / name / "steps"
    steps.write_text("")
    done = subprocess.run(
        ["lineage", "reproduce", run_of(name).id, "--json", *words], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), [int(step) for step in steps.read_text().split()]


def check_part(name: str, answer: dict[str, Any], part: dict[str, Any], begin: int, end: int, subject: str) -> None:
    """A segment that was repeated alone: it began from its checkpoint and ended with the next one; the verdict says what it is about."""
    number, report = part["segment"], part["report"]
    if name == "watched":
        assert report["checked"] == f"segment {number} (steps {begin} to {end} of 14: {(end - begin + 1) / 14:.1%})"
    else:  # without a step log it is not known how long the run was
        steps_told = "what follows the last checkpoint" if number == 3 else f"steps {begin} to {end}"
        assert report["checked"] == f"segment {number} ({steps_told})"
    assert next(item for item in report["comparison"]["changes"] if item["subject"] == subject)["same"]
    assert report["comparison"]["not_checked"][0].startswith(f"everything but segment {number} ")
    replica = lineage.get(report["replica_id"])
    assert (None if replica.resumes is None else replica.resumes.step) == (begin or None)
    assert report["checked"] in {item.checked for item in lineage.get(answer["run_id"]).reproductions}


@pytest.mark.parametrize("name", ["watched", "plain"])
def test_a_segment_is_repeated_alone(trained: dict[str, Any], name: str) -> None:
    """The first, which begins from nothing, and the last, which ends with the program."""
    code, answer, steps = reproduced(name, trained, "--segment", "0", "--segment", "3")

    assert (code, answer["verdict"], [part["segment"] for part in answer["segments"]]) == (0, "identical", [0, 3])
    check_part(name, answer, answer["segments"][0], 0, 3, "output checkpoint-00000004")
    check_part(name, answer, answer["segments"][1], 12, 13, "output model.pth")
    assert answer["share"] == (pytest.approx(6 / 14) if name == "watched" else None)
    # The program ends inside the call that makes the checkpoint, before it writes the last step's number.
    assert steps == [0, 1, 2, 12, 13]


@pytest.mark.parametrize("name", ["watched", "plain"])
def test_only_the_segment_that_differs_is_found_to_differ(trained: dict[str, Any], name: str) -> None:
    """Something that acts from step 9 on has changed since: segment 1 is as it was, segment 2 is not, and 3 begins from what was kept."""
    (trained["folder"] / name / "factor").write_text("1.5")

    code, answer, steps = reproduced(name, trained, "--segment", "1", "--segment", "2")

    assert (code, answer["verdict"]) == (1, "diverged")
    assert [part["report"]["verdict"] for part in answer["segments"]] == ["identical", "diverged"]
    check_part(name, answer, answer["segments"][0], 4, 7, "output checkpoint-00000008")
    assert steps[:4] == [4, 5, 6, 8]
    if name == "watched":
        assert answer["share"] == pytest.approx(8 / 14)
        assert answer["segments"][1]["report"]["comparison"]["first"]["step"] == 9


def test_a_program_that_does_not_restore_proves_nothing(trained: dict[str, Any]) -> None:
    """It began at the beginning, which is no check of the segment."""
    code, answer, steps = reproduced("stubborn", trained, "--segment", "1")

    assert (code, answer["verdict"], answer["share"]) == (3, "inconclusive", 0)
    assert "did not restore checkpoint checkpoint-00000004" in answer["segments"][0]["report"]["reason"]
    assert steps[0] == 0


@pytest.mark.parametrize(("name", "number", "checks"), [("watched", 0, "none"), ("plain", 1, "none"), ("plain", 0, "ends")])
def test_a_segment_without_its_last_checkpoint_is_never_identical(trained: dict[str, Any], name: str, number: int, checks: str) -> None:
    """The program trains as before, and goes on to its end or ends well where the checkpoint should be: there is no state to compare."""
    (trained["folder"] / name / "checks").write_text(checks)

    code, answer, _ = reproduced(name, trained, "--segment", str(number), "--keep-going")

    (part,) = answer["segments"]
    wanted = f"checkpoint-0000000{4 * (number + 1)}"
    assert (code, answer["verdict"]) == (1, "diverged")
    assert f"the program ended without making {wanted}, with which the segment ends" in json.dumps(part["report"])
    assert "is made" not in json.dumps(part["report"])


def test_a_lost_checkpoint_blocks(trained: dict[str, Any]) -> None:
    """Nothing is run; the checkpoint is named."""
    ports = wire()
    mark = next(item for item in run_of("stubborn").outputs if item.name == "checkpoint-00000008")
    kept = ports.objects.path_of(mark.digest)
    assert kept is not None
    content = kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(content[:-1])

    code, answer, steps = reproduced("stubborn", trained, "--segment", "2")
    kept.write_bytes(content)

    assert (code, answer["verdict"], steps) == (4, "blocked", [])
    assert "checkpoint-00000008" in answer["segments"][0]["report"]["reason"]


def test_segments_are_drawn_by_seed(trained: dict[str, Any]) -> None:
    """Without repetition, the same for the same seed, and none without steps."""
    run = run_of("watched")

    assert [(item.first_step, item.last_step) for item in segments_of(run)] == [(0, 3), (4, 7), (8, 11), (12, 13)]
    assert sum(item.share for item in segments_of(run)) == pytest.approx(1)
    draws = [[item.number for item in chosen_segments(run, [], 2, seed)] for seed in range(40)]
    assert draws[0] == [item.number for item in chosen_segments(run, [], 2, 0)]
    assert all(len(set(draw)) == 2 and draw == sorted(draw) for draw in draws)
    assert {number for draw in draws for number in draw} == {0, 1, 2, 3}
    assert [item.number for item in chosen_segments(run, [3, 0, 3], 4)] == [0, 1, 2, 3]


def test_what_cannot_be_repeated_in_parts_is_said(trained: dict[str, Any]) -> None:
    """No such segment, more than there are, no checkpoint at all, or together with another limit."""
    with pytest.raises(UsageError, match="has the segments 0 to 3"):
        chosen_segments(run_of("watched"), [4])
    with pytest.raises(UsageError, match="has 4 segments with steps"):
        chosen_segments(run_of("watched"), [], 5)
    with lineage.start_run() as bare:
        bare.log({"loss": 1})
    with pytest.raises(UsageError, match="made no checkpoint"):
        segments_of(lineage.get(bare.id))
    done = subprocess.run(
        ["lineage", "reproduce", run_of("plain").id, "--segment", "1", "--until-step", "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "--segment goes with neither" in done.stderr
