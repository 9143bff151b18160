"""Environments built by uv from locks, and kept: ``environments/<key>``. Built aside, compared with the lock, renamed."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lineage.adapters.environment.built import Manifest, apply_altered, describe_built, read_manifest, verified, write_manifest
from lineage.adapters.environment.local import RebuiltEnvironmentProbe
from lineage.adapters.environment.uv_program import call_uv, complaint, pip_is_configured
from lineage.adapters.environment.wheelhouse import Wheelhouse, make_wheels, placed_wheels, this_platform
from lineage.adapters.environment.wheels import pack_installed
from lineage.errors import CaptureError, Conflict, IntegrityError, Unavailable
from lineage.model.environment import Environment, Lock, LockedPackage
from lineage.ports import Buildable, BuiltEnvironment, CachedEnvironment, EnvironmentProbe, ObjectStore

_LOOK_S = 120.0
_BUILD_S = 3600.0
_MOST_NAMED = 20
_MISSING = re.compile(r"[Bb]ecause (?:there is no version of )?([A-Za-z0-9][A-Za-z0-9._-]*)(?:==\S+)?")


class UvEnvironmentBuilder:
    """Builds with uv, from its cache first, then from the user's index.

    Args:
        folder: Where environments are kept.
        objects: Where wheels and altered files are kept.
        probe: Describes this process.
        builds: Whether packages that have no wheel are built of their source, which executes their code.
    """

    def __init__(self, folder: Path, objects: ObjectStore, probe: EnvironmentProbe, *, builds: bool = True) -> None:
        self._folder = folder
        self._builds = builds
        self._objects = objects
        self._probe = probe
        self._wheelhouse = Wheelhouse(folder / ".wheels")

    def program(self) -> str:
        """uv and its version."""
        done = call_uv(["--version"], Path(tempfile.gettempdir()), _LOOK_S)
        if done.returncode != 0:
            raise Unavailable(f"uv does not work: {complaint(done)}", hint="pip install uv")
        return done.stdout.strip()

    def find(self, lock: Lock) -> BuiltEnvironment | None:
        """One that was built before and is still as it was then; one that was altered is deleted."""
        folder = self._place(lock)
        manifest = read_manifest(folder)
        if manifest is None:
            return None
        if not verified(folder, manifest):
            with self._locked(folder):
                self._remove(folder)
            return None
        with suppress(OSError):  # a sandbox may show it without letting anybody write; then it is noted as used by whoever made the sandbox
            os.utime(folder)
        return self._built(folder, manifest, was_there=True)

    def check(self, lock: Lock) -> Buildable:
        """Whether it could be built: asked of uv's cache, then of the index. No package's code is executed."""
        _check_words(lock)
        with self._aside("check") as aside:
            python = self._python(lock, aside, offline=True) or self._python(lock, aside, offline=False)
            if python is None:
                return Buildable((f"{lock.implementation} {lock.python} is not here, and uv cannot fetch it",), downloads=True)
            files = {name: str(aside / item.wheel.file) for name, item in lock.packages.items() if item.wheel is not None}
            problems = [
                f"{name} {item.version}: its kept wheel is lost"
                for name, item in lock.packages.items()
                if item.wheel is not None and not self._objects.has(item.wheel.digest)
            ]
            held = self._wheelhouse.held(lock)
            files |= {name: str(file) for name, file in held.items()}
            left = {name: item for name, item in lock.packages.items() if name not in files and item.address is None}
            missing = self._missing(left, python, aside, ("--offline",))
            wanted = {name: item for name, item in missing.items() if not self._is_here(name, item)}
            addressed = any(item.address is not None and name not in files for name, item in lock.packages.items())
            downloads = addressed or bool(wanted)
            for as_pip in (False, True) if pip_is_configured() else (False,):
                wanted = self._missing(wanted, python, aside, (), as_pip=as_pip)
            problems += [f"{name} {item.version}: no index has it, and no copy is kept" for name, item in wanted.items()]
            useless = [
                f"{count} wheels that came with a bundle are for {other}, this is {this_platform()}: they cannot be used"
                for other, count in self._wheelhouse.elsewhere(lock).items()
            ]
            problems += useless if problems else []
            notes = [f"{len(held)} wheels came with a bundle, for {this_platform()}"] if held else []
            notes += [] if problems else useless
            return Buildable(tuple(problems), downloads=downloads, notes=tuple(notes))

    def wheels(self, lock: Lock, folder: Path) -> tuple[dict[str, Path], list[str]]:
        """A wheel of each package, of this environment, of a rebuilt one, or of a bundle's; and what has none."""
        _check_words(lock)
        built = self.find(lock)
        sites: list[Path | None] = [None]
        if built is not None:
            sites += sorted(built.python.parents[1].glob("lib/*/site-packages"))
        return make_wheels(lock, self._wheelhouse.held(lock), sites, folder)

    def platform(self) -> str:
        """System and processor of this machine."""
        return this_platform()

    def take_wheel(self, name: str, record: str, platform: str, file: str, content: IO[bytes], size: int) -> None:
        """Keep a wheel that came with a bundle."""
        self._wheelhouse.keep(name, record, platform, file, content, size)

    def build(self, lock: Lock, waiting: Callable[[], None] = lambda: None) -> BuiltEnvironment:
        """Build it aside, compare it with the lock, and keep it."""
        folder = self._place(lock)
        with self._locked(folder):
            if (found := self.find_built(folder)) is not None:
                return found
            for leftover in self._folder.glob(f".partial-{folder.name}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            with self._aside(folder.name) as aside:
                made = aside / "environment"
                self._make(lock, aside, made, waiting)
                manifest = describe_built(made, lock)
                apply_altered(made, lock, self._objects)
                write_manifest(made, manifest)
                if folder.exists():
                    self._remove(folder)
                made.rename(folder)
        return self._built(folder, manifest, was_there=False)

    def find_built(self, folder: Path) -> BuiltEnvironment | None:
        """The environment in a folder, when it is whole: another process may have built it while this one waited."""
        manifest = read_manifest(folder)
        return self._built(folder, manifest, was_there=True) if manifest is not None and verified(folder, manifest) else None

    def all(self) -> list[CachedEnvironment]:
        """Those that are kept, the longest unused first."""
        found = []
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            manifest = None if folder.name.startswith(".") else read_manifest(folder)
            if manifest is not None:
                text = f"{manifest.environment.implementation} {manifest.environment.python}, {len(manifest.environment.packages)} packages"
                found.append(CachedEnvironment(folder, text, sum(item[0] for item in manifest.files.values()), folder.stat().st_mtime))
        return sorted(found, key=lambda item: item.used_at)

    def delete(self, folder: Path) -> int:
        """Delete one, and what killed builds left behind; return its size in bytes, 0 when somebody builds it or runs in it."""
        size_bytes = next((item.size_bytes for item in self.all() if item.folder == folder), 0)
        try:
            with self._locked(folder, waits=False):
                self._remove(folder)
        except (BlockingIOError, Conflict):
            return 0
        for leftover in self._folder.glob(".partial-*"):
            if time.time() - leftover.stat().st_mtime > _BUILD_S:
                shutil.rmtree(leftover, ignore_errors=True)
        return size_bytes

    def _place(self, lock: Lock) -> Path:
        _check_words(lock)
        return self._folder / lock.key.partition(":")[2][:40]

    def _built(self, folder: Path, manifest: Manifest, *, was_there: bool) -> BuiltEnvironment:
        python = folder / "bin" / "python"
        environment: Environment = manifest.environment.model_copy(update={"executable": str(python)})
        return BuiltEnvironment(python, RebuiltEnvironmentProbe(self._probe, environment), manifest.differences, was_there)

    def _make(self, lock: Lock, aside: Path, made: Path, waiting: Callable[[], None]) -> None:
        python = self._python(lock, aside, waiting, offline=True) or self._python(lock, aside, waiting, offline=False)
        if python is None:
            raise Unavailable(f"{lock.implementation} {lock.python} is not here, and uv cannot fetch it", hint="install that very release")
        done = call_uv(["venv", "--relocatable", "--no-project", "--python", python, str(made)], aside, _LOOK_S)
        if done.returncode != 0:
            raise Unavailable(f"uv cannot make an environment: {complaint(done)}")
        held = placed_wheels(self._wheelhouse.held(lock), lock, aside)
        packages = {name: item for name, item in lock.packages.items() if item.wheel is None and item.address is None and name not in held}
        missing = self._missing(packages, python, aside, ("--offline",))
        wheels = held | {name: self._kept_wheel(name, item, aside) for name, item in lock.packages.items() if item.wheel is not None}
        for name, item in missing.items():
            if self._is_here(name, item):
                try:
                    wheels[name] = pack_installed(name, None, None, aside)
                except CaptureError:
                    continue  # it is asked of the index
        file = aside / "requirements.txt"
        file.write_text(_requirements(lock, wheels), encoding="utf-8")
        install = ["pip", "install", "--python", str(made / "bin" / "python"), "--no-deps", "--requirement", str(file)]
        # From uv's cache; then from the index, wheels only; then with packages that have to be built of their source.
        for options in (["--offline", "--no-build"], ["--no-build"], *([[]] if self._builds else [])):
            for as_pip in (False, True) if pip_is_configured() and "--offline" not in options else (False,):
                done = call_uv([*install, *options], aside, _BUILD_S, as_pip=as_pip, wheels=_bundled(python), waiting=waiting)
                if done.returncode == 0:
                    return
        hint = "--env current runs in this environment" if self._builds else "a worker started with --builds executes packages' own builds"
        raise Unavailable(f"uv cannot install the recorded packages: {complaint(done)}", hint=hint)

    def _kept_wheel(self, name: str, item: LockedPackage, aside: Path) -> Path:
        if item.wheel is None:
            raise ValueError(f"{name} has no kept wheel")
        file = aside / Path(item.wheel.file).name
        file.write_bytes(self._objects.get_bytes(item.wheel.digest))
        return file

    def _python(self, lock: Lock, aside: Path, waiting: Callable[[], None] = lambda: None, *, offline: bool) -> str | None:
        """The interpreter of exactly the recorded release."""
        here = self._probe.describe()
        if (here.implementation, here.python) == (lock.implementation, lock.python):
            return str(getattr(sys, "_base_executable", None) or sys.executable)
        wanted = f"{lock.implementation.lower()}@{lock.python}"
        if offline:
            done = call_uv(["python", "find", "--no-project", "--system", "--offline", wanted], aside, _LOOK_S)
        else:
            done = call_uv(["python", "install", "--no-bin", wanted], aside, _BUILD_S, waiting=waiting)
            if done.returncode == 0:
                done = call_uv(["python", "find", "--no-project", "--system", "--offline", wanted], aside, _LOOK_S)
        return done.stdout.strip() or None if done.returncode == 0 else None

    def _missing(
        self, packages: Mapping[str, LockedPackage], python: str, aside: Path, options: tuple[str, ...], *, as_pip: bool = False
    ) -> dict[str, LockedPackage]:
        """Those of some packages that uv cannot get as wheels; it names them one by one."""
        if not packages:
            return {}
        left, missing = dict(packages), dict[str, LockedPackage]()
        file = aside / "wanted.txt"
        for _ in range(_MOST_NAMED):
            file.write_text("".join(f"{name}=={item.version}\n" for name, item in sorted(left.items())), encoding="utf-8")
            command = ["pip", "install", "--dry-run", "--no-deps", "--no-build", "--python", python, "--target", str(aside / "nowhere")]
            done = call_uv([*command, "--requirement", str(file), *options], aside, _LOOK_S, as_pip=as_pip, wheels=_bundled(python))
            if done.returncode == 0:
                return missing
            named = {match.lower().replace("_", "-") for match in _MISSING.findall(done.stderr)} & left.keys()
            if not named:
                raise Unavailable(f"uv cannot say what it needs: {complaint(done)}")
            for name in named:
                missing[name] = left.pop(name)
        return missing | left

    def _is_here(self, name: str, item: LockedPackage) -> bool:
        """Whether this process's environment has the very same package: a wheel can be made of it."""
        return item.record is not None and (found := self._probe.describe().packages.get(name)) is not None and found.record == item.record

    @contextmanager
    def _aside(self, name: str) -> Iterator[Path]:
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=self._folder, prefix=f".partial-{name}-"))
        try:
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def _locked(self, folder: Path, *, waits: bool = True) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._folder / f".{folder.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            yield
        finally:
            os.close(handle)

    def _remove(self, folder: Path) -> None:
        if _is_used(folder):
            raise Conflict(f"a reproduction is running in the environment {folder}", hint="wait for it to end")
        # Renamed first: whoever looks meanwhile finds all of it or nothing.
        aside = Path(tempfile.mkdtemp(dir=self._folder, prefix=".partial-deleted-"))
        with suppress(FileNotFoundError):
            folder.rename(aside / "environment")
        shutil.rmtree(aside, ignore_errors=True)


def _check_words(lock: Lock) -> None:
    """A record may come from anybody, and its words become lines of a file that uv takes orders from."""
    words = [("interpreter", r"[A-Za-z]+ \d+\.\d+[\w.+-]*", f"{lock.implementation} {lock.python}")]
    for name, item in lock.packages.items():
        words += [("name of a package", r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", name), (f"version of {name}", r"[\w.!+-]+", item.version)]
        words += [(f"address of {name}", r"(git\+)?[a-z]+://[^\s;]+", item.address)] if item.address is not None else []
    for what, pattern, word in words:
        if re.fullmatch(pattern, word, re.ASCII) is None:
            raise IntegrityError(f"{what} in the record", expected=f"something of the form {pattern}", found=repr(word))


def _requirements(lock: Lock, wheels: Mapping[str, Path]) -> str:
    names = [line for line in lock.requirements().splitlines() if re.split(r"==| @ ", line)[0] not in wheels]
    return "".join(f"{line}\n" for line in (*names, *(f"{name} @ {file.as_uri()}" for name, file in sorted(wheels.items()))))


def _is_used(folder: Path) -> bool:
    """Whether a process was started in an environment, as far as this account may know."""
    wanted = f"VIRTUAL_ENV={folder}".encode()
    for told in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it ended meanwhile, or is another account's
            if wanted in told.read_bytes().split(b"\0"):
                return True
    return False


def _bundled(python: str) -> list[str]:
    """Wheels that come with an interpreter: no index need be asked for the pip and setuptools that ``venv`` installs."""
    return [str(folder) for folder in sorted(Path(python).resolve().parents[1].glob("lib/python3*/ensurepip/_bundled"))]
