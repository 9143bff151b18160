"""This interpreter, its packages and this machine.

Packages are digested by the rows of their ``RECORD`` (the installer's list of files with hashes, PEP 376), without the rows that differ
between two installations of the same wheel. Reading 150 of them takes about 0.1 s, so the result is kept under the names, sizes and times
of those files.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lineage.model.digest import canonical_json, digest_of_json
from lineage.model.environment import Environment, Package, PackageSource
from lineage.model.secrets import redact_text
from lineage.ports import AlteredInstalled, EnvironmentProbe

_NUMERIC = re.compile(
    r"(CUDA_|CUBLAS_|CUDNN_|NCCL_|TORCH|PYTORCH_|OMP_|MKL_|OPENBLAS_|BLIS_|VECLIB_|NUMEXPR_|KMP_|GOMP_|DNNL_|ONEDNN_|ATEN_|NVIDIA_|TRITON_"
    r"|PYTHONHASHSEED$|LD_PRELOAD$|MALLOC_|GLIBC_TUNABLES$|LC_|LANG$|TZ$|OPENCV_|RANK$|WORLD_SIZE$|LOCAL_RANK$)"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CRED|AUTH", re.IGNORECASE)
_FEATURES = re.compile(r"sse4_2|f16c|fma|avx\w*|amx\w*|asimd\w*|sve\w*|bf16|i8mm|svebf16")
_CACHE_FORM = 2


class LocalEnvironmentProbe:
    """Describes the running process.

    Args:
        cache: Folder for digests of installed packages, or ``None`` for none.
    """

    def __init__(self, cache: Path | None) -> None:
        self._cache = cache

    def describe(self) -> Environment:
        """Interpreter, packages, machine and allow-listed variables."""
        packages, sources = self._packages()
        python = platform.python_version()
        implementation = platform.python_implementation()
        cpu, features = _cpu()
        return Environment(
            python=python,
            implementation=implementation,
            executable=sys.executable,
            packages=packages,
            digest=digest_of_packages(implementation, python, packages),
            platform=f"{platform.system()}-{platform.release()}-{platform.machine()}",
            libc=" ".join(platform.libc_ver()).strip(),
            cpu=cpu,
            cpu_count=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            gpus=_gpus(),
            variables={
                name: redact_text(value) for name, value in sorted(os.environ.items()) if _NUMERIC.match(name) and not _SECRET.search(name)
            },
            sources=sources,
            cpu_features=features,
            gpu_driver=_gpu_driver(),
        )

    def loaded(self, files: Sequence[str]) -> list[str]:
        """Loaded files of installed packages; see :class:`lineage.ports.EnvironmentProbe`."""
        from lineage.adapters.environment.installed import loaded_files

        return loaded_files(files)

    def altered(self, files: Sequence[str] | None = None, *, known: Sequence[str] = ()) -> list[AlteredInstalled]:
        """Loaded files that are not what was installed; see :class:`lineage.ports.EnvironmentProbe`."""
        from lineage.adapters.environment.installed import altered_files  # at a run's end, not at its start

        return altered_files(self._cache, files, known)

    def pack(self, name: str, environment: Environment, without: str | None, folder: Path) -> Path:
        """An installed package as a wheel; see :class:`lineage.ports.EnvironmentProbe`."""
        from lineage.adapters.environment.wheels import pack_installed

        return pack_installed(name, environment.sources.get(name), without, folder)

    def content_key(self, name: str, environment: Environment, without: str | None) -> str | None:
        """A name for what :meth:`pack` would pack; see :class:`lineage.ports.EnvironmentProbe`."""
        from lineage.adapters.environment.wheels import content_key, is_loaded

        source = environment.sources.get(name)
        if source is not None and source.kind == "built" and not is_loaded(name):
            return None  # such a package may well come from an index: unused, it is not worth a copy
        return content_key(name, environment.packages[name].record, source, without)

    def _packages(self) -> tuple[dict[str, Package], dict[str, PackageSource]]:
        key = digest_of_json([_CACHE_FORM, sys.version, _listing()]).partition(":")[2]
        kept = None if self._cache is None else self._cache / f"packages-{key[:32]}.json"
        if kept is not None and kept.exists():
            try:
                known = json.loads(kept.read_bytes())
                packages = {name: Package.model_validate(item) for name, item in known["packages"].items()}
                return packages, {name: PackageSource.model_validate(item) for name, item in known["sources"].items()}
            except (ValueError, LookupError, TypeError, AttributeError):
                kept.unlink(missing_ok=True)  # torn by a full disk: it is a cache, make it anew
        from lineage.adapters.environment.packages import read_packages

        packages, sources = read_packages()
        if kept is not None:
            known = {
                "packages": {name: item.model_dump() for name, item in packages.items()},
                "sources": {name: item.model_dump() for name, item in sources.items()},
            }
            write_aside(kept, canonical_json(known))
        return packages, sources


class RebuiltEnvironmentProbe:
    """Describes an environment that was built for a reproduction, on the machine of this process.

    Args:
        here: Describes this process.
        environment: Interpreter and packages of the other one.
    """

    def __init__(self, here: EnvironmentProbe, environment: Environment) -> None:
        self._here = here
        self._environment = environment

    def describe(self) -> Environment:
        """Its interpreter and packages, this machine and these variables."""
        names = ("python", "implementation", "executable", "packages", "digest", "sources")
        return self._here.describe().model_copy(update={name: getattr(self._environment, name) for name in names})

    def loaded(self, files: Sequence[str]) -> list[str]:
        """As the probe of this process."""
        return self._here.loaded(files)

    def altered(self, files: Sequence[str] | None = None, *, known: Sequence[str] = ()) -> list[AlteredInstalled]:
        """None: it was compared when it was chosen, and its own process looks again."""
        return []

    def pack(self, name: str, environment: Environment, without: str | None, folder: Path) -> Path:
        """As the probe of this process."""
        return self._here.pack(name, environment, without, folder)

    def content_key(self, name: str, environment: Environment, without: str | None) -> str | None:
        """As the probe of this process."""
        return self._here.content_key(name, environment, without)


def digest_of_packages(implementation: str, python: str, packages: Mapping[str, Package]) -> str:
    """The digest that names interpreter and packages. Editable ones do not count: their code does, with the code."""
    return digest_of_json(
        {
            "python": python,
            "implementation": implementation,
            "packages": {name: [item.version, item.record] for name, item in packages.items() if not item.editable},
        }
    )


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


def _cpu() -> tuple[str, tuple[str, ...]]:
    """(model name, instruction sets that numeric code chooses by) of the first processor."""
    model = ""
    features: tuple[str, ...] = ()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:  # not the whole: with 128 processors it takes long to make
                name, _, value = line.partition(":")
                if name.startswith("model name"):
                    model = value.strip()
                elif name.startswith(("flags", "Features")):
                    features = tuple(sorted({word for word in value.split() if _FEATURES.fullmatch(word)}))
                    break
    except OSError:
        pass  # no such file on this system: the generic name below
    return model or platform.processor() or platform.machine(), features


def _gpu_driver() -> str:
    try:
        told = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"Module\D*\s(\d[\d.]*)", told)
    return found[1] if found else told.splitlines()[0].strip() if told.strip() else ""


def _gpus() -> tuple[str, ...]:
    names = []
    for facts in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        match = re.search(r"Model:\s*(.+)", facts.read_text(encoding="utf-8", errors="replace"))
        names.append(match[1].strip() if match else "unknown NVIDIA GPU")
    return tuple(names)


def write_aside(path: Path, content: bytes) -> None:
    """Write a file of a cache so that it is whole or not there; where that cannot be done the same work is done again next time."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(name, path)
