"""Wheels made of what is installed: for packages that no index serves, and that could not be had again."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath

from lineage.adapters.environment.packages import is_volatile
from lineage.errors import CaptureError
from lineage.model.digest import digest_of_json
from lineage.model.environment import PackageSource

_FORM = 1
_MOST_BYTES = 64 << 20


def content_key(name: str, record: str | None, source: PackageSource | None, without: str | None) -> str | None:
    """A name for what would be packed, by the installer's list, or by names, sizes and times of an editable package's files."""
    if source is None or source.kind != "editable":
        return None if record is None else digest_of_json([_FORM, name, record])
    try:
        distribution = metadata.distribution(name)
        code = [[path, *_facts(file)] for path, file in _editable_code(source, without)]
    except (metadata.PackageNotFoundError, OSError):
        return None
    return digest_of_json([_FORM, name, distribution.read_text("RECORD"), distribution.read_text("METADATA"), code])


def pack_installed(name: str, source: PackageSource | None, without: str | None, folder: Path) -> Path:
    """Make a wheel of an installed package.

    Args:
        name: The package.
        source: Where it came from.
        without: Code of an editable package in this folder is left out.
        folder: Gets the wheel.

    Raises:
        CaptureError: It is too large, files are missing or altered, or there is no list of them.
    """
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise CaptureError(f"package {name} is not installed") from None
    return pack(distribution, source, without, folder)


def is_loaded(name: str) -> bool:
    """Whether this process loaded a module of an installed package."""
    try:
        text = metadata.distribution(name).read_text("RECORD") or ""
    except metadata.PackageNotFoundError:
        return False
    tops = {re.split(r"[/,.]", line, maxsplit=1)[0] for line in text.splitlines()}
    return any(top in sys.modules for top in tops)


def pack(
    distribution: metadata.Distribution, source: PackageSource | None, without: str | None, folder: Path, *, most_bytes: int = _MOST_BYTES
) -> Path:
    """Make a wheel of a distribution, of at most so many bytes of files; see :func:`pack_installed`."""
    name = distribution.metadata["Name"]
    rows = [row for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()) if len(row) == 3]
    info = next((row[0].partition("/")[0] for row in rows if row[0].endswith(".dist-info/WHEEL")), None)
    tags = [line[4:].strip() for line in (distribution.read_text("WHEEL") or "").splitlines() if line.startswith("Tag:")]
    if info is None or not tags:
        raise CaptureError(f"package {name} has no list of its installed files")
    is_editable = source is not None and source.kind == "editable"
    scripts = _entry_points(distribution.read_text("entry_points.txt") or "")
    members: dict[str, tuple[Path, bytes | None]] = {}
    size_bytes = 0
    for path, hashed, _ in sorted(rows):
        place = _place(path, info, scripts)
        if place is None or (is_editable and not path.startswith(f"{info}/")):
            continue
        file = Path(str(distribution.locate_file(path)))
        size_bytes += _size(file, name)
        members[place] = (file, _script(file) if place.startswith(f"{info.removesuffix('.dist-info')}.data/scripts/") else None)
        if size_bytes > most_bytes:
            break
        if hashed.startswith("sha256=") and members[place][1] is None and _hash(file.read_bytes()) != hashed.rstrip("="):
            raise CaptureError(f"package {name}: {path} is not the file that was installed")
    for path, file in _editable_code(source, without) if is_editable and source is not None else ():
        size_bytes += _size(file, name)
        members[path] = (file, None)
    if size_bytes > most_bytes:
        raise CaptureError(f"package {name} has more than {most_bytes >> 20} MiB of files")
    parts = [list(dict.fromkeys(part)) for part in zip(*(tag.split("-") for tag in tags), strict=True)]
    wheel = folder / f"{info.removesuffix('.dist-info')}-{'-'.join('.'.join(part) for part in parts)}.whl"
    _write(wheel, info, members)
    return wheel


def _write(wheel: Path, info: str, members: dict[str, tuple[Path, bytes | None]]) -> None:
    import zipfile  # a wheel is made once, and asked for at the end of every run

    lines = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, (file, changed) in sorted(members.items()):
            content = file.read_bytes() if changed is None else changed
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if os.access(file, os.X_OK) else 0o100644) << 16
            archive.writestr(entry, content, compresslevel=1)
            quoted = f'"{path}"' if "," in path else path
            lines.append(f"{quoted},{_hash(content)},{len(content)}")
        listing = zipfile.ZipInfo(f"{info}/RECORD", (1980, 1, 1, 0, 0, 0))
        listing.external_attr = 0o100644 << 16
        archive.writestr(listing, "\n".join([*lines, f"{info}/RECORD,,"]) + "\n")


def _place(path: str, info: str, scripts: set[str]) -> str | None:
    """Where a wheel has what is installed at ``path``; ``None`` for what an installer makes itself."""
    script = re.fullmatch(r"(?:\.\./)+(?:bin|Scripts)/(.+)", path)
    data = f"{info.removesuffix('.dist-info')}.data"
    if script is not None:
        return None if script[1].removesuffix(".exe") in scripts else f"{data}/scripts/{script[1]}"
    if is_volatile(path):
        return None
    if not path.startswith("../"):
        return path
    parts = PurePosixPath(path).parts
    if parts[:3] != ("..", "..", "..") or ".." in parts[3:]:
        raise CaptureError(f"a package installed {path}, outside its environment")
    return "/".join([data, "data", *parts[3:]])


def _script(file: Path) -> bytes:
    return re.sub(rb"\A#![^\n]*python[^\n]*", b"#!python", file.read_bytes(), count=1)


def _entry_points(text: str) -> set[str]:
    import configparser

    found = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]  # names of scripts are told apart by case
    try:
        found.read_string(text)
    except configparser.Error:
        return set()
    return {name for section in ("console_scripts", "gui_scripts") if found.has_section(section) for name in found.options(section)}


def _editable_code(source: PackageSource, without: str | None) -> list[tuple[str, Path]]:
    """(path in the wheel, file) of the packages that this process loaded from the folders of an editable one."""
    found: dict[str, Path] = {}
    loaded = {name.partition(".")[0] for name in tuple(sys.modules)}
    for folder in source.folders:
        if not os.path.isdir(folder) or _is_inside(folder, without):
            continue  # it is gone, or in the code's snapshot
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.removesuffix(".py") in loaded:
                    for path in _tree(entry) if entry.is_dir() else [entry.path] if entry.name.endswith(".py") else []:
                        found.setdefault(os.path.relpath(path, folder), Path(path))
    return sorted(found.items())


def _is_inside(folder: str, top: str | None) -> bool:
    return top is not None and os.path.join(os.path.realpath(folder), "").startswith(os.path.join(os.path.realpath(top), ""))


def _tree(top: os.DirEntry[str]) -> Iterator[str]:
    with os.scandir(top.path) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from _tree(entry)
            else:
                yield entry.path


def _facts(file: Path) -> tuple[int, int]:
    state = file.stat()
    return state.st_size, state.st_mtime_ns


def _size(file: Path, name: str) -> int:
    try:
        return file.stat().st_size
    except OSError:
        raise CaptureError(f"package {name}: {file.name}, which it installed, is not there") from None


def _hash(content: bytes) -> str:
    return f"sha256={urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()}"
