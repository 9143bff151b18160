"""``lineage bundle`` and ``import``; and bundles where a run is expected."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from lineage.cli.look import RunName
from lineage.cli.output import AsJson, print_json, progress_bars, say
from lineage.errors import UsageError
from lineage.lookup.runs import get_run
from lineage.lookup.tracked import is_tracked_name
from lineage.model.bundle import SUFFIX
from lineage.model.run import Run
from lineage.model.words import size_in_words
from lineage.ports import Ports
from lineage.reproduce.bundle import bundle_run
from lineage.reproduce.bundle_file import BundleFile
from lineage.reproduce.bundle_import import import_bundle
from lineage.settings import Settings, load_settings
from lineage.wiring import wire

RunOrFile = Annotated[str, typer.Argument(metavar="RUN", help="Run id, or a unique prefix of one; or a file made by lineage bundle.")]
StoreForFile = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="With a file: the store it is taken into; else a temporary one.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("bundle")(bundle)


def bundle(
    run: RunName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file; by custom it ends in .lineage.")],
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Take the run's checkpoints along.")] = False,
    outputs: Annotated[
        bool, typer.Option("--outputs", help="Take along what else it made. A verdict needs only the digests, which are there in any case.")
    ] = False,
    wheels: Annotated[
        bool,
        typer.Option("--wheels", help="Take every installed package along, as wheels: for machines of this platform, without an index."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a run and all that reproducing it takes into one file: record, code, data rows, base weights, step logs.

    The file is read back before it gets its name; the same record gives the same bytes. Of installed packages the list is
    in it, and with --wheels the packages themselves.
    """
    ports = wire()
    found = get_run(ports.runs, ports.liveness, run)
    with progress_bars() as progress:
        made = bundle_run(ports, found, file, checkpoints=checkpoints, outputs=outputs, wheels=wheels, progress=progress)
    if as_json:
        print_json(asdict(made))
        return
    say("done", f"run {found.id[:12]} in {made.objects} objects, {size_in_words(made.size_bytes)}, read back")
    if made.wheels:
        say("done", f"{made.wheels} wheels, for {made.platform} only")
    if made.left_out:
        say("done", f"{made.left_out} files that it made are left out; their digests are there (--outputs, --checkpoints)")
    if not found.signatures:
        say("warning", "nobody signed the record: whoever gets the file is asked before anything runs (`lineage sign` signs it)")
    typer.echo(made.file)


def import_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file made by lineage bundle.")],
    as_json: AsJson = False,
) -> None:
    """Take a bundle into this store: its records, and every object. Nothing is executed; done again, it changes nothing.

    Everything is checked before anything is written. The records stay marked as made elsewhere.
    """
    with BundleFile(file) as opened, progress_bars() as progress:
        ports = wire()
        made = import_bundle(ports, opened, progress, findable=True)
    if as_json:
        print_json({"run_id": made.run.id, "new": made.new, "grown": made.grown, "objects": made.objects})
        return
    if made.new or made.grown:
        told = [f"{len(ids)} {words}" for ids, words in ((made.new, "taken over"), (made.grown, "brought up to date")) if ids]
        say("done", f"records: {', '.join(told)}; {made.objects} objects checked")
    else:
        say("done", "it was here already")
    typer.echo(made.run.id)


@dataclass(slots=True)
class Opened:
    """A run that a command works on.

    Attributes:
        settings: Of the store that holds it.
        ports: Of that store.
        run: Its record.
        folder: The temporary store; ``None`` when the store stays in any case.
    """

    settings: Settings
    ports: Ports
    run: Run
    folder: Path | None = None

    def keep(self) -> None:
        """Leave a temporary store behind, and say where."""
        if self.folder is not None:
            say("done", f"what was taken from the bundle, and the reproduction, are kept: LINEAGE_STORE={self.folder}")
            self.folder = None


def open_run(context: typer.Context, name: str, store: Path | None = None) -> Opened:
    """The run that a command was given: by id, or as a bundle, which is then taken into a store of its own.

    A temporary store is deleted when the command ends, unless it is kept.

    Args:
        context: Of the command.
        name: Run id or prefix, or a bundle's file.
        store: Where a bundle is taken into.

    Raises:
        UsageError: A store was named for a run that is no bundle.
    """
    if not _is_file(name):
        if store is not None:
            raise UsageError(f"--store goes with a bundle's file, not with the run '{name}'", hint="LINEAGE_STORE names the store of runs")
        settings = load_settings()
        ports = wire(settings)
        return Opened(settings, ports, get_run(ports.runs, ports.liveness, name))
    with BundleFile(Path(name)) as bundle:
        folder = store.absolute() if store is not None else Path(tempfile.mkdtemp(prefix="lineage-bundle-"))
        opened = Opened(Settings(str(folder), folder), *_into(folder, bundle, is_temporary=store is None))
    if store is None:
        opened.folder = folder
        context.call_on_close(lambda: _discard(opened))
    return opened


def _into(folder: Path, bundle: BundleFile, *, is_temporary: bool) -> tuple[Ports, Run]:
    try:
        ports = wire(Settings(str(folder), folder))
        with progress_bars() as progress:
            return ports, import_bundle(ports, bundle, progress).run
    except BaseException:
        if is_temporary:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _discard(opened: Opened) -> None:
    if opened.folder is not None:
        opened.ports.runs.close()
        shutil.rmtree(opened.folder, ignore_errors=True)


def _is_file(name: str) -> bool:
    # Ids are hexadecimal: whatever has a suffix or a folder in it can only be a file.
    if is_tracked_name(name):
        return False
    return name.endswith(SUFFIX) or "/" in name or (re.fullmatch(r"[0-9a-fA-F-]+", name) is None and Path(name).is_file())
