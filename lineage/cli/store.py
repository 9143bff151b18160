"""``lineage store``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from lineage.cli import backup
from lineage.cli.output import AsJson, print_json, progress_bars, say
from lineage.errors import IntegrityError
from lineage.wiring import copying

_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the commands."""
    commands = typer.Typer(help="Bring a store's records to another one, or to a backup.", no_args_is_help=True, rich_markup_mode=None)
    commands.command("copy")(copy)
    backup.register(commands)
    app.add_typer(commands, name="store")


def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A folder, postgresql://… or http://… of a service. Is only read.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The same. Made when it is a folder that is not there.")],
    objects: Annotated[bool, typer.Option("--objects", help="Also objects: models, lists of rows, code, kept rows.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy every record, letter by letter, and compare each with what was read: chains, numbers and digests.

    Done again it copies what is new; interrupted, it goes on where it was. A record that is in TO with other events is named and left
    alone. For a service the token is taken from LINEAGE_TOKEN, for PostgreSQL the password may be in PGPASSWORD. Rows are findable in TO
    by picture when their objects are there.
    """
    with progress_bars() as progress, copying(source, target, with_objects=objects, progress=progress) as done:
        outcomes = list(done)
    if as_json:
        print_json([asdict(item) for item in outcomes])
    failed = [item for item in outcomes if item.outcome == "failed"]
    for item in failed[:_SHOWN]:
        say("error", f"{item.run_id[:12]}: {item.detail}")
    count = Counter(item.outcome for item in outcomes)
    told = ", ".join(f"{count[word]} {word}" for word in ("copied", "grown", "known") if count[word]) or "nothing to copy"
    events, points = sum(item.events for item in outcomes), sum(item.points for item in outcomes)
    say("done", f"{len(outcomes) - len(failed)} runs: {told}; {events} events and {points} metric points compared")
    if failed:
        raise IntegrityError(
            f"{len(failed)} of {len(outcomes)} runs",
            expected="each copied as it is",
            found="see above",
            hint="the others were copied; `lineage verify RUN` says what is wrong with one",
        )
