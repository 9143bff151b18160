"""Steps between versions, views, runs and files, from the tables beside the records; no record is parsed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from lineage.adapters.stores.database import Execute, in_lists
from lineage.ports import Link, LinkKind, RunName

_AT_ONCE = 50
"""Things in one statement: each is a part of it, and SQLite takes 500 parts."""

# What is counted is in an index; what things are called is looked up once, in the newest row.
_READ = "FROM run_inputs i WHERE i.dataset_id = ? AND i.commit_id = ?"
_NEWEST_READ = (
    "(SELECT n.{} FROM run_inputs n WHERE n.dataset_id = {} AND n.commit_id = {} AND n.content_digest = {}"
    " ORDER BY n.started_at DESC LIMIT 1)"
)
_NEWEST_USE = "(SELECT n.{} FROM run_uses n WHERE n.digest = ? ORDER BY n.started_at DESC LIMIT 1)"
_USED = "EXISTS (SELECT 1 FROM run_uses u WHERE u.digest = o.digest)"
# Of what a run made, others are interested in models, in datasets that name no version (a version stands for itself), and in whatever
# somebody started from, also when it was replaced.
_DATASET = "o.kind = 'dataset' AND NOT EXISTS (SELECT 1 FROM dataset_outputs d WHERE d.run_id = o.run_id)"
_MADE = (
    f"(SELECT o.name, o.kind, o.digest FROM run_outputs o WHERE o.run_id = ? AND (o.kind = 'model' OR {_DATASET} OR {_USED})"
    f" UNION SELECT o.name, o.kind, o.digest FROM replaced_outputs o WHERE o.run_id = ? AND {_USED})"
)
_MAKERS = (
    "(SELECT run_id, name, kind FROM run_outputs WHERE digest = ? UNION SELECT run_id, name, kind FROM replaced_outputs WHERE digest = ?)"
)


@dataclass(frozen=True, slots=True)
class _Statement:
    """What finds the far ends of one thing.

    Attributes:
        sql: Columns ``a``, ``b``, ``c`` (the far end), ``role``, ``name``, ``place`` and ``at`` (what is sorted by, newest first).
        texts: Of how many of the first three columns a far end consists.
        times: How often the thing is a parameter.
    """

    sql: str
    texts: int = 1
    times: int = 1


_STATEMENTS: dict[tuple[LinkKind, bool], _Statement] = {
    ("holds", True): _Statement(
        f"SELECT v.a, v.b, v.c, '' AS role, {_NEWEST_READ.format('view_name', 'v.a', 'v.b', 'v.c')} AS name,"
        f" {_NEWEST_READ.format('uri', 'v.a', 'v.b', 'v.c')} AS place, v.at"
        f" FROM (SELECT i.dataset_id AS a, i.commit_id AS b, i.content_digest AS c, MAX(i.started_at) AS at {_READ}"
        " GROUP BY i.dataset_id, i.commit_id, i.content_digest) AS v",
        texts=3,
    ),
    ("reads", True): _Statement(
        f"SELECT i.run_id AS a, '' AS b, '' AS c, i.role AS role, {_NEWEST_READ.format('view_name', '?', '?', '?')} AS name,"
        f" {_NEWEST_READ.format('uri', '?', '?', '?')} AS place, i.started_at AS at"
        f" {_READ} AND i.content_digest = ? GROUP BY i.started_at, i.run_id, i.role",
        times=3,
    ),
    ("reads", False): _Statement(
        "SELECT i.dataset_id AS a, i.commit_id AS b, i.content_digest AS c, i.role AS role, MAX(i.view_name) AS name, MAX(i.uri) AS place,"
        " '' AS at FROM run_inputs i WHERE i.run_id = ? GROUP BY i.dataset_id, i.commit_id, i.content_digest, i.role",
        texts=3,
    ),
    ("makes", True): _Statement(
        "SELECT o.digest AS a, '' AS b, '' AS c, '' AS role, MIN(o.name) AS name, MAX(o.kind) AS place, '' AS at"
        f" FROM {_MADE} o GROUP BY o.digest",
        times=2,
    ),
    ("makes", False): _Statement(
        "SELECT o.run_id AS a, '' AS b, '' AS c, '' AS role, MIN(o.name) AS name, MAX(o.kind) AS place, MAX(r.started_at) AS at"
        f" FROM {_MAKERS} o JOIN runs r ON r.id = o.run_id GROUP BY o.run_id",
        times=2,
    ),
    ("starts", True): _Statement(
        f"SELECT u.run_id AS a, '' AS b, '' AS c, u.role AS role, {_NEWEST_USE.format('path')} AS name,"
        f" {_NEWEST_USE.format('kind')} AS place, u.started_at AS at FROM run_uses u WHERE u.digest = ?"
        " GROUP BY u.started_at, u.run_id, u.role",
        times=3,
    ),
    ("starts", False): _Statement(
        "SELECT u.digest AS a, '' AS b, '' AS c, u.role AS role, MIN(u.path) AS name, MAX(u.kind) AS place, '' AS at"
        " FROM run_uses u WHERE u.run_id = ? GROUP BY u.digest, u.role"
    ),
    ("repeats", True): _Statement(
        "SELECT r.id AS a, '' AS b, '' AS c, '' AS role, NULL AS name, '' AS place, r.started_at AS at FROM runs r WHERE r.reproduces = ?"
    ),
    ("repeats", False): _Statement(
        "SELECT r.reproduces AS a, '' AS b, '' AS c, '' AS role, NULL AS name, '' AS place, '' AS at FROM runs r"
        " WHERE r.id = ? AND r.reproduces IS NOT NULL"
    ),
    ("uploads", True): _Statement(
        "SELECT d.dataset_id AS a, d.commit_id AS b, '' AS c, '' AS role, NULL AS name, d.uri AS place, '' AS at FROM dataset_outputs d"
        " WHERE d.run_id = ?",
        texts=2,
    ),
    ("uploads", False): _Statement(
        "SELECT d.run_id AS a, '' AS b, '' AS c, '' AS role, NULL AS name, d.uri AS place, r.started_at AS at"
        " FROM dataset_outputs d JOIN runs r ON r.id = d.run_id WHERE d.dataset_id = ? AND d.commit_id = ?"
    ),
}
"""By kind and direction."""


def find_links(execute: Execute, kind: LinkKind, near: Sequence[tuple[str, ...]], *, forward: bool, most: int, skip: int = 0) -> list[Link]:
    """See :meth:`lineage.ports.RowIndex.links`. Each statement is put to many things at once."""
    if kind == "holds" and not forward:  # a view names its version
        return [] if skip else [Link(item, item[:2], "", None, "", 1) for item in dict.fromkeys(near)]
    asked = _STATEMENTS[kind, forward]
    found: list[Link] = []
    left = iter(dict.fromkeys(near))
    while part := list(islice(left, _AT_ONCE)):
        statement = " UNION ALL ".join(
            f"SELECT * FROM (SELECT CAST({number} AS INTEGER) AS number, q.*, COUNT(*) OVER () AS total FROM ({asked.sql}) AS q"
            " ORDER BY at DESC, a, b, c, role LIMIT ? OFFSET ?) AS part"
            for number in range(len(part))
        )
        for number, a, b, c, role, name, place, _, total in execute(
            statement, [x for item in part for x in (*item * asked.times, most, skip)]
        ):
            found.append(Link(part[number], (a, b, c)[: asked.texts], role, name, place, total))
    return found


def find_run_names(execute: Execute, run_ids: Iterable[str]) -> list[RunName]:
    """See :meth:`lineage.ports.RowIndex.run_names`."""
    return [
        RunName(*row)
        for marks, part in in_lists(run_ids)
        for row in execute(f"SELECT id, name, project, run_group, job_type, state, started_at FROM runs WHERE id IN ({marks})", part)
    ]


def find_uploads(execute: Execute, dataset_id: str, commit_id: str | None, most: int) -> list[str]:
    """See :meth:`lineage.ports.RowIndex.uploads`."""
    which = "" if commit_id is None else " AND d.commit_id = ?"
    given = (dataset_id,) if commit_id is None else (dataset_id, commit_id)
    found = execute(
        f"SELECT d.run_id, MAX(r.started_at) AS at FROM dataset_outputs d JOIN runs r ON r.id = d.run_id WHERE d.dataset_id = ?{which}"
        " GROUP BY d.run_id ORDER BY at DESC, d.run_id LIMIT ?",
        (*given, most),
    )
    return [run_id for run_id, _ in found]
