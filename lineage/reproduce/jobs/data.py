"""Data of a run, and a workspace with all that running it takes. Nothing recorded is executed here."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from lineage.errors import LineageError, Unavailable
from lineage.model.environment import lock_of
from lineage.model.run import Run
from lineage.model.secrets import REDACTED
from lineage.ports import DatasetBackend, Ports
from lineage.record.code_packs import put_code
from lineage.reproduce.bundle import bundle_run
from lineage.reproduce.files import in_users_folder, place_files
from lineage.reproduce.jobs.attempt import Attempt
from lineage.reproduce.jobs.folders import size_of
from lineage.reproduce.jobs.workshop import Outcome, Workshop
from lineage.reproduce.loaded_code import place_loaded, working_folder
from lineage.reproduce.materialise import materialise
from lineage.reproduce.trust import check_trust, require_trust

RESULT = "result"
_ARCHIVE = (
    "rows that the store keeps are written; ask for those of the run that it repeats, or trust its signer (`lineage keys trust FILE`)"
)


def data(shop: Workshop, attempt: Attempt) -> Outcome:
    """Write the rows that a run read, read them back and compare them."""
    job = attempt.claim.job
    run = shop.ports.runs.get(job.run_id)
    target = attempt.folder / RESULT
    made = materialise(
        _closed_for_strangers(shop.ports, run),
        run,
        target,
        job.options.format,
        exporter=shop.exporter,
        role=job.options.role,
        progress=attempt.progress,
    )
    for item in made:
        attempt.say(f"{item.rows} rows of '{item.role}' in {item.path}, read back, from the {item.origin}")
    return Outcome(path=target, size_bytes=size_of(target))


def _closed_for_strangers(ports: Ports, run: Run) -> Ports:
    """Ports that open no dataset where nobody trusted answers for the record: its addresses lead where its maker liked."""

    def closed() -> DatasetBackend:
        raise Unavailable("a worker opens no dataset for a record from elsewhere", hint=_ARCHIVE)

    return replace(ports, datasets=closed) if any(item.severity == "blocker" for item in check_trust(ports, run)) else ports


def workspace(shop: Workshop, attempt: Attempt) -> Outcome:
    """Put code, environment and data of a run side by side, with the command that runs it."""
    run = shop.ports.runs.get(attempt.claim.job.run_id)
    require_trust(shop.ports, run)
    aside, target = attempt.folder / "making", attempt.folder / RESULT
    aside.mkdir()
    attempt.progress("collecting what the run needs", 0, 1)
    bundle_run(shop.ports, run, aside / "run.lineage", progress=attempt.progress)
    code = aside / "code"
    code.mkdir()
    put_code(shop.ports, run, code)
    place_files(shop.ports.objects, in_users_folder(shop.ports.runs, run), code)
    folder = working_folder(run, code)
    folder.mkdir(parents=True, exist_ok=True)
    place_loaded(shop.ports, run, code)
    if run.inputs:
        materialise(shop.ports, run, aside / "data", exporter=shop.exporter, progress=attempt.progress)
    notes = _environment(shop, attempt, run, aside)
    _scripts(run, aside, folder.relative_to(aside), attempt.claim.job.options.environment, notes)
    attempt.check()
    aside.rename(target)
    return Outcome(path=target, size_bytes=size_of(target))


def _environment(shop: Workshop, attempt: Attempt, run: Run, aside: Path) -> list[str]:
    """The lock of the recorded environment, and the wheels that no index has; what is missing, in words."""
    if run.environment is None or attempt.claim.job.options.environment == "current":
        return ["The recorded environment is left out: none was recorded, or none was asked for."]
    lock, notes = lock_of(run.environment, run.installed), list[str]()
    folder = aside / "environment"
    (folder / "wheels").mkdir(parents=True)
    (folder / "requirements.txt").write_text(lock.requirements(), encoding="utf-8")
    for name, item in lock.packages.items():
        if item.wheel is None:
            continue
        try:
            (folder / "wheels" / Path(item.wheel.file).name).write_bytes(shop.ports.objects.get_bytes(item.wheel.digest))
        except LineageError as error:
            notes.append(f"The wheel of {name} is lost: {error.message}")
    uv = 'uv venv --python "{python}" .venv && uv pip install --python .venv --no-deps --find-links wheels --requirement requirements.txt'
    script = f'#!/bin/sh\n# Builds the recorded environment in environment/.venv.\nset -e\ncd "$(dirname "$0")"\n{uv}\n'
    _script(folder / "build.sh", script.replace("{python}", lock.python))
    return notes


def _scripts(run: Run, aside: Path, folder: Path, environment: str, notes: list[str]) -> None:
    command = shlex.join(run.command)
    repeat = f'exec lineage reproduce "$(dirname "$0")/run.lineage" --yes --keep --env {environment} "$@"'
    _script(aside / "run.sh", f"#!/bin/sh\n# Runs it again with the recorded data, and says whether the result is the same.\n{repeat}\n")
    secret = ["The command held secrets, which are in no record: put them in where it says so."] if REDACTED in command else []
    lines = [
        f"# Run {run.id} ({run.name})",
        "",
        "| | |",
        "|---|---|",
        "| `run.sh` | runs it again with the recorded code, environment and data, and compares. Needs the command `lineage`. |",
        f"| `code/` | the code as it ran; the command was started in `{folder}` |",
        *(
            ["| `data/` | the rows it read, one dataset for each role; the code's own addresses lead to the originals |"]
            if run.inputs
            else []
        ),
        *(["| `environment/build.sh` | builds the recorded environment with uv |"] if (aside / "environment").is_dir() else []),
        "| `run.lineage` | all of it in one file, for another machine |",
        "",
        "The command, as it was recorded:",
        "",
        *(f"    {line}" for line in command.splitlines()),
        *(f"\n{note}" for note in [*secret, *notes]),
    ]
    (aside / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _script(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755)
