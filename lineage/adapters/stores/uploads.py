"""Which run wrote which dataset version: kept beside the records, for those who ask from the version's side."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import from_json

from lineage.adapters.stores.database import Execute
from lineage.model.run import Artifact

_AT_ONCE = 500


def write_upload(execute: Execute, run_id: str, artifact: Artifact) -> None:
    """Note a dataset version that a run wrote, when the artifact is one and says which."""
    if artifact.kind == "dataset":
        _write(execute, run_id, artifact.path, artifact.details)


def _write(execute: Execute, run_id: str, path: str, details: Mapping[str, Any]) -> None:
    version, uri = (details.get("dataset_id"), details.get("commit_id")), details.get("uri")
    if all(isinstance(name, str) and name for name in version):
        execute(
            "INSERT INTO dataset_outputs (run_id, dataset_id, commit_id, uri) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (run_id, *version, uri if isinstance(uri, str) else path),
        )


def fill(execute: Execute) -> None:
    """Make the table of a schema that has just got it: a step of a migration. A record that cannot be read is left out."""
    after = ""
    while found := execute(
        "SELECT id, document FROM runs WHERE id > ? AND id IN (SELECT run_id FROM run_outputs WHERE kind = 'dataset') ORDER BY id LIMIT ?",
        (after, _AT_ONCE),
    ):
        for run_id, document in found:
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                for item in from_json(document).get("outputs", ()):
                    if item["kind"] == "dataset":
                        _write(execute, run_id, item["path"], item.get("details", {}))
        after = found[-1][0]
