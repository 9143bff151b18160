"""Saved views as the dataset's log holds them: the list of their rows, and the branch that they were really taken from."""

from __future__ import annotations

from typing import Any

import numpy as np

from lineage.adapters.datasets.deeplake_log import read_log
from lineage.adapters.datasets.deeplake_open import open_at
from lineage.adapters.datasets.deeplake_query import Rows
from lineage.adapters.datasets.deeplake_query_traps import refuse_wrong_answers
from lineage.errors import IntegrityError, LineageError, NotFound


def listed_rows(uri: str, tag_id: str) -> Rows | None:
    """Rows of a saved view as listed when it was saved, int64, shape (n,); ``None`` when there is no list, or one of unknown form."""
    for entry in read_log(uri).meta("createTag"):
        if entry.get("id") == tag_id and "rows" in entry:
            return _decoded(entry["rows"])
    return None


def _decoded(rows: Any) -> Rows | None:
    try:
        kind, data = rows["type"], rows["data"]
        if kind == "list":
            return np.asarray(data, dtype=np.int64)
        if kind == "slice":
            return np.arange(*data, dtype=np.int64)
        if kind == "chain":  # a view of a view: positions within the first
            first, second = _decoded(data["first"]), _decoded(data["second"])
            return None if first is None or second is None else first[second]
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    return None


def refuse_misplaced(uri: str, name: str, dataset: Any, query: str, rows: Rows) -> None:
    """Refuse a view that was saved from another branch than it names.

    A view saved through a read-only handle of a branch is written down as one of main (a fault of this release), and opens as the rows of
    main at the same positions. It gives itself away: asked of the branch it names, its query gives other rows; asked of its own, these.

    Args:
        uri: The dataset.
        name: Of the view.
        dataset: The version that the view names, open.
        query: Its query.
        rows: Its listed rows, int64, shape (n,).

    Raises:
        IntegrityError: It is such a view.
    """
    branches = dataset.branches
    others = [branch for branch in branches.names() if branch != dataset.current_branch.name]
    if not others or _gives(dataset, query, rows):
        return
    for branch in others:
        try:
            other, keep = open_at(uri, branch, dataset.version)
        except NotFound:
            continue
        if _gives(other, query, rows):
            raise IntegrityError(
                f"view '{name}' of {uri}",
                expected=f"rows of branch '{dataset.current_branch.name}' that its query keeps",
                found=f"those of branch '{branch}': it was saved through a read-only handle",
                hint=f"save it again through a writable handle of '{branch}'",
            )
        del keep


def _gives(dataset: Any, query: str, rows: Rows) -> bool:
    try:
        refuse_wrong_answers(dataset, query)
        rest = query.split(None, 2)[2]
        found = dataset.query(f"select rn from (select *, row_number() as rn) {rest}")
        return len(found) == len(rows) and [int(value) for value in found["rn"][:]] == rows.tolist()
    except (LineageError, RuntimeError, LookupError, TypeError):
        return False
