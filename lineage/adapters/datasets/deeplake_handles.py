"""What an open Deep Lake object shows, for programs that open datasets themselves."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lineage.adapters.datasets.deeplake import DeepLakeBackend, _branch_of, _state_of
from lineage.adapters.datasets.deeplake_open import UNCOMMITTED, deeplake_errors, open_at
from lineage.adapters.datasets.deeplake_query import _numbered, _rest_of, _rows_by_text, _same_rows
from lineage.adapters.datasets.deeplake_query_traps import refuse_wrong_answers
from lineage.errors import IntegrityError, InvalidQuery
from lineage.model.dataset import Rows, View, normalise_uri


def address_in(handle: Any) -> str | None:
    """Normalised address of an open dataset or view; ``None`` when it does not tell."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a pickled handle has no uncommitted changes
            state = json.loads(handle.__getstate__()[0])
        return normalise_uri((state[0] if isinstance(state, list) else state)["reader"]["url"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def is_uncommitted(handle: Any) -> bool:
    """Whether an open dataset shows changes that no commit holds."""
    return bool(handle.version == UNCOMMITTED)


def view_behind(
    uri: str, branch: str, commit_id: str, tag_id: str | None, queries: Sequence[str], handle: Any | None
) -> tuple[View, str | None]:
    """Source rows of what an object shows, found out by our own means and compared with what it shows.

    Args:
        uri: The dataset.
        branch: Its branch.
        commit_id: Its version.
        tag_id: The saved view that was opened.
        queries: Queries asked one after the other.
        handle: The object, where it still lives: nothing else can say what a program saw.

    Returns:
        (view, reason). With a reason the rows could not be told, and the view is all that the queries were asked of.

    Raises:
        NotFound: The dataset, the version or the saved view is gone.
        IntegrityError: It shows other rows than its names say.
    """
    backend = DeepLakeBackend()
    base = backend.resolve(uri, view=tag_id) if tag_id is not None else backend.resolve(uri, branch=branch, commit_id=commit_id)
    if not queries:
        if handle is not None and len(handle) != len(base.rows):
            raise IntegrityError(
                f"dataset {uri} at {base.version.commit_id}",
                expected=f"{len(base.rows)} rows",
                found=f"{len(handle)} rows in the open object",
                hint="the object was refreshed or written to after it was opened",
            )
        return base, None
    dataset, keep = open_at(uri, base.version.branch, base.version.commit_id)
    text = queries[0] if len(queries) == 1 and tag_id is None else " | ".join([*([f"({base.query})"] if tag_id else []), *queries])
    try:
        rows = _asked(dataset, uri, base, tag_id, queries, handle)
    except InvalidQuery as error:
        told = None if handle is None else _told_by_text(dataset, uri, handle)
        if told is None:
            return base, error.message
        rows = told
    finally:
        del keep
    return replace(base, rows=rows, query=text), None


def _asked(dataset: Any, uri: str, base: View, tag_id: str | None, queries: Sequence[str], handle: Any | None) -> Rows:
    with deeplake_errors(uri, queries[-1]):
        tags = None if tag_id is None else dataset.tags
        tag = None if tags is None else tags[tag_id]
        current = dataset if tag is None else tag.open()
        rows = base.rows
        for query in queries:
            rest = _rest_of(query)
            if rest is None:
                raise InvalidQuery(query, "it does not show whole rows")
            refuse_wrong_answers(dataset, query)
            rows = rows[_numbered(current, query, rest)]
            current = current.query(query)
        if handle is not None and (len(handle) != len(rows) or not _same_rows(dataset, handle, rows)):
            raise InvalidQuery(queries[-1], "it does not give the same rows when evaluated again")
    return np.asarray(rows, dtype=np.int64)


def _told_by_text(dataset: Any, uri: str, handle: Any) -> Rows | None:
    try:
        with deeplake_errors(uri):
            return _rows_by_text(dataset, handle)
    except Exception:  # noqa: BLE001 - a projection may lack the column, and Deep Lake's errors share no base
        return None


def stored_bytes(view: View) -> int:
    """Size of the data files behind a version, in bytes; 0 for a release whose log is not known."""
    from lineage.adapters.datasets.deeplake_history import data_files
    from lineage.adapters.datasets.deeplake_log import read_log, replay

    version = view.version
    with deeplake_errors(version.uri):
        return sum(data_files(replay(read_log(version.uri), version.branch_id, version.commit_id).files).values())


def names_of(handle: Any) -> tuple[str, str, str, tuple[str, ...]] | None:
    """Address, branch, commit id and queries of an open object; ``None`` when it does not tell its address.

    A view tells neither branch nor version: it is taken to be of the newest, which comparing its rows confirms or not.
    """
    uri = address_in(handle)
    if uri is None:
        return None
    if hasattr(handle, "version"):
        return uri, str(handle.current_branch.name), str(handle.version), ()
    state = _state_of(handle)
    queries = tuple(str(part["query_string"]) for part in state if "query_string" in part)
    root, keep = open_at(uri, "main", None)
    branch = _branch_of(root, handle)
    if branch != "main":
        root, keep = open_at(uri, branch, None)
    found = uri, branch, str(root.version), queries
    del keep
    return found


def newest(uri: str) -> tuple[str, str, str]:
    """Normalised address, branch and commit id of what is newest on the main branch."""
    address = normalise_uri(uri)
    root, _ = open_at(address, "main", None)
    return address, "main", str(root.version)
