"""``lineage store backup`` and ``lineage store restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineage.cli.output import AsJson, print_json, progress_bars, say, when
from lineage.errors import IntegrityError, UsageError
from lineage.model.words import size_in_words
from lineage.wiring_backup import back_up, check, restore_to

_SHOWN = 10


def register(commands: typer.Typer) -> None:
    """Add the commands to ``lineage store``."""
    commands.command("backup")(backup)
    commands.command("restore")(restore)


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the backup is, or is made. Not inside the store.")],
    reread: Annotated[
        bool, typer.Option("--reread", help="Also read what is in the backup already, and copy again what was damaged there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy all records, as they are at one moment, and all objects to a folder, while others go on recording.

    Done again it copies what is new; interrupted, the backup before it is whole and the next one goes on. Of access tokens only their
    digests are in it. Datasets, keys and secrets are not. For PostgreSQL run it where the service's LINEAGE_FOLDER is.
    """
    with progress_bars() as progress:
        manifest, new = back_up(folder, reread=reread, progress=progress)
    if as_json:
        print_json(manifest.model_dump(mode="json") | {"new_objects": new})
    taken = size_in_words(manifest.object_bytes + manifest.records.size_bytes)
    told = f"{manifest.runs} runs, {manifest.object_count} objects ({new} new), {taken}"
    say("done", f"{told}, as of {when(manifest.made_at)} UTC")
    if manifest.damaged:
        for digest in manifest.damaged[:_SHOWN]:
            say("error", f"object {digest[:19]}… of the store is not what its digest says, and is not in the backup")
        raise IntegrityError(
            f"{len(manifest.damaged)} objects of the store",
            expected="each as its digest says",
            found="see above",
            hint="everything else is in the backup; `lineage verify --all` says which runs they belong to",
        )


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The backup. Is only read.")],
    target: Annotated[
        str | None, typer.Argument(metavar="TO", help="A folder that is not there yet, or postgresql://… with nothing in it.")
    ] = None,
    check_only: Annotated[bool, typer.Option("--check", help="Only check the backup, byte by byte; TO is not given.")] = False,
    keep_tokens: Annotated[
        bool, typer.Option("--keep-tokens", help="Leave access tokens valid, also such as were revoked after the backup was made.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a store from a backup, and check it on the way: every byte, the chain of every record. Nothing is there unless all is.

    Access tokens in it are revoked, and requests for re-materialisation that waited are cancelled. For PostgreSQL objects come to
    LINEAGE_FOLDER.
    """
    if check_only == (target is not None):
        raise UsageError("expected either TO or --check", hint="lineage store restore DIR TO, or lineage store restore DIR --check")
    with progress_bars() as progress:
        found = check(folder, progress) if target is None else restore_to(folder, target, keep_tokens=keep_tokens, progress=progress)
    manifest = found.manifest
    if as_json:
        broken = [{"run_id": run_id, "detail": detail} for run_id, detail in found.broken]
        print_json(manifest.model_dump(mode="json") | {"broken": broken, "tokens_revoked": found.tokens, "jobs_cancelled": found.jobs})
    said = "checked" if target is None else "restored and checked"
    say("done", f"{manifest.runs} runs and {manifest.object_count} objects {said}, as of {when(manifest.made_at)} UTC")
    if found.tokens:
        say("warning", f"{found.tokens} access tokens were revoked; `lineage tokens new` makes new ones")
    if found.jobs:
        say("warning", f"{found.jobs} requests for re-materialisation that had not ended are cancelled; `lineage jobs retry` asks again")
    for run_id, detail in found.broken[:_SHOWN]:
        say("error", f"{run_id[:12]}: {detail}")
    if found.broken:
        raise IntegrityError(
            f"{len(found.broken)} of {manifest.runs} records",
            expected="each as its chain says",
            found="see above",
            hint="they were so in the store that was backed up; the others hold, and an older backup may have these whole",
        )
