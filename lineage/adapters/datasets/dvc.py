"""Data that DVC tracks, as they were at a git revision: one row per tracked file.

A version is a git commit whose ``.dvc`` file or ``dvc.lock`` names the data by MD5. Bytes come from DVC's cache, or else from its remote,
and are checked against that MD5 whenever they are read; the work tree is never read, because it may hold anything. Nothing is fetched into
the cache and nothing is checked out.

An address is ``dvc://`` and the absolute path of an output, or of a folder or file inside one. It need not be in the work tree.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

from dvc.config import NoRemoteError
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.fs import DVCFileSystem, GitFileSystem
from dvc.repo import Repo
from dvc.scm import SCM
from dvc_data.hashfile import load
from dvc_data.hashfile.hash import fobj_md5
from dvc_data.hashfile.tree import Tree
from dvc_data.index import DataIndexDirError
from dvc_objects.errors import ObjectFormatError
from scmrepo.exceptions import SCMError

from lineage.adapters.datasets.dvc_place import Place, git_says, place_of, revision_of, uncommitted
from lineage.adapters.datasets.file_rows import FileReader, view_of
from lineage.errors import IntegrityError, LineageError, NotFound, Unavailable, UncommittedData, UsageError
from lineage.model.dataset import DatasetVersion, LogManifest, View
from lineage.model.digest import digest_of_json
from lineage.model.source import Column
from lineage.model.words import first_line
from lineage.ports import DatasetWriter, KnownVersion

_VERSION = metadata.version("dvc")
_KEPT_LISTINGS = 8


@dataclass(frozen=True, slots=True)
class TrackedFile:
    """A file at a revision.

    Attributes:
        path: Inside the dataset.
        md5: As DVC tracks it.
        algorithm: ``md5``, or ``md5-dos2unix`` of DVC before 3.0, which counts texts with line ends of another system as equal.
        stored: Where DVC's cache has it, if it has.
        inside: Path inside the DVC repository.
    """

    path: str
    md5: str
    algorithm: str
    stored: str
    inside: str


class DvcBackend:
    """DVC-tracked data behind :class:`lineage.ports.DatasetBackend`."""

    def name_of(self, uri: str) -> str:
        """Technology and release."""
        return f"dvc {_VERSION}"

    def kind_of(self, uri: str) -> str:
        """Always ``dvc``."""
        return "dvc"

    def address_of(self, handle: Any) -> str:
        """The address of a path.

        Raises:
            UsageError: It is no path.
        """
        if not isinstance(handle, os.PathLike):
            raise UsageError(f"expected the path of tracked data, found {type(handle).__name__}")
        return place_of(f"file://{Path(handle).absolute()}").uri

    def exists(self, uri: str) -> bool:
        """Whether data are tracked there at the current revision."""
        try:
            place = place_of(uri)
            return bool(_listing(place, revision_of(place, None, None)[0]))
        except (NotFound, UncommittedData):
            return False

    def resolve(
        self, uri: str, *, branch: str | None = None, commit_id: str | None = None, view: str | None = None, query: str | None = None
    ) -> View:
        """Names to rows: ``commit_id`` is any git revision, ``query`` a pattern of paths.

        Without branch and revision the work tree is meant. It must be what the current revision holds, or the record would say another
        thing than the folder shows.
        """
        place = place_of(uri)
        if view is not None:
            raise NotFound("view", view, detail="DVC keeps none", hint="give a query such as images/*.jpg instead")
        sha, own_branch = revision_of(place, branch, commit_id)
        if branch is None and commit_id is None:
            _refuse_uncommitted(place, sha)
        files = _listing(place, sha)
        return view_of(_version(place, own_branch, sha, len(files)), [file.path for file in files], query)

    def open(self, uri: str, branch: str, commit_id: str) -> FileReader:
        """Open a revision for reading. The branch is a label: it may have moved on, or be gone."""
        place = place_of(uri)
        sha, _ = revision_of(place, None, commit_id)
        files = _listing(place, sha)
        content = _content(place, sha, files)
        version = _version(place, branch, sha, len(files))
        return FileReader(version, [file.path for file in files], content, {"md5": [file.md5 for file in files]})

    def manifest(self, version: DatasetVersion) -> LogManifest | None:
        """Digest over path and MD5 of every tracked file: equal for revisions between which the data did not change."""
        files = _listing(place_of(version.uri), version.commit_id)
        return LogManifest(digest=digest_of_json([[file.path, file.md5] for file in files]), files=len(files))

    def signature(self, version: DatasetVersion) -> str | None:
        """Digest of paths, MD5s, and sizes and times of the files in DVC's cache."""
        return digest_of_json([[file.path, file.md5, *_looks(file)] for file in _listing(place_of(version.uri), version.commit_id)])

    def only_appended(self, older: KnownVersion, newer: DatasetVersion) -> bool:
        """Whether the older revision's files are the first of the newer one's."""
        if older.dataset_id != newer.dataset_id:
            return False
        place = place_of(newer.uri)
        try:
            before, now = _listing(place, older.commit_id), _listing(place, newer.commit_id)
        except LineageError:
            return False  # it cannot be known
        return [(file.path, file.md5) for file in before] == [(file.path, file.md5) for file in now[: len(before)]]

    def save_view(self, uri: str, query: str, name: str, message: str) -> NoReturn:
        """Refused: DVC has no views."""
        raise UsageError(f"{uri} is tracked by DVC, which keeps no saved views", hint="give the pattern as query to use_dataset")

    def write(self, uri: str, columns: Sequence[Column], *, source: Mapping[str, Any], job: str | None = None) -> DatasetWriter:
        """Refused: data are added with DVC itself."""
        raise UsageError(f"{uri} is tracked by DVC and is only read", hint="add data with `dvc add`, or upload to another address")


def local_outputs(root: Path) -> tuple[str, ...]:
    """Paths of all outputs in the work tree of a DVC repository that DVC keeps, and of which it knows an MD5.

    Raises:
        Unavailable: DVC cannot read the repository.
    """
    try:
        with Repo(str(root)) as repo:
            return tuple(sorted(out.fs_path for out in repo.index.outs if out.protocol == "local" and out.hash_info))
    except (DvcException, SCMError) as error:
        raise Unavailable(f"DVC could not read {root}: {first_line(error)}") from error


def _version(place: Place, branch: str, sha: str, rows: int) -> DatasetVersion:
    # The first commit and the path inside: the same in every clone (but for a shallow one, which does not know its first commit).
    first = git_says(place.git_root, "rev-list", "--first-parent", "--max-parents=0", sha)
    dataset_id = hashlib.sha256(f"dvc\n{first}\n{place.inside}".encode()).hexdigest()[:32]
    return DatasetVersion(uri=place.uri, dataset_id=dataset_id, branch=branch, branch_id="", commit_id=sha, rows_total=rows)


def _open_repo(place: Place, sha: str) -> Any:
    """The DVC repository as a git revision has it: it reads git's objects and DVC's cache, and writes nothing."""
    scm = SCM(str(place.git_root))
    inside = place.dvc_root.relative_to(place.git_root).as_posix()
    return Repo(root_dir="/" if inside == "." else f"/{inside}", fs=GitFileSystem(scm=scm, rev=sha), scm=scm)


@contextlib.contextmanager
def _repo_at(place: Place, sha: str) -> Iterator[Any]:
    try:
        with _open_repo(place, sha) as repo:
            yield repo
    except NotDvcRepoError as error:
        raise _not_tracked(place, sha) from error
    except (DvcException, SCMError, ObjectFormatError) as error:
        raise Unavailable(f"DVC could not read {place.uri} at {sha[:12]}: {first_line(error)}") from error


def _output(repo: Any, path: str) -> Any:
    """The output that ``path`` is, or lies in; ``None`` when it is not tracked."""
    outs = [out for out in repo.index.outs if out.protocol == "local"]
    return next((out for out in outs if path == out.fs_path or path.startswith(f"{out.fs_path}/")), None)


@lru_cache(maxsize=_KEPT_LISTINGS)
def _listing(place: Place, sha: str) -> tuple[TrackedFile, ...]:
    """Every tracked file at a revision, by path."""
    with _repo_at(place, sha) as repo:
        out = _output(repo, place.inside)
        if out is None:
            raise _not_tracked(place, sha)
        if not out.hash_info:
            raise NotFound(
                "dataset",
                place.uri,
                detail=f"DVC knows no MD5 of it at {sha[:12]}",
                hint="run `dvc repro` or `dvc commit`, then commit to git",
            )
        within = tuple(part for part in place.inside[len(out.fs_path) :].split("/") if part)
        root = repo.root_dir.rstrip("/")
        found: list[TrackedFile] = []
        for key, info in _entries(repo, out, place, sha):
            if key[: len(within)] == within:
                path = "/".join(key[len(within) :]) or place.path.name
                inside = "/".join((out.fs_path[len(root) :], *key))
                found.append(TrackedFile(path, info.value, info.name, out.cache.oid_to_path(info.value), inside))
        if not found:
            raise _not_tracked(place, sha)
        return tuple(sorted(found, key=lambda file: file.path))


def _entries(repo: Any, out: Any, place: Place, sha: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not out.hash_info.isdir:
        yield (), out.hash_info
        return
    tree = out.get_obj()
    if tree is None:  # not in the cache
        with _remote_errors(place, sha, f"the list of files {out.hash_info.value}"):
            tree = load(repo.cloud.get_remote_odb(name=out.remote, hash_name=out.hash_name), out.hash_info)
    if not isinstance(tree, Tree):
        raise Unavailable(f"DVC could not read the list of files of {place.uri} at {sha[:12]}")
    for key, _, info in tree:
        yield key, info


def _refuse_uncommitted(place: Place, sha: str) -> None:
    """Compare the work tree with a revision: first what DVC's files say, then the data when they are checked out."""
    try:
        with _repo_at(place, sha) as repo:
            out = _output(repo, place.inside)
            committed = None if out is None else out.hash_info
    except NotFound:
        committed = None  # DVC itself is not in this revision
    try:
        with Repo(str(place.dvc_root)) as repo:
            out = _output(repo, str(place.path))
            if out is None:
                raise NotFound(
                    "dataset", place.uri, detail=f"DVC tracks no such output in {place.dvc_root}", hint="see `dvc list . --dvc-only -R`"
                )
            if out.hash_info != committed:
                raise uncommitted(place, f"commit {out.stage.relpath} to git, or name a git revision as commit_id")
            if out.exists and out.changed_checksum():
                raise uncommitted(place, "run `dvc commit` and commit to git, or name a git revision as commit_id")
    except (DvcException, SCMError) as error:
        raise Unavailable(f"DVC could not read {place.dvc_root}: {first_line(error)}") from error


def _content(place: Place, sha: str, files: Sequence[TrackedFile]) -> Callable[[int], bytes]:
    remote: dict[int, Any] = {}

    def read(row: int) -> bytes:
        file = files[row]
        try:
            content = Path(file.stored).read_bytes()
        except FileNotFoundError:
            content = _fetched(place, sha, file, remote)
        found = hashlib.md5(content, usedforsecurity=False).hexdigest() if file.algorithm == "md5" else _text_md5(content, file.algorithm)
        if found != file.md5:
            raise IntegrityError(
                f"file {file.path} of {place.uri}",
                expected=f"MD5 {file.md5}",
                found=found,
                hint=f"remove {file.stored}, then `dvc fetch` brings it anew",
            )
        return content

    return read


def _text_md5(content: bytes, algorithm: str) -> str:
    return str(fobj_md5(BytesIO(content), name=algorithm))


def _fetched(place: Place, sha: str, file: TrackedFile, remote: dict[int, Any]) -> bytes:
    # What the cache lacks comes from the remote, or from git for an output that DVC does not cache.
    with _remote_errors(place, sha, f"{file.path} (MD5 {file.md5})"):
        if os.getpid() not in remote:  # a connection does not survive a fork
            remote[os.getpid()] = DVCFileSystem(repo=_open_repo(place, sha))
        return bytes(remote[os.getpid()].cat_file(file.inside))


@contextlib.contextmanager
def _remote_errors(place: Place, sha: str, what: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NoRemoteError, DataIndexDirError) as error:
        raise NotFound(
            "file",
            what,
            detail=f"{place.uri} at {sha[:12]} needs it, and neither DVC's cache nor a remote gives it",
            hint="`dvc fetch --all-commits` brings it from a remote that has it; `dvc gc` removes what no kept revision names",
        ) from error
    except Exception as error:  # every kind of remote has errors of its own
        raise Unavailable(f"DVC could not fetch {what} of {place.uri}: {type(error).__name__}: {first_line(error)}") from error


def _looks(file: TrackedFile) -> tuple[int, int] | tuple[()]:
    try:
        status = os.stat(file.stored)
    except FileNotFoundError:
        return ()
    return status.st_size, status.st_mtime_ns


def _not_tracked(place: Place, sha: str) -> NotFound:
    return NotFound(
        "dataset", place.uri, detail=f"DVC tracks no such output at revision {sha[:12]}", hint="name another revision as commit_id"
    )
