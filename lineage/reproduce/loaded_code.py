"""Files of modules that no snapshot holds: looked at in a plan, and put where the repeated command finds them."""

from __future__ import annotations

import os
from pathlib import Path

from lineage.model.code import CodeFile, LoadedCode
from lineage.model.digest import digest_of_file
from lineage.model.plan import Ingredient
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.code_packs import code_missing, place_object
from lineage.record.loose_code import PLACED

_SHOWN = 5


def plan_loose(ports: Ports, run: Run) -> Ingredient:
    """The code of a run that was not started inside a git repository: its script and modules, file by file."""
    reason, loaded = code_missing(ports, run), run.loaded
    if reason is not None or loaded is None:
        found = "none" if loaded is None else "not found"
        return Ingredient(name="code", status="missing", severity="blocker", recorded=found, found=found, detail=(reason or "none",))
    kinds = "its script and the modules that it had imported by the end"
    if loaded.how == "import statements":
        kinds = "its script and what import statements lead to; modules that are imported by a computed name are missed"
    detail = (
        f"not in a git repository: kept are {kinds}; files that are no modules, and modules of other programs, are missed",
        *([f"not kept: {', '.join(loaded.not_kept[:_SHOWN])}"] if loaded.not_kept else []),
        *_differences(loaded),
    )
    return Ingredient(
        name="code",
        status="missing" if loaded.not_kept else "ready",
        severity="warning",
        recorded=f"{len(loaded.outside)} files, in no git repository",
        found="kept in the object store, but for what is named" if loaded.not_kept else "kept in the object store",
        detail=detail,
    )


def plan_modules(run: Run) -> list[Ingredient]:
    """Modules that the repository's snapshot does not have as they were loaded; nothing where there are none."""
    loaded = run.loaded
    if run.code is None or loaded is None:
        return []
    recorded = f"{len(loaded.outside)} files from outside the repository, {len(loaded.inside)} of it that its snapshot does not have"
    detail = tuple(_differences(loaded))
    if loaded.not_kept:
        missed = f"not kept: {', '.join(loaded.not_kept[:_SHOWN])}"
        return [
            Ingredient(
                name="modules",
                status="missing",
                severity="warning",
                recorded=recorded,
                found="all but what is named",
                detail=(missed, *detail),
            )
        ]
    severity = "note" if detail else "none"
    return [
        Ingredient(
            name="modules", status="ready", severity=severity, recorded=recorded, found="kept in the object store as loaded", detail=detail
        )
    ]


def _differences(loaded: LoadedCode) -> list[str]:
    lines = [f"edited while the run was going: {name}" for name in loaded.edited[:_SHOWN]]
    if len(loaded.edited) > _SHOWN:
        lines.append(f"{len(loaded.edited) - _SHOWN} more files were edited")
    changed = [told for file in loaded.outside if (told := _difference(Path(loaded.top, file.path), file)) is not None]
    lines += changed[:_SHOWN]
    if len(changed) > _SHOWN:
        lines.append(f"{len(changed) - _SHOWN} more files are gone or differ")
    return lines


def _difference(there: Path, file: CodeFile) -> str | None:
    try:
        if there.stat().st_size == file.size_bytes and digest_of_file(there) == file.digest:
            return None
    except OSError:
        return f"{there} is gone; the recorded one is used"
    return f"{there} is another file now; the recorded one is used, unless the program names this path itself"


def working_folder(run: Run, workspace: Path) -> Path:
    """Where the command is started in a workspace."""
    if run.code is None and run.loaded is not None:
        return workspace / os.path.relpath(run.working_directory, run.loaded.top)
    return workspace / run.working_directory


def place_loaded(ports: Ports, run: Run, workspace: Path) -> None:
    """Put files that no snapshot holds into a workspace, after its own code was captured: they are no change of the user's.

    Raises:
        NotFound: One is not kept any more.
        IntegrityError: One is damaged.
    """
    if run.loaded is None:
        return
    for file in run.loaded.inside:
        place_object(ports, file, workspace)
    folder = _folder(run, workspace)
    if run.loaded.outside and run.code is not None:
        folder.mkdir()
        exclude = workspace / ".git" / "info" / "exclude"
        exclude.parent.mkdir(exist_ok=True)
        with exclude.open("a", encoding="utf-8") as stream:
            stream.write(f"/{PLACED}/\n")
    for file in run.loaded.outside:
        place_object(ports, file, folder)


def search_folders(run: Run, workspace: Path) -> list[Path]:
    """Folders of a workspace in which modules from outside the repository are looked for, in the recorded order."""
    return [] if run.loaded is None else [_folder(run, workspace) / entry for entry in run.loaded.search]


def placed_path(run: Run, workspace: Path, word: str) -> Path | None:
    """Where a file from outside the repository lies in the workspace, when a word of the recorded command names it."""
    if run.loaded is None or not run.loaded.outside:
        return None
    root = "" if run.code is None else run.code.root
    named = os.path.normpath(os.path.join(root, run.working_directory, word))
    inside = os.path.relpath(named, run.loaded.top)
    return _folder(run, workspace) / inside if any(file.path == inside for file in run.loaded.outside) else None


def _folder(run: Run, workspace: Path) -> Path:
    return workspace if run.code is None else workspace / PLACED
