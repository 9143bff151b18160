"""``lineage verify``, ``materialise``, ``archive`` and ``gc``."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lineage.cli import render
from lineage.cli.bundle import open_run
from lineage.cli.look import RunName
from lineage.cli.output import AsJson, print_json, progress_bars, say
from lineage.cli.reproduce import by_role
from lineage.errors import IntegrityError, UsageError
from lineage.lookup.runs import get_run
from lineage.model.words import size_in_words
from lineage.reproduce.archive import archive_run
from lineage.reproduce.materialise import DEEPLAKE, materialise
from lineage.reproduce.tidy import plan_tidying, tidy
from lineage.reproduce.verify import Verifier, runs_to_verify
from lineage.wiring import exporter, require_own_objects, wire


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("verify")(verify)
    app.command("materialise")(materialise_command)
    app.command("archive")(archive)
    app.command("gc")(gc)


def verify(
    context: typer.Context,
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Run id, or a unique prefix of one; or a file made by lineage bundle.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run of the store; what several runs share is checked once.")] = False,
    full: Annotated[bool, typer.Option("--full/--quick", help="Every byte of data and objects, or names, log files and counts.")] = True,
    as_json: AsJson = False,
) -> None:
    """Is everything a record relies on still there and the same: record, code, data, objects? Nothing is executed.

    Data that are gone count as there when an archive holds them. Signatures are checked, and by whom they are is told. Exit code 0 when all
    is intact, 9 when something is missing or changed.
    """
    if (run is None) != every:
        raise UsageError("give a run, or --all", hint="lineage verify RUN · lineage verify --all --quick")
    unreadable = None if run is None else _unreadable(run)
    opened = None if run is None or unreadable is not None else open_run(context, run)
    ports = wire() if opened is None else opened.ports
    with progress_bars() as progress:
        verifier = Verifier(ports, "full" if full else "quick", progress)
        if opened is not None:
            found = [verifier.verify(opened.run)]
        else:
            runs = runs_to_verify(ports) if unreadable is None else [unreadable]
            found = []
            for number, item in enumerate(verifier.verify_all(runs), 1):
                found.append(item)
                progress("verifying runs", number, len(runs))
    intact = all(item.is_intact for item in found)
    if as_json:
        print_json({"intact": intact, "runs": [item.model_dump(mode="json") | {"intact": item.is_intact} for item in found]})
    else:
        for item in found:
            if run is not None or not item.is_intact:
                render.verification(item)
        broken = sum(not item.is_intact for item in found)
        if every:
            say("error" if broken else "done", f"{len(found) - broken} of {len(found)} runs intact ({'full' if full else 'quick'} check)")
    raise typer.Exit(0 if intact else IntegrityError.exit_code)


def _unreadable(name: str) -> str | None:
    """The whole id of a run whose stored record cannot be read; ``None`` for any other name."""
    if not re.fullmatch(r"[0-9a-fA-F-]{1,36}", name):
        return None
    ports = wire()
    found = ports.runs.ids_with_prefix(name.lower().replace("-", ""), 2)
    if len(found) != 1:
        return None
    try:
        ports.runs.get(found[0])
    except IntegrityError:
        return found[0]
    return None


def materialise_command(
    run: RunName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    layout: Annotated[str, typer.Option("--format", help="deeplake, or an exporter's name: visdrone, coco, yolo.")] = DEEPLAKE,
    role: Annotated[str | None, typer.Option(help="Only inputs of this role.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="ROLE=URI", help="Read the data of a role from another place; it must hold the same rows."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the rows a run read as a Deep Lake dataset or as folders, pictures byte for byte.

    Written aside, read back and compared, then renamed: DIR holds everything or nothing.
    """
    ports = wire()
    found = get_run(ports.runs, ports.liveness, run)
    with progress_bars() as progress:
        made = materialise(ports, found, folder, layout, exporter=exporter, role=role, data=by_role(data or []), progress=progress)
    if as_json:
        print_json({"run_id": found.id, "folder": str(folder.absolute()), "inputs": [asdict(item) for item in made]})
        return
    for item in made:
        say("done", f"{item.rows} rows of '{item.role}' written and read back" + (", from the archive" if item.origin == "archive" else ""))
        typer.echo(str(folder / item.path))


def archive(run: RunName, as_json: AsJson = False) -> None:
    """Keep a run's rows in the object store, so that it outlives its datasets. Pictures that are kept already are not kept twice."""
    ports = wire()
    require_own_objects(ports)
    found = get_run(ports.runs, ports.liveness, run)
    with progress_bars() as progress:
        kept = archive_run(ports, found, progress)
    if as_json:
        print_json({"run_id": found.id, "inputs": [asdict(item) for item in kept]})
        return
    for item in kept:
        say("done", f"{item.rows} rows of '{item.role}' {'were archived already' if item.was_kept else 'archived'}")
    if not kept:
        say("done", "the run read no recorded data")


def gc(
    plan: Annotated[bool, typer.Option("--plan", help="Say what would go, and stop.")] = False,
    environments: Annotated[
        bool, typer.Option("--environments", help="Also delete rebuilt environments; they can be built again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete objects that nothing relies on: left by interrupted work, or replaced.

    Whatever any record mentions stays, and all it leads to; so does everything younger than an hour.
    """
    ports = wire()
    with progress_bars() as progress:
        found = plan_tidying(ports, progress)
        freed = 0 if plan else tidy(ports, found)
        if environments and not plan:
            freed += sum(ports.environments().delete(Path(folder)) for folder, _ in found.environments)
    if as_json:
        print_json(asdict(found) | {"unneeded_bytes": found.unneeded_bytes, "freed_bytes": freed})
        return
    say("done", f"{found.needed} objects ({size_in_words(found.needed_bytes)}) are needed")
    if found.young:
        say("done", f"{found.young} that nothing needs are younger than an hour and stay")
    what = f"{len(found.unneeded)} that nothing needs ({size_in_words(found.unneeded_bytes)})"
    say("done", f"{what} would go" if plan else f"{what} deleted")
    for digest, size_bytes in found.unneeded if plan else ():
        typer.echo(f"{digest}\t{size_bytes}")
    if found.environments:
        built = f"{len(found.environments)} rebuilt environments ({size_in_words(sum(size_bytes for _, size_bytes in found.environments))})"
        say("done", f"{built} {'would go' if plan else 'deleted'}" if environments else f"{built} are kept; --environments deletes them")
    if found.workspaces:
        say("done", f"{len(found.workspaces)} workspaces of reproductions are kept in {ports.folder / 'workspaces'}; delete them yourself")
