"""Configurations of the pipelines: a frozen model, filled from defaults, then YAML, then the command line; errors name the field."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

import lineage
from lineage.errors import UsageError

FREE_TO_CHANGE = ("output", "workers", "wandb", "name", "group")
"""Fields of a training that decide nothing of its result: a resumed one may have others."""


class Section(BaseModel):
    """Base of every part of a configuration: frozen, nothing unknown, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def bundled(folder: Path) -> tuple[str, ...]:
    """Names of the configurations in a package's folder; files whose names begin with ``sweep-`` are sweeps."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml") if not path.stem.startswith("sweep-")))


def load(model: type[Model], folder: Path, source: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Model:
    """Read a configuration.

    Args:
        model: What it is.
        folder: Where the bundled ones are.
        source: Name of a bundled configuration, path of a YAML file, or ``None`` for the defaults alone.
        overrides: Values that win over the file, by dotted name: ``{"seed": 7, "optimizer.learning_rate": 0.02}``.

    Raises:
        UsageError: The file is missing or not YAML, or a field is unknown, missing or has a value it cannot have.
    """
    values = {} if source is None else _read_yaml(folder, source)
    for dotted, value in (overrides or {}).items():
        _assign(values, dotted, value)
    where = "configuration" if source is None else f"configuration {source}"
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UsageError(_first_problem(model, where, error)) from error


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn ``["optimizer.gamma=0.5", "model.anchor_sizes_px=[8, 16]"]`` into overrides; values are written as in YAML.

    Raises:
        UsageError: An assignment has no ``=`` or a value that is not YAML.
    """
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or not name.strip():
            raise UsageError(f"--set {assignment}: expected FIELD=VALUE", hint="for example --set optimizer.learning_rate=0.01")
        try:
            overrides[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {assignment}: the value is not YAML", hint="quote it, or write lists as [1, 2]") from error
    return overrides


def given_options(options: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Overrides from options that were given, and ``--set``; the seed ``none`` leaves everything to chance."""
    given = {field: value for field, value in options.items() if value is not None}
    if given.get("seed") == "none":
        given["seed"] = None
    return given | parse_assignments(assignments)


def _read_yaml(folder: Path, source: str | Path) -> dict[str, Any]:
    path = folder / f"{source}.yaml" if str(source) in bundled(folder) else Path(source)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = f"give the path of a YAML file, or one of {', '.join(bundled(folder))}"
        raise UsageError(f"configuration {source}: {error.strerror or error}", hint=hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"configuration {source}: not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"configuration {source}: expected fields and values, found {type(values).__name__}")
    return values


def _assign(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, field = dotted.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UsageError(f"configuration field {dotted}: '{section}' is a value, not a section")
        values = inner
    values[field] = value


def _first_problem(model: type[BaseModel], where: str, error: ValidationError) -> str:
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "missing":
        return f"{where}: '{name}' is missing; give it in the file, as --{name}, or as --set {name}=VALUE{more}"
    if problem["type"] == "extra_forbidden":
        known = _fields(model)
        near = difflib.get_close_matches(name, known, n=1) or [field for field in known if field.split(".")[-1] == name.split(".")[-1]]
        return f"{where}: no field '{name}'" + (f", did you mean '{near[0]}'?" if near else f"; fields are {', '.join(known)}") + more
    message = problem["msg"].removeprefix("Value error, ")
    found = "" if problem["type"] == "value_error" else f", found {problem['input']!r}"
    return f"{where}: {name + ': ' if name else ''}{message}{found}{more}"


def _fields(model: type[BaseModel], prefix: str = "") -> list[str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += _fields(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def finished_training(config: Any) -> str | None:
    """The newest finished training of the same project whose configuration differs in nothing that decides the result; its id.

    Args:
        config: A configuration with the field project.
    """
    wanted = _deciding(config.model_dump(mode="json"))
    for run in lineage.runs(project=config.project, job_type="train", state="finished"):
        if run.reproduces is None and run.resumes is None and _deciding(run.config) == wanted:
            return str(run.id)
    return None


def _deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in FREE_TO_CHANGE}
