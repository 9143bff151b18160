"""Distributions of sweeps: every proposal lies in them, and many of them have their shape."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lineage.model.sweep_draws import random_coordinates, values_at
from lineage.model.sweep_file import SweepDefinition, parse_definition

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9, width=32), st.text("abc", max_size=3))
NUMBER = st.one_of(st.integers(-1000, 1000), st.floats(-1e3, 1e3))


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, Any]:
    """One parameter as it stands in a file; any distribution of W&B's."""
    kind = draw(st.sampled_from(["constant", "categorical", "weighted", "range", "log", "exponent", "bell", "beta"]))
    quantised = {"q": draw(st.one_of(st.integers(1, 20), st.floats(0.01, 20)))} if draw(st.booleans()) else {}
    prefix = "q_" if quantised else ""
    if kind == "constant":
        return {"value": draw(PLAIN)}
    values = draw(st.lists(PLAIN, min_size=1, max_size=5, unique_by=as_written))
    if kind == "categorical":
        return {"values": values}
    if kind == "weighted":
        weights = draw(st.lists(st.integers(0, 5), min_size=len(values), max_size=len(values)).filter(any))
        return {"values": values, "probabilities": [weight / sum(weights) for weight in weights]}
    if kind == "range":
        low, width = draw(NUMBER), draw(st.one_of(st.integers(20, 1000), st.floats(20.0, 1e3)))
        named = {"distribution": f"{prefix}uniform"} if quantised or draw(st.booleans()) else {}
        return named | {"min": low, "max": low + width} | quantised
    if kind == "log":
        low, factor = draw(st.floats(1e-6, 1e3)), draw(st.floats(1.5, 1e6))
        name = draw(st.sampled_from(["log_uniform_values", "inv_log_uniform_values"]))
        return {"distribution": name, "min": low, "max": low * factor}
    if kind == "exponent":
        low, width = draw(st.floats(-20, 5)), draw(st.floats(0.5, 20))
        return {"distribution": draw(st.sampled_from(["log_uniform", "inv_log_uniform"])), "min": low, "max": low + width}
    if kind == "bell":
        name = draw(st.sampled_from(["normal", "log_normal"]))
        return {"distribution": prefix + name, "mu": draw(st.floats(-5, 5)), "sigma": draw(st.floats(0.01, 5))} | quantised
    return {"distribution": f"{prefix}beta", "a": draw(st.floats(0.05, 20)), "b": draw(st.floats(0.05, 20))} | quantised


def as_written(value: Any) -> str:
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def definition_of(described: dict[str, Any]) -> SweepDefinition:
    return parse_definition({"method": "random", "parameters": {"x": described}}, "sweep.yaml")


@settings(max_examples=250, deadline=None)
@given(parameters(), st.floats(0, 1))
def test_every_value_lies_in_its_distribution(described: dict[str, Any], u: float) -> None:
    definition = definition_of(described)
    parameter = definition.parameters["x"]
    assert parse_definition(json.loads(json.dumps(definition.as_json())), "again") == definition
    value = parameter.value_at(parameter.coordinate(u)) if parameter.axis() else parameter.value_at(0)
    assert json.loads(json.dumps(value, allow_nan=False)) == value, "a proposal is a JSON value, to the last bit"
    if "value" in described:
        assert value == described["value"]
        return
    if "values" in described:
        index = next(
            index for index, known in enumerate(described["values"]) if known is value or (known == value and type(known) is type(value))
        )
        assert described.get("probabilities", [1.0] * (index + 1))[index] > 0
        return
    low, high = parameter.bounds()
    axis = parameter.axis()
    assert axis is not None
    assert axis.low <= parameter.coordinate(u) <= axis.high
    assert low <= value <= high or math.isclose(value, low, rel_tol=1e-9) or math.isclose(value, high, rel_tol=1e-9)
    if q := described.get("q"):
        assert math.isclose(value / q, round(value / q), abs_tol=1e-6 * max(1.0, abs(value / q)))
        assert isinstance(value, int) == isinstance(q, int)
    elif parameter.distribution == "int_uniform":
        assert isinstance(value, int)
    else:
        assert isinstance(value, float)


SHAPES: dict[str, tuple[dict[str, Any], Any]] = {
    "uniform": ({"min": 2.0, "max": 5}, stats.uniform(2, 3)),
    "log_uniform": ({"distribution": "log_uniform", "min": -7, "max": 2}, stats.loguniform(math.exp(-7), math.exp(2))),
    "log_uniform_values": ({"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1}, stats.loguniform(1e-5, 0.1)),
    "inv_log_uniform": ({"distribution": "inv_log_uniform", "min": -2, "max": 7}, stats.loguniform(math.exp(-7), math.exp(2))),
    "inv_log_uniform_values": ({"distribution": "inv_log_uniform_values", "min": 1e-5, "max": 0.1}, stats.loguniform(1e-5, 0.1)),
    "normal": ({"distribution": "normal", "mu": 3, "sigma": 0.5}, stats.norm(3, 0.5)),
    "log_normal": ({"distribution": "log_normal", "mu": 1, "sigma": 0.5}, stats.lognorm(s=0.5, scale=math.e)),
    "beta": ({"distribution": "beta", "a": 2, "b": 0.5}, stats.beta(2, 0.5)),
    "beta near its ends": ({"distribution": "beta", "a": 0.05, "b": 0.1}, stats.beta(0.05, 0.1)),
}
DRAWS = 1500
KNOWN = [0.011441384639, 0.386107552983, 0.669865860399]


def drawn(described: dict[str, Any], seed: int = 3, count: int = DRAWS) -> list[Any]:
    definition = definition_of(described)
    return [values_at(definition, random_coordinates(definition, seed, number))["x"] for number in range(count)]


@pytest.mark.parametrize("name", SHAPES)
def test_many_draws_have_the_shape_that_scipy_gives_the_distribution(name: str) -> None:
    described, shape = SHAPES[name]
    assert stats.kstest(drawn(described, count=500), shape.cdf).pvalue > 0.01
    assert drawn(described, seed=4, count=2) != drawn(described, count=2)


@pytest.mark.parametrize(
    ("described", "share"),
    [
        ({"values": ["a", "b", "c", "d"]}, {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}),
        ({"values": ["a", "b", "c"], "probabilities": [0.7, 0.0, 0.3]}, {"a": 0.7, "c": 0.3}),
        ({"min": -1, "max": 2}, {-1: 0.25, 0: 0.25, 1: 0.25, 2: 0.25}),
        # Rounded as W&B rounds: the ends get half of what the others get.
        ({"distribution": "q_uniform", "min": 0, "max": 8, "q": 2}, {0: 0.125, 2: 0.25, 4: 0.25, 6: 0.25, 8: 0.125}),
        ({"distribution": "q_beta", "a": 1, "b": 1, "q": 0.5}, {0.0: 0.25, 0.5: 0.5, 1.0: 0.25}),
        ({"distribution": "q_log_uniform_values", "min": 8, "max": 32, "q": 8}, None),
        (
            {"distribution": "q_normal", "sigma": 2, "q": 1},
            {n: float(np.diff(stats.norm(0, 2).cdf([n - 0.5, n + 0.5]))[0]) for n in range(-3, 4)},
        ),
    ],
    ids=lambda case: case.get("distribution", "") if isinstance(case, dict) else "",
)
def test_discrete_values_come_as_often_as_they_should(described: dict[str, Any], share: dict[Any, float] | None) -> None:
    if share is None:
        edges = np.log([8, 12, 20, 28, 32])  # where it rounds to 8, 16, 24, 32
        share = dict(zip([8, 16, 24, 32], np.diff(edges) / (edges[-1] - edges[0]), strict=True))
    counts = Counter(drawn(described))
    for value, expected in share.items():
        error = math.sqrt(expected * (1 - expected) / DRAWS)
        assert abs(counts[value] / DRAWS - expected) < 4 * error, (value, counts)
    if sum(share.values()) > 0.999:
        assert set(counts) == set(share)


def test_draws_depend_on_seed_number_and_name_alone() -> None:
    # Known values: a release that draws others would not repeat sweeps of this one.
    definition = definition_of({"min": 0.0, "max": 1.0})
    assert [random_coordinates(definition, 1, number)["x"] for number in range(3)] == KNOWN
    more = parse_definition({"method": "random", "parameters": {"a": {"min": 1, "max": 9}, "x": {"min": 0.0, "max": 1.0}}}, "sweep.yaml")
    assert [random_coordinates(more, 1, number)["x"] for number in range(3)] == KNOWN
