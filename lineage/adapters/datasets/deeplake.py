"""Datasets in Deep Lake 4.

What its names do and do not promise, and why rows and content digests are recorded beside them: ``docs/architecture.md``, section "Data".
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

import deeplake
import numpy as np

from lineage.adapters.datasets.deeplake_history import files_signature, log_manifest, only_appended
from lineage.adapters.datasets.deeplake_open import UNCOMMITTED, DeepLakeReader, deeplake_errors, open_at, version_of
from lineage.adapters.datasets.deeplake_query import saved_rows, view_rows
from lineage.adapters.datasets.deeplake_reach import check_reachable
from lineage.adapters.datasets.deeplake_tags import listed_rows, refuse_misplaced
from lineage.adapters.datasets.deeplake_write import DeepLakeWriter
from lineage.errors import Conflict, IntegrityError, InvalidQuery, NotFound, UncommittedData, UsageError
from lineage.model.dataset import DatasetVersion, LogManifest, Rows, View
from lineage.model.source import Column
from lineage.ports.rows import KnownVersion

_VERSION = metadata.version("deeplake")


class DeepLakeBackend:
    """Deep Lake behind :class:`lineage.ports.DatasetBackend`."""

    def name_of(self, uri: str) -> str:
        """Technology and version."""
        return f"deeplake {_VERSION}"

    def kind_of(self, uri: str) -> str:
        """Always ``deeplake``."""
        return "deeplake"

    def address_of(self, handle: Any) -> str:
        """The address of an open Deep Lake dataset, for callers that hold a handle instead of an address.

        Raises:
            UncommittedData: The handle has changes that no commit holds.
            UsageError: It is no Deep Lake dataset.
        """
        if not isinstance(handle, deeplake.Dataset | deeplake.ReadOnlyDataset):
            raise UsageError(f"expected a dataset address or an open Deep Lake dataset, found {type(handle).__name__}")
        uri = _url_in(handle)
        if uri is None:
            raise UsageError("this Deep Lake dataset does not tell its address", hint="give the address instead")
        if handle.version == UNCOMMITTED:
            raise UncommittedData(uri)
        return uri

    def exists(self, uri: str) -> bool:
        """Whether there is a dataset."""
        check_reachable(uri)
        with deeplake_errors(uri):
            return bool(deeplake.exists(uri))

    def resolve(
        self, uri: str, *, branch: str | None = None, commit_id: str | None = None, view: str | None = None, query: str | None = None
    ) -> View:
        """Names to rows; see :class:`lineage.ports.DatasetBackend`."""
        if view is not None and query is not None:
            raise UsageError("give a view or a query, not both")
        if view is not None:
            return self._saved(uri, branch, commit_id, view)
        dataset, keep = open_at(uri, branch or "main", commit_id)
        if dataset.version == UNCOMMITTED:
            raise UncommittedData(uri)
        version = version_of(uri, dataset)
        if query is None:
            return _whole(version)
        rows = _not_empty(view_rows(dataset, uri, query), query, version)
        del keep
        return View(version=version, rows=rows, query=query)

    def _saved(self, uri: str, branch: str | None, commit_id: str | None, name: str) -> View:
        root, _ = open_at(uri, branch or "main", None)
        with deeplake_errors(uri):
            tags = root.tags
            try:
                tag = tags[name]
            except deeplake.TagNotFoundError as error:
                known = ", ".join(sorted(item for item in tags.names() if item)) or "none"
                raise NotFound("view", name, detail=f"in {uri}", hint=f"saved views: {known}; `lineage view create` makes one") from error
            opened = tag.open()
            # A dataset's views are listed on every branch, and commit ids repeat between branches: a view's own branch must be read.
            own_branch = _branch_of(root, opened)
        if branch is not None and branch != own_branch:
            raise NotFound("view", name, detail=f"it is a view of branch '{own_branch}', not of '{branch}'")
        if commit_id is not None and tag.version != commit_id:
            raise NotFound("view", name, detail=f"it is a view of commit {tag.version}, not of {commit_id}")
        dataset, keep = open_at(uri, own_branch, tag.version)
        version = version_of(uri, dataset)
        if tag.query is None:  # a name for a whole version
            return replace(_whole(version), view_id=tag.id, name=tag.name)
        listed = listed_rows(uri, tag.id)
        if listed is not None:
            refuse_misplaced(uri, tag.name, dataset, tag.query, listed)
        rows = _not_empty(saved_rows(dataset, uri, tag.query, opened, listed), tag.query, version)
        del keep
        return View(version=version, rows=rows, view_id=tag.id, name=tag.name, query=tag.query)

    def open(self, uri: str, branch: str, commit_id: str) -> DeepLakeReader:
        """Open a version for reading."""
        return DeepLakeReader(uri, branch, commit_id)

    def manifest(self, version: DatasetVersion) -> LogManifest | None:
        """Digest of the version's log files, for the release whose layout is known."""
        if not _VERSION.startswith("4.7."):
            return None
        with deeplake_errors(version.uri):
            return log_manifest(version.uri, version.branch_id, version.commit_id)

    def signature(self, version: DatasetVersion) -> str | None:
        """Names, sizes and times of the version's data files, for the release whose layout is known."""
        if not _VERSION.startswith("4.7."):
            return None
        with deeplake_errors(version.uri):
            return files_signature(version.uri, version.branch_id, version.commit_id)

    def only_appended(self, older: KnownVersion, newer: DatasetVersion) -> bool:
        """Whether ``newer`` is ``older`` with rows behind at most; see :class:`lineage.ports.DatasetBackend`."""
        if not _VERSION.startswith("4.7."):
            return False
        with deeplake_errors(newer.uri):
            return only_appended(older, newer)

    def save_view(self, uri: str, query: str, name: str, message: str) -> View:
        """Save a query's rows; see :class:`lineage.ports.DatasetBackend`."""
        dataset, keep = open_at(uri, "main", None)
        version = version_of(uri, dataset)
        rows = _not_empty(view_rows(dataset, uri, query), query, version)
        with deeplake_errors(uri, query):
            if name in dataset.tags.names():
                kept = self._saved(uri, None, None, name)
                if kept.version == version and np.array_equal(kept.rows, rows) and kept.query == query:
                    return kept
                raise Conflict(
                    f"view '{name}' of {uri} exists with other rows ({len(kept.rows)} of commit {kept.version.commit_id})",
                    hint="choose another name; saved views are never replaced, runs may rely on them",
                )
            tag = dataset.query(query).tag(name, message, fixed_version=True)
        del keep
        saved = self._saved(uri, "main", None, tag.id)
        if saved.version != version or not np.array_equal(saved.rows, rows):
            raise IntegrityError(
                f"view '{name}'",
                expected=f"{len(rows)} rows of {version.commit_id}",
                found=f"{len(saved.rows)} rows of {saved.version.commit_id}",
            )
        return saved

    def write(self, uri: str, columns: Sequence[Column], *, source: Mapping[str, Any], job: str | None = None) -> DeepLakeWriter:
        """Create a dataset, or continue an interrupted upload."""
        return DeepLakeWriter(uri, columns, source, job)


def _not_empty(rows: Rows, query: str, version: DatasetVersion) -> Rows:
    if len(rows) == 0:
        raise InvalidQuery(query, f"it keeps none of {version.rows_total} rows", hint="loosen the condition")
    return rows


def _whole(version: DatasetVersion) -> View:
    if version.rows_total == 0:
        raise InvalidQuery("select *", f"dataset {version.uri} has no rows at commit {version.commit_id}")
    return View(version=version, rows=np.arange(version.rows_total, dtype=np.int64))


def _branch_of(root: Any, opened: Any) -> str:
    if isinstance(opened, deeplake.Dataset | deeplake.ReadOnlyDataset):
        return str(opened.current_branch.name)
    # A view tells its branch in its pickled form only.
    wanted = _state_of(opened)[0]["branch_id"]
    branches = root.branches
    return str(next(name for name in branches.names() if branches[name].id == wanted))


def _state_of(handle: Any) -> Any:
    # A pickled handle is one JSON text. It warns that changes are not in it; they are refused elsewhere.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return json.loads(handle.__getstate__()[0])


def _url_in(handle: Any) -> str | None:
    try:
        url = _state_of(handle)["reader"]["url"]
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    return str(url) if "://" in url else f"file://{url.rstrip('/')}"
