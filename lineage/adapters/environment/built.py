"""What an environment that was built holds: compared with its lock when it is made, and with itself when it is used again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lineage.adapters.environment.installed import listed_files
from lineage.adapters.environment.local import digest_of_packages
from lineage.adapters.environment.packages import read_packages
from lineage.errors import IntegrityError, Unavailable
from lineage.model.environment import Environment, Lock
from lineage.ports import ObjectStore

_NAME = "lineage-environment.json"
_THREADS = 2
_SHOWN = 3
_ASK = "import sys,platform,json;print(json.dumps([platform.python_implementation(),platform.python_version()]))"


class Manifest(BaseModel):
    """What was built.

    Attributes:
        environment: Interpreter and packages; the machine's part is empty.
        differences: One sentence for each package that is not as it was locked.
        files: Path to size in bytes, time of change in nanoseconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: Environment
    differences: tuple[str, ...]
    files: dict[str, tuple[int, int]] = {}


def describe_built(folder: Path, lock: Lock) -> Manifest:
    """Interpreter and packages of a new environment, each compared with the lock, and every file with its package's list.

    Raises:
        IntegrityError: A file is not what its package says: the installer's cache is damaged.
        Unavailable: The interpreter is another one, or does not start.
    """
    python = folder / "bin" / "python"
    done = subprocess.run([str(python), "-I", "-S", "-c", _ASK], capture_output=True, text=True, check=False, timeout=60)
    found = json.loads(done.stdout) if done.returncode == 0 else [None, done.stderr.strip()[-200:]]
    if found != [lock.implementation, lock.python]:
        raise Unavailable(f"uv took another interpreter: expected {lock.implementation} {lock.python}, found {found[0]} {found[1]}")
    site = _site(folder)
    _check_files(site)
    packages, sources = read_packages([str(site)])
    environment = Environment(
        python=lock.python,
        implementation=lock.implementation,
        executable=str(python),
        packages={
            name: item.model_copy(update={"editable": lock.packages[name].record is None, "record": lock.packages[name].record})
            if name in lock.packages and lock.packages[name].record is None
            else item
            for name, item in packages.items()
        },
        digest="sha256:" + "0" * 64,
        platform="",
        libc="",
        cpu="",
        cpu_count=0,
        # Kept wheels were installed from a folder that is gone when this is read.
        sources={name: source for name, source in sources.items() if not source.url.startswith(folder.parent.as_uri())},
    )
    digest = digest_of_packages(lock.implementation, lock.python, environment.packages)
    return Manifest(environment=environment.model_copy(update={"digest": digest}), differences=tuple(_differences(lock, environment)))


def _differences(lock: Lock, environment: Environment) -> Iterator[str]:
    for name, wanted in sorted(lock.packages.items()):
        found = environment.packages.get(name)
        if found is None:
            yield f"{name} {wanted.version} → absent"
        elif found.version != wanted.version:
            yield f"{name} {wanted.version} → {found.version}"
        elif wanted.record is not None and found.record != wanted.record:
            yield f"{name} {wanted.version}: another build of it, with other files"
    for name in sorted(environment.packages.keys() - lock.packages.keys()):
        yield f"{name} absent → {environment.packages[name].version}"


def _check_files(site: Path) -> None:
    listed, _ = listed_files(f"{site}{os.sep}")

    def is_altered(path: str) -> bool:
        wanted = listed[path][1]
        try:
            with open(site / path, "rb") as stream:
                found = urlsafe_b64encode(hashlib.file_digest(stream, "sha256").digest()).rstrip(b"=").decode()
        except FileNotFoundError:
            return True
        return found != wanted[7:].rstrip("=")

    chosen = [
        path for path, (_, hashed) in listed.items() if hashed.startswith("sha256=") and not re.match(r"(\.\./)+(bin|Scripts)/", path)
    ]
    with ThreadPoolExecutor(_THREADS) as pool:
        wrong = [path for path, altered in zip(chosen, pool.map(is_altered, chosen, chunksize=64), strict=True) if altered]
    if wrong:
        package = listed[wrong[0]][0]
        raise IntegrityError(
            f"{len(wrong)} files that were just installed ({', '.join(wrong[:_SHOWN])})",
            expected="what their package lists",
            found="something else",
            hint=f"uv's cache was altered; `uv cache clean {package}` deletes that copy",
        )


def apply_altered(folder: Path, lock: Lock, objects: ObjectStore) -> None:
    """Put files that had been altered where the run was made, as they were then.

    Raises:
        NotFound: One is no longer kept.
        IntegrityError: One was changed in the object store, or would lie outside the environment.
    """
    site = _site(folder)
    for item in lock.altered:
        target = Path(os.path.normpath(site / item.path))
        if not target.is_relative_to(site) or target == site:
            raise IntegrityError("altered file of the record", expected="a path inside the environment", found=item.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # not written into: the installer's cache has the same file
        target.write_bytes(objects.get_bytes(item.digest))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Note every file as it is now."""
    files = {path: (state.st_size, state.st_mtime_ns) for path, state in _files(folder)}
    (folder / _NAME).write_text(manifest.model_copy(update={"files": files}).model_dump_json(), encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """What was noted; ``None`` when there is nothing, or nothing that can be read."""
    try:
        return Manifest.model_validate_json((folder / _NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def verified(folder: Path, manifest: Manifest) -> bool:
    """Whether the files are the noted ones, by names, sizes and times, and its interpreter still exists."""
    if not (folder / "bin" / "python").exists():
        return False
    return {path: (state.st_size, state.st_mtime_ns) for path, state in _files(folder)} == manifest.files


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    start = len(str(folder)) + 1
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != "__pycache__":
                        waiting.append(entry.path)
                elif entry.name != _NAME:
                    yield entry.path[start:], entry.stat(follow_symlinks=False)


def _site(folder: Path) -> Path:
    found = sorted(folder.glob("lib/*/site-packages"))
    if len(found) != 1:
        raise Unavailable(f"uv made an environment of an unknown shape: {len(found)} folders of packages")
    return found[0]
