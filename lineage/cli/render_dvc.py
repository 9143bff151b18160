"""The DVC repository around a run, and the DVC remotes that hold it, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lineage.cli.output import when
from lineage.model.dvc import DvcDependency, DvcRecord
from lineage.model.push import Push
from lineage.model.words import size_in_words

_SHOWN = 20


def dvc_lines(item: DvcRecord | None) -> Iterator[tuple[str, str]]:
    """(heading, text) of each line."""
    if item is None:
        return
    lock = "no dvc.lock" if item.lock is None or item.lock_digest is None else f"{item.lock} {item.lock_digest[:19]}…"
    yield "dvc", (f"stage {item.stage}, " if item.stage else "") + f"{lock}, repository {item.root}"
    for dependency in (item.dependencies or ())[:_SHOWN]:
        yield "depends on", _words(dependency)
    if len(item.dependencies or ()) > _SHOWN:
        yield "depends on", f"… and {len(item.dependencies or ()) - _SHOWN} more; `lineage show --json` has all"
    for file, values in item.params.items():
        yield "params", f"{file}: {', '.join(f'{name} = {value}' for name, value in values.items())}"


def push_lines(items: Sequence[Push]) -> Iterator[tuple[str, str]]:
    """(heading, text) of each DVC remote that holds the run."""
    for item in items:
        yield (
            "pushed",
            f"to '{item.remote}' ({item.address}): {item.objects} objects, {size_in_words(item.size_bytes)}, at {when(item.at)} UTC",
        )


def _words(item: DvcDependency) -> str:
    if item.md5 is None:
        return f"{item.path}: not read"
    files = "" if item.files is None else f", {item.files} files"
    held = "" if item.size_bytes is None else f", {size_in_words(item.size_bytes)}"
    locked = "" if item.locked_md5 in (None, item.md5) else f" (dvc.lock named {item.locked_md5})"
    return f"{item.path}: md5 {item.md5}{files}{held}{locked}"
