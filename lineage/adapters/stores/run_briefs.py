"""What a list shows of a run, kept ready in one column, and what runs are found by beside it: names of their code.

Built from the facts of a record as they are kept, not from the model: records of every release are read, also where a schema is brought to
the newest version, and recording imports nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json

from lineage.adapters.stores.database import Execute
from lineage.adapters.stores.environments import Environments
from lineage.model.digest import digest_of_json
from lineage.model.environment import Environment

_INPUT = ("role", "uri", "dataset_id", "commit_id", "view_id", "view_name", "rows", "rows_total", "content_digest")
_OUTPUT = ("name", "kind", "digest", "size_bytes")
_START = ("id", "name", "project", "group", "job_type", "state", "started_at", "ended_at")
_AT_ONCE = 500


def run_brief(facts: Mapping[str, Any], fingerprint: str) -> str:
    """The text of a :class:`lineage.model.listing.RunBrief`.

    Args:
        facts: A record as Python values or as its stored JSON.
        fingerprint: Of the run.
    """
    told: dict[str, Any] = {name: facts.get(name) for name in _START}
    told["duration_s"] = _seconds(facts["started_at"], facts.get("ended_at"))
    told["seed"] = facts.get("seed")
    told["inputs"] = [{name: item.get(name) for name in _INPUT} for item in facts.get("inputs", ())]
    told["outputs"] = [{name: item[name] for name in _OUTPUT} for item in facts.get("outputs", ())]
    told["reproduces"] = facts.get("reproduces")
    told["verdicts"] = [item["verdict"] for item in facts.get("reproductions", ()) if item.get("checked") is None]
    told["fingerprint"] = fingerprint
    return to_json(told).decode()


def _seconds(start: datetime | str, end: datetime | str | None) -> float | None:
    if end is None:
        return None
    first, last = (datetime.fromisoformat(at) if isinstance(at, str) else at for at in (start, end))
    return (last - first).total_seconds()


def code_names(code: Mapping[str, Any] | None) -> set[str]:
    """Names by which a run's code is found: git commits, snapshots and trees, those of inner repositories included."""
    if code is None:
        return set()
    inner: Sequence[Mapping[str, Any]] = code.get("inner", ())
    parts = [code, *(item["code"] for item in inner)]
    names = {part[kind] for part in parts for kind in ("git_sha", "snapshot_sha", "tree_sha") if part.get(kind)}
    if inner:  # as CodeVersion.content
        names.add(digest_of_json([code["tree_sha"], *([item["path"], item["code"]["tree_sha"]] for item in inner)]))
    return names


def write_code_names(execute: Execute, run_id: str, code: Mapping[str, Any] | None) -> None:
    """Note what a run's code is called."""
    for name in sorted(code_names(code)):
        execute("INSERT INTO run_code (run_id, name) VALUES (?, ?) ON CONFLICT DO NOTHING", (run_id, name))


def fill(execute: Execute) -> None:
    """Make the columns and tables of a schema that has just got them: a step of a migration.

    A record that cannot be read keeps none of them; whoever lists it is told so then.
    """
    environments, after = Environments(), ""
    for digest, payload in execute("SELECT digest, payload FROM environments", ()):
        with suppress(ValueError):
            Environments.write_packages(execute, digest, Environment.model_validate_json(payload))
    while found := execute("SELECT id, fingerprint, document FROM runs WHERE id > ? ORDER BY id LIMIT ?", (after, _AT_ONCE)):
        for run_id, fingerprint, document in found:
            try:
                facts = from_json(document)
                told = run_brief(facts, fingerprint)
                code_names(facts.get("code"))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            environment = facts.get("environment")
            if isinstance(environment, dict):  # the first release kept it in the record
                environment = environments.keep(execute, Environment.model_validate(environment))
            execute("UPDATE runs SET brief = ?, environment = ? WHERE id = ?", (told, environment, run_id))
            write_code_names(execute, run_id, facts.get("code"))
        after = found[-1][0]
