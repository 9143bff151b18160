"""Installed packages at the end of a run: files that are not what was installed, and wheels of packages that no index serves."""

from __future__ import annotations

import json
import os
import zlib
from datetime import UTC, datetime
from pathlib import Path

from lineage.errors import IntegrityError, LineageError
from lineage.model.deflated import inflate
from lineage.model.digest import canonical_json, digest_of_bytes
from lineage.model.environment import AlteredFile, Environment, InstalledCode, KeptWheel
from lineage.model.event import InstalledChecked
from lineage.ports import AlteredInstalled, ObjectStore, Ports
from lineage.record.joining import is_secondary
from lineage.record.literal_secrets import line_of_secret
from lineage.record.modules import installed_files
from lineage.record.recording import Recording
from lineage.record.sinks import describe_error

_LARGEST_BYTES = 16 << 20
_SHOWN = 5


class InstalledRecord:
    """What a live run records of installed packages when it ends.

    Args:
        recording: The record.
        loads_here: Whether the code runs in this process.
    """

    def __init__(self, recording: Recording, *, loads_here: bool) -> None:
        self._ports, self._run, self._original = recording.ports, recording.run, recording.original
        self._append, self._note = recording.append, recording.note
        self._pid = os.getpid()
        self._loads_here = loads_here
        self._is_open = not is_secondary()

    def close(self) -> None:
        """Look at the files of installed packages that were loaded, and keep what an installer could not get again; once."""
        if os.getpid() != self._pid or not self._is_open:
            return
        self._is_open = False
        if not self._loads_here and (self._original is not None or self._ports.runs.get(self._run.id).installed is not None):
            return  # its own process tells, or told
        altered = self._altered() if self._loads_here else None
        wheels, not_kept = self._wheels()
        loaded = None if altered is None else self._loaded()
        installed = InstalledCode(altered=altered, wheels=wheels, not_kept=not_kept, loaded=loaded)
        self._append(InstalledChecked(at=datetime.now(UTC), installed=installed))
        if altered:
            self._note(f"not what was installed: {altered_files(altered)}; a rebuilt environment gets these very files")
        if not_kept and self._original is None:
            self._note(f"packages that no index serves, without a copy: {', '.join(sorted(not_kept)[:_SHOWN])}")

    def _wheels(self) -> tuple[dict[str, KeptWheel], dict[str, str]]:
        if self._original is not None:  # it runs in that one's environment, or in one that was built of these very wheels
            told = self._original.installed or InstalledCode()
            return told.wheels, told.not_kept
        if self._run.environment is None:
            return {}, {}
        return keep_wheels(self._ports, self._run.environment, None if self._run.code is None else self._run.code.root)

    def _altered(self) -> tuple[AlteredFile, ...] | None:
        try:
            return tuple(self._kept(item) for item in self._ports.environment.altered(installed_files()))
        except (LineageError, OSError, ValueError) as error:
            self._note(f"whether files of installed packages were altered is not known: {describe_error(error)}")
            return None

    def _loaded(self) -> str | None:
        try:
            return self._ports.objects.put_bytes(pack_paths(self._ports.environment.loaded(installed_files())))
        except (LineageError, OSError) as error:
            self._note(f"which files of installed packages were loaded is not recorded: {describe_error(error)}")
            return None

    def _kept(self, item: AlteredInstalled) -> AlteredFile:
        content = item.file.read_bytes()
        if len(content) > _LARGEST_BYTES or line_of_secret(content) is not None:
            return AlteredFile(package=item.package, path=item.path, digest=digest_of_bytes(content), is_kept=False)
        return AlteredFile(package=item.package, path=item.path, digest=self._ports.objects.put_bytes(content))


def pack_paths(paths: list[str]) -> bytes:
    """Paths as compressed JSON."""
    return zlib.compress(json.dumps(paths).encode(), 6)


def loaded_paths(objects: ObjectStore, installed: InstalledCode | None) -> list[str]:
    """Files of installed packages that a run had loaded; none for a record that does not tell. The inverse of :func:`pack_paths`.

    Raises:
        NotFound: The list is not kept any more.
        IntegrityError: It is damaged, or something else.
    """
    if installed is None or installed.loaded is None:
        return []
    try:
        paths = json.loads(inflate(objects.get_bytes(installed.loaded), "files of packages that were loaded", _LARGEST_BYTES))
        if not (isinstance(paths, list) and all(isinstance(path, str) for path in paths)):
            raise ValueError("no list of texts")
    except ValueError as error:
        raise IntegrityError("files of packages that were loaded", expected="a list of paths", found=str(error)) from error
    # The list may be a stranger's: a path in it must not lead out of the folder of the packages.
    return [path for path in paths if not os.path.isabs(path) and ".." not in path.split("/")]


def altered_files(altered: tuple[AlteredFile, ...]) -> str:
    """Altered files in words."""
    words = [f"{item.path} ({item.package or 'listed by no package'})" for item in altered[:_SHOWN]]
    return ", ".join(words) + (f" and {len(altered) - _SHOWN} more" if len(altered) > _SHOWN else "")


def keep_wheels(ports: Ports, environment: Environment, without: str | None) -> tuple[dict[str, KeptWheel], dict[str, str]]:
    """Keep a wheel of each package that came from no index, once for each content.

    Args:
        ports: Where they are kept.
        environment: This process's own.
        without: Top folder of the run's repository: code in it is in the snapshot.

    Returns:
        Package name to wheel; package name to the reason why there is none.
    """
    wheels: dict[str, KeptWheel] = {}
    not_kept: dict[str, str] = {}
    for name in environment.sources.keys() & environment.packages.keys():
        try:
            key = ports.environment.content_key(name, environment, without)
            if key is not None:
                wheels[name] = _wheel(ports, environment, name, without, key)
        except (LineageError, OSError, ValueError) as error:
            not_kept[name] = describe_error(error)
    return wheels, not_kept


def _wheel(ports: Ports, environment: Environment, name: str, without: str | None, key: str) -> KeptWheel:
    noted = ports.folder / "cache" / f"wheel-{key.partition(':')[2][:32]}.json"
    if noted.exists():
        try:
            known = KeptWheel.model_validate_json(noted.read_bytes())
        except ValueError:
            noted.unlink(missing_ok=True)  # torn: it is made anew
        else:
            if ports.objects.has(known.digest):
                return known
    import tempfile

    with tempfile.TemporaryDirectory(prefix="lineage-wheel-") as folder:
        made = ports.environment.pack(name, environment, without, Path(folder))
        digest, _ = ports.objects.put_file(made)
        wheel = KeptWheel(file=made.name, digest=digest)
    noted.parent.mkdir(parents=True, exist_ok=True)
    partial = noted.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(canonical_json(wheel.model_dump(mode="json")))
    partial.replace(noted)
    return wheel
