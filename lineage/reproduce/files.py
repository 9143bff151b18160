"""Files that a run started from (base weights): found by content, and put where the repeated command looks for them."""

from __future__ import annotations

import shutil
from pathlib import Path

from lineage.model.digest import digest_of_file
from lineage.model.plan import Ingredient
from lineage.model.run import Run, UsedArtifact
from lineage.ports import ObjectStore


def plan_files(objects: ObjectStore, run: Run) -> list[Ingredient]:
    """One ingredient for each file: ready where its content is at hand."""
    return [_plan(objects, run, used) for used in run.uses]


def place_files(objects: ObjectStore, run: Run, workspace: Path) -> None:
    """Put files that were read inside the repository at the same place in the workspace, unless the snapshot brought them."""
    for used in run.uses:
        target = workspace / used.path
        source = _source(objects, run, used)
        if Path(used.path).is_absolute() or source is None or (target.is_file() and digest_of_file(target) == used.digest):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)


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
    # A file outside the repository is read where it was; a copy of it elsewhere would not be looked at.
    return None if Path(used.path).is_absolute() else objects.path_of(used.digest)
