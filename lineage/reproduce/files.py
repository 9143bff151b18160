"""Files that a run started from (base weights): found by content, and put where the repeated command looks for them."""

from __future__ import annotations

import shutil
from pathlib import Path

from lineage.model.digest import digest_of_file
from lineage.model.plan import Ingredient
from lineage.model.run import Run, UsedArtifact
from lineage.ports import ObjectStore

_FOLDER = ".lineage-files"


def plan_files(objects: ObjectStore, run: Run) -> list[Ingredient]:
    """One ingredient for each file: ready where its content is at hand."""
    return [_plan(objects, run, used) for used in run.uses]


def place_files(objects: ObjectStore, run: Run, workspace: Path) -> None:
    """Put files at the same place in the workspace, unless the snapshot brought them.

    A file that was read outside the repository and is not there any more goes into a folder of the workspace (:func:`placed_file`).
    """
    for used in run.uses:
        source = _source(objects, run, used)
        target = _aside(used, workspace) if Path(used.path).is_absolute() else workspace / used.path
        if source is None or source == Path(used.path) or (target.is_file() and digest_of_file(target) == used.digest):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(used.path).is_absolute():
            (workspace / _FOLDER / ".gitignore").write_text("*\n", encoding="utf-8")  # it is no part of the code
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)


def placed_file(run: Run, workspace: Path, path: str) -> Path | None:
    """Where the workspace has the file that the run read at an absolute path; ``None`` when it is read where it was."""
    found = (_aside(used, workspace) for used in run.uses if used.path == path and Path(path).is_absolute())
    return next((file for file in found if file.is_file()), None)


def _aside(used: UsedArtifact, workspace: Path) -> Path:
    return workspace / _FOLDER / used.digest.partition(":")[2][:16] / Path(used.path).name


def _plan(objects: ObjectStore, run: Run, used: UsedArtifact) -> Ingredient:
    name, recorded = f"file: {used.role}", f"{used.path} {used.digest[:19]}"
    source = _source(objects, run, used)
    if source is not None:
        return Ingredient(name=name, status="ready", recorded=recorded, found=f"same content in {source}")
    there = _original(run, used)
    found = "another content" if there.is_file() else "no such file"
    detail = f"{there}: expected {used.digest}; restore the file" + (f", found {digest_of_file(there)}" if there.is_file() else "")
    return Ingredient(
        name=name, status="changed" if there.is_file() else "missing", severity="blocker", recorded=recorded, found=found, detail=(detail,)
    )


def _original(run: Run, used: UsedArtifact) -> Path:
    root = Path() if run.code is None else Path(run.code.root)
    return root / used.path  # an absolute path stays what it is


def _source(objects: ObjectStore, run: Run, used: UsedArtifact) -> Path | None:
    there = _original(run, used)
    if there.is_file() and digest_of_file(there) == used.digest:
        return there
    # A file outside the repository is looked for where it was; only when the command names it can it be told of another place.
    is_named = any(word == used.path or word.endswith(f"={used.path}") for word in run.command)
    return None if Path(used.path).is_absolute() and not is_named else objects.path_of(used.digest)
