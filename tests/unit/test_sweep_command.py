"""The words of a trial's command are those that W&B's own agent makes; and the file that W&B reads has the values that it is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from lineage.api.sweeping import read_definition
from lineage.errors import UsageError
from lineage.model.sweep import SweepTrial, with_parameters
from lineage.model.sweep_file import parse_definition
from lineage.record.trial import place_trial
from lineage.sweeping.command import command_of

NAMES = st.text("abcxyz_", min_size=1, max_size=6)
LEAVES = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=5)
KINDS = ("args", "args_no_equals", "args_no_hyphens", "args_no_boolean_flags", "args_append_hydra", "args_override_hydra", "args_json")


def words_of(parameters: dict[str, Any], *words: str, **variables: str) -> tuple[str, ...]:
    definition = parse_definition(
        {"method": "grid", "program": "train.py", "command": list(words), "parameters": {"a": {"value": 1}}}, "sweep.yaml"
    )
    return command_of(definition, parameters, Path("/store/args.json"), variables)


@settings(max_examples=40)
@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
def test_placeholders_are_filled_in_as_by_wandb(parameters: dict[str, Any]) -> None:
    theirs = create_sweep_command_args({"args": {name: {"value": value} for name, value in parameters.items()}})
    for kind in KINDS:
        assert list(words_of(parameters, "run", f"${{{kind}}}")) == ["run", *theirs[kind]]


def test_the_rest_of_the_command() -> None:
    default = ("${env}", "${interpreter}", "${program}", "${args}")
    assert words_of({"lr": 0.1}, *default) == ("python", "train.py", "--lr=0.1")
    assert words_of({}, "${env}", "A=1", "${program}") == ("/usr/bin/env", "A=1", "train.py")
    assert words_of({}, "x", "${args_json_file}", "--to=${envvar:OUT}", OUT="here") == ("x", "/store/args.json", "--to=here")
    with pytest.raises(UsageError, match="needs the environment variable OUT, which is not set"):
        words_of({}, "x", "${envvar:OUT}")


@settings(max_examples=40)
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_wandb_reads_back_what_a_trial_is_given(tmp_path_factory: pytest.TempPathFactory, parameters: dict[str, Any]) -> None:
    trial = SweepTrial(sweep="abcdefgh", number=0, parameters=parameters, definition=f"sha256:{'0' * 64}")
    files = place_trial(trial, tmp_path_factory.mktemp("store"))
    # With the loader that W&B uses; its own function leaves the file open.
    read = yaml.safe_load(Path(files.variables["WANDB_SWEEP_PARAM_PATH"]).read_text(encoding="utf-8"))
    assert read == {"wandb_version": 1} | {name: {"value": value} for name, value in parameters.items()}
    assert json.loads(files.arguments.read_text(encoding="utf-8")) == parameters


def test_trials_win_at_any_depth() -> None:
    merged = with_parameters({"lr": 9, "model": {"width": 1, "depth": 2}, "other": 3}, {"lr": 1, "model": {"width": 5}, "new": {"a": 0}})
    assert merged == {"lr": 1, "model": {"width": 5, "depth": 2}, "other": 3, "new": {"a": 0}}


def test_numbers_of_a_sweep_file_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("method: grid\nprogram: a.py\nparameters:\n  lr: {values: [1e-3, 2.5E4, 1e+2, 0.5, 3]}\n  name: {value: a1e3}\n")
    parameters = read_definition(file).as_json()["parameters"]
    assert (parameters["lr"]["values"], parameters["name"]["value"]) == ([0.001, 25000.0, 100.0, 0.5, 3], "a1e3")
