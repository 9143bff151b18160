"""W&B's sweep files: what may stand in one, and what it means here.

The format is that of W&B's own package (``sweeps`` 0.3, ``config/schema.json``). Reading one reports every fault in it at once, each by
its dotted key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lineage.model.sweep_definition import DEFAULT_COMMAND, Hyperband, Metric, SweepDefinition, leaves_of
from lineage.model.sweep_faults import Faults, known_keys, number_of, text_of
from lineage.model.sweep_spaces import read_parameters

__all__ = ["DEFAULT_COMMAND", "PLACEHOLDERS", "Hyperband", "Metric", "SweepDefinition", "parse_definition"]

PLACEHOLDERS = frozenset(
    {
        "env",
        "interpreter",
        "program",
        "args",
        "args_no_equals",
        "args_no_hyphens",
        "args_no_boolean_flags",
        "args_append_hydra",
        "args_override_hydra",
        "args_json",
        "args_json_file",
    }
)
_ENVVAR = re.compile(r"envvar:[A-Z0-9_]*")
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_UNUSED = ("apiVersion", "kind", "controller", "entity")
_REFUSED = {
    "job": "W&B Launch runs it; name the `program` instead",
    "image_uri": "W&B Launch runs it; name the `program` instead",
    "scheduler": "it replaces W&B's own search by a program of yours; use `method: grid`, `random` or `bayes`",
    "metrics": "a sweep has one metric here: `metric`",
}
_KEYS = (
    *("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap", "name", "project", "description"),
    *_UNUSED,
)


def parse_definition(mapping: Any, source: str) -> SweepDefinition:
    """Read a sweep definition.

    Args:
        mapping: What YAML or JSON gave, or a dictionary of a Python program.
        source: What to call it in errors: the file's name.

    Raises:
        InvalidSource: Something in it is wrong; every fault is named, by its dotted key.
    """
    faults = Faults(source)
    if not isinstance(mapping, Mapping):
        faults.add("", f"expected a mapping of keys to values, found {text_of(mapping)}")
        raise faults.error()
    for key, reason in _REFUSED.items():
        if key in mapping:
            faults.add(key, f"is not supported: {reason}")
    known_keys(mapping, (*_KEYS, *_REFUSED), "", faults)
    if "parameters" not in mapping:
        faults.add("parameters", "is missing", hint="at least one parameter with `value`, `values`, or `min` and `max`")
    found: dict[str, Any] = {
        "method": _method(mapping, faults),
        "metric": _metric(mapping, faults),
        "early_terminate": _early_terminate(mapping, faults),
        "parameters": read_parameters(mapping.get("parameters", {}), faults) if "parameters" in mapping else {},
        "unused": {key: mapping[key] for key in _UNUSED if key in mapping},
    }
    for key in ("program", "name", "project", "description"):
        found[key] = _text(mapping, key, faults)
    found["command"] = _command(mapping, found["program"], faults)
    if mapping.get("run_cap") is not None:
        found["run_cap"] = number_of(mapping["run_cap"], "run_cap", faults, whole=True, at_least=1)
    _belong_together(mapping, found, faults)
    if faults:
        raise faults.error()
    return SweepDefinition(**found)


def _text(mapping: Mapping[str, Any], key: str, faults: Faults) -> str | None:
    value = mapping.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        faults.add(key, f"expected a text, found {text_of(value)}")
        return None
    return value


def _method(mapping: Mapping[str, Any], faults: Faults) -> str:
    method = mapping.get("method")
    if method == "custom":
        faults.add("method", "custom belongs to W&B's scheduler, which is not supported", hint="use grid, random or bayes")
    elif "method" not in mapping:
        faults.add("method", "is missing", hint="grid, random or bayes")
    else:
        return faults.choice("method", method, ("grid", "random", "bayes")) or "grid"
    return "grid"


def _metric(mapping: Mapping[str, Any], faults: Faults) -> Metric | None:
    given = mapping.get("metric")
    if given is None:
        return None
    if not isinstance(given, Mapping):
        faults.add("metric", f"expected `name` and `goal`, found {text_of(given)}", hint="metric: {name: loss, goal: minimize}")
        return None
    known_keys(given, tuple(Metric.model_fields), "metric", faults)
    name, goal = given.get("name"), given.get("goal", "minimize")
    if not isinstance(name, str) or not name:
        faults.add("metric.name", "is missing" if name is None else f"expected a text, found {text_of(name)}")
    goal = faults.choice("metric.goal", goal, ("minimize", "maximize"))
    target = given.get("target")
    if target is not None:
        target = number_of(target, "metric.target", faults)
    for key, allowed in (("impute", ("latest", "best", "worst")), ("impute_while_running", ("latest", "best", "worst", "false"))):
        if given.get(key) is not None:
            faults.choice(f"metric.{key}", str(given[key]).lower(), allowed)
    if faults:
        return None
    extra = {key: str(given[key]).lower() for key in ("impute", "impute_while_running") if given.get(key) is not None}
    return Metric.model_validate({"name": name, "goal": goal, "target": target} | extra)


def _early_terminate(mapping: Mapping[str, Any], faults: Faults) -> Hyperband | None:
    given = mapping.get("early_terminate")
    if given is None:
        return None
    where = "early_terminate"
    if not isinstance(given, Mapping):
        faults.add(where, f"expected a mapping, found {text_of(given)}", hint="early_terminate: {type: hyperband, min_iter: 3}")
        return None
    before = len(faults)
    known_keys(given, ("type", *Hyperband.model_fields), where, faults)
    if "type" not in given:
        faults.add(f"{where}.type", "is missing", hint="hyperband")
    else:
        faults.choice(f"{where}.type", given["type"], ("hyperband",))
    found: dict[str, Any] = {}
    for key in ("min_iter", "max_iter", "s"):
        if given.get(key) is not None:
            found[key] = number_of(given[key], f"{where}.{key}", faults, whole=True, at_least=1)
    if given.get("eta") is not None:
        found["eta"] = number_of(given["eta"], f"{where}.eta", faults, above=1)
    strict = given.get("strict", True)
    if not isinstance(strict, bool):
        faults.add(f"{where}.strict", f"expected true or false, found {text_of(strict)}")
    if "max_iter" in found and "s" not in found:
        only = "s: how many times max_iter is divided by eta"
        faults.add(f"{where}.s", f"is missing: max_iter needs {only}", hint="or give min_iter alone")
    if len(faults) == before and "max_iter" not in found and "min_iter" not in found:
        faults.add(where, "expected min_iter, or max_iter and s; found neither")
    if faults:
        return None
    made = Hyperband.model_validate(found | {"strict": strict})
    if not made.rungs:
        faults.add(f"{where}.max_iter", f"expected at least eta ({made.eta}), found {made.max_iter}: trials would never be compared")
    return made


def _command(mapping: Mapping[str, Any], program: str | None, faults: Faults) -> tuple[str, ...]:
    given = mapping.get("command")
    if given is None:
        return DEFAULT_COMMAND
    if not isinstance(given, list | tuple) or not given:
        faults.add("command", f"expected a list of words, found {text_of(given)}", hint="command: [python, train.py, '${args}']")
        return DEFAULT_COMMAND
    words = []
    for index, word in enumerate(given):
        key = f"command[{index}]"
        if isinstance(word, bool) or not isinstance(word, str | int | float):
            faults.add(key, f"expected a word, found {text_of(word)}", hint="quote it")
            continue
        words.append(str(word))
        for name in _PLACEHOLDER.findall(str(word)):
            if name.startswith("envvar:"):
                if _ENVVAR.fullmatch(name) is None:
                    faults.add(key, f"expected capital letters, digits and _ behind envvar:, found '{name[7:]}'")
            elif name not in PLACEHOLDERS:
                if word == f"${{{name}}}":  # inside a word it may be a shell's
                    faults.unknown(key, "placeholder", word, [f"${{{known}}}" for known in sorted(PLACEHOLDERS)])
            elif word != f"${{{name}}}":
                faults.add(key, f"${{{name}}} must be a word of its own, found '{word}'")
            elif name == "program" and program is None and "program" not in mapping and tuple(given) != DEFAULT_COMMAND:
                faults.add("program", "is missing, and `command` has ${program}")
    return tuple(words)


def _belong_together(mapping: Mapping[str, Any], found: Mapping[str, Any], faults: Faults) -> None:
    """What no key shows alone."""
    without_metric = mapping.get("metric") is None
    if found["method"] == "bayes" and without_metric:
        faults.add("metric", "is missing: method bayes looks for its best value", hint="metric: {name: loss, goal: minimize}")
    if mapping.get("early_terminate") is not None and without_metric:
        faults.add("metric", "is missing: early_terminate compares trials by it", hint="metric: {name: loss, goal: minimize}")
    if found["method"] != "grid" or mapping.get("method") != "grid":
        return
    for path, parameter in leaves_of(found["parameters"]):
        if not parameter.grid_size():
            faults.add(
                f"parameters.{'.'.join(path)}",
                f"method grid goes through every value, and {parameter.distribution} has no end of them"
                if parameter.distribution != "categorical_w_probabilities"
                else "method grid goes through every value: probabilities mean nothing",
                hint="list `values`, or use q_uniform or int_uniform; or use method random",
            )
