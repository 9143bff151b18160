"""``lineage import mlflow``, ``lineage import tensorboard`` and ``lineage import wandb``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from lineage.cli.output import AsJson, print_json, progress_bars, say
from lineage.errors import InvalidSource
from lineage.model.run import Run
from lineage.ports import PastRuns
from lineage.record.imported import take_over
from lineage.wiring import mlflow_runs, past_runs, wire


@dataclass(frozen=True, slots=True)
class _Taken:
    run: Run
    place: str
    is_new: bool
    points: int
    points_there: int


def mlflow_command(
    what: Annotated[list[str], typer.Argument(metavar="WHAT...", help="MLflow's SQLite database (mlflow.db) or its folder (mlruns).")],
    experiment: Annotated[str | None, typer.Option(help="Only runs of this experiment.")] = None,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Also runs that never said that they ended, as aborted ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make records of past MLflow runs, and say what a reproduction would lack. MLflow need not be installed, nothing of it is changed.

    Done again it changes nothing. The records are marked as imported. Deleted runs are left out.
    """
    reader = mlflow_runs(experiment, unfinished=unfinished)
    _import(reader, what, as_json=as_json)
    for why, count in reader.left_out.items():
        say("warning", f"{count} runs are {why} and left out" + ("; --unfinished takes them" if why == "not over" else ""))


def tensorboard_command(
    what: Annotated[list[str], typer.Argument(metavar="LOGDIR...", help="A folder of event files, as TensorBoard is given it.")],
    as_json: AsJson = False,
) -> None:
    """Make a record of each folder with event files: every number with step and time, hyperparameters, and the files themselves.

    Done again it changes nothing. A torn file is read up to its last whole record.
    """
    _import(past_runs("tensorboard"), what, as_json=as_json)


def wandb_command(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT...", help="A folder that W&B wrote, a .wandb file, ENTITY/PROJECT[/RUN], or the address of a run's page."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Make records of past W&B runs, from what its client left in a folder or from a server; and say what a reproduction would lack.

    Done again it changes nothing. Runs that this layer recorded when they ran are left as they are. The records are marked as imported.
    """
    _import(past_runs("wandb"), what, as_json=as_json)


def _import(reader: PastRuns, what: Sequence[str], *, as_json: bool) -> None:
    ports = wire()
    places = [place for item in what for place in reader.places(item)]
    done: list[_Taken] = []
    failed: list[InvalidSource] = []
    with progress_bars() as progress:
        for number, place in enumerate(places, 1):
            try:
                foreign = reader.read(place)
            except InvalidSource as error:
                failed.append(error)
            else:
                run, is_new = take_over(ports, foreign)
                points = len(foreign.points) if is_new else len(ports.runs.metrics(run.id))
                done.append(_Taken(run, place, is_new, points, len(foreign.points)))
            progress("importing runs", number, len(places))
    if failed and len(places) == 1:
        raise failed[0]
    if done and as_json:
        print_json([_told(item) for item in done])
    elif done:
        _tell(done)
    if failed:
        others = "; the others are imported" if done else ""
        problems = [error.message for error in failed]
        raise InvalidSource(f"{len(failed)} of {len(places)} runs cannot be read{others}", problems=problems)


def _told(item: _Taken) -> dict[str, object]:
    return {
        "run_id": item.run.id,
        "name": item.run.name,
        "place": item.place,
        "is_new": item.is_new,
        "was_recorded": item.run.imported is None,
        "metric_points": item.points,
        "metric_points_there": item.points_there,
        "missing": [] if item.run.imported is None else list(item.run.imported.missing),
        "notes": list(item.run.notes),
    }


def _tell(done: Sequence[_Taken]) -> None:
    for item in done:
        known = "recorded when it ran" if item.run.imported is None else "imported before"
        say("done", f"{item.run.name}: {'imported' if item.is_new else known}, {item.points} metric points")
        if item.run.imported is not None and item.points_there > item.points:
            say("warning", f"{item.points_there} points are there by now: it went on after it was imported, and a record is not rewritten")
        for note in item.run.notes if item.is_new else ():
            say("warning", note)
        typer.echo(item.run.id)
    missing = sorted({text for item in done if item.is_new and item.run.imported is not None for text in item.run.imported.missing})
    if missing:
        say("warning", "missing for a reproduction:")
        for text in missing:
            say("warning", f"  {text}")
