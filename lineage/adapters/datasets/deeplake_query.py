"""Queries and saved views: the source rows behind them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lineage.adapters.datasets.deeplake_open import deeplake_errors, plain_value
from lineage.adapters.datasets.deeplake_query_traps import refuse_wrong_answers
from lineage.errors import InvalidQuery
from lineage.model.digest import digest_of_row

Rows = np.ndarray[Any, np.dtype[np.int64]]


def view_rows(dataset: Any, uri: str, query: str) -> Rows:
    """Source positions of a ``select *`` query's rows, int64, shape (n,), in the query's order.

    Deep Lake gives a row's position in the view only; source positions come from the same query over a numbered subquery, and are checked
    against the query's own rows by a key: a text column without repetitions or, without one, every column but pictures.

    Args:
        dataset: An open, pinned version.
        uri: For messages.
        query: The query text.

    Raises:
        InvalidQuery: It does not parse, names something unknown, is not ``select *``, gives other rows each time, or is one that Deep Lake
            answers wrongly.
    """
    rest = _rest_of(query)
    with deeplake_errors(uri, query):
        refuse_wrong_answers(dataset, query)
        chosen = dataset.query(query)
        if rest is None:
            raise InvalidQuery(query, "only whole rows can be viewed", hint="write 'select * where …'")
        rows = _numbered(dataset, query, rest)
        if len(rows) != len(chosen) or not _same_rows(dataset, chosen, rows):
            raise InvalidQuery(query, "it does not give the same rows when evaluated again", hint="order by a column instead of at random")
        return rows


def saved_rows(dataset: Any, uri: str, query: str, opened: Any, listed: Rows | None) -> Rows:
    """Source positions of a saved view's rows, int64, shape (n,), in its order.

    A saved view holds its rows as a list, so it can be used even when its query is answered wrongly, or was asked of another view. Without
    a list that fits what the view shows, the query is evaluated, and last a text without repetitions tells the rows.

    Args:
        dataset: The version it was saved at, open and pinned.
        uri: For messages.
        query: Its query.
        opened: The view as Deep Lake opens it.
        listed: Its rows as the dataset's log lists them.

    Raises:
        InvalidQuery: It shows no whole rows, or its rows cannot be told.
    """
    with deeplake_errors(uri, query):
        if listed is not None and len(listed) == len(opened) and _same_rows(dataset, opened, listed):
            return listed
        rest = _rest_of(query)
        if rest is None:
            raise InvalidQuery(query, "only whole rows can be viewed", hint="write 'select * where …'")
        refuse_wrong_answers(dataset, query)
        rows = _numbered(dataset, query, rest)
        if len(rows) == len(opened) and _same_rows(dataset, opened, rows):
            return rows
        by_text = _rows_by_text(dataset, opened)
    if by_text is None:
        raise InvalidQuery(query, "it does not give the same rows when evaluated again", hint="save the view again from its query")
    return by_text


def _rest_of(query: str) -> str | None:
    """What follows ``select *``; ``None`` when the query is a projection."""
    words = query.split(None, 2)
    if len(words) < 2 or words[0].lower() != "select":
        raise InvalidQuery(query, "expected a query of the form 'select * where …'")
    if words[1] != "*":
        return None
    return words[2] if len(words) > 2 else ""


def _numbered(dataset: Any, query: str, rest: str) -> Rows:
    numbered = dataset.query(f"select rn from (select *, row_number() as rn) {rest}")
    try:
        return np.asarray([int(value) for value in numbered["rn"][:]] if len(numbered) else [], dtype=np.int64)
    except TypeError:
        raise InvalidQuery(query, "it joins rows; only whole rows can be viewed", hint="leave 'group by' out") from None


def _unique_texts(dataset: Any) -> tuple[str, list[str]] | None:
    """A text column in which every row differs, and its values."""
    for item in dataset.schema.columns:
        if item.dtype.kind.name == "Text":
            texts = list(dataset[item.name][:])
            if len(set(texts)) == len(texts):
                return item.name, texts
    return None


def _rows_by_text(dataset: Any, view: Any) -> Rows | None:
    found = _unique_texts(dataset)
    if found is None:
        return None
    name, texts = found
    position = {text: row for row, text in enumerate(texts)}
    rows = [position.get(text, -1) for text in view[name][:]]
    return None if -1 in rows else np.asarray(rows, dtype=np.int64)


def _same_rows(dataset: Any, view: Any, rows: Rows) -> bool:
    if len(rows) == 0:
        return True
    found = _unique_texts(dataset)
    if found is not None:
        name, texts = found
        return list(view[name][:]) == [texts[row] for row in rows]
    positions = [int(row) for row in rows]
    for item in dataset.schema.columns:
        if item.dtype.kind.name != "Image":
            pairs = zip(view[item.name][:], dataset[item.name][positions], strict=True)
            # By their bits: a NaN equals itself here.
            if any(digest_of_row({"": plain_value(a)}, {}) != digest_of_row({"": plain_value(b)}, {}) for a, b in pairs):
                return False
    return True
