"""Files that a command was seen to read: many of them are one entry of a record, and one row of a plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lineage.errors import LineageError
from lineage.model.digest import digest_of_file
from lineage.model.observed import READ
from lineage.model.plan import Ingredient
from lineage.model.run import Run, UsedArtifact
from lineage.ports import ObjectStore
from lineage.record.observed.file_lists import FILES, read_list

_FEW = 3
_SHOWN = 5


def single_files(objects: ObjectStore, run: Run) -> Iterator[UsedArtifact]:
    """Every file that the run used, those of lists, too; a list that is not kept has none (the plan says so)."""
    for used in run.uses:
        if used.kind != FILES:
            yield used
            continue
        try:
            listed = read_list(objects, used.digest)
        except LineageError:
            continue
        for item in listed:
            facts = {"kind": "file", "path": f"{used.path}/{item.path}", "digest": item.digest, "size_bytes": item.size_bytes}
            yield used.model_copy(update=facts)


def plan_lists(objects: ObjectStore, run: Run) -> Iterator[Ingredient]:
    """One ingredient for each list of files: ready when every one of them has the recorded content where it was."""
    root = Path() if run.code is None else Path(run.code.root)
    for used in run.uses:
        if used.kind != FILES:
            continue
        name, folder = f"files: {used.role}", root / used.path
        try:
            listed = read_list(objects, used.digest)
        except LineageError as error:
            yield Ingredient(name=name, status="missing", severity="blocker", recorded=used.path, found=error.message)
            continue
        recorded = f"{len(listed)} files in {used.path} {used.digest[:19]}"
        problems = [found for item in listed if (found := _problem(objects, folder / item.path, item.digest)) is not None]
        if not problems:
            yield Ingredient(name=name, status="ready", recorded=recorded, found=f"same contents in {folder}")
            continue
        more = (f"and {len(problems) - _SHOWN} more",) if len(problems) > _SHOWN else ()
        detail = (*problems[:_SHOWN], *more)
        found = f"{len(problems)} of them changed or gone"
        yield Ingredient(name=name, status="changed", severity="blocker", recorded=recorded, found=found, detail=detail)


def _problem(objects: ObjectStore, file: Path, digest: str) -> str | None:
    if objects.has(digest):
        return None
    try:
        found = digest_of_file(file)
    except OSError:
        return f"{file}: gone; restore it"
    return None if found == digest else f"{file}: expected {digest}, found {found}; restore the file"


def summed_up(rows: Sequence[Ingredient]) -> list[Ingredient]:
    """The same rows, with files that were read and are as they were in one row when they are many."""
    ready = [row for row in rows if row.name == f"file: {READ}" and row.status == "ready"]
    if len(ready) <= _FEW:
        return list(rows)
    count = f"{len(ready)} files"
    one = Ingredient(name=f"file: {READ}", status="ready", recorded=count, found=f"{count} with the same contents")
    return [one, *(row for row in rows if row not in ready)]
