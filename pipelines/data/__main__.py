"""Command line: ``python -m pipelines.data scenes OUT``, ``statistics``, ``cifar10-sample OUT`` and ``shapes OUT``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lineage.errors import UsageError
from pipelines.command_line import errors_on_stderr
from pipelines.data.scenes.recipes import Recipe, Split
from pipelines.data.scenes.statistics import Measure, measure
from pipelines.data.scenes.write import write_scenes

app = typer.Typer(
    help=(
        "Data sets without a download: drawn scenes in VisDrone format, small CIFAR-10 folders, meshes in ModelNet's layout. "
        "stdout has the result, stderr the talk. Exit codes: 0 done, 2 usage, 6 the folder holds something else."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

SizeOption = Annotated[
    str | None,
    typer.Option("--size", metavar="WxH", help="Picture size in pixels; else 480x360 (parking) or the official sizes (full)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command()
def scenes(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make; the same command again checks and reuses it.")],
    train: Annotated[int, typer.Option(min=1, help="Training pictures.")] = 60,
    validation: Annotated[int, typer.Option(min=0, help="Validation pictures, of other sequences.")] = 20,
    size: SizeOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 7,
    recipe: Annotated[Recipe, typer.Option(help="Small and quick to learn, or like the official data set.")] = "parking",
    defects: Annotated[str, typer.Option(metavar="A,B|all", help="Faults to put in, one training picture each; 'all' for every one.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Draw scenes: OUT/train and OUT/validation with images and annotations, and OUT/manifest.json."""
    names = [name.strip() for name in defects.split(",") if name.strip()]
    with errors_on_stderr(), _bar("Drawing") as progress:
        written = write_scenes(
            out, train=train, validation=validation, size=_size(size), seed=seed, recipe=recipe, defects=names, progress=progress
        )
    if as_json:
        typer.echo(json.dumps({**asdict(written), "folder": str(written.folder)}, indent=2))
        return
    word = "unchanged, reused" if written.reused else "written"
    typer.echo(f"{written.folder}: {word}, {written.rows} annotation rows")
    for split, number in written.pictures.items():
        if number:
            typer.echo(f"  {split}: {number} pictures, {written.kept[split]} without a car below 20 px")


@app.command("cifar10-sample")
def cifar10_sample(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")],
    arrays: Annotated[
        Path | None, typer.Option("--from", metavar="NPZ", help="Arrays train_images, train_labels, test_images, test_labels; else drawn.")
    ] = None,
    form: Annotated[str, typer.Option(metavar="binary|python", help="Which of the two published forms.")] = "binary",
    train: Annotated[int | None, typer.Option(min=1, help="Training pictures; else 500 drawn ones, or all of the arrays.")] = None,
    test: Annotated[int | None, typer.Option(min=1, help="Test pictures; else 100 drawn ones, or all of the arrays.")] = None,
    batches: Annotated[int, typer.Option(min=1, max=99, help="How many training batches.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of drawn pictures.")] = 7,
) -> None:
    """Write a small CIFAR-10 folder in one of the published forms, for `lineage upload cifar10 OUT URI`."""
    from pipelines.data import cifar10_sample as sample

    with errors_on_stderr():
        if form not in ("binary", "python"):
            raise UsageError(f"--form must be binary or python, found '{form}'")
        if arrays is None:
            parts = sample.drawn_parts(train=train or 500, test=test or 100, batches=batches, seed=seed)
        else:
            parts = sample.parts_of_arrays(arrays, train=train, test=test, batches=batches)
        sample.write_sample(out, parts, "binary" if form == "binary" else "python")
    typer.echo(f"{out}: {', '.join(f'{name} {len(labels)}' for name, (_, labels) in parts.items())}")


@app.command()
def shapes(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make; the same command again checks and reuses it.")],
    train: Annotated[int, typer.Option(min=1, help="Training meshes of each class.")] = 80,
    test: Annotated[int, typer.Option(min=0, help="Test meshes of each class.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    classes: Annotated[str, typer.Option(metavar="A,B", help="Some of box, cone, cylinder, sphere, torus; else all.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make meshes of simple bodies as OFF files: OUT/CLASS/train and OUT/CLASS/test, for `lineage upload off OUT URI`."""
    from pipelines.data.shapes import write_shapes

    names = [name.strip() for name in classes.split(",") if name.strip()]
    with errors_on_stderr(), _bar("Making") as progress:
        written = write_shapes(out, train=train, test=test, seed=seed, classes=names, progress=progress)
    if as_json:
        typer.echo(json.dumps({**asdict(written), "folder": str(written.folder)}, indent=2))
        return
    parts = ", ".join(f"{number} {split}" for split, number in written.meshes.items())
    typer.echo(f"{written.folder}: {'unchanged, reused' if written.reused else 'written'}, {parts} meshes of {', '.join(written.classes)}")


@app.command()
def statistics(
    scenes: Annotated[int, typer.Option(min=1, help="How many scenes to lay out; nothing is rendered.")] = 2000,
    split: Annotated[Split, typer.Option(help="Which official split to compare with.")] = "train",
    recipe: Annotated[Recipe, typer.Option(help="Which scenes.")] = "full",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the scenes.")] = 0,
    size: SizeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the scenes' annotations with the official ones."""
    with errors_on_stderr(), _bar("Laying out") as progress:
        measures = measure(scenes, split=split, recipe=recipe, seed=seed, size=_size(size), progress=progress)
    if as_json:
        typer.echo(json.dumps([{**asdict(m), "accepted": m.accepted} for m in measures], indent=2))
    else:
        Console().print(_table(measures))


def _table(measures: list[Measure]) -> Table:
    table = Table("measure")
    for title in ("drawn", "official", "band"):
        table.add_column(title, justify="right")
    table.add_column("")
    for m in measures:
        target = "" if m.target is None else f"{m.target:.3g}"
        band = "" if m.band is None else f"{m.band[0]:.3g} – {m.band[1]:.3g}"
        mark = {None: "", True: "[green]✓[/green]", False: "[red]outside[/red]"}[m.accepted]
        table.add_row(m.name, f"{m.value:.3g}", target, band, mark)
    return table


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, separator, height = text.lower().partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size must be like 480x360, found '{text}'")
    return int(width), int(height)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr for the time of the block, where somebody watches; yields ``progress(done, total)``."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def main() -> None:
    """Entry point."""
    app(prog_name="python -m pipelines.data")


if __name__ == "__main__":
    main()
