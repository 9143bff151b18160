"""What the pipelines' commands share: errors of the project become one sentence, a hint and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from lineage.errors import LineageError


@contextmanager
def errors_on_stderr() -> Iterator[None]:
    """Print an error as ``error: …`` with its parts and its hint, and end with its exit code."""
    try:
        yield
    except LineageError as error:
        typer.echo(f"error: {error.message}", err=True)
        for problem in getattr(error, "problems", ()):
            typer.echo(f"  {problem}", err=True)
        if error.hint:
            typer.echo(f"hint: {error.hint}", err=True)
        raise SystemExit(error.exit_code) from error
