"""Queries: the source rows behind them, and forms that Deep Lake 4.7.4 answers wrongly without saying so."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lineage.adapters.datasets.deeplake_open import deeplake_errors, plain_value
from lineage.errors import InvalidQuery
from lineage.model.digest import digest_of_row

_SINGLE_COLUMN = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*\[\s*(?P<rows>[^\[\],]*:[^\[\],]*),\s*(?P<column>\d+)\s*\]")
_RANDOM = re.compile(r"\brandom\s*\(", re.IGNORECASE)
_BATCH_ROWS = 256


def view_rows(dataset: Any, uri: str, query: str, view: Any | None = None) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Source positions of a ``select *`` query's rows, int64, shape (n,), in the view's order.

    Deep Lake gives a row's position in the view only; source positions come from the same query over a numbered subquery, and are checked
    against the view by a key: a text column without repetitions or, without one, every column but pictures.

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
        if _RANDOM.search(query):
            raise InvalidQuery(query, "it is random: it gives other rows each time", hint="order by a column, or sample when training")
        rest = words[2] if len(words) > 2 else ""
        numbered = dataset.query(f"select rn from (select *, row_number() as rn) {rest}")
        try:
            rows = np.asarray([int(value) for value in numbered["rn"][:]] if len(numbered) else [], dtype=np.int64)
        except TypeError:
            raise InvalidQuery(query, "it joins rows; only whole rows can be viewed", hint="leave 'group by' out") from None
        if len(rows) == len(chosen) and _same_rows(dataset, chosen, rows):
            return rows
        # A view saved from a view: its query alone does not tell its rows, a text without repetitions does.
        by_text = None if view is None else _rows_by_text(dataset, view)
    if by_text is None:
        raise InvalidQuery(query, "it does not give the same rows when evaluated again", hint="order by a column instead of at random")
    return by_text


def _unique_texts(dataset: Any) -> tuple[str, list[str]] | None:
    """A text column in which every row differs, and its values."""
    for item in dataset.schema.columns:
        if item.dtype.kind.name == "Text":
            texts = list(dataset[item.name][:])
            if len(set(texts)) == len(texts):
                return item.name, texts
    return None


def _rows_by_text(dataset: Any, view: Any) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    found = _unique_texts(dataset)
    if found is None:
        return None
    name, texts = found
    position = {text: row for row, text in enumerate(texts)}
    rows = [position.get(text, -1) for text in view[name][:]]
    return None if -1 in rows else np.asarray(rows, dtype=np.int64)


def _same_rows(dataset: Any, view: Any, rows: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
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
