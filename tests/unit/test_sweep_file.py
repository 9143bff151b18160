"""W&B's sweep files: what is read from them, and what is said of one that is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from lineage.errors import InvalidSource
from lineage.model.sweep_draws import grid_point
from lineage.model.sweep_file import DEFAULT_COMMAND, Hyperband, parse_definition
from lineage.model.sweep_rungs import badness, falls_short

GOOD = """
program: train.py
method: random
metric: {name: loss, goal: minimize}
parameters:
  lr: {min: 0.1, max: 1.0}
"""


def read(text: str) -> Any:
    return parse_definition(yaml.safe_load(text), "sweep.yaml")


def with_parameter(described: str) -> str:
    return GOOD.replace("{min: 0.1, max: 1.0}", described)


FAULTS = {
    # keys
    "[1, 2]": "sweep.yaml: expected a mapping of keys to values, found the list [1, 2]",
    GOOD + "methd: grid": "sweep.yaml: methd: unknown key 'methd' (did you mean 'method'?)",
    GOOD + "scheduler: {engine: optuna}": "sweep.yaml: scheduler: is not supported: it replaces W&B's own search",
    GOOD.replace("method: random", ""): "sweep.yaml: method: is missing",
    GOOD.replace("random", "baies"): "sweep.yaml: method: expected grid or random or bayes, found the text 'baies' (did you mean 'bayes'?)",
    GOOD.replace("random", "custom"): "sweep.yaml: method: custom belongs to W&B's scheduler",
    "method: random": "sweep.yaml: parameters: is missing",
    "method: random\nparameters: {}": "sweep.yaml: parameters: expected a mapping with at least one parameter, found an empty one",
    GOOD.replace("train.py", "[train.py]"): "sweep.yaml: program: expected a text, found the list ['train.py']",
    GOOD + "run_cap: 0": "sweep.yaml: run_cap: expected at least 1, found 0",
    GOOD + "run_cap: '7'": "sweep.yaml: run_cap: expected an integer, found the text '7'",
    GOOD + "run_cap: true": "sweep.yaml: run_cap: expected an integer, found true",
    # metric
    GOOD.replace("{name: loss, goal: minimize}", "loss"): "sweep.yaml: metric: expected `name` and `goal`, found the text 'loss'",
    GOOD.replace("minimize", "minimise"): "found the text 'minimise' (did you mean 'minimize'?)",
    GOOD.replace("name: loss, ", ""): "sweep.yaml: metric.name: is missing",
    GOOD.replace("goal: minimize", "target: low"): "sweep.yaml: metric.target: expected a number, found the text 'low'",
    GOOD.replace("method: random\nmetric: {name: loss, goal: minimize}", "method: bayes"): "sweep.yaml: metric: is missing: method bayes",
    GOOD.replace("metric: {name: loss, goal: minimize}", "early_terminate: {type: hyperband, min_iter: 3}"): (
        "sweep.yaml: metric: is missing: early_terminate compares trials by it"
    ),
    # early termination
    GOOD + "early_terminate: hyperband": "sweep.yaml: early_terminate: expected a mapping, found the text 'hyperband'",
    GOOD + "early_terminate: {type: median}": "sweep.yaml: early_terminate.type: expected hyperband, found the text 'median'",
    GOOD + "early_terminate: {type: hyperband}": "sweep.yaml: early_terminate: expected min_iter, or max_iter and s; found neither",
    GOOD + "early_terminate: {type: hyperband, max_iter: 27}": "sweep.yaml: early_terminate.s: is missing",
    GOOD + "early_terminate: {type: hyperband, min_iter: 3, max_iter: 27, eta: 3}": "sweep.yaml: early_terminate.s: is missing",
    GOOD + "early_terminate: {type: hyperband, max_iter: 2, s: 2}": "early_terminate.max_iter: expected at least eta (3), found 2",
    GOOD + "early_terminate: {type: hyperband, min_iter: 3, eta: 1}": "sweep.yaml: early_terminate.eta: expected more than 1, found 1",
    GOOD + "early_terminate: {type: hyperband, min_iter: 3, strict: 1}": "early_terminate.strict: expected true or false, found 1",
    GOOD + "early_terminate: {type: hyperband, min_itr: 3}": "early_terminate.min_itr: unknown key 'min_itr' (did you mean 'min_iter'?)",
    # command
    GOOD + "command: python train.py": "sweep.yaml: command: expected a list of words, found the text 'python train.py'",
    GOOD + "command: [python, true]": "sweep.yaml: command[1]: expected a word, found true",
    GOOD + "command: ['${interpretor}']": "sweep.yaml: command[0]: unknown placeholder '${interpretor}' (did you mean '${interpreter}'?)",
    GOOD + "command: ['--x=${args}']": "sweep.yaml: command[0]: ${args} must be a word of its own, found '--x=${args}'",
    GOOD + "command: ['${envvar:home}']": "sweep.yaml: command[0]: expected capital letters, digits and _ behind envvar:, found 'home'",
    GOOD.replace("program: train.py", "command: ['${program}', x]"): "sweep.yaml: program: is missing, and `command` has ${program}",
    # parameters
    with_parameter("0.1"): "sweep.yaml: parameters.lr: expected `value`, `values`, `min` and `max`, or a `distribution`",
    with_parameter("[0.1, 0.2]"): "found the list [0.1, 0.2]",
    with_parameter("{}"): "sweep.yaml: parameters.lr: expected `value`",
    with_parameter("{vaules: [1]}"): "sweep.yaml: parameters.lr.vaules: unknown key 'vaules' (did you mean 'values'?)",
    with_parameter("{min: 1, max: 2, step: 1}"): "sweep.yaml: parameters.lr.step: unknown key 'step'",
    with_parameter("{min: 1, max: 2, q: 1}"): "sweep.yaml: parameters.lr.distribution: is missing: `q` belongs to q_uniform",
    with_parameter("{mu: 0, sigma: 1}"): "sweep.yaml: parameters.lr.distribution: is missing: mu and sigma belong to normal",
    with_parameter("{min: 1}"): "sweep.yaml: parameters.lr.max: is missing beside `min`",
    with_parameter("{min: 2, max: 1}"): "sweep.yaml: parameters.lr.min: min is above max: 2 > 1",
    with_parameter("{min: 1, max: 1}"): "sweep.yaml: parameters.lr.min: min and max are both 1: there is nothing to search",
    with_parameter("{min: 1e-3, max: 1}"): (
        "sweep.yaml: parameters.lr.min: expected a number, found the text '1e-3': it is in quotes, or YAML 1.1 read it"
    ),
    with_parameter("{min: 1, max: 1.5e3}"): "found the text '1.5e3': it is in quotes, or YAML 1.1 read it, which wants a sign behind the e",
    with_parameter("{values: [0.1, 1e-3]}"): "sweep.yaml: parameters.lr.values[1]: found the text '1e-3', which looks like a number",
    with_parameter("{value: 3e6}"): "sweep.yaml: parameters.lr.value: found the text '3e6', which looks like a number",
    with_parameter("{min: .nan, max: 1}"): "sweep.yaml: parameters.lr.min: expected a finite number, found nan",
    with_parameter("{value: .inf}"): "sweep.yaml: parameters.lr.value: expected a finite number, found inf",
    with_parameter("{value: 2024-01-31}"): "sweep.yaml: parameters.lr.value: YAML reads 2024-01-31 as a date",
    with_parameter("{values: []}"): "sweep.yaml: parameters.lr.values: expected a list with at least one value, found the list []",
    with_parameter("{values: 3}"): "sweep.yaml: parameters.lr.values: expected a list with at least one value, found 3",
    with_parameter("{values: [1, 2, 1.0]}"): "sweep.yaml: parameters.lr.values[2]: 1.0 is there already, at 0",
    with_parameter("{values: [1, 2], probabilities: [0.5]}"): "probabilities: expected one for each of the 2 values, found 1",
    with_parameter("{values: [1, 2], probabilities: [0.5, 0.6]}"): "parameters.lr.probabilities: expected a sum of 1, found 1.1",
    with_parameter("{values: [1, 2], probabilities: [1.5, -0.5]}"): "probabilities[1]: expected at least 0, found -0.5",
    with_parameter("{distribution: unifrom, min: 0, max: 1}"): "unknown distribution 'unifrom' (did you mean 'uniform'?)",
    with_parameter("{distribution: int_uniform, min: 0.5, max: 2}"): "sweep.yaml: parameters.lr.min: expected an integer, found 0.5",
    with_parameter("{distribution: normal, sigma: 0}"): "sweep.yaml: parameters.lr.sigma: expected more than 0, found 0",
    with_parameter("{distribution: beta, a: -1}"): "sweep.yaml: parameters.lr.a: expected more than 0, found -1",
    with_parameter("{distribution: q_uniform, min: 0.1, max: 0.4, q: 0.5}"): "lr.q: no multiple of 0.5 lies between 0.1 and 0.4",
    with_parameter("{distribution: q_normal, q: 0}"): "sweep.yaml: parameters.lr.q: expected more than 0, found 0",
    with_parameter("{distribution: log_uniform_values, min: 0, max: 1}"): "lr.min: expected more than 0 for log_uniform_values, found 0",
    with_parameter("{distribution: log_uniform, min: 1, max: 1000}"): "lr.max: is an exponent of e for log_uniform: 1000",
    with_parameter("{distribution: log_normal, mu: 1, sigma: 100}"): "lr.sigma: mu and sigma are those of the logarithm",
    with_parameter("{distribution: uniform, min: -1.0e+308, max: 1.0e+308}"): "lr.max: the range from -1e+308 to 1e+308 is beyond",
    with_parameter("{distribution: uniform, min: 1}"): "sweep.yaml: parameters.lr.max: is missing: uniform needs it",
    with_parameter("{parameters: {a: {min: 3, max: 1}}}"): "sweep.yaml: parameters.lr.parameters.a.min: min is above max",
    with_parameter("{parameters: {a: {value: 1}}}\n  lr.a: {value: 2}"): "sweep.yaml: parameters.lr.a: is there twice",
    GOOD.replace("lr:", "2lr:"): "sweep.yaml: parameters.2lr: expected a name of letters, digits, _ . and -",
    # what goes with what
    GOOD.replace("random", "grid"): "sweep.yaml: parameters.lr: method grid goes through every value, and uniform has no end of them",
    with_parameter("{values: [1, 2], probabilities: [0.5, 0.5]}").replace("random", "grid"): "probabilities mean nothing",
}


@pytest.mark.parametrize("text", FAULTS, ids=lambda text: text.removeprefix(GOOD).strip()[-60:])
def test_a_fault_is_named_by_file_and_key(text: str) -> None:
    with pytest.raises(InvalidSource) as caught:
        read(text)
    assert FAULTS[text] in caught.value.message
    assert len(caught.value.problems) == 1, caught.value.problems


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InvalidSource) as caught:
        read("method: bayes\nrun_cap: x\nparameters: {lr: {min: 2, max: 1}, n: {values: []}}")
    keys = [problem.split(": ")[1] for problem in caught.value.problems]
    assert sorted(keys) == ["metric", "parameters.lr.min", "parameters.n.values", "run_cap"]
    assert "(and 3 more)" in caught.value.message


def test_the_hint_of_a_number_that_yaml_reads_as_text_is_a_number_to_yaml() -> None:
    for text, value in {"1e-3": 1e-3, "3e6": 3e6, "-2E5": -2e5, "1.5e3": 1500.0, ".5e3": 500.0, "-.5e-3": -0.0005, "1.e4": 1e4}.items():
        with pytest.raises(InvalidSource) as caught:
            read(with_parameter(f"{{value: {text}}}"))
        assert caught.value.hint is not None
        assert yaml.safe_load(caught.value.hint.removeprefix("write ")) == value


FULL = """
program: train.py
name: heads
project: parking
entity: a-team
description: which head
apiVersion: v1
command: ["${env}", "${interpreter}", -m, pkg.train, "${args_no_boolean_flags}", "--root=${envvar:DATA}", 3]
method: bayes
metric: {name: val/acc, goal: maximize, target: 0.99, impute: worst}
run_cap: 40
early_terminate: {type: hyperband, max_iter: 27, s: 2}
parameters:
  depth: {min: 1, max: 4}
  width: {min: 1, max: 4.0}
  optimizer: {values: [adam, sgd]}
  attention: {values: [null, true, {name: se, ratio: 16}], probabilities: [0.5, 0.25, 0.25]}
  seed: {value: 7}
  momentum: {distribution: beta, a: 5}
  batch: {distribution: q_log_uniform_values, min: 16, max: 256, q: 16}
  decay: {distribution: log_uniform, min: -9, max: -2}
  model.dropout: {min: 0.0, max: 0.5}
  augment:
    parameters:
      flip: {values: [true, false]}
      colour: {parameters: {gain: {distribution: normal, mu: 1}}}
"""


def test_a_whole_file_and_back() -> None:
    made = read(FULL)
    assert parse_definition(json.loads(json.dumps(made.as_json(), sort_keys=True)), "again") == made
    assert {name: parameter.distribution for name, parameter in made.leaves()} == {
        "attention": "categorical_w_probabilities",
        "augment.colour.gain": "normal",
        "augment.flip": "categorical",
        "batch": "q_log_uniform_values",
        "decay": "log_uniform",
        "depth": "int_uniform",  # both ends are integers
        "model.dropout": "uniform",
        "momentum": "beta",
        "optimizer": "categorical",
        "seed": "constant",
        "width": "uniform",  # one end is not
    }
    assert [name for name, _ in made.leaves()] == sorted(name for name, _ in made.leaves())
    assert read(GOOD + "command: [bash, -c, 'echo ${HOME}']").command[2] == "echo ${HOME}", "a shell's own, not ours"
    assert made.command[-2:] == ("--root=${envvar:DATA}", "3")
    assert made.early_terminate == Hyperband(max_iter=27, s=2, eta=3, strict=True)
    assert made.metric is not None
    assert made.metric.is_reached_by(0.99)
    assert not made.metric.is_reached_by(0.98)
    assert [note.split("`")[1] for note in made.notes] == ["apiVersion", "entity", "metric.impute", "parameters.decay"]
    assert "exponents of e, values lie between 0.00012341 and 0.135335" in made.notes[-1]


def test_values_are_nested_as_the_program_sees_them() -> None:
    made = read(FULL)
    flat = {name: number for number, (name, _) in enumerate(made.leaves())}
    nested = made.nest(flat)
    assert nested["augment"] == {"colour": {"gain": flat["augment.colour.gain"]}, "flip": flat["augment.flip"]}
    assert nested["model.dropout"] == flat["model.dropout"], "a dot in a name is a letter like any other"


def test_without_a_program_a_definition_is_one_for_a_function() -> None:
    made = read("method: random\nparameters: {x: {min: 0, max: 1}}")
    assert (made.program, made.command, made.notes) == (None, DEFAULT_COMMAND, [])
    assert parse_definition(made.as_json(), "again") == made


def test_a_grid_has_wandbs_points_in_wandbs_order() -> None:
    # As `sweeps.grid_search` 0.3 gives them: names sorted, the last one changing first; q_uniform from min, below max.
    made = read("""
method: grid
parameters:
  b: {values: [2, 1]}
  a: {min: 1, max: 2}
  c: {parameters: {y: {values: [p, q]}, x: {value: 7}}}
  d: {distribution: q_uniform, min: 0.1, max: 0.4, q: 0.1}
""")
    points = [grid_point(made, number) for number in range(made.grid_size)]
    assert made.grid_size == 2 * 2 * 2 * 3
    assert points[0] == {"a": 1, "b": 2, "c.x": 7, "c.y": "p", "d": 0.1}
    assert [point["d"] for point in points[:4]] == [0.1, 0.2, 0.3, 0.1]
    assert [tuple(point.values())[:4] for point in points[::3]] == [(a, b, 7, y) for a in (1, 2) for b in (2, 1) for y in "pq"]


@pytest.mark.parametrize(
    ("described", "bands"),
    [  # bands as `sweeps.hyperband_stopping` 0.3 works them out
        ({"max_iter": 27, "s": 2}, (3, 9)),
        ({"max_iter": 100, "s": 3, "eta": 2.5}, (6, 16, 40)),
        ({"max_iter": 5, "s": 9, "eta": 2}, (1, 2)),
        ({"max_iter": 31, "s": 4, "eta": 1.5}, (6, 9, 13, 20)),
        ({"min_iter": 3}, (3, 9, 27, 81, 243, 729)),
        ({"min_iter": 2, "eta": 1.5}, (2, 3, 4, 6, 10, 15)),
        ({"min_iter": 1, "eta": 1.5}, (1, 2, 3, 5, 7, 11)),  # the first two are one
    ],
)
def test_rungs_are_wandbs_bands(described: dict[str, Any], bands: tuple[int, ...]) -> None:
    assert Hyperband(**described).rungs[: len(bands)] == bands
    assert "max_iter" not in described or len(Hyperband(**described).rungs) == len(bands)


@pytest.mark.parametrize(
    ("own", "others", "eta", "stops"),
    [  # the threshold is the value at position int(n / eta), best first
        (0.5, [], 3, False),
        (0.5, [0.4], 3, True),
        (0.5, [0.4, 0.3], 3, True),
        (0.4, [0.3, 0.5], 3, False),
        (0.3, [0.4, 0.5], 3, False),
        (0.5, [0.4, 0.6, 0.7, 0.8, 0.9], 3, False),
        (0.5, [0.1, 0.2, 0.7, 0.8, 0.9], 3, False),
        (0.5, [0.1, 0.2, 0.3, 0.8, 0.9], 3, True),
        (0.5, [0.4], 2, False),
        (0.5, [0.1, 0.2, 0.3], 2, True),
        (0.5, [0.5, 0.5, 0.5], 4, False),
    ],
)
def test_who_falls_short_at_a_rung(own: float, others: list[float], eta: float, stops: bool) -> None:
    assert falls_short(own, own, others, eta) == stops
    turned = [badness(-value, "maximize") for value in (own, *others)]
    assert falls_short(turned[0], turned[0], turned[1:], eta) == stops


def test_not_strict_a_trial_is_judged_by_its_best_value() -> None:
    assert falls_short(0.9, 0.9, [0.5, 0.6], 3)
    assert not falls_short(0.4, 0.9, [0.5, 0.6], 3), "it was better once, and the threshold is 0.6"
