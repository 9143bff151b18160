"""A sweep drawn: what is where, what is text, and what a file for people must not let through."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from lineage.cli.sweep_page import sweep_page
from lineage.lookup.drawn_axis import axis
from lineage.lookup.sweep_charts import draw_history, importance_table, trials_table
from lineage.lookup.sweep_drawing import MOST_AXES, draw_parallel, shown_parameters
from lineage.lookup.sweep_style import STYLE
from lineage.lookup.sweeps import parameter_of
from lineage.model.sweep import Goal
from lineage.model.sweep_findings import (
    Correlation,
    Importance,
    ParameterImportance,
    Share,
    SweepReport,
    SweepTrialView,
    SweepView,
    TrialEnd,
)
from tests.support.sweeps import AT

NASTY = "</title></svg><script>alert('x')</script>&\""


def sweep(
    parameters: Sequence[Mapping[str, Any]],
    values: Sequence[Any],
    *,
    states: Mapping[int, TrialEnd] | None = None,
    distributions: Mapping[str, str] | None = None,
    goal: Goal = "maximize",
    metric: str = "accuracy",
) -> SweepView:
    trials = tuple(
        SweepTrialView(
            number=number,
            attempt=1,
            run_id=f"{number:032x}",
            run_name=f"trial-{number}",
            state=(states or {}).get(number, "complete"),
            started_at=AT,
            duration_s=2.5,
            parameters=dict(each),
            value=value,
            error=NASTY if (states or {}).get(number) == "failed" else None,
        )
        for number, (each, value) in enumerate(zip(parameters, values, strict=True))
    )
    names = dict.fromkeys(name for each in parameters for name in each)
    found = SweepView(
        id="ab12cd34",
        is_sweep=True,
        name=NASTY,
        project=NASTY,
        method="random",
        metric=metric,
        goal=goal,
        definition=None,
        parameters=tuple(parameter_of(name, parameters, (distributions or {}).get(name, "uniform")) for name in names),
        trials=trials,
        best=None,
        logged=(metric,),
        notes=(NASTY,),
    )
    best = [item for item in found.ranked() if item.state == "complete" and item.finite is not None]
    return found.model_copy(update={"best": best[0].run_id if best else None})


def page_of(run_id: str) -> str:
    return f"/runs/{run_id}?a=1&b={NASTY}"


def parsed(markup: str | None) -> ET.Element:
    """Whatever is not escaped is no XML, or another element."""
    assert markup is not None
    return ET.fromstring(markup)


def parts(drawing: ET.Element, name: str, word: str) -> list[ET.Element]:
    return [item for item in drawing.iter() if item.tag.endswith(name) and word in item.get("class", "").split()]


def ways(drawing: ET.Element) -> dict[int, list[float]]:
    """Number of a trial to the heights of its line on each axis."""
    found = {}
    for trial in [*parts(drawing, "a", "trial"), *parts(drawing, "g", "trial")]:
        title = next(item for item in trial if item.tag.endswith("title")).text or ""
        way = next(item for item in trial if "way" in item.get("class", "")).get("d", "")
        first, *rest = way.removeprefix("M").split("C")
        found[int(title.split()[1].rstrip(","))] = [float(first.split()[1]), *(float(part.split()[5]) for part in rest)]
    return found


def test_what_a_stranger_wrote_is_text() -> None:
    """Names, values, errors, notes and addresses: nothing of them becomes markup, in a drawing, a table or the file."""
    view = sweep(
        [{NASTY: f"{NASTY}{number % 3}", "rate": 0.1 * number} for number in range(9)],
        [0.1 * number for number in range(9)],
        states={3: "failed"},
        metric=NASTY,
    )
    correlations = (Correlation(category=NASTY, pearson=-0.5, spearman=0.5, trials=9),)
    mattered = ParameterImportance(name=NASTY, forest=Share(share=0.5, low=0.4, high=0.6), fanova=0.5, correlations=correlations)
    found = Importance(
        metric=NASTY, goal="maximize", trials=9, left_out={}, parameters=(mattered,), explained=0.5, draws=20, notes=(NASTY,)
    )
    for markup in (draw_parallel(view, page_of), draw_history(view, page_of), importance_table(found), trials_table(view, page_of)):
        assert not [item for item in parsed(markup).iter() if item.tag.endswith("script")]
        assert NASTY in "".join(text for item in parsed(markup).iter() for text in (*item.itertext(), *item.attrib.values()))
    whole = sweep_page(SweepReport(sweep=view, importance=found, refused=None))
    assert "<script" not in whole
    assert not re.search(r"""(src|href)\s*=|@import|url\(""", whole), "a file that needs nothing but itself"
    assert "Not told: " in sweep_page(SweepReport(sweep=view, importance=None, refused=NASTY))


def test_places_on_axes() -> None:
    """A logarithmic axis is even in powers of ten, categories have a place each, lines through one place lie beside one another."""
    rates = [1e-4, 1e-3, 1e-2, 1e-1] * 3
    names = ["adam", "sgd", "adam", "sgd"] * 3
    view = sweep(
        [{"rate": rate, "optimizer": name} for rate, name in zip(rates, names, strict=True)],
        [number / 10 for number in range(12)],
        distributions={"rate": "log_uniform_values", "optimizer": "categorical"},
    )
    drawing = parsed(draw_parallel(view, page_of))
    found = ways(drawing)
    middles = [sum(found[number][0] for number in range(first, 12, 4)) / 3 for first in range(4)]
    steps = [a - b for a, b in pairwise(middles)]
    assert all(step == pytest.approx(steps[0], abs=0.2) for step in steps)
    adam, sgd = ([found[number][1] for number in range(start, 12, 2)] for start in (0, 1))
    assert max(adam) < min(sgd), "each category has a stretch of its own"
    assert len(set(adam)) == len(adam), "lines do not lie on one another"
    assert {item.text for item in parts(drawing, "text", "label")} >= {"adam", "sgd", "0.0001", "0.1"}
    # The metric: greater is higher, and the best is drawn last, thick, in the colour of the best.
    heights = [found[number][2] for number in range(12)]
    assert heights == sorted(heights, reverse=True)
    assert [item.get("class") for item in parts(drawing, "a", "best")] == ["trial v8 complete best"]
    assert list(found)[-1] == 11
    assert 'class="trial v8 complete best"' in (
        draw_parallel(view.model_copy(update={"goal": "minimize", "best": f"{0:032x}"}), page_of) or ""
    )


def test_what_has_no_value_is_drawn_beside_the_axis() -> None:
    """Values that are no numbers, trials that failed or go on, parameters that are not set."""
    parameters: list[dict[str, Any]] = [{"rate": 0.1 * number} for number in range(6)]
    del parameters[5]["rate"]
    view = sweep(parameters, [0.1, "nan", "inf", None, 0.2, 0.3], states={3: "failed", 4: "stopped"})
    drawing = parsed(draw_parallel(view, lambda _: None))
    assert [item.text for item in parts(drawing, "text", "label")][-1] == "no value"
    assert "not set" in [item.text for item in parts(drawing, "text", "label")]
    found = ways(drawing)
    slot = found[1][1]
    assert found[2][1] == found[3][1] == found[5][0] == slot
    assert len({found[number][1] for number in (0, 4, 5)} | {slot}) == 4
    assert len(parts(drawing, "g", "none")) == 3
    assert len(parts(drawing, "g", "stopped")) == 1
    assert len(parts(parsed(draw_history(view, page_of)), "path", "cross")) == 3
    assert draw_history(sweep(parameters, [None] * 6), page_of) is None


def test_five_hundred_trials_and_many_parameters() -> None:
    """As many as a sweep has: within a second, a file of less than two megabytes; of too many parameters the important ones are drawn."""
    parameters = [{f"p{name}": (number * (name + 3)) % 97 / 97 for name in range(20)} for number in range(500)]
    view = sweep(parameters, [number % 83 / 83 for number in range(500)])
    began = time.perf_counter()
    whole = sweep_page(SweepReport(sweep=view, importance=None, refused="no reason"))
    assert time.perf_counter() - began < 5
    assert len(whole) < 2_000_000
    assert "8 more parameters vary" in whole
    order = [f"p{name}" for name in reversed(range(20))]
    assert [item.name for item in shown_parameters(view, order)] == [f"p{name}" for name in range(20 - MOST_AXES, 20)]


@pytest.mark.parametrize("values", [[0.5, 0.5], [1.7e308, -1.7e308], [5e-324, 1.7e308], [1e300, 1e-300], [-1.0, 0.0]])
def test_extreme_values_are_drawn(values: list[float]) -> None:
    """Of a metric and of a parameter: every place is inside the drawing."""
    for distribution in ("uniform", "log_uniform_values"):
        view = sweep([{"x": value, "y": number} for number, value in enumerate(values)], values, distributions={"x": distribution})
        for heights in ways(parsed(draw_parallel(view, page_of))).values():
            assert all(0 < height < 460 for height in heights)
        parsed(draw_history(view, page_of))


def test_ticks_are_round_and_inside() -> None:
    """Of linear and logarithmic axes, over many magnitudes."""
    for low, high, is_log in [
        (0, 1, False),
        (-3e-9, 8e-9, False),
        (1e-4, 0.1, True),
        (0.011, 0.014, True),
        (1e-300, 1e300, True),
        (5, 5, True),
    ]:
        made = axis([low, high], 400, 60, is_log=is_log)
        ticks = made.ticks()
        assert 1 <= len(ticks) <= 12
        assert all(60 <= at <= 400 for at, _ in ticks)
        assert all(made.place(float(label)) == pytest.approx(at, abs=0.6) for at, label in ticks)


def test_every_class_has_a_look() -> None:
    """What drawings and tables name is in the style that pages and files share."""
    view = sweep([{"x": number / 9} for number in range(9)], [number / 9 for number in range(9)], states={2: "stopped", 3: "failed"})
    drawn = f"{draw_parallel(view, page_of)}{draw_history(view, page_of)}"
    named = {word for classes in re.findall(r'class="([^"]*)"', drawn) for word in classes.split()}
    plain = {"parallel", "history", "complete", "failed", "metric", "swatch"}  # said for those who look into it; no look of their own
    assert {word for word in named - plain if f".{word}" not in STYLE} == set()
