"""The command of a trial: the words of a sweep file with their placeholders filled in, as W&B fills them in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from lineage.errors import NotFound, UsageError
from lineage.model.sweep_file import SweepDefinition

_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
_ENV = "/usr/bin/env"


def command_of(
    definition: SweepDefinition, parameters: Mapping[str, Any], arguments: Path, variables: Mapping[str, str]
) -> tuple[str, ...]:
    """Program and arguments of a trial.

    Args:
        definition: Of its sweep.
        parameters: Values by name; nested parameters are mappings.
        arguments: File that has them as JSON.
        variables: Where ``${envvar:NAME}`` is looked up.

    Raises:
        UsageError: A variable that it names is not set, or there is nothing to run.
    """
    meanings = _meanings(definition.program, parameters, arguments)
    command: list[str] = []
    for word in definition.command:
        if word.startswith("${") and word[2:-1] in meanings:
            command += meanings[word[2:-1]]
        else:
            command.append(_VARIABLE.sub(lambda found: _variable(found[1], variables), word))
    command = _without_env(command)
    if definition.program is None and "${program}" in definition.command:
        raise UsageError(
            "the sweep names no program", hint="put 'program: train.py' into its file, or call lineage.agent(id, function=…) in Python"
        )
    return tuple(command)


def check_program(definition: SweepDefinition, folder: Path) -> None:
    """Whether the program is where its agent is.

    Raises:
        NotFound: It is not.
    """
    words = definition.command
    for before, word in pairwise(words):
        if word == "${program}" and before == "${interpreter}" and definition.program is not None:
            place = folder / definition.program
            if not place.is_file():
                raise NotFound(
                    "program", definition.program, detail=f"looked for in {folder}", hint="start the agent in the folder that has it"
                )


def _meanings(program: str | None, parameters: Mapping[str, Any], arguments: Path) -> dict[str, list[str]]:
    flags = [f"{name}={value}" for name, value in parameters.items()]
    return {
        "env": [_ENV],
        "interpreter": ["python"],
        "program": [] if program is None else [program],
        "args": [f"--{flag}" for flag in flags],
        "args_no_equals": [word for name, value in parameters.items() for word in (f"--{name}", str(value))],
        "args_no_hyphens": flags,
        "args_no_boolean_flags": [
            f"--{name}" if value is True else f"--{name}={value}" for name, value in parameters.items() if value is not False
        ],
        "args_append_hydra": [f"+{flag}" for flag in flags],
        "args_override_hydra": [f"++{flag}" for flag in flags],
        "args_json": [json.dumps(dict(parameters))],
        "args_json_file": [str(arguments)],
    }


def _variable(name: str, variables: Mapping[str, str]) -> str:
    if name not in variables:
        raise UsageError(f"the sweep's command needs the environment variable {name}, which is not set", hint=f"export {name}=…")
    return variables[name]


def _without_env(command: list[str]) -> list[str]:
    # Programs are found on PATH in any case; without it the interpreter is seen to be one. It stays where it sets variables.
    if command[:1] == [_ENV] and len(command) > 1 and "=" not in command[1] and not command[1].startswith("-"):
        return command[1:]
    return command
