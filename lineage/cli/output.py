"""How commands speak: tables and JSON on stdout, progress and messages on stderr."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.markup import escape as without_markup
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from lineage.errors import InvalidSource, LineageError
from lineage.ports import Progress

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, with whole ids and a stable form.")]

_PROBLEMS_SHOWN = 10
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,16}m")
_MARKS = {"done": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "error": "[red]✗[/red]"}


class _Console(Console):
    """A console that leaves a closed pipe to the entry point: Rich would end with 1, which means "diverged" here."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def out() -> Console:
    """Where data go."""
    return _Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())


def talk() -> Console:
    """Where messages go."""
    return _Console(file=sys.stderr, highlight=False, soft_wrap=not sys.stderr.isatty())


def escape(text: str) -> str:
    """A text as it is: without meaning for Rich, and with nothing in it that a terminal would obey. A record may be a stranger's."""
    return without_markup(_OBEYED.sub("\ufffd", text))


def log_text(text: str) -> str:
    """Lines of somebody's log for a terminal: colours go, carriage returns of progress bars stay, all else that it would obey is shown."""
    return "\r".join(_OBEYED.sub("\ufffd", part) for part in _COLOUR.sub("", text).split("\r"))


def say(kind: str, text: str) -> None:
    """One line on stderr: ``done``, ``warning`` or ``error``."""
    word = "" if kind == "done" else f"{kind}: "
    talk().print(f"{_MARKS[kind]} {word}{escape(text)}")


def fail(error: LineageError) -> None:
    """An error on stderr: one sentence, its parts, and what to do."""
    say("error", error.message)
    if isinstance(error, InvalidSource):
        for problem in error.problems[:_PROBLEMS_SHOWN]:
            talk().print(f"    {escape(problem)}")
        if len(error.problems) > _PROBLEMS_SHOWN:
            talk().print(f"    … and {len(error.problems) - _PROBLEMS_SHOWN} more")
    if error.hint:
        talk().print(f"  hint: {escape(error.hint)}")


def print_json(value: Any) -> None:
    """JSON on stdout. Numbers that JSON does not know are texts: ``"NaN"``, ``"Infinity"``, ``"-Infinity"``."""
    typer.echo(to_json(value, indent=2, inf_nan_mode="strings").decode())


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """A table on stdout; on a pipe plain and unbroken, so that other programs can read it."""
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="ellipsis", no_wrap=True)
    for row in rows:
        drawn.add_row(*(escape(cell) for cell in row))
    console = out()
    if sys.stdout.isatty():
        console.print(drawn)
    else:
        width = max(80, console.measure(drawn, options=console.options.update(width=100_000)).maximum)
        _Console(file=sys.stdout, highlight=False, width=width).print(drawn)


def when(at: datetime | None) -> str:
    """A time for people, UTC."""
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars on stderr, one for each kind of work; silent when stderr is no terminal."""
    bars = RichProgress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=talk(),
        disable=not sys.stderr.isatty(),
    )
    tasks: dict[str, Any] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)

    with bars:
        yield report
