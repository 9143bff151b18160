"""This interpreter, its packages and this machine.

Packages are digested by the rows of their ``RECORD`` (the installer's list of files with hashes, PEP 376), without the rows that differ
between two installations of the same wheel. Reading 150 of them takes about 0.1 s, so the result is kept under the names, sizes and times
of those files.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from lineage.model.digest import canonical_json, digest_of_json
from lineage.model.environment import Environment, Package
from lineage.model.secrets import redact_text

_VOLATILE = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json", "uv_build.json", "RECORD.jws", "RECORD.p7s"}
_NUMERIC = re.compile(
    r"(CUDA_|CUBLAS_|CUDNN_|NCCL_|TORCH|PYTORCH_|OMP_|MKL_|OPENBLAS_|BLIS_|VECLIB_|NUMEXPR_|KMP_|GOMP_|DNNL_|ONEDNN_|ATEN_|NVIDIA_|TRITON_"
    r"|PYTHONHASHSEED$|LD_PRELOAD$|MALLOC_|GLIBC_TUNABLES$|LC_|LANG$|TZ$|OPENCV_|RANK$|WORLD_SIZE$|LOCAL_RANK$)"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CRED|AUTH", re.IGNORECASE)
_CACHE_FORM = 1


class LocalEnvironmentProbe:
    """Describes the running process.

    Args:
        cache: Folder for digests of installed packages, or ``None`` for none.
    """

    def __init__(self, cache: Path | None) -> None:
        self._cache = cache

    def describe(self) -> Environment:
        """Interpreter, packages, machine and allow-listed variables."""
        packages = self._packages()
        python = platform.python_version()
        implementation = platform.python_implementation()
        identity = {
            "python": python,
            "implementation": implementation,
            "packages": {name: [item.version, item.record] for name, item in packages.items() if not item.editable},
        }
        return Environment(
            python=python,
            implementation=implementation,
            executable=sys.executable,
            packages=packages,
            digest=digest_of_json(identity),
            platform=f"{platform.system()}-{platform.release()}-{platform.machine()}",
            libc=" ".join(platform.libc_ver()).strip(),
            cpu=_cpu_model(),
            cpu_count=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            gpus=_gpus(),
            variables={
                name: redact_text(value) for name, value in sorted(os.environ.items()) if _NUMERIC.match(name) and not _SECRET.search(name)
            },
        )

    def _packages(self) -> dict[str, Package]:
        key = digest_of_json([_CACHE_FORM, sys.version, _listing()]).partition(":")[2]
        kept = None if self._cache is None else self._cache / f"packages-{key[:32]}.json"
        if kept is not None and kept.exists():
            try:
                return {name: Package.model_validate(item) for name, item in json.loads(kept.read_bytes()).items()}
            except ValueError:
                kept.unlink(missing_ok=True)  # torn by a full disk: it is a cache, make it anew
        found = _read_packages()
        if kept is not None:
            _write_aside(kept, canonical_json({name: item.model_dump() for name, item in found.items()}))
        return found


def _listing() -> list[list[Any]]:
    entries: list[list[Any]] = []
    for folder in dict.fromkeys(sys.path):
        if not os.path.isdir(folder or "."):
            continue
        with os.scandir(folder or ".") as listing:
            for entry in listing:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    facts = _facts(Path(entry.path))
                    entries.append([folder, entry.name, *facts])
    return sorted(entries, key=lambda item: (item[0], item[1]))


def _facts(entry: Path) -> tuple[int | None, int | None]:
    # The file that a new installation writes anew. An .egg-info may be that file itself, and often has no version in its name.
    for path in (entry / "RECORD", entry / "PKG-INFO", entry):
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        return found.st_size, found.st_mtime_ns
    return None, None


def _read_packages() -> dict[str, Package]:
    packages: dict[str, Package] = {}
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if not name or name in packages:  # the first on the path is the one that is imported
            continue
        direct = json.loads(distribution.read_text("direct_url.json") or "{}")
        editable = bool(direct.get("dir_info", {}).get("editable"))
        record = None if editable else distribution.read_text("RECORD")
        packages[name] = Package(
            version=distribution.version, record=None if record is None else _digest_of_record(record), editable=editable
        )
    return dict(sorted(packages.items()))


def _digest_of_record(text: str) -> str:
    rows = [row for row in csv.reader(text.splitlines()) if row and not _is_volatile(row[0])]
    state = hashlib.sha256("\n".join(sorted(",".join(row[:3]) for row in rows)).encode())
    return f"sha256:{state.hexdigest()}"


def _is_volatile(path: str) -> bool:
    name = path.replace("\\", "/")
    if name.endswith(".pyc"):
        return True
    if ".dist-info/" in name and name.rsplit("/", 1)[1] in _VOLATILE:
        return True
    return name.startswith(("../../../bin/", "../../Scripts/"))  # their first line names the environment's folder


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # no such file on this system: the generic name below
    return platform.processor() or platform.machine()


def _gpus() -> tuple[str, ...]:
    names = []
    for facts in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        match = re.search(r"Model:\s*(.+)", facts.read_text(encoding="utf-8", errors="replace"))
        names.append(match[1].strip() if match else "unknown NVIDIA GPU")
    return tuple(names)


def _write_aside(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    os.replace(name, path)
