"""Secrets that a command is given: never as a value on a command line, which other accounts can read."""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated

import typer

from lineage.errors import UsageError

AskedSecrets = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        metavar="NAME",
        help="Take a secret that the plan names from the environment variable NAME; where that is not set, ask for it. Can be given again.",
    ),
]


def ask_secrets(names: list[str]) -> None:
    """Make secrets environment variables of this process: it keeps their values out of all that it writes.

    Args:
        names: Of variables; those that are not set are typed in, unseen.

    Raises:
        UsageError: A name is none, or there is nobody to ask.
    """
    for name in names:
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
            # What was typed may be the secret itself: it is not repeated.
            raise UsageError("--secret expects the name of a variable", hint="never its value: `--secret API_KEY` asks for it")
    missing = [name for name in names if not os.environ.get(name)]
    if missing and not sys.stdin.isatty():
        raise UsageError(
            f"nobody can be asked for {', '.join(missing)}: this is no terminal", hint="set environment variables of these names"
        )
    for name in missing:
        os.environ[name] = typer.prompt(name, hide_input=True, err=True)
