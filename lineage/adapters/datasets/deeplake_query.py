"""Queries: the source rows behind them, and forms that Deep Lake 4.7.4 answers wrongly without saying so."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lineage.adapters.datasets.deeplake_open import deeplake_errors
from lineage.errors import InvalidQuery

_SINGLE_COLUMN = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*\[\s*(?P<rows>[^\[\],]*:[^\[\],]*),\s*(?P<column>\d+)\s*\]")
_BATCH_ROWS = 256


def view_rows(dataset: Any, uri: str, query: str, view: Any | None = None) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Source positions of a ``select *`` query's rows, int64, shape (n,), in the view's order.

    Deep Lake gives a row's position in the view only; source positions come from the same query over a numbered subquery, and are checked
    against the view by a key: the rows' texts (or, without text columns, every small column).

    Args:
        dataset: An open, pinned version.
        uri: For messages.
        query: The query text.
        view: The rows it must agree with, when it was saved; by default the query is evaluated for it.

    Raises:
        InvalidQuery: It does not parse, names something unknown, is not ``select *``, or gives other rows each time.
    """
    words = query.split(None, 2)
    if len(words) < 2 or words[0].lower() != "select":
        raise InvalidQuery(query, "expected a query of the form 'select * where …'")
    with deeplake_errors(uri, query):
        _refuse_wrong_answers(dataset, query)
        chosen = dataset.query(query) if view is None else view
        if words[1] != "*":
            raise InvalidQuery(query, "only whole rows can be viewed", hint="write 'select * where …'")
        rest = words[2] if len(words) > 2 else ""
        numbered = dataset.query(f"select rn from (select *, row_number() as rn) {rest}")
        rows = np.asarray([int(value) for value in numbered["rn"][:]] if len(numbered) else [], dtype=np.int64)
        if len(rows) == len(chosen) and _same_rows(dataset, chosen, rows):
            return rows
        # A view saved from a view, or at random: its query alone does not tell its rows, a unique text does.
        by_text = None if view is None else _rows_by_text(dataset, view)
    if by_text is None:
        raise InvalidQuery(query, "it does not give the same rows when evaluated again", hint="order by a column instead of at random")
    return by_text


def _rows_by_text(dataset: Any, view: Any) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    for item in dataset.schema.columns:
        if item.dtype.kind.name == "Text":
            position = {text: row for row, text in enumerate(dataset[item.name][:])}
            if len(position) == len(dataset):
                return np.asarray([position[text] for text in view[item.name][:]], dtype=np.int64)
    return None


def _same_rows(dataset: Any, view: Any, rows: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
    if len(rows) == 0:
        return True
    columns = [item for item in dataset.schema.columns if item.dtype.kind.name != "Image"]
    keys = [item.name for item in columns if item.dtype.kind.name == "Text"] or [item.name for item in columns]
    positions = [int(row) for row in rows]
    for name in keys:
        for left, right in zip(view[name][:], dataset[name][positions], strict=True):
            if not np.array_equal(np.asarray(left), np.asarray(right)):
                return False
    return True


def _refuse_wrong_answers(dataset: Any, query: str) -> None:
    # Measured: when all rows of a column have one and the same shape, ``boxes[:,2]`` reads other memory and gives other rows at every
    # evaluation. A range of one, ``boxes[:,2:3]``, is answered rightly for any shapes.
    columns = {item.name for item in dataset.schema.columns if item.dtype.kind.name == "Generic"}
    for match in _SINGLE_COLUMN.finditer(query):
        if match["name"] in columns and _is_uniform(dataset, match["name"]):
            number = int(match["column"])
            raise InvalidQuery(
                query,
                f"Deep Lake answers {match[0]} wrongly here, because every row of '{match['name']}' has the same shape",
                hint=f"write {match['name']}[{match['rows'].strip()},{number}:{number + 1}], which is answered rightly",
            )


def _is_uniform(dataset: Any, name: str) -> bool:
    column, total, first = dataset[name], len(dataset), None
    for start in range(0, total, _BATCH_ROWS):
        for value in column[list(range(start, min(start + _BATCH_ROWS, total)))]:
            shape = np.asarray(value).shape
            first = shape if first is None else first
            if shape != first:
                return False
    return first is not None
