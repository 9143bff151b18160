"""Which parameter mattered: on functions of which it is known, against direct computation, and where it is refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import RandomForestRegressor

from lineage.lookup.importance import LEAST_TRIALS, find_importance, report_of
from lineage.lookup.sweeps import parameter_of
from lineage.model.sweep_findings import Importance, SweepTrialView, SweepView, TrialEnd
from lineage.ports.importance import Domain
from lineage.wiring_importance import importance_meter
from tests.support.sweeps import accuracy, proposed

METER = importance_meter()
AT = datetime(2026, 4, 7, tzinfo=UTC)


def flat(number: int) -> dict[str, Any]:
    values = proposed(number)
    return {
        "learning_rate": values["learning_rate"],
        "optimizer.name": values["optimizer"]["name"],
        "optimizer.momentum": values["optimizer"]["momentum"],
        "layers": values["layers"],
        "batch_size": values["batch_size"],
    }


def view_of(
    parameters: Sequence[Mapping[str, Any]],
    values: Sequence[Any],
    *,
    states: Mapping[int, TrialEnd] | None = None,
    log: Sequence[str] = ("learning_rate",),
    metric: str | None = "val_accuracy",
) -> SweepView:
    trials = tuple(
        SweepTrialView(
            number=number,
            attempt=1,
            run_id=f"{number:032x}",
            run_name=f"trial-{number}",
            state=(states or {}).get(number, "complete"),
            started_at=AT,
            duration_s=1.0,
            parameters=dict(each),
            value=value,
            error=None,
        )
        for number, (each, value) in enumerate(zip(parameters, values, strict=True))
    )
    names = dict.fromkeys(name for each in parameters for name in each)
    return SweepView(
        id="ab12cd34",
        is_sweep=True,
        name=None,
        project="parking",
        method="random",
        metric=metric,
        goal="maximize",
        definition=None,
        parameters=tuple(parameter_of(name, parameters, "log_uniform" if name in log else "uniform") for name in names),
        trials=trials,
        best=None,
        logged=("val_accuracy",),
    )


def known(count: int, **options: Any) -> SweepView:
    return view_of([flat(number) for number in range(count)], [accuracy(proposed(number), number) for number in range(count)], **options)


def told(view: SweepView, **options: Any) -> Importance:
    found = find_importance(view, METER, **options)
    assert isinstance(found, Importance), found
    return found


@pytest.fixture(scope="module")
def found() -> Importance:
    return told(known(60))


def test_a_known_function_is_ranked_right(found: Importance) -> None:
    """60 random trials: rate before optimizer before the rest, by forest and fANOVA; signs, and shares of the variance, as they are."""
    by_name = {item.name: item for item in found.parameters}
    rest = ("optimizer.momentum", "layers", "batch_size")
    assert [item.name for item in found.parameters][:2] == ["learning_rate", "optimizer.name"]
    for share in (lambda item: item.forest.share, lambda item: item.fanova):
        rate, optimizer = share(by_name["learning_rate"]), share(by_name["optimizer.name"])
        assert rate > 0.6 > optimizer > 0.05
        assert all(share(by_name[name]) < optimizer / 2 for name in rest)

    (rate,) = by_name["learning_rate"].correlations
    assert rate.category is None
    assert rate.pearson is not None
    assert rate.pearson > 0.7
    adam, sgd = by_name["optimizer.name"].correlations
    assert (adam.category, sgd.category) == ("adam", "sgd")
    assert adam.pearson is not None
    assert adam.pearson == pytest.approx(-(sgd.pearson or 0))
    assert adam.pearson > 0.2
    # The variance of each part: of a line over its range, and of two equally frequent values.
    parts = {"learning_rate": 0.28**2 / 12, "optimizer.name": 0.09**2 / 4, "layers": 0.008**2 * 2}
    for name, part in parts.items():
        assert by_name[name].fanova == pytest.approx(part / sum(parts.values()), abs=0.12)


def test_it_is_the_same_on_every_call_and_says_how_sure_it_is(found: Importance) -> None:
    """Bit for bit; shares sum to one and lie in their intervals; it foretells what it has not seen."""
    again = known(60)
    assert find_importance(again, METER) == found
    assert sum(item.forest.share for item in found.parameters) == pytest.approx(1)
    assert all(0 <= item.forest.low <= item.forest.share <= item.forest.high <= 1 for item in found.parameters)
    assert found.explained > 0.8
    assert found.notes == ()


def test_what_does_not_matter_is_said_to_tell_little() -> None:
    """A metric that is noise: nothing is foretold, and the order is not certain."""
    noise = np.random.default_rng(3)
    found = told(view_of([flat(number) for number in range(40)], noise.normal(size=40).tolist()))
    assert found.explained < 0.1
    assert any("more about chance" in note for note in found.notes)
    assert any("is not certain" in note for note in found.notes)


def refused(view: SweepView) -> str:
    report = report_of(view, METER)
    assert report.importance is None
    return report.refused or ""


def test_too_few_trials_are_refused() -> None:
    """At eight, and up to nineteen complete ones; what the others are is said. Twenty are enough, however large the values."""
    assert refused(known(8)).startswith("8 of 8 trials are complete")
    states: dict[int, TrialEnd] = {1: "failed", 2: "stopped", 3: "stopped", 4: "running"}
    words = refused(known(23, states=states))
    assert "19 of 23 trials" in words
    assert "1 failed, 1 running, 2 stopped early" in words
    assert told(known(LEAST_TRIALS)).trials == LEAST_TRIALS
    huge = [1.5e308 * accuracy(proposed(number), number) for number in range(24)]
    assert told(view_of([flat(number) for number in range(24)], huge)).parameters[0].name == "learning_rate"


def test_other_reasons_for_a_refusal() -> None:
    """No metric, one that never differs, parameters that never differ, values that are no numbers."""
    assert "about no metric" in refused(known(30, metric=None))
    assert "0.5 in each of the 30" in refused(view_of([flat(number) for number in range(30)], [0.5] * 30))
    assert "no parameter" in refused(view_of([{"a": 1, "b": "x"}] * 30, list(map(float, range(30)))))
    assert "30 not finite" in refused(view_of([flat(number) for number in range(30)], ["nan"] * 30))


def test_stopped_trials_count_only_when_asked_for() -> None:
    """By the value that decided; else they are told as left out, like those that are not finite or lack the metric."""
    values: list[Any] = [accuracy(proposed(number), number) for number in range(40)]
    values[5], values[6] = "inf", None
    states: dict[int, TrialEnd] = dict.fromkeys(range(10, 16), "stopped")
    view = view_of([flat(number) for number in range(40)], values, states=states)
    without, with_them = told(view), told(view, with_stopped=True)
    assert without.trials == 32
    assert without.left_out == {"not finite": 1, "stopped early": 6, "without the metric": 1}
    assert with_them.trials == 38
    assert with_them.left_out == {"not finite": 1, "without the metric": 1}


def test_parameters_that_are_missing_or_no_numbers() -> None:
    """A number that some trials lack counts by its value and by whether it is set; texts of numbers that are not finite are categories."""
    noise = np.random.default_rng(5)
    parameters: list[dict[str, Any]] = []
    values: list[float] = []
    for number in range(60):
        each: dict[str, Any] = {"other": noise.uniform(), "odd": noise.choice(["nan", "inf"]), "huge": noise.uniform(-1, 1) * 1.7e308}
        if number % 3:
            each["depth"] = float(noise.integers(1, 9))
        parameters.append(each)
        values.append(0.9 if "depth" not in each else 0.02 * each["depth"])
    view = view_of(parameters, values, log=())
    depth = next(item for item in view.parameters if item.name == "depth")
    assert (depth.kind, depth.missing) == ("number", 20)
    found = told(view)
    assert found.parameters[0].name == "depth"
    assert found.parameters[0].forest.share > 0.9
    (correlation,) = found.parameters[0].correlations
    assert correlation.trials == 40
    assert correlation.pearson == pytest.approx(1)
    assert [each.category for item in found.parameters if item.name == "odd" for each in item.correlations] == ["inf", "nan"]
    assert any("'depth' is not set" in note for note in found.notes)
    assert all(math.isfinite(item.fanova) for item in found.parameters)


def test_correlations_are_those_of_a_statistics_library() -> None:
    """Linear and of ranks, with ties, and with values whose squares are no numbers."""
    noise = np.random.default_rng(9)
    ties = noise.integers(0, 5, 50).astype(float)
    values = ties + noise.normal(size=50)
    found = told(view_of([{"small": each, "large": each * 1e200} for each in ties], values.tolist(), log=()))
    for item in found.parameters:
        (correlation,) = item.correlations
        assert correlation.pearson == pytest.approx(stats.pearsonr(ties, values).statistic)
        assert correlation.spearman == pytest.approx(stats.spearmanr(ties, values).statistic)


def test_fanova_is_what_counting_every_cell_gives() -> None:
    """A number and a category, each tree's cells counted one by one; nothing of what is computed here is the code's."""
    noise = np.random.default_rng(2)
    numbers, codes = noise.uniform(0, 1, 40), noise.integers(0, 3, 40)
    target = 3 * numbers * (codes == 1) + np.array([0.1, 0.5, 2.0])[codes]
    found = METER.fanova([Domain(numbers, 0, False), Domain(codes.astype(float), 3, False)], target, seed=4)

    means = [target[codes == code].mean() for code in range(3)]
    places = np.argsort(np.argsort(means))
    scaled = (numbers - numbers.min()) / (numbers.max() - numbers.min())
    forest = RandomForestRegressor(64, random_state=4, min_samples_leaf=2).fit(np.column_stack([scaled, places[codes]]), target)
    shares = []
    for tree in forest.estimators_:
        used = tree.tree_.threshold[tree.tree_.feature == 0]
        edges = np.unique(np.concatenate([[0.0, 1.0], used]))
        middles, widths = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
        cells = np.array(list(itertools.product(middles, range(3))))
        values = tree.predict(cells).reshape(len(middles), 3)
        mean = float((values * widths[:, None] / 3).sum())
        variance = float(((values - mean) ** 2 * widths[:, None] / 3).sum())
        of_number = float(((values.mean(axis=1) - mean) ** 2 * widths).sum())
        of_category = float((((values * widths[:, None]).sum(axis=0) - mean) ** 2 / 3).sum())
        shares.append((of_number / variance, of_category / variance))
    expected: Callable[..., Any] = pytest.approx
    assert found == expected(np.mean(shares, axis=0).tolist(), rel=1e-5)
