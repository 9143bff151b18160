"""Secrets that a recorded command needs: asked for by name, put in their place in the child, never written anywhere.

A secret stands in the record as ``<redacted>``. Its name is that of the option, setting or variable that it was given under; one that
stood under no name is called by its place in the command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lineage.model.plan import Ingredient
from lineage.model.run import Run
from lineage.model.secrets import REDACTED, is_secret_name

_NAMED = re.compile(
    r"(?P<name>(?:--?)?[A-Za-z][A-Za-z0-9_.-]*)[\"']?(?:\s*[=:]\s*|\s+)[\"']?(?:(?:bearer|basic|token)\s+)?$",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class NeededSecret:
    """A secret that a run was given.

    Attributes:
        variable: Environment variable that a reproduction takes it from.
        words: What it was: ``argument --token``, ``variable API_KEY``.
        word: Which word of the command holds it, counted from 0; ``None`` for one that is only a variable.
    """

    variable: str
    words: str
    word: int | None = None


def needed_secrets(run: Run) -> list[NeededSecret]:
    """Every secret that a run's command held, in order, one for each place; then the variables that its code names."""
    found: list[NeededSecret] = []
    for number, word in enumerate(run.command):
        before = ""
        for part in word.split(REDACTED)[:-1]:
            before += part
            option = run.command[number - 1] if number and not before else ""
            found.append(_secret(number, before, option, {item.variable for item in found}))
            before += REDACTED
    named = {item.variable for item in found}
    return [*found, *(NeededSecret(name, f"variable {name}") for name in run.secret_variables if name not in named)]


def _secret(number: int, before: str, option: str, taken: set[str]) -> NeededSecret:
    match = None if option else _NAMED.search(before)
    name = option if option.startswith("-") and is_secret_name(option) else match["name"] if match and is_secret_name(match["name"]) else ""
    if not name:
        variable = f"LINEAGE_SECRET_{number}" + (f"_{before.count(REDACTED) + 1}" if REDACTED in before else "")
        return NeededSecret(variable, f"word {number} of the command", number)
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name if "_" in name or name.isupper() else _CAMEL.sub("_", name)).strip("_").upper()
    variable = next(item for item in (plain, *(f"{plain}_{count}" for count in range(2, len(taken) + 3))) if item not in taken)
    return NeededSecret(variable, f"argument {name}", number)


def secret_rows(run: Run, variables: Mapping[str, str]) -> list[Ingredient]:
    """What a plan says of each secret: whether it was given, never what it is.

    Args:
        run: The run to repeat.
        variables: Where secrets are given.
    """
    rows = []
    for item in needed_secrets(run):
        is_given = bool(variables.get(item.variable))
        what = f"needs {item.words} (a secret, not recorded)"
        detail = () if is_given else (f"{what}: set the variable {item.variable}, or say --secret {item.variable}",)
        rows.append(
            Ingredient(
                name=f"secret: {item.variable}",
                status="ready" if is_given else "missing",
                severity="none" if is_given else "blocker",
                recorded=what,
                found=f"given in the variable {item.variable}" if is_given else "not given",
                detail=detail,
            )
        )
    return rows


def with_secrets(run: Run, command: Sequence[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    """The command with every secret in its place.

    Args:
        run: Its record.
        command: What is to be executed: word for word that of the record, but for paths.
        variables: Where secrets are given; all of them are there.
    """
    words = list(command)
    values: dict[int, list[str]] = {}
    for item in needed_secrets(run):
        if item.word is not None:
            values.setdefault(item.word, []).append(variables[item.variable])
    for number, given in values.items():
        first, *rest = words[number].split(REDACTED)
        words[number] = first + "".join(value + part for value, part in zip(given, rest, strict=True))
    return tuple(words)


def without_secrets(run: Run, text: str, variables: Mapping[str, str]) -> str:
    """A line that the command printed, without the values of its secrets."""
    for value in sorted({variables.get(item.variable, "") for item in needed_secrets(run)} - {""}, key=len, reverse=True):
        text = text.replace(value, REDACTED)
    return text
