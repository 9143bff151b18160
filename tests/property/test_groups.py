"""Statistics of a group against NumPy, whatever runs logged and in whatever order."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.lookup.bands import Bands, Series
from lineage.lookup.group_series import GroupSeries
from lineage.model.run import Run

VALUES = st.floats(min_value=-1e6, max_value=1e6) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0])
POINTS = st.lists(st.tuples(st.integers(-5, 12), VALUES), max_size=14)
RUNS = st.lists(POINTS, max_size=5)


def series(points: list[tuple[int, float]]) -> Series:
    return Series(np.array([step for step, _ in points], np.int64), np.array([value for _, value in points], np.float64))


@given(RUNS)
@settings(max_examples=200, deadline=None)
def test_each_step_is_what_numpy_says_of_the_runs_that_have_it(runs: list[list[tuple[int, float]]]) -> None:
    """n, mean, sample deviation, least and greatest; the last of several values counts; what is not finite is left out and counted."""
    bands = Bands()
    for points in runs:
        bands.add(series(points))
    found = bands.told()

    last = [dict(points) for points in runs]
    finite = [{step: value for step, value in values.items() if math.isfinite(value)} for values in last]
    assert found.x == tuple(sorted({step for values in finite for step in values}))
    for place, step in enumerate(found.x):
        there = np.array([values[int(step)] for values in finite if step in values])
        assert found.n[place] == len(there)
        assert found.mean[place] == pytest.approx(there.mean(), abs=1e-9)
        assert (found.min[place], found.max[place]) == (there.min(), there.max())
        assert found.min[place] <= found.mean[place] <= found.max[place]
        if len(there) == 1:
            assert found.std[place] is None
        else:
            assert found.std[place] == pytest.approx(there.std(ddof=1), abs=1e-6, rel=1e-9)
    assert found.values == sum(map(len, finite))
    assert found.not_finite == sum(len(a) - len(b) for a, b in zip(last, finite, strict=True))
    assert found.repeated == sum(len(points) - len(values) for points, values in zip(runs, last, strict=True))


@given(st.integers(1, 3000), st.integers(4, 60), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_thinning_keeps_ends_and_extremes(count: int, most: int, random: object) -> None:
    """What stays is as it was: the first and the last step, and those of the least and of the greatest value."""
    noise = np.random.default_rng(getattr(random, "getrandbits")(32))  # noqa: B009 - Hypothesis gives no type
    bands = Bands()
    for _ in range(3):
        bands.add(Series(np.arange(count), noise.normal(size=count)))
    whole, thinned = bands.told(), bands.told(most)

    assert len(thinned.x) <= most + 4
    assert thinned.is_thinned == (len(thinned.x) < count)
    assert (thinned.x[0], thinned.x[-1]) == (whole.x[0], whole.x[-1])
    assert (min(thinned.min), max(thinned.max)) == (min(whole.min), max(whole.max))
    place = {x: number for number, x in enumerate(whole.x)}
    for name in ("n", "mean", "std", "min", "max"):
        kept, all_of_it = getattr(thinned, name), getattr(whole, name)
        assert list(kept) == [all_of_it[place[x]] for x in thinned.x]


def test_values_that_fill_the_range_of_floats_have_a_mean() -> None:
    """Squares of 1e300 are no floats; mean and deviation are told all the same, also beside small values."""
    bands = Bands()
    for value in (1.0, 1e300, 3e300):
        bands.add(Series(np.array([0]), np.array([value])))
    found = bands.told()
    scaled = np.array([1e-300, 1.0, 3.0])
    assert found.mean[0] == pytest.approx(scaled.mean() * 1e300)
    assert found.std[0] == pytest.approx(scaled.std(ddof=1) * 1e300)

    for value in (1.7e308, -1.7e308):
        bands.add(Series(np.array([7]), np.array([value])))
    assert bands.told().mean[1] == 0
    assert bands.told().std[1] is None  # no float holds it


def run(**facts: object) -> Run:
    return Run(id="a" * 32, name="a", project="p", job_type="t", started_at=datetime(2026, 1, 1, tzinfo=UTC), **facts)  # type: ignore[arg-type]


def test_an_axis_is_the_last_value_of_its_metric_at_or_before_the_step() -> None:
    """As in W&B: from the same call, another call of the same step, or before. A value before all of them is left out and counted."""
    points = [
        (0, {"loss": 9.0}),
        (1, {"loss": 8.0}),
        (1, {"epoch": 1.0}),
        (2, {"loss": 7.0}),
        (3, {"epoch": 2.0, "loss": 6.0, "lr": 0.1}),
    ]
    stored = [(step, 0.0, json.dumps(values)) for step, values in points]
    for given_axis, axes in (("epoch", {}), (None, {"lo*": "epoch"})):
        read = GroupSeries(["loss"], given_axis)
        read.add(run(axes=axes), stored)
        found = read.bands["loss"].told()
        assert (read.axes["loss"], found.x, found.mean) == ("epoch", (1.0, 2.0), (7.0, 6.0))
        assert (found.repeated, read.no_axis) == (1, 1)
    read = GroupSeries([], "step")
    read.add(run(axes={"loss": "epoch"}), stored)
    assert read.bands["loss"].told().x == (0, 1, 2, 3)
