"""Comparing two runs bit for bit."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime
from typing import Any

import pytest

from lineage.model.comparison import FirstDifference, Verdict
from lineage.model.dataset import InputRecord
from lineage.model.plan import Ingredient, Plan, Severity
from lineage.model.run import Artifact, MetricPoint, Run
from lineage.model.steps import PHASES, StepDifference, StepLogRecord, StepsCompared
from lineage.reproduce.causes import likely_causes
from lineage.reproduce.compare import compare_runs, verdict_of

AT = datetime(2024, 5, 6, tzinfo=UTC)
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def run(letter: str = "0", **fields: Any) -> Run:
    return Run(id=letter * 32, name="r", project="p", job_type="train", started_at=AT, **fields)


def series(*values: float, name: str = "loss", first: int = 0) -> list[MetricPoint]:
    return [MetricPoint(step=first + i, values={name: value}, at=0.0) for i, value in enumerate(values)]


def used(role: str = "train", content: str = A, rows: str = A) -> InputRecord:
    names = {"uri": "file:///ds", "dataset_id": "d", "branch": "main", "branch_id": "b", "commit_id": "c", "backend": "deeplake 4.7.4"}
    digests = {"rows_digest": rows, "content_digest": content, "rows_object": A, "digests_object": A}
    return InputRecord(role=role, rows=5, rows_total=9, columns={}, used_at=AT, **names, **digests)


def made(digest: str = A, name: str = "model.pth", kind: str = "model") -> Artifact:
    return Artifact(name=name, kind=kind, path=name, digest=digest, size_bytes=1)


def verdict(left: Run, right: Run, a: list[MetricPoint], b: list[MetricPoint]) -> Verdict:
    return verdict_of(compare_runs(left, right, a, b))


@pytest.mark.parametrize("value", [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan])
def test_the_same_bits_are_the_same(value: float) -> None:
    """Any float, NaN and negative zero included, equals itself."""
    assert verdict(run(), run("1"), series(value), series(value)) is Verdict.identical


@pytest.mark.parametrize(
    ("left", "right"),
    [(0.0, -0.0), (0.1, math.nextafter(0.1, 1)), (math.nan, 1.0), (math.inf, -math.inf), (math.nan, math.inf)],
)
def test_the_smallest_difference_is_found(left: float, right: float) -> None:
    """One bit is a difference: zeros of two signs, neighbours, not-a-number against a number."""
    comparison = compare_runs(run(), run("1"), series(1.0, left), series(1.0, right))

    assert verdict_of(comparison) is Verdict.diverged
    assert comparison.changes[0].detail == f"first difference at step 1: loss = {left!r}, then {right!r}"


def test_not_a_number_of_other_bits_is_another_value() -> None:
    """Two NaN with different payloads come from different computations."""
    quiet, other = math.nan, struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]

    assert verdict(run(), run("1"), series(quiet), series(other)) is Verdict.diverged


def test_the_first_differing_step_is_named() -> None:
    """Of many differences the earliest in the order of the calls is shown."""
    comparison = compare_runs(run(), run("1"), series(1.0, 2.0, 3.0, 4.0), series(1.0, 2.0, 3.5, 4.5))

    assert comparison.changes[0].detail == "first difference at step 2: loss = 3.0, then 3.5"


def test_another_name_or_step_is_a_difference() -> None:
    """The same numbers under another name, or at another step, are not the same series."""
    renamed = compare_runs(run(), run("1"), series(1.0), series(1.0, name="lr"))
    moved = compare_runs(run(), run("1"), series(1.0), series(1.0, first=5))

    assert renamed.changes[0].detail == "first difference at step 0: loss = 1.0, then lr = 1.0 at step 0"
    assert moved.changes[0].detail == "first difference at step 0: loss = 1.0, then loss = 1.0 at step 5"


@pytest.mark.parametrize(("left", "right"), [((1.0, 2.0), (1.0, 2.0, 3.0)), ((1.0, 2.0, 3.0), (1.0, 2.0))])
def test_a_shorter_series_is_a_difference(left: tuple[float, ...], right: tuple[float, ...]) -> None:
    """Equal so far is not equal: the step where one series ends is named, whichever run it is."""
    comparison = compare_runs(run(), run("1"), series(*left), series(*right))

    assert verdict_of(comparison) is Verdict.diverged
    assert comparison.changes[0].detail == "one series ends before step 2"
    assert (comparison.changes[0].original, comparison.changes[0].replica) == (f"{len(left)} values", f"{len(right)} values")


def test_one_silent_run_is_a_difference() -> None:
    """A reproduction that logs nothing does not equal one that logged something."""
    assert verdict(run(), run("1"), series(1.0), []) is Verdict.diverged


def test_metrics_of_speed_are_not_compared_and_the_report_says_so() -> None:
    """``timing/`` and ``system/`` may differ in value and in number; they are listed as not checked."""
    left = [*series(1.0), *series(0.5, 0.6, name="timing/step_s"), *series(9.0, name="system/gpu")]
    right = [*series(1.0), *series(0.7, name="timing/step_s")]

    comparison = compare_runs(run(), run("1"), left, right)

    assert verdict_of(comparison) is Verdict.identical
    assert comparison.changes[0].original == "1 values"
    assert "metrics that depend on speed: system/gpu, timing/step_s" in comparison.not_checked


def test_a_metric_that_only_mentions_timing_is_compared() -> None:
    """Only the prefix counts: ``my/timing/loss`` is a result."""
    assert verdict(run(), run("1"), series(1.0, name="my/timing/loss"), series(2.0, name="my/timing/loss")) is Verdict.diverged


def test_nothing_to_compare_is_inconclusive() -> None:
    """Without any metric or artifact there is no result: never 'identical', even when the data are equal."""
    assert verdict(run(), run("1"), [], []) is Verdict.inconclusive
    assert verdict(run(inputs=(used(),)), run("1", inputs=(used(),)), [], []) is Verdict.inconclusive
    assert verdict(run(), run("1"), series(1.0, name="timing/s"), series(2.0, name="timing/s")) is Verdict.inconclusive


def test_other_data_diverge_even_without_results() -> None:
    """Rows that were read differently make a reproduction diverge; order and number of inputs of a role count."""
    one, two = used(content=A), used(content=B)

    assert verdict(run(inputs=(one,)), run("1", inputs=(two,)), [], []) is Verdict.diverged
    assert verdict(run(inputs=(one, two)), run("1", inputs=(two, one)), [], []) is Verdict.diverged
    assert verdict(run(inputs=(one,)), run("1"), series(1.0), series(1.0)) is Verdict.diverged
    assert verdict(run(inputs=(used(rows=A),)), run("1", inputs=(used(rows=B),)), series(1.0), series(1.0)) is Verdict.diverged


@pytest.mark.parametrize(
    ("left", "right"),
    [({"best": 1}, {"best": 1.0}), ({"ok": 1}, {"ok": True}), ({"zero": 0.0}, {"zero": -0.0}), ({"none": None}, {}), ({}, {"more": 1})],
)
def test_a_summary_is_compared_bit_for_bit(left: dict[str, Any], right: dict[str, Any]) -> None:
    """Values that Python takes for equal are others to a program; one that is missing is not one that is null."""
    assert verdict(run(summary=left), run("1", summary=right), series(1.0), series(1.0)) is Verdict.diverged
    assert verdict(run(summary=left), run("1", summary=left), series(1.0), series(1.0)) is Verdict.identical


def test_a_summary_under_the_name_of_a_metric_is_compared() -> None:
    """The program put its best value there, which no series holds; the last value of a series counts with the series."""
    ours, theirs = run(summary={"loss": 0.25}), run("1", summary={"loss": 0.5})

    assert verdict(ours, theirs, series(1.0, 2.0), series(1.0, 2.0)) is Verdict.diverged
    last = run(summary={"loss": 2.0}), run("1", summary={"loss": 2.0})
    assert [change.subject for change in compare_runs(*last, series(1.0, 2.0), series(1.0, 2.0)).changes] == ["metrics"]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"state": "finished"}, {"state": "finished", "notes": ("inside the command: ValueError: no",)}),
        (
            {"state": "failed", "error": "ValueError: no"},
            {"state": "failed", "error": "the command ended with status 1", "notes": ("inside the command: OSError: full",)},
        ),
        ({"state": "failed", "error": "the command ended with status 3"}, {"state": "failed", "error": "the command ended with status 1"}),
    ],
)
def test_another_end_is_a_difference(left: dict[str, Any], right: dict[str, Any]) -> None:
    """Equal metrics say nothing where the programs ended in different ways."""
    ours, theirs = run(**left), run("1", **right)

    assert verdict(ours, theirs, series(1.0), series(1.0)) is Verdict.diverged
    assert verdict(ours, run("1", **left), series(1.0), series(1.0)) is Verdict.identical


def test_a_program_that_fails_in_the_same_way_ends_alike() -> None:
    """The first told it itself; of the second the command's status is recorded, and what the program told is a note."""
    ours = run(state="failed", error="ValueError: no")
    theirs = run("1", state="failed", error="the command ended with status 1", notes=("inside the command: ValueError: no",))

    assert verdict(ours, theirs, series(1.0), series(1.0)) is Verdict.identical


def test_an_output_of_another_kind_is_another_output() -> None:
    """A model is found by look-ups, a report is not."""
    assert verdict(run(outputs=(made(),)), run("1", outputs=(made(kind="report"),)), [], []) is Verdict.diverged


def test_a_step_log_that_only_one_run_has_is_a_difference() -> None:
    """Whichever; and equal metrics do not hide it."""
    log = StepLogRecord(steps=4, head="0", object=A)

    for ours, theirs in (((log,), ()), ((), (log,))):
        assert verdict(run(step_logs=ours), run("1", step_logs=theirs), series(1.0), series(1.0)) is Verdict.diverged


def test_two_empty_step_logs_are_no_result() -> None:
    """Nothing was compared."""
    assert verdict_of(compare_runs(run(), run("1"), [], [], steps=[logs(0, 0)])) is Verdict.inconclusive


def test_outputs_are_compared_by_content() -> None:
    """The same bytes under the same name are the same, whatever their path; other bytes, or a file only one run made, are not."""
    moved = Artifact(name="model.pth", kind="model", path="elsewhere/m.pth", digest=A, size_bytes=1)

    assert verdict(run(outputs=(made(),)), run("1", outputs=(moved,)), [], []) is Verdict.identical
    assert verdict(run(outputs=(made(),)), run("1", outputs=(made(B),)), [], []) is Verdict.diverged
    assert verdict(run(outputs=(made(),)), run("1"), [], []) is Verdict.diverged
    assert verdict(run(), run("1", outputs=(made(),)), [], []) is Verdict.diverged


def test_equal_outputs_do_not_hide_other_metrics() -> None:
    """Every result must agree: one difference decides."""
    comparison = compare_runs(run(outputs=(made(),)), run("1", outputs=(made(),)), series(1.0), series(2.0))

    assert verdict_of(comparison) is Verdict.diverged
    assert {change.subject: change.same for change in comparison.changes} == {"metrics": False, "output model.pth": True}


@pytest.mark.parametrize(("word", "code"), [("identical", 0), ("equivalent", 0), ("diverged", 1), ("inconclusive", 3), ("blocked", 4)])
def test_exit_codes_of_verdicts(word: str, code: int) -> None:
    """Scripts tell verdicts apart by exit code."""
    assert Verdict(word).exit_code == code


def ingredient(name: str, severity: Severity, *detail: str) -> Ingredient:
    return Ingredient(name=name, status="different", severity=severity, recorded="x", found="y", detail=detail)


def test_causes_come_in_the_order_in_which_they_usually_decide() -> None:
    """Warnings before notes; a missing seed before packages, each package by name; what the phase tells comes last."""
    plan = Plan(
        run_id="0" * 32,
        command=("python",),
        ingredients=(
            ingredient("data: train", "note", "its view was deleted"),
            ingredient("environment", "warning", "torch 2.1 → 2.2", "numpy 1 → 2"),
            ingredient("code", "none", "nothing"),
            ingredient("seed", "warning", "random numbers will differ"),
        ),
    )

    causes = likely_causes(plan, FirstDifference(step=3, phase="gradient", sentence="there"))

    assert causes[:4] == (
        "seed: random numbers will differ",
        "environment: torch 2.1 → 2.2",
        "environment: numpy 1 → 2",
        "data: train: its view was deleted",
    )
    assert "backward pass" in causes[4]
    assert len(causes) == 5


@pytest.mark.parametrize("phase", [*PHASES, "metric"])
def test_every_phase_points_at_something(phase: str) -> None:
    """With no difference in the plan the phase alone says where to look."""
    assert len(likely_causes(None, FirstDifference(step=0, phase=phase, sentence="there"))) == 1


def logs(a: int, b: int, first: StepDifference | None = None, rank: int = 0) -> StepsCompared:
    return StepsCompared(a="a", b="b", rank=rank, steps_a=a, steps_b=b, compared=min(a, b), every=1, first=first)


def test_the_step_log_of_every_process_counts() -> None:
    """One process that parts makes the runs differ, and it is said which."""
    parted = logs(9, 9, StepDifference(step=4, phase="loss"), rank=1)

    comparison = compare_runs(run(), run("1"), [], [], steps=[logs(9, 9), parted])

    assert verdict_of(comparison) is Verdict.diverged
    assert [(change.subject, change.same) for change in comparison.changes] == [("steps of process 0", True), ("steps of process 1", False)]


def test_what_a_stopped_reproduction_had_no_time_for_is_not_different() -> None:
    """Its log, series, inputs, files and state end early; all that is there must be equal, and the rest is listed as not checked."""
    first = run(inputs=(used(), used("test")), outputs=(made(),), summary={"score": 1})
    part = run("1", inputs=(used(),), state="aborted")

    def compared(values: list[MetricPoint], steps: StepsCompared, replica: Run = part) -> Verdict:
        comparison = compare_runs(first, replica, series(1.0, 2.0, 3.0), values, steps=[steps], checked="steps 0 to 1")
        assert comparison.checked == "steps 0 to 1"
        assert comparison.not_checked[0].startswith("everything but steps 0 to 1")
        assert "model.pth" in comparison.not_checked[0]
        return verdict_of(comparison)

    assert compared(series(1.0, 2.0), logs(9, 3)) is Verdict.identical
    assert compared([], logs(9, 3)) is Verdict.identical
    assert compared(series(1.0, 2.5), logs(9, 3)) is Verdict.diverged
    assert compared(series(1.0, 2.0, 3.0, 4.0), logs(9, 3)) is Verdict.diverged
    assert compared(series(1.0, 2.0), logs(9, 3, StepDifference(step=1, phase="loss"))) is Verdict.diverged
    assert compared(series(1.0, 2.0), logs(9, 10)) is Verdict.diverged
    assert compared(series(1.0), logs(9, 3), run("1", inputs=(used(content=B),), state="aborted")) is Verdict.diverged
    assert compared(series(1.0), logs(9, 3), run("1", inputs=(used("other"),), state="aborted")) is Verdict.diverged
