"""Views without some of their rows: a query for exactly the rows that are left, tried on the dataset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lineage.errors import InvalidQuery, LineageError
from lineage.lookup.rows import Occurrence
from lineage.model.dataset import InputRecord
from lineage.model.findings import CleanedView
from lineage.ports import DatasetBackend, Ports
from lineage.record.identity import recorded_rows

if TYPE_CHECKING:
    from lineage.model.dataset import Rows

_TAIL = ("order", "group", "limit", "offset", "sample", "union", "intersect", "except", "having", "expand")
_MOST_ROWS_BY_NUMBER = 200
_WORD = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|\w+|\S")


def clean_view(ports: Ports, item: InputRecord, held: Sequence[Occurrence], condition: str | None, slug: str) -> CleanedView:
    """The view of a recorded input without the rows ``held``.

    Args:
        ports: The outside world.
        item: The input.
        held: Rows to leave out.
        condition: What chose them on this dataset, when a query did.
        slug: What to call them in the new view's name.
    """
    import numpy as np

    excluded = np.unique(np.asarray([occurrence.row for occurrence in held], np.int64))
    ids = sorted({occurrence.sample_id for occurrence in held if occurrence.sample_id is not None})
    has_ids = all(occurrence.sample_id is not None for occurrence in held)
    query, command, reason = None, None, None
    left = item.rows
    name = f"{item.view_name or item.role}-without-{slug}"
    try:
        rows = recorded_rows(ports.objects, item)
        remaining = rows[~np.isin(rows, excluded)]
        left = len(remaining)
        if left == 0:
            reason = "no row is left: what uses this view cannot be made again without it"
        elif item.kind != "deeplake":
            reason = f"a {item.kind} input has no queries: leave the rows out by hand"
        else:
            backend = ports.datasets()
            query, reason = _query(backend, item, remaining, excluded.tolist(), ids if has_ids else [], condition)
            if query is not None:
                command, reason = _command(ports, backend, item, query, name)
    except LineageError as error:
        reason = f"the dataset cannot be asked now ({error.message}): leave the rows out by hand"
    return CleanedView(
        view_key=item.view_key or "",
        view_name=item.view_name,
        uri=item.uri,
        branch=item.branch,
        commit_id=item.commit_id,
        rows=item.rows,
        rows_left=left,
        excluded=tuple(excluded.tolist()),
        excluded_ids=tuple(ids) if has_ids else None,
        query=query,
        command=command,
        name=name,
        reason=reason,
    )


def _query(
    backend: DatasetBackend, item: InputRecord, remaining: Rows, excluded: Sequence[int], ids: Sequence[str], condition: str | None
) -> tuple[str | None, str | None]:
    import numpy as np

    found = "no query for the rows that are left was found"
    for unwanted in _unwanted(excluded, ids, condition):
        text = without(item.query, unwanted)
        if text is None:
            found = f"the view's query is not of a form that can be narrowed ({item.query})"
            continue
        try:
            view = backend.resolve(item.uri, branch=item.branch, commit_id=item.commit_id, query=text)
        except InvalidQuery as error:
            found = f"the narrowed query is refused ({error.reason})"
            continue
        if view.version.dataset_id != item.dataset_id:
            return None, f"another dataset is at {item.uri} now: leave the rows out by hand"
        if np.array_equal(view.rows, remaining):
            return text, None
        found = f"the narrowed query keeps other rows ({len(view.rows)} instead of {len(remaining)})"
    return None, f"{found}: leave the rows out by hand"


def _unwanted(excluded: Sequence[int], ids: Sequence[str], condition: str | None) -> Iterator[str]:
    # Each is tried: ids may repeat, and a condition may hold for rows that only a copy of the dataset has.
    if condition is not None:
        yield condition
    quoted = [f"'{text.replace(chr(39), chr(39) * 2)}'" for text in ids]
    if len(quoted) == 1:
        yield f"sample_id == {quoted[0]}"
    elif quoted:
        yield f"sample_id in ({', '.join(quoted)})"
    if len(excluded) <= _MOST_ROWS_BY_NUMBER:
        yield " or ".join(f"row_number() == {row}" for row in excluded)


def _command(ports: Ports, backend: DatasetBackend, item: InputRecord, query: str, name: str) -> tuple[tuple[str, ...] | None, str | None]:
    # `lineage view create` works on the newest commit of main. It gives these rows only while that has the same numbering of rows.
    newest = backend.resolve(item.uri, query=query).version
    same = (newest.branch_id, newest.commit_id) == (item.branch_id, item.commit_id)
    if not same and item.space is not None:
        known = ports.rows.versions(newest.uri, newest.dataset_id, newest.branch_id)
        same = any(version.commit_id == newest.commit_id and version.space == item.space for version in known)
        same = same and backend.resolve(item.uri, query=query).rows.tolist() == _rows_at(backend, item, query).tolist()
    if same:
        return ("lineage", "view", "create", item.uri, query, "--name", name), None
    return None, f"the dataset went on since commit {item.commit_id}: a view made now may hold other rows; name the commit as shown"


def _rows_at(backend: DatasetBackend, item: InputRecord, query: str) -> Rows:
    return backend.resolve(item.uri, branch=item.branch, commit_id=item.commit_id, query=query).rows


def without(query: str | None, unwanted: str) -> str | None:
    """The query without the rows for which ``unwanted`` holds; ``None`` when it is of no form that can be narrowed."""
    if query is None:
        return f"select * where not ({unwanted})"
    condition, tail = parts(query)
    if condition is None:
        return None
    kept = f"({condition}) and not ({unwanted})" if condition else f"not ({unwanted})"
    return f"select * where {kept} {tail}".rstrip()


def parts(query: str) -> tuple[str | None, str]:
    """(condition, what follows it) of a query ``select * where …``; the condition is empty without ``where``, ``None`` for other forms."""
    text = query.strip().rstrip(";").rstrip()
    words = [(match[0].lower(), match.start()) for match in _WORD.finditer(text)]
    if [word for word, _ in words[:2]] != ["select", "*"]:
        return None, ""
    if len(words) == 2:
        return "", ""
    first, start = words[2]
    if first in _TAIL:
        return "", text[start:]
    if first != "where":
        return None, ""
    depth, end = 0, len(text)
    for word, at in words[3:]:
        depth += (word in "([") - (word in ")]")
        if depth == 0 and word in _TAIL:
            end = at
            break
    return text[start + len("where") : end].strip(), text[end:]
