"""``lineage import wandb``."""

from __future__ import annotations

from typing import Annotated

import typer

from lineage.cli.output import AsJson, print_json, progress_bars, say
from lineage.errors import InvalidSource, LineageError
from lineage.record.imported import take_over
from lineage.wiring import past_runs, wire


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
    ports, reader = wire(), past_runs("wandb")
    places = [place for item in what for place in reader.places(item)]
    done: list[dict[str, object]] = []
    failed: list[LineageError] = []
    with progress_bars() as progress:
        for number, place in enumerate(places, 1):
            try:
                foreign = reader.read(place)
            except InvalidSource as problem:
                failed.append(problem)
            else:
                run, is_new = take_over(ports, foreign)
                imported = run.imported
                done.append(
                    {
                        "run_id": run.id,
                        "name": run.name,
                        "place": place,
                        "is_new": is_new,
                        "was_recorded": imported is None,
                        "metric_points": len(foreign.points),
                        "missing": [] if imported is None else list(imported.missing),
                        "notes": list(run.notes) if is_new else [],
                    }
                )
            progress("importing runs", number, len(places))
    if len(failed) == len(places):
        raise failed[0]
    if as_json:
        print_json(done)
    else:
        _tell(done)
    for error in failed:
        say("error", error.message)
    if failed:
        raise InvalidSource(f"{len(failed)} of {len(places)} runs cannot be read", hint="the others were imported")


def _tell(done: list[dict[str, object]]) -> None:
    for item in done:
        known = "recorded when it ran" if item["was_recorded"] else "imported before"
        say("done", f"{item['name']}: {'imported' if item['is_new'] else known}, {item['metric_points']} metric points")
        for note in item["notes"] if isinstance(item["notes"], list) else []:
            say("warning", str(note))
        typer.echo(item["run_id"])
    missing = sorted({str(text) for item in done if isinstance(item["missing"], list) for text in item["missing"]})
    if missing:
        say("warning", "missing for a reproduction:")
        for text in missing:
            say("warning", f"  {text}")
