"""Loaded files of installed packages, compared with the hashes that their packages were installed with (``RECORD``).

A file is hashed once: what was found is kept under its size and times, in a cache of the user's. The time of change is among them, which
cannot be set by hand, but for large files.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lineage.adapters.environment.local import write_aside
from lineage.model.digest import canonical_json, digest_of_json
from lineage.ports import AlteredInstalled

_MADE_BY_TOOLS = {"_virtualenv.py"}  # tools that make environments leave it beside the packages
_PARTS = ("/site-packages/", "/dist-packages/")
_THREADS = 2
_Told = tuple[str, str | None]
_LARGE_BYTES = 16 << 20


def loaded_files(files: Sequence[str]) -> list[str]:
    """Those files that belong to installed packages, and libraries that this process mapped, relative to the folder of the packages."""
    found = {file[len(root) :] for file in (*files, *_mapped_libraries()) if (root := _root_of(file)) is not None}
    return sorted(path for path in found if path.isascii() or path.encode("utf-8", "replace").decode() == path)


def altered_files(cache: Path | None, files: Sequence[str] | None, known: Sequence[str] = ()) -> list[AlteredInstalled]:
    """Files that are not what was installed, or that no package lists.

    Args:
        cache: Folder for what was found; ``None`` for none.
        files: Loaded by this process; libraries that it mapped are added. ``None``: those that the cache knows, in folders of this
            process's module path.
        known: Without ``files``: more paths, relative to such a folder.

    Raises:
        OSError: A file cannot be read.
    """
    found: list[AlteredInstalled] = []
    if files is None:
        roots = {os.path.join(folder, ""): set(known) for folder in dict.fromkeys(os.path.abspath(entry) for entry in sys.path)}
    else:
        roots = {}
        for file in (*files, *_mapped_libraries()):
            if (root := _root_of(file)) is not None:
                roots.setdefault(root, set()).add(file[len(root) :])
    for root, paths in sorted(roots.items()):
        if files is not None or _PARTS[0] in root or _PARTS[1] in root:
            found += _Folder(root, cache).altered(paths, adds=files is not None)
    return found


def _each(look: Callable[[str], _Told], paths: Sequence[str], *, in_threads: bool) -> list[_Told]:
    if in_threads:
        try:
            from concurrent.futures import ThreadPoolExecutor  # mostly nothing is new, and importing it takes longest

            with ThreadPoolExecutor(_THREADS) as pool:
                return list(pool.map(look, paths))
        except RuntimeError:
            pass  # the interpreter is about to end and starts no more threads
    return [look(path) for path in paths]


def _root_of(file: str) -> str | None:
    for part in _PARTS:
        before, found, _ = file.rpartition(part)
        if found:
            return before + part
    return None


def _mapped_libraries() -> set[str]:
    """Shared libraries in this process: a package's extension module loads others that no module names."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as stream:
            lines = [line for line in stream if ".so" in line and "-packages/" in line]
    except OSError:
        return set()
    return {words[5] for line in lines if len(words := line.rstrip("\n").split(maxsplit=5)) == 6 and words[5].startswith("/")}


class _Folder:
    """One folder that packages are installed in.

    Args:
        root: It, with a slash behind it.
        cache: Where to remember what was found.
    """

    def __init__(self, root: str, cache: Path | None) -> None:
        self._root = root
        self._file = None if cache is None else cache / f"installed-{digest_of_json([root]).partition(':')[2][:16]}.json"
        self._listing = digest_of_json(_lists(root)) if os.path.isdir(root) else ""

    def altered(self, paths: Iterable[str], *, adds: bool) -> list[AlteredInstalled]:
        """Those of some files that are not what was installed; without ``adds``, of all known ones, too."""
        known = self._known()
        chosen = list(paths) if adds else sorted({*known, *paths})
        facts: dict[str, list[Any]] = {}
        unknown: list[str] = []
        for path in chosen:
            try:
                state = os.stat(self._root + path)
            except (FileNotFoundError, NotADirectoryError):
                continue  # deleted since; or a module inside a zip file
            # Another environment that shares the file changes its time of change: libraries of gigabytes are not read again for that.
            changed_ns = 0 if state.st_size > _LARGE_BYTES else state.st_ctime_ns
            facts[path] = [state.st_size, state.st_mtime_ns, changed_ns, state.st_ino]
            if path not in known or known[path][:4] != facts[path]:
                unknown.append(path)
        if unknown:
            listed, is_complete = listed_files(self._root)
            large = any(facts[path][0] > _LARGE_BYTES for path in unknown)
            told = _each(lambda path: self._look(path, listed, is_complete=is_complete), unknown, in_threads=large)
            for path, (status, package) in zip(unknown, told, strict=True):
                known[path] = [*facts[path], status, package]
            self._keep(known)
        return [AlteredInstalled(known[path][5], path, Path(self._root + path)) for path in sorted(facts) if known[path][4] != "same"]

    def _look(self, path: str, listed: dict[str, tuple[str, str]], *, is_complete: bool) -> _Told:
        package, wanted = listed.get(path, (None, ""))
        if package is None:
            is_known = is_complete and path not in _MADE_BY_TOOLS and not path.endswith(".pyc")
            return ("unlisted" if is_known else "same"), None
        if not wanted.startswith("sha256="):
            return "same", package
        with open(self._root + path, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").digest()
        return ("same" if urlsafe_b64encode(found).rstrip(b"=").decode() == wanted[7:].rstrip("=") else "altered"), package

    def _known(self) -> dict[str, list[Any]]:
        if self._file is None:
            return {}
        try:
            kept = json.loads(self._file.read_bytes())
            files = dict(kept["files"])
            # After an installation the files are still those that runs load; what they have to be is another matter.
            return files if kept["listing"] == self._listing else {path: [None, None, None, None, "same", None] for path in files}
        except (OSError, ValueError, LookupError, TypeError):
            return {}  # not there, or torn: it is a cache

    def _keep(self, known: dict[str, list[Any]]) -> None:
        if self._file is not None:
            write_aside(self._file, canonical_json({"listing": self._listing, "files": known}))


def _lists(root: str) -> list[list[Any]]:
    found: list[list[Any]] = []
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.endswith(".dist-info"):
                try:
                    state = os.stat(os.path.join(entry.path, "RECORD"))
                except OSError:
                    found.append([entry.name, None, None])
                else:
                    found.append([entry.name, state.st_size, state.st_mtime_ns])
            elif entry.name.endswith((".egg-info", ".egg", ".egg-link")):
                found.append([entry.name, None, None])
    return sorted(found, key=lambda item: str(item[0]))


def listed_files(root: str) -> tuple[dict[str, tuple[str, str]], bool]:
    """(path to package and hash, whether every package in a folder lists its files).

    Args:
        root: The folder, with a slash behind it.
    """
    import csv

    from lineage.adapters.environment.packages import normalised

    files: dict[str, tuple[str, str]] = {}
    is_complete = True
    for name, size, _ in _lists(root):
        if size is None:
            is_complete = False
            continue
        package = normalised(name.removesuffix(".dist-info").rpartition("-")[0])
        text = Path(root, name, "RECORD").read_text(encoding="utf-8")
        rows = csv.reader(text.splitlines()) if '"' in text else (line.rsplit(",", 2) for line in text.splitlines())
        files.update({row[0]: (package, row[1]) for row in rows if len(row) == 3})
    return files, is_complete and bool(files)
