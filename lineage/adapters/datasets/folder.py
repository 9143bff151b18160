"""Plain folders, and single files, as datasets: one row per file.

A folder has no commits, so a version is named by what is in it: ``commit_id`` is the digest over (path, size, SHA-256) of every file, a
dash, and sixteen digits of a digest over names and sizes alone. The second part says nothing that is not in the first. It is there for
processes that open a recorded version and cannot read a hundred gigabytes first:

- rows are numbered by sorted paths, so equal names and sizes mean that every recorded row leads to the file of the same name;
- where the digest of every file is known for its present stamp (``folder_listing``), the first part is compared as well;
- a file whose stamp is another one when it is read than when the version was opened is refused, unless its bytes have the known digest;
- what is left is a file that was overwritten in place, same size, before the version was opened by a process that does not know its digest.
  Readers of a record compare the digest of every row they read; a bare reader cannot, having nothing to compare with.

Without a log there is no manifest, and an older version cannot be opened: it is not there any more.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lineage.adapters.datasets.file_rows import FileReader, view_of
from lineage.adapters.datasets.folder_listing import FileDigests, FoundFile, base_of, is_settled, list_files, stamp_of
from lineage.errors import IntegrityError, NotFound, UsageError
from lineage.model.dataset import DatasetVersion, LogManifest, View, local_path
from lineage.model.source import Column
from lineage.ports import DatasetWriter, KnownVersion

BRANCH = "main"
_COMMIT = re.compile(r"[0-9a-f]{64}-[0-9a-f]{16}")


def is_folder_commit(commit_id: str) -> bool:
    """Whether a commit id has the form that versions of folders have."""
    return _COMMIT.fullmatch(commit_id) is not None


class FolderBackend:
    """Folders and files behind :class:`lineage.ports.DatasetBackend`.

    Args:
        cache: Folder to keep digests of files in between processes; ``None``: every process reads every file anew.
    """

    def __init__(self, cache: Path | None = None) -> None:
        self._digests = FileDigests(cache)

    def name_of(self, uri: str) -> str:
        """The technology; it has no release of its own."""
        return "folder"

    def kind_of(self, uri: str) -> str:
        """Always ``folder``."""
        return "folder"

    def address_of(self, handle: Any) -> str:
        """The address of a path.

        Raises:
            UsageError: It is no path.
        """
        if not isinstance(handle, os.PathLike):
            raise UsageError(f"expected the path of a folder, found {type(handle).__name__}")
        return f"file://{Path(handle).absolute()}"

    def exists(self, uri: str) -> bool:
        """Whether there is a folder or file."""
        return _root(uri).exists()

    def resolve(
        self, uri: str, *, branch: str | None = None, commit_id: str | None = None, view: str | None = None, query: str | None = None
    ) -> View:
        """Names to rows; ``query`` is a pattern of paths. Reads every file whose digest is not known yet."""
        if view is not None:
            raise NotFound("view", view, detail=f"{uri} is a plain folder and keeps none", hint="give a query such as images/*.jpg instead")
        _check_branch(uri, branch)
        root = _root(uri)
        files = list_files(root)
        now = _commit(files, self._digests.of(root, files))
        if commit_id is not None and commit_id != now:
            raise _another_version(uri, commit_id, f"holds {len(files)} files as version {now}")
        return view_of(_version(uri, now, len(files)), [file.path for file in files], query)

    def open(self, uri: str, branch: str, commit_id: str) -> FileReader:
        """Open a version for reading; what is checked when is said at the top of this module."""
        _check_branch(uri, branch)
        root = _root(uri)
        files = list_files(root)
        if commit_id.rpartition("-")[2] != _listing(files):
            raise _another_version(uri, commit_id, f"holds {len(files)} files, under other names or of other sizes")
        known = self._digests.known(files)
        if None not in known and commit_id != _commit(files, [digest for digest in known if digest is not None]):
            raise _another_version(uri, commit_id, "holds the same names with other contents")
        base = base_of(root)

        def content(row: int) -> bytes:
            return _read(base / files[row].path, files[row], known[row])

        return FileReader(_version(uri, commit_id, len(files)), [file.path for file in files], content)

    def manifest(self, version: DatasetVersion) -> LogManifest | None:
        """``None``: a folder has no log."""
        return None

    def signature(self, version: DatasetVersion) -> str | None:
        """Digest of names, sizes and times of the files there now; ``None`` while one of them is too young for its times to tell."""
        try:
            files = list_files(_root(version.uri))
        except NotFound:
            return None
        if not all(is_settled(file.stamp) for file in files):
            return None
        return _digest((file.path, " ".join(map(str, file.stamp[2:]))) for file in files)

    def only_appended(self, older: KnownVersion, newer: DatasetVersion) -> bool:
        """Whether it is the same version: of an older one nothing but its name is left."""
        return (older.uri, older.commit_id) == (newer.uri, newer.commit_id)

    def save_view(self, uri: str, query: str, name: str, message: str) -> NoReturn:
        """Refused: nothing is written into a folder that is recorded."""
        raise UsageError(f"{uri} is a plain folder and keeps no saved views", hint="give the pattern as query to use_dataset")

    def write(self, uri: str, columns: Sequence[Column], *, source: Mapping[str, Any], job: str | None = None) -> DatasetWriter:
        """Refused: nothing is written into a folder that is recorded."""
        raise UsageError(f"{uri} is a plain folder and is only read", hint="upload to an address where there is nothing yet")


def _root(uri: str) -> Path:
    path = local_path(uri)
    if path is None:
        raise NotFound("dataset", uri, detail="it is no local folder")
    return path


def _check_branch(uri: str, branch: str | None) -> None:
    if branch not in (None, BRANCH):
        raise NotFound("dataset branch", str(branch), detail=f"{uri} is a plain folder and has none but '{BRANCH}'")


def _version(uri: str, commit_id: str, rows: int) -> DatasetVersion:
    # By address: a folder has no name of its own, and its contents are what versions are told apart by.
    dataset_id = hashlib.sha256(f"folder\n{uri}".encode()).hexdigest()[:32]
    return DatasetVersion(uri=uri, dataset_id=dataset_id, branch=BRANCH, branch_id="", commit_id=commit_id, rows_total=rows)


def _commit(files: Sequence[FoundFile], digests: Sequence[bytes]) -> str:
    whole = _digest((file.path, f"{file.size_bytes} {digest.hex()}") for file, digest in zip(files, digests, strict=True))
    return f"{whole}-{_listing(files)}"


def _listing(files: Iterable[FoundFile]) -> str:
    return _digest((file.path, str(file.size_bytes)) for file in files)[:16]


def _digest(items: Iterable[tuple[str, str]]) -> str:
    # The length in front of each path keeps apart what a path with blanks or line ends in it could run together.
    state = hashlib.sha256()
    for path, facts in items:
        state.update(f"{len(path)} {path} {facts}\n".encode())
    return state.hexdigest()


def _another_version(uri: str, commit_id: str, now: str) -> NotFound:
    return NotFound("dataset commit", commit_id, detail=f"{uri} {now}", hint="a folder keeps no history: restore those files from a copy")


def _read(path: Path, file: FoundFile, digest: bytes | None) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read()
            stamp = stamp_of(os.fstat(stream.fileno()))
    except FileNotFoundError as error:
        raise NotFound("file", str(path), detail="the recorded version needs it", hint="restore the folder from a copy") from error
    except OSError as error:
        raise IntegrityError(f"file {path}", expected="a readable file", found=str(error.strerror)) from error
    if digest is not None:
        if stamp != file.stamp and hashlib.sha256(content).digest() != digest:
            raise _changed(path, f"digest {digest.hex()[:12]}…", f"{hashlib.sha256(content).hexdigest()[:12]}…")
    elif stamp[2:4] != file.stamp[2:4]:  # the time of change alone moves with permissions and links, too
        raise _changed(path, f"{file.size_bytes} bytes, unchanged since the version was opened", f"{len(content)} bytes, written meanwhile")
    return content


def _changed(path: Path, expected: str, found: str) -> IntegrityError:
    return IntegrityError(f"file {path}", expected=expected, found=found, hint="restore the folder from a copy")
