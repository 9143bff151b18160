"""Which technology keeps the data at an address.

In this order: ``dvc://`` is DVC; an address that is not local, or a folder with Deep Lake's log in it, is Deep Lake; then a path that DVC
tracks; then any other file or folder. What does not exist is left to Deep Lake to say. Only the package that is needed is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from lineage.adapters.datasets.dvc_place import SCHEME, pipelines_with_folders, roots_around
from lineage.adapters.datasets.folder import FolderBackend, is_folder_commit
from lineage.errors import MissingExtra, UsageError
from lineage.model.dataset import DatasetVersion, LogManifest, View, local_path
from lineage.model.source import Column
from lineage.ports import DatasetBackend, DatasetReader, DatasetWriter, KnownVersion

_CLASSES = {"deeplake": "DeepLakeBackend", "dvc": "DvcBackend"}
"""Kind, which is also the package and the module here, to class."""

_ESCAPED = dict(zip("0abtnvfreN_LP", "\0\a\b\t\n\v\f\r\x1b\x85\xa0\u2028\u2029", strict=True))
"""What letters stand for behind a backslash in YAML."""


class ChoosingBackend:
    """Deep Lake, DVC and plain folders behind one :class:`lineage.ports.DatasetBackend`, chosen by address.

    Args:
        cache: Folder to keep digests of plain files in between processes; ``None``: nowhere.
    """

    def __init__(self, cache: Path | None = None) -> None:
        self._made: dict[str, DatasetBackend] = {"folder": FolderBackend(cache)}

    def name_of(self, uri: str) -> str:
        """The technology behind an address, with its release."""
        return self._at(uri).name_of(uri)

    def kind_of(self, uri: str) -> str:
        """``deeplake``, ``dvc`` or ``folder``; imports none of them."""
        path = local_path(uri)
        if path is None:
            return "dvc" if uri.startswith(SCHEME) else "deeplake"
        if os.path.isdir(path / "_deeplake_log"):
            return "deeplake"
        if is_tracked(path):
            return "dvc"
        return "folder" if os.path.exists(path) else "deeplake"

    def _at(self, uri: str) -> DatasetBackend:
        return self._of_kind(self.kind_of(uri))

    def _of_kind(self, kind: str) -> DatasetBackend:
        if kind not in self._made:
            if importlib.util.find_spec(kind) is None:
                raise MissingExtra(kind, kind)
            self._made[kind] = getattr(importlib.import_module(f"lineage.adapters.datasets.{kind}"), _CLASSES[kind])()
        return self._made[kind]

    def exists(self, uri: str) -> bool:
        """Whether there are data."""
        return self._at(uri).exists(uri)

    def address_of(self, handle: Any) -> str:
        """The address of an open Deep Lake dataset, or of a path; see :class:`lineage.ports.DatasetBackend`."""
        if isinstance(handle, os.PathLike):
            return self._of_kind("folder").address_of(handle)
        if type(handle).__module__.partition(".")[0] not in ("deeplake", "_deeplake"):
            raise UsageError(f"expected a dataset address, a path or an open Deep Lake dataset, found {type(handle).__name__}")
        return self._of_kind("deeplake").address_of(handle)

    def resolve(
        self, uri: str, *, branch: str | None = None, commit_id: str | None = None, view: str | None = None, query: str | None = None
    ) -> View:
        """Names to rows; see :class:`lineage.ports.DatasetBackend`."""
        return self._at(uri).resolve(uri, branch=branch, commit_id=commit_id, view=view, query=query)

    def open(self, uri: str, branch: str, commit_id: str) -> DatasetReader:
        """Open a version for reading; see :class:`lineage.ports.DatasetBackend`."""
        kind = self.kind_of(uri)
        if kind == "folder" and not is_folder_commit(commit_id):
            kind = "deeplake"  # a dataset that lost its log is a damaged dataset, not a folder of files
        return self._of_kind(kind).open(uri, branch, commit_id)

    def manifest(self, version: DatasetVersion) -> LogManifest | None:
        """Digest of the log behind a version; see :class:`lineage.ports.DatasetBackend`."""
        return self._at(version.uri).manifest(version)

    def signature(self, version: DatasetVersion) -> str | None:
        """What the files behind a version look like; see :class:`lineage.ports.DatasetBackend`."""
        return self._at(version.uri).signature(version)

    def only_appended(self, older: KnownVersion, newer: DatasetVersion) -> bool:
        """Whether rows were only added; see :class:`lineage.ports.DatasetBackend`."""
        return self._at(newer.uri).only_appended(older, newer)

    def save_view(self, uri: str, query: str, name: str, message: str) -> View:
        """Save a query's rows under a name, where the technology can."""
        return self._at(uri).save_view(uri, query, name, message)

    def write(self, uri: str, columns: Sequence[Column], *, source: Mapping[str, Any], job: str | None = None) -> DatasetWriter:
        """Create a dataset in Deep Lake; tracked data and ``dvc://`` are not written to."""
        kind = self.kind_of(uri)
        return self._of_kind("dvc" if kind == "dvc" else "deeplake").write(uri, columns, source=source, job=job)


def is_tracked(path: Path) -> bool:
    """Whether DVC tracks a path, or a folder that it lies in, by what is in the work tree; without importing DVC.

    Only where some stage has a working folder of its own (``wdir``) DVC itself is asked, if it is installed: paths in its lock are relative
    to that folder, which may be a template. A repository that is not under git has no revisions: its data are plain files.
    """
    real, root, git_root = roots_around(path)
    if root is None or git_root is None:
        return False
    for place in (real, *real.parents):
        if place == root:
            return _tracked_elsewhere(root, real)
        if os.path.isfile(f"{place}.dvc"):
            return True
        for folder in place.parents:
            if str(place.relative_to(folder)) in locked_outputs(folder):
                return True
            if folder == root:
                break
    return False


def _tracked_elsewhere(root: Path, real: Path) -> bool:
    """Whether a path is, or lies in, an output of a stage with a working folder of its own."""
    files = pipelines_with_folders(root)
    if not files or importlib.util.find_spec("dvc") is None:
        return False
    looks = tuple((str(file), _looks(file), _looks(file.with_name("dvc.lock"))) for file in files)
    return any(real.is_relative_to(out) for out in _outputs_by_dvc(root, looks))


def _looks(file: Path) -> tuple[int, int]:
    try:
        status = os.stat(file)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=8)
def _outputs_by_dvc(root: Path, looks: tuple[Any, ...]) -> tuple[str, ...]:
    # DVC takes a tenth of a second and more to look; ``looks`` changes with the files that decide what it would say.
    found: tuple[str, ...] = importlib.import_module("lineage.adapters.datasets.dvc").local_outputs(root)
    return found


def locked_outputs(folder: Path) -> set[str]:
    """Paths of the outputs that ``dvc.lock`` in a folder names, relative to it; none when there is no such file."""
    try:
        lines = (folder / "dvc.lock").read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {os.path.normpath(path) for path in _outputs(lines)}


def _outputs(lines: Sequence[str]) -> Iterator[str]:
    # DVC writes this file itself and always alike, and a YAML parser is not among what a bare installation has: keys of a stage stand in
    # the fifth column, a value that does not fit into its line goes on in the next, further to the right.
    in_outputs = False
    value: str | None = None
    for line in [*lines, "end:"]:
        text = line.strip(" ")
        if value is not None and (line.startswith(" " * 7) or not text):
            value = f"{value[:-1]}{text}" if value.endswith("\\") else f"{value} {text}".strip(" ")
            continue
        if value is not None:
            yield _scalar(value)
            value = None
        if re.match(r" {0,4}[^ -]", line):
            in_outputs = line.rstrip(" ") == "    outs:"
        elif in_outputs and line.startswith("    - path:"):
            value = line[len("    - path:") :].strip(" ")


def _scalar(value: str) -> str:
    if value.startswith("'"):
        return value[1:-1].replace("''", "'")
    if value.startswith('"'):
        return re.sub(r"\\(x..|u....|U........|.)", _unescaped, value[1:-1])
    return value


def _unescaped(found: re.Match[str]) -> str:
    letter, digits = found[1][0], found[1][1:]
    return chr(int(digits, 16)) if digits else _ESCAPED.get(letter, letter)
