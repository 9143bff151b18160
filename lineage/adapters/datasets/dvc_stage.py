"""What DVC knows of the stage that a run belongs to: told by a process of its own, so that no run imports DVC.

DVC takes a second to import, brings threads and hundreds of modules along, and reads every dependency. None of that belongs into a
training process, so this module is also a program: ``python -m lineage.adapters.datasets.dvc_stage ROOT STAGE FOLDER`` prints JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lineage.adapters.datasets.dvc_place import roots_around
from lineage.errors import Unavailable, UsageError
from lineage.model.digest import digest_of_bytes
from lineage.model.dvc import DvcDependency, DvcRecord

STAGE_VARIABLE = "DVC_STAGE"
ROOT_VARIABLE = "DVC_ROOT"
_PATIENCE_S = 3600.0
"""A folder of some hundred gigabytes takes so long; whatever takes longer hangs."""


class DvcStages:
    """DVC behind :class:`lineage.ports.StageProbe`."""

    def around(self, folder: Path) -> DvcRecord | None:
        """Found by looking at folders; reads ``dvc.lock``, imports nothing."""
        _, root, _ = roots_around(folder / "x")
        if root is None:
            return None
        stage = os.environ.get(STAGE_VARIABLE) or None
        if stage is not None and Path(os.environ.get(ROOT_VARIABLE) or root).resolve() != root:
            stage = None  # it is a stage of another repository that led here
        lock = _lock_of(root, folder.resolve(), stage)
        try:
            content = None if lock is None else lock.read_bytes()
        except OSError:
            content = None
        if lock is None or content is None:
            return DvcRecord(root=str(root), stage=stage)
        return DvcRecord(root=str(root), lock=lock.relative_to(root).as_posix(), lock_digest=digest_of_bytes(content), stage=stage)

    def read(self, root: Path, stage: str, folder: Path) -> StageReading:
        """Starts the process that tells."""
        return StageReading(root, stage, folder)


class StageReading:
    """A look at a stage that is under way.

    Args:
        root: The DVC repository.
        stage: As DVC calls it.
        folder: Where the stage's command runs.

    Raises:
        Unavailable: DVC is not installed here, or the process cannot be started.
    """

    def __init__(self, root: Path, stage: str, folder: Path) -> None:
        if importlib.util.find_spec("dvc") is None:
            raise Unavailable("DVC is not installed in this environment", hint="pip install 'dataset-lineage[dvc]'")
        self._stage = stage
        self._out, self._talk = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - open until the result is read
        variables = {**os.environ, "DVC_NO_ANALYTICS": "1", "PYTHONWARNINGS": "ignore"}
        # Without -P the folder that the user works in would come first in the search for modules.
        command = [sys.executable, "-P", "-m", __name__, str(root), stage, str(folder)]
        try:
            self._process = subprocess.Popen(
                command, cwd=root, env=variables, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._talk, start_new_session=True
            )
        except OSError as error:
            raise Unavailable(f"no process can be started: {error.strerror}") from error

    def result(self) -> dict[str, Any]:
        """What was found, once it is: ``dependencies``, ``params``, ``outputs``, ``working_directory``, ``read_at`` of the record.

        Raises:
            Unavailable: DVC could not tell.
        """
        with self._out, self._talk:
            try:
                status: int | None = self._process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._end()
                status = None
            except BaseException:
                self._end()
                raise
            self._out.seek(0)
            self._talk.seek(0)
            told, talk = self._out.read(), self._talk.read().decode(errors="replace").strip()
        if status != 0:
            reason = "it took more than an hour" if status is None else talk.splitlines()[-1] if talk else f"status {status}"
            raise Unavailable(f"DVC could not tell about stage '{self._stage}': {reason}")
        found: dict[str, Any] = json.loads(told)
        found["dependencies"] = tuple(DvcDependency(**item) for item in found["dependencies"])
        found["outputs"] = tuple(found["outputs"])
        return found

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


def _lock_of(root: Path, folder: Path, stage: str | None) -> Path | None:
    """``dvc.lock`` beside the stage's ``dvc.yaml``; without one the nearest upwards from ``folder``."""
    named = [] if stage is None or ":" not in stage else [Path(stage.rpartition(":")[0]).parent]
    upwards = [place for place in (folder, *folder.parents) if place.is_relative_to(root)]
    for place in [*(root / name for name in named), *upwards, root]:
        if (place / "dvc.lock").is_file() and place.resolve().is_relative_to(root):
            return place.resolve() / "dvc.lock"
    return None


def describe_stage(root: Path, name: str, folder: Path) -> dict[str, Any]:
    """Everything about a stage, its dependencies read from the disk.

    Args:
        root: The DVC repository.
        name: As ``DVC_STAGE`` says it, which depends on the folder that DVC was started in.
        folder: Where its command runs: tells stages of one name apart.

    Raises:
        UsageError: There is no such stage, or there are several.
    """
    from dvc.dependency.param import ParamsDependency
    from dvc.repo import Repo
    from dvc_data.hashfile.state import StateNoop

    with Repo(str(root)) as repo:
        repo.cache.local.state = StateNoop()  # it takes an unchanged time of change for unchanged bytes
        stage = _find(list(repo.index.stages), name, folder)
        dependencies: list[dict[str, Any]] = []
        params: dict[str, dict[str, Any]] = {}
        for item in stage.deps:
            if isinstance(item, ParamsDependency):
                params[_inside(item, root)] = dict(item.read_params())
            else:
                dependencies.append(_read(item, root))
        return {
            "working_directory": Path(os.path.relpath(stage.wdir, root)).as_posix(),
            "dependencies": dependencies,
            "params": params,
            "outputs": [_inside(out, root) for out in stage.outs],
            "read_at": datetime.now(UTC).isoformat(),
        }


def _find(stages: list[Any], name: str, folder: Path) -> Any:
    file, colon, own = name.rpartition(":")
    fits = [stage for stage in stages if getattr(stage, "name", None) == own] if colon or not name.endswith(".dvc") else []
    if colon:
        fits = [stage for stage in fits if stage.path.endswith(f"{os.sep}{os.path.normpath(file).lstrip('./')}")] or fits
    if not colon and name.endswith(".dvc"):
        fits = [stage for stage in stages if stage.path.endswith(f"{os.sep}{os.path.normpath(name).lstrip('./')}")]
    here = [stage for stage in fits if os.path.realpath(stage.wdir) == os.path.realpath(folder)]
    chosen = here or fits
    if len(chosen) != 1:
        found = "none" if not chosen else ", ".join(sorted(str(stage.relpath) for stage in chosen))
        raise UsageError(f"expected one stage '{name}', found {found}")
    return chosen[0]


def _inside(item: Any, root: Path) -> str:
    if item.protocol != "local":
        return str(item.def_path).rpartition("@")[2]  # an address may hold a password before the host
    return Path(os.path.relpath(item.fs_path, root)).as_posix()


def _read(item: Any, root: Path) -> dict[str, Any]:
    from dvc_data.hashfile.build import build

    locked = None if not item.hash_info else item.hash_info.value
    md5 = size_bytes = files = None
    if item.protocol == "local" and item.exists:
        _, meta, built = build(item.local_cache, item.fs_path, item.fs, item.hash_name, ignore=item.dvcignore, dry_run=True)
        md5, size_bytes, files = built.hash_info.value, meta.size, meta.nfiles
    return {"path": _inside(item, root), "md5": md5, "size_bytes": size_bytes, "files": files, "locked_md5": locked}


def main() -> None:
    """Tell about a stage on stdout; one line on stderr and status 1 when that cannot be done."""
    root, name, folder = sys.argv[1:]
    try:
        told = json.dumps(describe_stage(Path(root), name, Path(folder)), default=str)
    except Exception as error:  # noqa: BLE001 - the record says why, whatever DVC raises
        sys.stderr.write(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}\n")
        sys.exit(1)
    sys.stdout.write(told)


if __name__ == "__main__":
    main()
