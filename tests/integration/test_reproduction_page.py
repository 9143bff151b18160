"""The page of a reproduction: what it says, that it needs nothing but itself, and what it must not let through."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lineage.cli.reproduction_page import reproduction_page
from lineage.model.comparison import BatchRow, Change, Comparison, FirstDifference, Report, Verdict
from lineage.model.plan import Ingredient, Plan
from lineage.model.run import MetricPoint, Run

NASTY = "<script>alert('x')</script>&\""
VOID = {"meta", "img", "image", "line", "polyline", "br"}

TRAIN = """
import os
import lineage

with lineage.start_run(name="curves", seed=1) as run:
    for step in range(30):
        run.log({"loss": 1 / (step + 1) + (0.5 if os.environ.get("SPOIL") and step > 9 else 0), "lr": 0.1})
print(run.id)
"""


class Checker(HTMLParser):
    """Collects tags and text, and fails on tags that do not match or that load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.loaded += [
            value or "" for name, value in attributes if name in ("src", "href") and not (value or "").startswith("data:image/")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data + "\n"


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert checker.loaded == []
    assert "script" not in checker.seen
    assert "http" not in page
    return checker


def run(letter: str, **fields: Any) -> Run:
    return Run(id=letter * 32, name=NASTY, project="p", job_type="train", started_at=datetime.now(UTC), **fields)


def points(values: list[float], name: str = "loss") -> list[MetricPoint]:
    return [MetricPoint(step=step, values={name: value}, at=0.0) for step, value in enumerate(values)]


def report(**fields: Any) -> Report:
    plan = Plan(
        run_id="a" * 32,
        command=("python", NASTY),
        ingredients=(
            Ingredient(name=NASTY, status="different", severity="warning", recorded=NASTY, found=NASTY, detail=(NASTY, "torch 2.1 → 2.2")),
        ),
    )
    given: dict[str, Any] = {"run_id": "a" * 32, "verdict": Verdict.diverged, "plan": plan, "reason": NASTY} | fields
    return Report(**given)


def compared(first: FirstDifference | None = None, **fields: Any) -> Comparison:
    change = Change(subject=NASTY, same=False, original=NASTY, replica=NASTY, detail=NASTY)
    tolerated = Change(subject="metrics", same=False, original="1 values", replica="1 values", is_tolerated=True)
    given: dict[str, Any] = {
        "original_id": "a" * 32,
        "replica_id": "b" * 32,
        "changes": (change, tolerated),
        "likely_causes": (NASTY,),
        "not_checked": (NASTY, "another machine"),
    }
    return Comparison(first=first, **(given | fields))


def test_text_of_a_record_is_text_on_the_page() -> None:
    """Names, commands, details and causes come from records that others wrote: none of them is markup."""
    row = BatchRow(role=NASTY, position=0, row=3, sample_id=NASTY, picture="sha256:" + "a" * 64)
    first = FirstDifference(step=2, phase="rows", sentence=NASTY, rows_original=(row,), rows_replica=(row,), losses_original=(0.5,))
    buffer = BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")

    page = reproduction_page(
        report(comparison=compared(first), stopped=NASTY),
        run("a"),
        run("b"),
        points([1.0, 2.0], NASTY),
        points([1.0, 3.0], NASTY),
        {(NASTY, 0): buffer.getvalue()},
    )

    found = checked(page)
    assert "<script" not in page
    assert found.text.count(NASTY) >= 15
    assert found.seen.count("img") == 2


def test_the_page_says_what_was_checked_and_what_was_not() -> None:
    """Verdict, scope, reason for stopping, plan, comparison, causes and the list at the end are all there."""
    text = checked(
        reproduction_page(report(comparison=compared(checked="steps 0 to 9"), stopped="step 9 is done"), run("a"), run("b"), [], [], {})
    ).text

    for said in ("diverged", "steps 0 to 9", "step 9 is done", "torch 2.1 → 2.2", "within", "different", "Not checked", "another machine"):
        assert said in text


def test_a_blocked_reproduction_has_a_page_too() -> None:
    """Nothing was run: the plan says why, and the result is named as not checked."""
    text = checked(reproduction_page(report(verdict=Verdict.blocked), run("a"), None, [], [], {})).text

    assert "blocked" in text
    assert "the result: nothing was run" in text
    assert "Comparison" not in text


@pytest.mark.parametrize(
    ("ours", "theirs", "says", "drawings"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], "Equal at each of 3 common points.", 1),
        ([1.0, 2.0, 3.0], [1.0, 2.5, 3.0], "Differs from step 1 on.", 2),
        ([1.0, 2.0, 3.0], [1.0, 2.0], "Equal at each of 2 common points.", 1),
        ([1.0, math.nan, 3.0], [1.0, float("nan"), 3.0], "Equal at each of 3 common points.", 1),
        ([1.0, math.inf, 3.0], [1.0, 2.0, 3.0], "Differs from step 1 on.", 2),
        ([1e308, -1e308], [-1e308, 1e308], "Differs from step 0 on.", 1),
    ],
)
def test_curves_are_laid_over_each_other_with_their_difference_below(
    ours: list[float], theirs: list[float], says: str, drawings: int
) -> None:
    """Every metric has both curves; the difference has a panel of its own with the same steps, unless there is none to draw."""
    page = reproduction_page(report(comparison=compared()), run("a"), run("b"), points(ours), points(theirs), {})

    found = checked(page)
    assert says in found.text
    assert found.seen.count("svg") == drawings
    assert "nan" not in re.sub(r"<style>.*</style>", "", page)


def test_both_panels_have_the_same_steps() -> None:
    """A reproduction that was stopped ends earlier in both panels."""
    page = reproduction_page(report(comparison=compared()), run("a"), run("b"), points([1.0] * 40), points([1.0, 2.0, 1.5]), {})

    assert re.findall(r'text-anchor="end">(\d+)</text>', page.replace(">1</text>", "").replace(">0</text>", "")).count("39") == 2


def test_the_command_writes_the_page(repository: Path) -> None:
    """``--html`` writes beside the usual report, for any verdict; a folder that is not there is found before anything is run."""
    (repository / "train.py").write_text(TRAIN)

    def command(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, *words]
        return subprocess.run(
            program, cwd=repository, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False
        )

    run_id = command("train.py").stdout.strip()
    page = repository / ".lineage" / "page.html"

    diverged = command("-m", "lineage", "reproduce", run_id, "--html", str(page), SPOIL="1")
    assert diverged.returncode == 1, diverged.stderr
    text = checked(page.read_text()).text
    refused = command("-m", "lineage", "reproduce", run_id, "--html", str(repository / "no" / "page.html"))

    assert f"wrote {page}" in diverged.stderr
    assert "First difference at step 10: loss" in text
    assert "Differs from step 10 on." in text
    assert "Equal at each of 30 common points." in text
    assert (refused.returncode, "expected a file in a folder that exists" in refused.stderr) == (2, True)
