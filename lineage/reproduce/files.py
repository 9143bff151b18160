"""Files that a run started from (base weights): found by content, and put where the repeated command looks for them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lineage.errors import LineageError
from lineage.model.digest import digest_of_file
from lineage.model.plan import Ingredient
from lineage.model.run import Run, UsedArtifact
from lineage.ports import ObjectStore, Ports, RunStore
from lineage.record.code_packs import put_code
from lineage.record.observed.file_lists import FILES
from lineage.record.reproducing import first_of
from lineage.reproduce.read_files import plan_lists, single_files, summed_up

_FOLDER = ".lineage-files"


def plan_files(ports: Ports, run: Run) -> list[Ingredient]:
    """One ingredient for each file: ready where its content is at hand, in the snapshot of the code, too."""
    run = in_users_folder(ports.runs, run)
    single = [used for used in run.uses if used.kind != FILES]
    sources = [_source(ports.objects, run, used) for used in single]
    lost = [used for used, source in zip(single, sources, strict=True) if source is None]
    in_snapshot = _in_snapshot(ports, run, lost)
    rows = [_plan(run, used, source, in_snapshot) for used, source in zip(single, sources, strict=True)]
    return [*summed_up(rows), *plan_lists(ports.objects, run)]


def in_users_folder(runs: RunStore, run: Run) -> Run:
    """A repetition with the folder of the run that it repeats in place of its workspace, which is gone: there its files are looked for."""
    first = first_of(runs, run)
    if run.code is None or first.code is None or first is run:
        return run
    return run.model_copy(update={"code": run.code.model_copy(update={"root": first.code.root})})


def place_files(objects: ObjectStore, run: Run, workspace: Path) -> None:
    """Put files at the same place in the workspace, unless the snapshot brought them.

    A file that was read outside the repository and is not there any more goes into a folder of the workspace (:func:`placed_file`).
    """
    for used in single_files(objects, run):
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


def _in_snapshot(ports: Ports, run: Run, files: list[UsedArtifact]) -> set[str]:
    """Paths of those files that the code's snapshot has with the recorded content. It is checked out to see; nothing in it is executed."""
    wanted = [used for used in files if not Path(used.path).is_absolute()]
    if not wanted or run.code is None:
        return set()
    ports.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="code-", dir=ports.folder, ignore_cleanup_errors=True) as folder:
        place = Path(folder, "code")
        place.mkdir()
        try:
            put_code(ports, run, place)
            return {used.path for used in wanted if (place / used.path).is_file() and digest_of_file(place / used.path) == used.digest}
        except (LineageError, OSError):  # the plan's row of the code tells why
            return set()


def _plan(run: Run, used: UsedArtifact, source: Path | None, in_snapshot: set[str]) -> Ingredient:
    name, recorded = f"file: {used.role}", f"{used.path} {used.digest[:19]}"
    if source is not None:
        return Ingredient(name=name, status="ready", recorded=recorded, found=f"same content in {source}")
    if used.path in in_snapshot:
        return Ingredient(name=name, status="ready", recorded=recorded, found="same content in the snapshot of the code")
    there = _original(run, used)
    found = "another content" if there.is_file() else "no such file"
    detail = f"{there}: expected {used.digest}" + (f", found {digest_of_file(there)}" if there.is_file() else "") + "; restore the file"
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
