"""The ``parameters`` of a sweep file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, cast

from lineage.model.sweep_faults import Faults, json_value, known_keys, number_of, text_of
from lineage.model.sweep_parameters import DEFAULTS, KEYS, Distribution, Parameter

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NAMES = tuple(name for name in KEYS if name != "nested")
_LARGEST_EXPONENT = 700.0  # of e: a float ends at 709
_LARGEST_INTEGER = 2**53
_TAILS = 8  # standard deviations that a proposal may lie from the mean
_MOST_VALUES = 1_000_000
_EXPLAINED = "`value`, `values`, `min` and `max`, or a `distribution`; nested ones stand under `parameters`"


def read_parameters(given: Any, faults: Faults, where: str = "parameters") -> dict[str, Parameter]:
    """Parameters by name; faults are noted and what has one is left out."""
    if not isinstance(given, Mapping) or not given:
        found = "an empty one" if isinstance(given, Mapping) else text_of(given)
        faults.add(where, f"expected a mapping with at least one parameter, found {found}")
        return {}
    made: dict[str, Parameter] = {}
    for name, described in given.items():
        key = f"{where}.{name}"
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            faults.add(key, "expected a name of letters, digits, _ . and - that does not begin with a digit")
        elif not isinstance(described, Mapping):
            hint = f"{name}: {{values: {described}}}" if isinstance(described, list) else f"{name}: {{value: {described}}}"
            faults.add(key, f"expected {_EXPLAINED}; found {text_of(described)}", hint=hint)
        elif (parameter := _parameter(described, key, faults)) is not None:
            made[name] = parameter
    if where == "parameters":
        _no_two_alike(made, faults)
    return made


def _no_two_alike(parameters: Mapping[str, Parameter], faults: Faults) -> None:
    seen: set[str] = set()

    def walk(inner: Mapping[str, Parameter], prefix: str) -> None:
        for name, parameter in inner.items():
            if parameter.distribution == "nested":
                walk(parameter.parameters, f"{prefix}{name}.")
            elif f"{prefix}{name}" in seen:
                faults.add(f"parameters.{prefix}{name}", "is there twice: once nested, once with dots in its name")
            seen.add(f"{prefix}{name}")

    walk(parameters, "")


def _parameter(given: Mapping[Any, Any], key: str, faults: Faults) -> Parameter | None:
    name = _distribution(given, key, faults)
    if name is None:
        return None
    known_keys(given, ("distribution", *KEYS[name]) if name != "nested" else KEYS[name], key, faults)
    if name == "nested":
        return Parameter(distribution=name, parameters=read_parameters(given["parameters"], faults, f"{key}.parameters"))
    if name == "constant":
        if "value" not in given:
            faults.add(f"{key}.value", "is missing")
        return Parameter(distribution=name, values=(json_value(given.get("value"), f"{key}.value", faults),))
    if name in ("categorical", "categorical_w_probabilities"):
        return _categorical(name, given, key, faults)
    return _numeric(name, given, key, faults)


def _distribution(given: Mapping[Any, Any], key: str, faults: Faults) -> Distribution | None:
    """The distribution that is named, or the one that W&B takes where none is."""
    named = given.get("distribution")
    if named is not None:
        if not isinstance(named, str) or named not in _NAMES:
            if isinstance(named, str):
                faults.unknown(f"{key}.distribution", "distribution", named, _NAMES)
            else:
                faults.add(f"{key}.distribution", f"expected the name of one, found {text_of(named)}")
            return None
        if named == "categorical" and "probabilities" in given:
            faults.add(f"{key}.probabilities", "belong to the distribution categorical_w_probabilities", hint="or leave `distribution` out")
            return None
        return cast(Distribution, named)
    if "parameters" in given:
        return "nested"
    if "values" in given:
        return "categorical_w_probabilities" if "probabilities" in given else "categorical"
    if "value" in given:
        return "constant"
    if "min" in given and "max" in given:
        whole = all(isinstance(given[end], int) and not isinstance(given[end], bool) for end in ("min", "max"))
        if "q" in given:
            faults.add(f"{key}.distribution", "is missing: `q` belongs to q_uniform, q_log_uniform_values and others")
            return None
        return "int_uniform" if whole else "uniform"
    for name, other in (("min", "max"), ("max", "min")):
        if name in given:
            faults.add(f"{key}.{other}", f"is missing beside `{name}`")
            return None
    known = {part for parts in KEYS.values() for part in parts}
    if any(name in ("mu", "sigma", "a", "b", "q") for name in given):
        faults.add(f"{key}.distribution", "is missing: mu and sigma belong to normal, a and b to beta, q to those that begin with q_")
    elif any(name not in known for name in given):
        known_keys(given, ("distribution", *sorted(known)), key, faults)
    else:
        faults.add(key, f"expected {_EXPLAINED}; found {text_of(dict(given))}")
    return None


def _categorical(name: Distribution, given: Mapping[Any, Any], key: str, faults: Faults) -> Parameter | None:
    values, probabilities = given.get("values"), given.get("probabilities", ())
    if not isinstance(values, list | tuple) or not values:
        found = "is missing" if values is None else f"expected a list with at least one value, found {text_of(values)}"
        faults.add(f"{key}.values", found)
        return None
    values = tuple(json_value(value, f"{key}.values[{index}]", faults) for index, value in enumerate(values))
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        written = _as_written(value)
        if written in seen:
            hint = "to weigh values, give `probabilities`"
            faults.add(f"{key}.values[{index}]", f"{text_of(value)} is there already, at {seen[written]}", hint=hint)
        seen.setdefault(written, index)
    if name == "categorical":
        return Parameter(distribution=name, values=values)
    if not isinstance(probabilities, list | tuple) or len(probabilities) != len(values):
        found = f"{len(probabilities)}" if isinstance(probabilities, list | tuple) else text_of(probabilities)
        faults.add(f"{key}.probabilities", f"expected one for each of the {len(values)} values, found {found}")
        return None
    numbers = [number_of(each, f"{key}.probabilities[{index}]", faults, at_least=0) for index, each in enumerate(probabilities)]
    known = [number for number in numbers if number is not None]
    if len(known) == len(values) and not math.isclose(total := math.fsum(known), 1.0, abs_tol=1e-8, rel_tol=1e-5):
        faults.add(f"{key}.probabilities", f"expected a sum of 1, found {total:.12g}")
    return Parameter(distribution=name, values=values, probabilities=tuple(known))


def _as_written(value: Any) -> str:
    # 3 and 3.0 are one value for W&B; true and 1 are two.
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value, sort_keys=True, default=str)


def _numeric(name: Distribution, given: Mapping[Any, Any], key: str, faults: Faults) -> Parameter | None:
    numbers: dict[str, Any] = {}
    for part in KEYS[name]:
        value = given.get(part, DEFAULTS.get(part))
        if value is None:
            faults.add(f"{key}.{part}", f"is missing: {name} needs it")
            continue
        above = 0 if part in ("q", "sigma", "a", "b") else None
        number = number_of(value, f"{key}.{part}", faults, whole=name == "int_uniform", above=above)
        if number is not None:
            numbers[part] = number
    if len(numbers) < len(KEYS[name]):
        return None
    made = Parameter(distribution=name, **numbers)
    before = len(faults)
    if "min" in numbers:
        _check_range(made, key, faults)
    if name.endswith("log_normal") and abs(made.mu) + _TAILS * made.sigma > _LARGEST_EXPONENT:
        faults.add(f"{key}.sigma", f"mu and sigma are those of the logarithm: values would lie beyond what a float holds ({made.sigma})")
    if len(faults) == before and made.q and not made.has_multiples():
        low, high = made.bounds()
        faults.add(f"{key}.q", f"no multiple of {made.q} lies between {low:.6g} and {high:.6g}")
    return made


def _check_range(parameter: Parameter, key: str, faults: Faults) -> None:
    name, low, high = parameter.distribution, parameter.min, parameter.max
    if low > high:
        faults.add(f"{key}.min", f"min is above max: {low} > {high}")
    elif low == high:
        faults.add(f"{key}.min", f"min and max are both {low}: there is nothing to search", hint=f"a constant is written value: {low}")
    if name.endswith("log_uniform_values") and low <= 0:
        faults.add(f"{key}.min", f"expected more than 0 for {name}, found {low}")
    if name.endswith("log_uniform"):
        for end, number in (("min", low), ("max", high)):
            if abs(number) > _LARGEST_EXPONENT:
                instead = f"{name}_values"
                reason = f"is an exponent of e for {name}: {number} is beyond what a float holds"
                faults.add(f"{key}.{end}", reason, hint=f"{instead} takes the values themselves")
    if name == "int_uniform":
        for end, number in (("min", low), ("max", high)):
            if abs(number) > _LARGEST_INTEGER:
                faults.add(f"{key}.{end}", f"expected an integer up to 2**53, found {number}")
    if not math.isfinite(float(high) - float(low)):
        faults.add(f"{key}.max", f"the range from {low} to {high} is beyond what a float holds")
    elif name == "q_uniform" and low < high and (high - low) / parameter.q > _MOST_VALUES:
        faults.add(f"{key}.q", f"more than {_MOST_VALUES} multiples of {parameter.q} lie between {low} and {high}")
