"""Datasets as runs read them, from the tables beside the records; no record is parsed and no dataset opened."""

from __future__ import annotations

from lineage.adapters.stores.database import Execute
from lineage.ports import DatasetName, VersionRead, ViewRead

# The next id each time, through the index: a list of what is different in a long column would read all of it.
_IDS = (
    "WITH RECURSIVE ids (id) AS (SELECT MIN(dataset_id) FROM run_inputs WHERE dataset_id > ? UNION ALL"
    " SELECT (SELECT MIN(dataset_id) FROM run_inputs WHERE dataset_id > ids.id) FROM ids WHERE ids.id IS NOT NULL)"
    " SELECT id FROM ids WHERE id IS NOT NULL LIMIT ?"
)
# Counted in an index alone (run_inputs_read); what things are called is looked up in one row.
_DATASET = (
    "SELECT (SELECT uri FROM run_inputs WHERE dataset_id = ? LIMIT 1), COUNT(DISTINCT commit_id), COUNT(*), MAX(started_at)"
    " FROM run_inputs WHERE dataset_id = ?"
)
_NEWEST = (
    "(SELECT n.{} FROM run_inputs n WHERE n.dataset_id = v.dataset_id AND n.commit_id = v.commit_id"
    " ORDER BY n.content_digest DESC, n.started_at DESC LIMIT 1)"
)
_VERSIONS = (
    f"SELECT v.commit_id, {_NEWEST.format('branch')}, {_NEWEST.format('uri')}, v.views, v.runs, v.first, v.last FROM"
    " (SELECT dataset_id, commit_id, COUNT(DISTINCT content_digest) AS views, COUNT(DISTINCT run_id) AS runs, MIN(started_at) AS first,"
    " MAX(started_at) AS last FROM run_inputs WHERE dataset_id = ? GROUP BY dataset_id, commit_id"
    " ORDER BY last DESC, commit_id LIMIT ? OFFSET ?) AS v ORDER BY v.last DESC, v.commit_id"
)
_ROLES = "SELECT role, COUNT(DISTINCT run_id) FROM run_inputs WHERE dataset_id = ? AND commit_id = ? GROUP BY role ORDER BY role"
_MODELS = (
    "SELECT COUNT(DISTINCT digest) FROM run_outputs WHERE kind = 'model' AND run_id IN"
    " (SELECT run_id FROM run_inputs WHERE dataset_id = ? AND commit_id = ?)"
)
_ROWS = "SELECT MAX(rows_total) FROM dataset_versions WHERE dataset_id = ? AND commit_id = ?"
_VIEWS = (
    "SELECT v.commit_id, v.content_digest, v.inputs, v.last FROM"
    " (SELECT commit_id, content_digest, COUNT(*) AS inputs, MAX(started_at) AS last FROM run_inputs WHERE dataset_id = ?{}"
    " GROUP BY commit_id, content_digest) AS v ORDER BY v.last DESC, v.commit_id, v.content_digest LIMIT ? OFFSET ?"
)
_READER = (
    "SELECT run_id, ordinal FROM run_inputs WHERE dataset_id = ? AND commit_id = ? AND content_digest = ?"
    " ORDER BY started_at DESC, run_id DESC, ordinal LIMIT 1"
)


def find_datasets(execute: Execute, after: str, most: int) -> list[DatasetName]:
    """See :meth:`lineage.ports.RowIndex.datasets`."""
    return [DatasetName(dataset_id, *execute(_DATASET, (dataset_id, dataset_id))[0]) for (dataset_id,) in execute(_IDS, (after, most))]


def find_versions(execute: Execute, dataset_id: str, most: int, skip: int) -> list[VersionRead]:
    """See :meth:`lineage.ports.RowIndex.versions_read`."""
    found = []
    for commit_id, branch, uri, views, runs, first, last in execute(_VERSIONS, (dataset_id, most, skip)):
        own = (dataset_id, commit_id)
        roles = tuple((role, count) for role, count in execute(_ROLES, own))
        (models,), (rows,) = execute(_MODELS, own)[0], execute(_ROWS, own)[0]
        found.append(VersionRead(commit_id, branch, uri, rows, views, runs, roles, models, first, last))
    return found


def find_views(execute: Execute, dataset_id: str, commit_id: str | None, most: int, skip: int) -> list[ViewRead]:
    """See :meth:`lineage.ports.RowIndex.views_read`."""
    which = "" if commit_id is None else " AND commit_id = ?"
    given = (dataset_id,) if commit_id is None else (dataset_id, commit_id)
    found = []
    for own_commit, content, inputs, last in execute(_VIEWS.format(which), (*given, most, skip)):
        run_id, ordinal = execute(_READER, (dataset_id, own_commit, content))[0]
        found.append(ViewRead(own_commit, content, run_id, ordinal, inputs, last))
    return found
