"""The statement that answers a query for runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from typing import Any

from lineage.model.words import instant
from lineage.ports import RunQuery


def select_runs(query: RunQuery, columns: str, members: str) -> tuple[str, list[Any]]:
    """Statement and parameters.

    Args:
        query: Which runs.
        columns: Of the table of runs, called ``r``.
        members: Subquery for the members of a JSON list of texts, which is its one parameter.
    """
    conditions: list[str] = []
    parameters: list[Any] = []

    def add(condition: str, *values: Any) -> None:
        conditions.append(condition)
        parameters.extend(values)

    given = {
        "r.reproduces": query.reproduces,
        "r.run_group": query.group,
        "r.project": query.project,
        "r.state": None if query.state is None else query.state.value,
        "r.job_type": query.job_type,
    }
    chosen = [column for column, value in given.items() if value is not None]
    # Without statistics SQLite may take any of their indexes: a group's few runs must not be looked for among all finished ones. The sum
    # of a column and nothing is the column, but has no index.
    through = {*chosen[:1], *(chosen[:2] if chosen[:2] == ["r.project", "r.state"] else [])}
    for column in chosen:
        add(f"{column} = ?" if column in through else f"{column} || '' = ?", given[column])
    if query.mentions is not None:
        add("r.document LIKE ? ESCAPE '!'", f"%{query.mentions.replace('!', '!!').replace('_', '!_').replace('%', '!%')}%")
    if query.code is not None:
        if ":" in query.code:
            add("r.id IN (SELECT run_id FROM run_code WHERE name = ?)", query.code)
        else:  # a range, as for prefixes of run ids
            add("r.id IN (SELECT run_id FROM run_code WHERE name >= ? AND name < ?)", query.code, f"{query.code}g")
    if query.package is not None:
        version = "" if query.package_version is None else " AND version = ?"
        wanted = [normal_name(query.package), *([] if query.package_version is None else [query.package_version])]
        add(f"r.environment IN (SELECT environment FROM environment_packages WHERE name = ?{version})", *wanted)
    _add_inputs(query, members, conditions, parameters)
    made = [(name, value) for name, value in (("digest", query.output_digest), ("kind", query.output_kind)) if value is not None]
    if made:
        where = " AND ".join(f"{name} = ?" for name, _ in made)
        tables = ("run_outputs", "replaced_outputs")
        add(f"r.id IN ({' UNION ALL '.join(f'SELECT run_id FROM {table} WHERE {where}' for table in tables)})")
        parameters.extend(value for _ in tables for _, value in made)
    for condition, values in _places(query):
        add(condition.format("r.started_at", "r.id"), *values)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    limit = ""
    if query.limit is not None:
        limit = " LIMIT ?"
        parameters.append(query.limit)
    return f"SELECT {columns} FROM runs r{where} ORDER BY r.started_at DESC, r.id DESC{limit}", parameters


def _add_inputs(query: RunQuery, members: str, conditions: list[str], parameters: list[Any]) -> None:
    # All conditions on an input must hold for one and the same input.
    parts: list[str] = []
    values: list[Any] = []
    for column, value in (
        ("uri", query.dataset_uri),
        ("dataset_id", query.dataset_id),
        ("commit_id", query.commit_id),
        ("view_id", query.view_id),
    ):
        if value is not None:
            parts.append(f"{column} = ?")
            values.append(value)
    if query.view is not None:
        parts.append("(view_id = ? OR view_name = ?)")
        values.extend((query.view, query.view))
    if query.view_keys is not None:
        parts.append(f"view_key IN ({members})")
        values.append(json.dumps(query.view_keys))
    if not parts:
        return
    newest = ""
    if query.limit is not None and len(parts) == 1 and _only_asks_for_data(query):
        # A quarter of all runs may have read a dataset: the newest of them are taken from an index, not from a sorted list of all.
        newest = " GROUP BY started_at, run_id ORDER BY started_at DESC, run_id DESC LIMIT ?"
        for condition, bounds in _places(query):
            parts.append(condition.format("started_at", "run_id"))
            values.extend(bounds)
        values.append(query.limit)
    chosen = f"SELECT run_id FROM run_inputs WHERE {' AND '.join(parts)}{newest}"
    conditions.append(f"r.id IN ({chosen if not newest else f'SELECT run_id FROM ({chosen}) AS newest'})")
    parameters.extend(values)


def _only_asks_for_data(query: RunQuery) -> bool:
    data = {"dataset_uri", "dataset_id", "view_id", "view", "since", "until", "after", "limit"}
    return all(getattr(query, field.name) is None for field in fields(query) if field.name not in data)


def _places(query: RunQuery) -> Iterator[tuple[str, list[Any]]]:
    """Conditions on where in the order a run is, with {} for the columns of time and id, and their values."""
    # In the columns' own spelling: a time can be written in many, and texts are compared.
    if query.since is not None:
        yield "{0} >= ?", [instant(query.since)]
    if query.until is not None:
        yield "{0} < ?", [instant(query.until)]
    if query.after is not None:
        started_at, run_id = query.after
        yield "({0}, {1}) < (?, ?)", [instant(datetime.fromisoformat(started_at)), run_id]


def normal_name(package: str) -> str:
    """A package's name as environments hold it: the one spelling of PEP 503."""
    return re.sub(r"[-_.]+", "-", package).lower()
