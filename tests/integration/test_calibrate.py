"""Tolerance comes from a run's own repetitions, and from nothing else."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lineage.model.calibration import Calibration, Spread
from lineage.model.comparison import Verdict
from lineage.model.run import Artifact, MetricPoint, Run
from lineage.model.steps import StepDifference, StepsCompared
from lineage.reproduce.compare import compare_runs, verdict_of
from lineage.reproduce.tolerance import measure, tolerate, usable

AT = datetime(2024, 5, 6, tzinfo=UTC)
A, B, C = ("sha256:" + letter * 64 for letter in "abc")

# Noise of a known size, from the operating system; NOISE and SHIFT are told by variables that no record keeps.
NOISY = """
import os, pathlib, time
import lineage

noise, shift = float(os.environ.get("NOISE", "0.01")), float(os.environ.get("SHIFT", "0"))


def draw():
    return int.from_bytes(os.urandom(4), "little") / 2**32 * noise


with lineage.start_run(seed=1) as run:
    for step in range(40):
        run.log({"loss": 1 + draw() + shift, "rate": 0.5})
        time.sleep(float(os.environ.get("PAUSE", "0")))
    run.summary["score"] = 2 + draw() + shift
    pathlib.Path("model.txt").write_text(str(draw()))
    run.log_artifact("model.txt", kind="model")
    pathlib.Path("names.txt").write_text("car" if not os.environ.get("OTHER") else "bus")
    run.log_artifact("names.txt")
print(run.id)
"""

FAILING = """
import os, sys
import lineage

with lineage.start_run(seed=1) as run:
    run.log({"loss": 1.0})
    print(run.id, flush=True)
    if os.environ.get("FAIL"):
        sys.exit(3)
"""


@dataclass(frozen=True)
class Place:
    """A repository with a recorded run."""

    folder: Path
    run_id: str

    def lineage(self, *arguments: str, expect: int = 0, **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "lineage", *arguments],
            cwd=self.folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments: str, expect: int = 0, **variables: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.lineage(*arguments, "--json", expect=expect, **variables))
        return found


def recorded(folder: Path, script: str, **variables: str) -> Place:
    (folder / "train.py").write_text(script)
    (folder / ".gitignore").write_text(".lineage/\n*.txt\n")
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return Place(folder, done.stdout.strip())


def test_noise_of_a_known_size_is_measured_and_tolerated_no_further(repository: Path) -> None:
    """Before calibrating a noisy run diverges; after it a repetition is equivalent, and one that lies further away, or makes another file
    that was always equal, still diverges."""
    place = recorded(repository, NOISY)
    before = place.json("reproduce", place.run_id, expect=1)
    assert before["verdict"] == "diverged"

    measured = place.json("calibrate", place.run_id, "-n", "3", PAUSE="0.08")["calibration"]

    spreads = {item["name"]: item for item in measured["spreads"]}
    assert 0.004 < spreads["loss"]["max_absolute"] <= 0.01
    assert spreads["loss"]["points"] == 40
    assert (spreads["rate"]["max_absolute"], spreads["rate"]["max_relative"]) == (0, 0)
    assert (spreads["score"]["kind"], spreads["score"]["points"]) == ("summary", 1)
    assert measured["outputs"] == {"model.txt": False, "names.txt": True}
    assert (measured["is_deterministic"], len(measured["run_ids"])) == (False, 3)
    assert place.json("show", place.run_id)["calibration"]["run_ids"] == measured["run_ids"]

    # The spread of a single number over three repetitions may be small by chance; without noise of its own it is what it was.
    original = place.json("show", place.run_id)["summary"]["score"]
    shift = min(max(original - 2, 0), 0.01)
    again = place.json("reproduce", place.run_id, NOISE="0", SHIFT=str(shift))
    words = {change["subject"]: (change["same"], change["is_tolerated"]) for change in again["comparison"]["changes"]}
    assert again["verdict"] == "equivalent"
    assert (words["metrics"], words["output model.txt"], words["output names.txt"]) == ((False, True), (False, True), (True, False))
    far = place.json("reproduce", place.run_id, expect=1, SHIFT="0.05", PAUSE="0.2")
    assert far["verdict"] == "diverged"
    assert place.json("show", far["replica_id"])["state"] == "aborted"  # it did not have to end to be told
    other = place.json("reproduce", place.run_id, "--keep-going", expect=1, NOISE="0", SHIFT=str(shift), OTHER="1")
    assert other["reason"] == "output names.txt: the bytes differ; its bytes were equal in every calibrated repetition"
    place.lineage("verify", place.run_id)


def test_a_deterministic_run_tolerates_nothing(repository: Path) -> None:
    """Equal repetitions are said to be equal; the smallest later difference is one."""
    place = recorded(repository, NOISY, NOISE="0")

    printed = place.lineage("calibrate", place.run_id, "-n", "2", NOISE="0")
    same = place.json("reproduce", place.run_id, NOISE="0")
    other = place.json("reproduce", place.run_id, expect=1, NOISE="1e-15")

    assert "output model.txt: equal bytes in 2 repetitions" in printed
    assert (same["verdict"], other["verdict"]) == ("identical", "diverged")
    assert place.json("show", place.run_id)["calibration"]["outputs"] == {"model.txt": True, "names.txt": True}


def test_what_cannot_be_repeated_is_not_calibrated(repository: Path) -> None:
    """A repetition that fails ends it with 3, a blocked one with 4, too few are a usage error; nothing is recorded."""
    place = recorded(repository, FAILING)

    failed = place.json("calibrate", place.run_id, expect=3, FAIL="1")
    few = place.lineage("calibrate", place.run_id, "-n", "1", expect=2)
    pieces = place.folder / ".lineage" / "objects"
    (place.folder / ".git").rename(place.folder / ".lost")
    pieces.rename(place.folder / ".lost-objects")
    blocked = place.json("calibrate", place.run_id, expect=4)

    assert failed["calibration"] is None
    assert failed["reason"].startswith("repetition 1 ended as failed")
    assert few == ""
    assert blocked["reason"].startswith("repetition 1 is blocked: code")
    assert place.json("show", place.run_id)["calibration"] is None


def run(letter: str = "0", outputs: dict[str, str] | None = None, **fields: Any) -> Run:
    made = tuple(Artifact(name=name, kind="file", path=name, digest=digest, size_bytes=1) for name, digest in (outputs or {}).items())
    return Run(id=letter * 32, name="r", project="p", job_type="train", started_at=AT, outputs=made, **fields)


def series(*values: float, name: str = "loss", first: int = 0) -> list[MetricPoint]:
    return [MetricPoint(step=first + step, values={name: value}, at=0.0) for step, value in enumerate(values)]


def judged(calibration: Calibration, a: Run, b: Run, ours: list[MetricPoint], theirs: list[MetricPoint]) -> Verdict:
    return verdict_of(tolerate(compare_runs(a, b, ours, theirs), calibration, a, b, ours, theirs))


def calibrated(*repetitions: list[MetricPoint], outputs: list[dict[str, str]] | None = None) -> Calibration:
    made = outputs or [{} for _ in repetitions]
    return measure([run(str(number), item) for number, item in enumerate(made)], repetitions, None)


def test_the_spread_is_the_largest_range_at_one_step() -> None:
    """Highest minus lowest at each step, and that over the largest magnitude there; the largest of each over the series."""
    found = calibrated(series(10.0, 1.0), series(10.5, 1.25), series(10.25, 1.125)).spread("loss")

    assert found is not None
    assert (found.max_absolute, found.max_relative, found.points) == (0.5, 0.2, 2)


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, Verdict.identical), (1.02, Verdict.equivalent), (1.0201, Verdict.diverged), (math.nan, Verdict.diverged)]
)
def test_twice_the_spread_is_the_limit(value: float, expected: Verdict) -> None:
    """A difference of twice the spread is within, a little more is not, and not-a-number never is."""
    spread = Spread(name="loss", points=2, max_absolute=(1.02 - 1.0) / 2, max_relative=1.0)
    calibration = Calibration(at=AT, run_ids=("a", "b"), spreads=(spread,))

    assert judged(calibration, run("a"), run("b"), series(3.0, 1.0), series(3.0, value)) is expected


def test_a_small_value_may_not_hide_behind_a_large_one() -> None:
    """A loss that falls from 1000 to 0.001 keeps its relative spread: what is noise at the beginning is not at the end."""
    calibration = calibrated(series(1000.0, 0.001), series(1001.0, 0.001001))

    assert judged(calibration, run("a"), run("b"), series(1000.0, 0.001), series(1000.5, 0.001001)) is Verdict.equivalent
    assert judged(calibration, run("a"), run("b"), series(1000.0, 0.001), series(1000.5, 0.5)) is Verdict.diverged


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (series(1.0, 2.0), series(1.0), "different steps"),
        (series(1.0), series(1.0, first=3), "different steps"),
        (series(1.0), series(math.inf), "not finite in some"),
        (series(1e308), series(-1e308), "more than a number can hold"),
    ],
)
def test_what_has_no_spread_must_be_equal(first: list[MetricPoint], second: list[MetricPoint], reason: str) -> None:
    """Series of other lengths or steps, and values that are not always finite, tolerate nothing; equal ones are still identical."""
    calibration = calibrated(first, second)
    found = calibration.spread("loss")

    assert found is not None
    assert found.max_absolute is None
    assert reason in (found.reason or "")
    assert not calibration.is_deterministic
    assert judged(calibration, run("a"), run("b"), series(1.0), series(1.0)) is Verdict.identical
    assert judged(calibration, run("a"), run("b"), series(1.0), series(math.nextafter(1.0, 2))) is Verdict.diverged


def test_values_that_are_never_finite_have_no_spread_to_tolerate() -> None:
    """The same not-a-number in every repetition is deterministic."""
    assert calibrated(series(math.nan), series(math.nan)).is_deterministic


def test_only_what_differed_among_the_repetitions_may_differ() -> None:
    """Outputs by name, other metrics, data and the state: nothing is tolerated that no repetition showed."""
    calibration = calibrated(series(1.0), series(1.5), outputs=[{"m": A, "n": A}, {"m": B, "n": A}])
    ours = series(1.0)

    def verdict(outputs: dict[str, str], theirs: list[MetricPoint], **fields: Any) -> Verdict:
        return judged(calibration, run("a", {"m": A, "n": A}), run("b", outputs, **fields), ours, theirs)

    assert verdict({"m": C, "n": A}, series(1.5)) is Verdict.equivalent
    assert verdict({"m": C, "n": C}, series(1.5)) is Verdict.diverged
    assert verdict({"n": A}, series(1.5)) is Verdict.diverged
    assert verdict({"m": C, "n": A, "new": A}, series(1.5)) is Verdict.diverged
    assert verdict({"m": C, "n": A}, [*series(1.5), *series(1.0, name="other")]) is Verdict.diverged
    assert verdict({"m": C, "n": A}, series(1.5), state="failed") is Verdict.diverged
    assert verdict({"m": C, "n": A}, series(1.5), summary={"score": 3}) is Verdict.diverged


@pytest.mark.parametrize(
    ("repetitions_are_equal", "expected"), [(False, Verdict.equivalent), (True, Verdict.diverged), (None, Verdict.diverged)]
)
def test_step_logs_may_differ_only_where_the_repetitions_did(repetitions_are_equal: bool | None, expected: Verdict) -> None:
    """Equal metrics over other gradients are equivalent when that is the run's own noise, and a difference when it never happened."""
    calibration = calibrated(series(1.0), series(1.5)).model_copy(update={"steps_are_equal": repetitions_are_equal})
    parted = StepDifference(step=3, phase="gradient")
    steps = StepsCompared(a="a", b="b", rank=0, steps_a=9, steps_b=9, compared=9, every=1, first=parted)
    a, b, ours = run("a"), run("b"), series(1.0)

    found = tolerate(compare_runs(a, b, ours, ours, steps=[steps]), calibration, a, b, ours, ours)

    assert verdict_of(found) is expected


def test_a_file_that_always_differs_bounds_nothing() -> None:
    """It is all that the run made: any other file would be tolerated as well, so nothing is known."""
    calibration = calibrated([], [], outputs=[{"m": A}, {"m": B}])

    assert judged(calibration, run(outputs={"m": A}), run("1", outputs={"m": B}), [], []) is Verdict.inconclusive


def test_a_part_of_a_noisy_run_is_judged_by_the_same_tolerance() -> None:
    """Of a reproduction that was stopped on purpose only what it logged counts."""
    calibration = calibrated(series(1.0, 2.0, 3.0), series(1.5, 2.5, 3.5))
    a, b, ours = run("a", {"m": A}), run("b", state="aborted"), series(1.0, 2.0, 3.0)

    def verdict(theirs: list[MetricPoint]) -> Verdict:
        return verdict_of(tolerate(compare_runs(a, b, ours, theirs, checked="steps 0 to 1"), calibration, a, b, ours, theirs))

    assert verdict(series(1.25, 2.25)) is Verdict.equivalent
    assert verdict(series(1.25, 9.0)) is Verdict.diverged
    assert verdict(series(1.0, 2.0)) is Verdict.identical


def test_a_calibration_of_another_environment_is_not_used() -> None:
    """The noise of other packages says nothing; the report says that it was left aside."""
    noisy = calibrated(series(1.0), series(1.5)).model_copy(update={"environment": A})

    assert usable(noisy, A) == (noisy, None)
    assert usable(noisy, B)[0] is None
    assert "other packages" in (usable(noisy, B)[1] or "")
    assert usable(noisy.model_copy(update={"environment": None}), None)[0] is None
    assert usable(None, A) == (None, None)
