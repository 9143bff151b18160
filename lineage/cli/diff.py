"""``lineage diff``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lineage.cli.output import AsJson, print_json, progress_bars, say
from lineage.errors import UsageError
from lineage.lookup.runs import runs_behind
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.wiring import wire

if TYPE_CHECKING:
    from lineage.model.difference import Difference

_NAMED = "run id or its beginning, artifact digest, or path of a weights file"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("diff")(diff)


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=f"The first run: {_NAMED}.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The second run, named likewise.")],
    rows: Annotated[int, typer.Option("--rows", min=0, help="Describe so many changed rows of each kind; all are counted.")] = 20,
    role: Annotated[str | None, typer.Option("--role", help="Only the data of this role.")] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 when something differs that should decide the result, as git diff does.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write a page with the changed rows' pictures, old and new boxes, and curves."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What differs between two runs, the likeliest cause of other results first.

    Compared are data down to the row and the box, code, configuration, base weights, environment and results. The status is 0 whether or
    not they differ, unless --exit-code is given.
    """
    from lineage.cli import render_difference  # here: no other command should wait for what comparing needs
    from lineage.lookup.diff import diff_runs

    ports = wire()
    first, second = _run(ports, a), _run(ports, b)
    with progress_bars() as progress:
        found = diff_runs(ports, first, second, rows=rows, role=role, progress=progress)
    if html is not None:
        _write_page(ports, first, second, found, html)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        render_difference.difference(found)
    if exit_code and not found.is_same:
        raise typer.Exit(1)


def _write_page(ports: Ports, a: Run, b: Run, found: Difference, file: Path) -> None:
    from lineage.cli.difference_page import described_pictures, difference_page

    page = difference_page(found, ports.runs.metrics(a.id), ports.runs.metrics(b.id), described_pictures(ports, a, b, found))
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--html {file}: {error.strerror}", hint="name a file in a folder that can be written") from error
    say("done", f"wrote {file}")


def _run(ports: Ports, name: str) -> Run:
    found, digest = runs_behind(ports.runs, ports.liveness, name)
    if len(found) > 1:
        what = name if digest is None else Path(name).name
        say("warning", f"{len(found)} runs made {what}; the newest is compared, {found[0].id[:12]}")
    return found[0]
