"""Wheels of whole environments: made of what is installed for a bundle, and kept where one was taken in.

A wheel is known by its package and by the digest of the list of files that it installs, which is what records have.
"""

from __future__ import annotations

import csv
import io
import os
import platform
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import IO

from lineage.adapters.environment.packages import digest_of_record, normalised
from lineage.adapters.environment.wheels import pack
from lineage.errors import CaptureError, IntegrityError
from lineage.model.environment import Lock, LockedPackage

_LONGEST_LIST_BYTES = 64 << 20
_NO_LIMIT = 1 << 62


def this_platform() -> str:
    """System and processor that this machine's wheels are for, for example ``Linux x86_64``."""
    return f"{platform.system()} {platform.machine()}"


class Wheelhouse:
    """Wheels in a folder, those of each platform apart.

    Args:
        folder: Where; made with the first wheel.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def held(self, lock: Lock) -> dict[str, Path]:
        """Package name to wheel, for packages of a lock that have one here for this machine."""
        return self._of(this_platform(), lock)

    def elsewhere(self, lock: Lock) -> dict[str, int]:
        """Other platform to number of packages of a lock that have a wheel for it only."""
        here = self.held(lock)
        names = [folder.name for folder in self._folder.iterdir()] if self._folder.is_dir() else []
        found = {_words(name): len(self._of(_words(name), lock).keys() - here.keys()) for name in sorted(names)}
        return {name: count for name, count in found.items() if count and name != this_platform()}

    def keep(self, name: str, record: str, platform_of: str, file: str, content: IO[bytes], size: int) -> None:
        """Keep a wheel: whole or not at all. One that is here already stays.

        Args:
            name: Its package.
            record: Digest of the list of files that it installs.
            platform_of: What it is for, as :func:`this_platform` says it.
            file: Its name.
            content: Read from where it stands; ``size`` bytes.
            size: In bytes.
        """
        place = self._place(platform_of, name, record)
        if any(place.glob("*.whl")):
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=place.parent, prefix=".partial-"))
        try:
            with (aside / file).open("wb") as target:
                left = size
                while left and (block := content.read(min(1 << 20, left))):
                    target.write(block)
                    left -= len(block)
            if not place.exists():
                aside.rename(place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _of(self, platform_of: str, lock: Lock) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for name, item in lock.packages.items():
            if item.wheel is None and item.record is not None:
                file = next(self._place(platform_of, name, item.record).glob("*.whl"), None)
                found |= {} if file is None else {name: file}
        return found

    def _place(self, platform_of: str, name: str, record: str) -> Path:
        return self._folder / re.sub(r"[^A-Za-z0-9_.]+", "-", platform_of) / f"{name}-{record.partition(':')[2]}"


def _words(folder: str) -> str:
    return folder.replace("-", " ", 1)


def make_wheels(lock: Lock, held: Mapping[str, Path], sites: Iterable[Path | None], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """A wheel of every package of a lock that has no kept one.

    Args:
        lock: What is wanted.
        held: Wheels that are there already.
        sites: Folders that packages are installed in; ``None`` for this process's module path. The first that has the very package counts.
        folder: Gets new wheels, in a folder for each package.

    Returns:
        (package name to wheel, one sentence for each package that no wheel can be made of).
    """
    wheels: dict[str, Path] = {}
    problems: list[str] = []
    places = list(sites)
    for name, item in sorted(lock.packages.items()):
        if item.wheel is not None:
            continue
        try:
            wheels[name] = held[name] if name in held else _made(name, item, places, folder / name)
        except (CaptureError, OSError) as error:
            problems.append(f"{name} {item.version}: {error.message if isinstance(error, CaptureError) else error.strerror}")
    return wheels, problems


def _made(name: str, item: LockedPackage, sites: list[Path | None], folder: Path) -> Path:
    if item.record is None:
        raise CaptureError("its installer left no list of its files: no wheel can be made of it")
    for site in sites:
        for distribution in metadata.distributions() if site is None else metadata.distributions(path=[str(site)]):
            if normalised(distribution.metadata["Name"] or "") != name:
                continue
            if digest_of_record(distribution.read_text("RECORD") or "") == item.record:
                folder.mkdir()
                wheel = pack(distribution, None, None, folder, most_bytes=_NO_LIMIT)
                check_wheel(wheel, name, item)
                return wheel
            break  # the first on the path is the one that is imported
    raise CaptureError(
        "what is installed here is not what the run had, and no rebuilt environment has it (`lineage reproduce --env recorded`)"
    )


def check_wheel(wheel: Path, name: str, item: LockedPackage) -> None:
    """Compare the files that a wheel would install with what a record says; their contents are compared when it is installed.

    Raises:
        CaptureError: They differ, or it cannot be read.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            listing = next(entry for entry in archive.infolist() if re.fullmatch(r"[^/]+\.dist-info/RECORD", entry.filename))
            if listing.file_size > _LONGEST_LIST_BYTES:
                raise CaptureError(f"the wheel of {name} has a list of files of {listing.file_size} bytes")
            text = archive.read(listing).decode()
    except (OSError, StopIteration, zipfile.BadZipFile, ValueError) as error:
        raise CaptureError(f"the wheel of {name} cannot be read ({type(error).__name__})") from error
    if digest_of_record(_as_installed(text, listing.filename.partition(".dist-info/")[0])) != item.record:
        raise CaptureError(f"a wheel of {name} would not install the recorded files: some have no digest in its installer's list")


def _as_installed(text: str, project: str) -> str:
    """A wheel's list of files with the paths that they get when it is installed."""
    data = f"{project}.data/"
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for row in csv.reader(text.splitlines()):
        if row and row[0].startswith(f"{data}scripts/"):
            continue
        if row and row[0].startswith(f"{data}data/"):
            row[0] = "../../../" + row[0].removeprefix(f"{data}data/")
        writer.writerow(row)
    return lines.getvalue()


def placed_wheels(held: Mapping[str, Path], lock: Lock, folder: Path) -> dict[str, Path]:
    """Wheels that are kept, checked, in a folder from which they are installed.

    Raises:
        IntegrityError: One is not of the recorded package.
    """
    placed: dict[str, Path] = {}
    for name, wheel in held.items():
        try:
            check_wheel(wheel, name, lock.packages[name])
        except CaptureError as error:
            raise IntegrityError(f"wheel {wheel.name}", expected=f"the recorded files of {name}", found=error.message) from error
        placed[name] = folder / wheel.name
        try:
            os.link(wheel, placed[name])
        except OSError:  # another file system, or one without links
            shutil.copyfile(wheel, placed[name])
    return placed
