"""Command line: ``python -m pipelines.data scenes OUT`` and ``python -m pipelines.data statistics``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lineage.errors import LineageError, UsageError
from pipelines.data.scenes.defects import DEFECTS, choose
from pipelines.data.scenes.statistics import measure
from pipelines.data.scenes.write import write_scenes

app = typer.Typer(
    help="Make data without any download: drawn aerial scenes of parking lots and roads, in VisDrone's format.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class RecipeName(StrEnum):
    """What is drawn."""

    parking = "parking"
    full = "full"


class SplitName(StrEnum):
    """Which part."""

    train = "train"
    validation = "validation"


@app.command()
def scenes(
    out: Annotated[Path, typer.Argument(help="Folder to make; it gets train/ and validation/, each in VisDrone's layout.")],
    train: Annotated[int, typer.Option(help="Training pictures.")] = 60,
    validation: Annotated[int, typer.Option(help="Validation pictures.")] = 20,
    size: Annotated[str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Size in pixels; the recipe's own without it.")] = None,
    seed: Annotated[int, typer.Option(help="Decides every pixel and every box.")] = 0,
    recipe: Annotated[
        RecipeName,
        typer.Option(help="parking: small pictures, few large vehicles or many small ones. full: sizes and numbers as official."),
    ] = RecipeName.parking,
    defects: Annotated[str | None, typer.Option(metavar="all|NAME,…", help=f"Flaws of real files to put in: {', '.join(DEFECTS)}.")] = None,
) -> None:
    """Draw a data set. The same arguments give the same pictures; given again they check and keep what is there."""
    with _errors_on_stderr(), _bar("drawing scenes") as advance:
        manifest, was_there = write_scenes(
            out,
            train=train,
            validation=validation,
            seed=seed,
            recipe=recipe.value,
            size=_size(size),
            defects=choose(defects),
            progress=advance,
        )
    what = "were there already and are intact" if was_there else "made"
    typer.echo(f"{len(manifest['pictures'])} pictures {what} in {out}")


@app.command()
def statistics(
    number: Annotated[int, typer.Option("--scenes", min=1, help="How many scenes.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    split: Annotated[SplitName, typer.Option(help="Which part.")] = SplitName.train,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare full-size scenes with the official training annotations: figure, target, band, and whether it is met."""
    with _errors_on_stderr(), _bar("annotating scenes") as advance:
        found = measure(number, seed, split=split.value, progress=advance)
    if as_json:
        typer.echo(
            json.dumps([{"name": item.name, "target": item.target, "measured": item.measured, "met": item.is_met} for item in found])
        )
        return
    typer.echo(f"{'figure':<38}{'target':>9}{'band':>18}{'measured':>10}")
    for item in found:
        band = f"{item.low:.3g} to {item.high:.3g}"
        typer.echo(f"{item.name:<38}{item.target:>9.3g}{band:>18}{item.measured:>10.3g}  {'ok' if item.is_met else 'OUTSIDE'}")


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise UsageError(f"--size expects WIDTHxHEIGHT, found '{text}'", hint="for example --size 480x360")
    return int(match[1]), int(match[2])


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty()) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def _errors_on_stderr() -> Iterator[None]:
    try:
        yield
    except LineageError as error:
        typer.echo(f"error: {error.message}", err=True)
        if error.hint:
            typer.echo(f"hint: {error.hint}", err=True)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    app(prog_name="python -m pipelines.data")
