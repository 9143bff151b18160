"""Folders of jobs: ``<folder>/<job>/<number of the claim>``. Each has a note in it, and nothing without one is ever deleted."""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lineage.errors import NotFound, Unavailable
from lineage.model.materialisation import JobState, Materialisation
from lineage.ports.jobs import JobQueue

NOTE = "job.json"
_UNKNOWN_FOR_S = 86_400.0


def new_folder(root: Path, job: Materialisation, number: int) -> Path:
    """An empty folder for an attempt. Those of earlier attempts go, but for one whose result is noted.

    Raises:
        Unavailable: It cannot be made.
    """
    of_job = root / job.id
    folder = of_job / str(number)
    try:
        of_job.mkdir(parents=True, exist_ok=True)
        (of_job / NOTE).write_text(json.dumps({"job": job.id, "run": job.run_id}) + "\n", encoding="utf-8")
        for other in of_job.iterdir():
            if other.is_dir() and (job.path is None or not Path(job.path).is_relative_to(other)):
                shutil.rmtree(other, ignore_errors=True)
        folder.mkdir()
    except OSError as error:
        raise Unavailable(f"the folder {folder} cannot be made: {error.strerror}", hint="--folder names one with room in it") from error
    return folder


def delete(root: Path, job_id: str) -> None:
    """Delete all that a job left."""
    of_job = root / job_id
    if is_of(of_job, job_id):
        shutil.rmtree(of_job, ignore_errors=True)


def is_of(folder: Path, job_id: str) -> bool:
    """Whether a worker made this folder for this job."""
    try:
        told = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and told.get("job") == job_id


def tidy(root: Path, queue: JobQueue, keep_days: float) -> list[str]:
    """Delete what nobody needs: folders of jobs that are over, results after some days; ids of the jobs they were of.

    Args:
        root: Of the jobs' folders.
        queue: Of the jobs.
        keep_days: So long the result of a job stays.
    """
    gone: list[str] = []
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if not is_of(folder, folder.name):
            continue
        try:
            job = queue.get(folder.name)
        except NotFound:  # of another store, perhaps
            if time.time() - folder.stat().st_mtime < _UNKNOWN_FOR_S:
                continue
            job = None
        if job is not None and (not job.state.is_end or _is_kept(job, keep_days)):
            continue
        if job is not None and job.path is not None:
            queue.forget_files(job.id)  # first: an answer must not promise what is being deleted
        delete(root, folder.name)
        gone.append(folder.name)
    return gone


def _is_kept(job: Materialisation, keep_days: float) -> bool:
    is_result = job.state is JobState.succeeded and job.path is not None
    return is_result and job.ended_at is not None and datetime.now(UTC) - job.ended_at < timedelta(days=keep_days)


def size_of(folder: Path) -> int:
    """Size in bytes of the files below a folder, each counted once; links are not followed."""
    total, seen, left = 0, set[tuple[int, int]](), [str(folder)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                    elif (found.st_dev, found.st_ino) not in seen:
                        seen.add((found.st_dev, found.st_ino))
                        total += found.st_size
        except OSError:  # it was deleted while it was looked at
            continue
    return total
