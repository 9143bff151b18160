"""A run store in SQL. Subclasses say how to connect; statements are written with ``?`` for a parameter."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from lineage.adapters.stores.schema import MIGRATIONS
from lineage.errors import Conflict, IntegrityError, NotFound, Unavailable
from lineage.model.event import Event, apply, chain_digest
from lineage.model.run import MetricPoint, Run
from lineage.ports import RunQuery

Execute = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


class SqlRunStore(ABC):
    """Run store over a relational database.

    The ``document`` column holds the record as the fold of its events; every other column and table is an index that could be
    rebuilt from the events.
    """

    @property
    @abstractmethod
    def location(self) -> str:
        """Where it is, without credentials."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Execute]:
        """A transaction that excludes other writers; rolls back on an exception."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Execute]:
        """A consistent look at the database."""

    @abstractmethod
    def _insert_metrics(self, execute: Execute, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert many metric rows quickly."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection."""

    def migrate(self) -> None:
        """Bring the schema to the newest version; nothing to do when it is there already.

        Raises:
            Unavailable: The store was written by a newer release.
        """
        try:
            self._migrate()
        except BaseException:
            self.close()  # nobody gets to hold the store, so nobody else could close what was opened
            raise

    def _migrate(self) -> None:
        with self._writing() as execute:
            execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)", ())
            found = execute("SELECT MAX(version) FROM schema_version", ())[0][0] or 0
            if found > len(MIGRATIONS):
                raise Unavailable(
                    f"the store {self.location} has schema version {found}, this release knows {len(MIGRATIONS)}",
                    hint="install a newer release of dataset-lineage",
                )
            for version in range(found + 1, len(MIGRATIONS) + 1):
                for statement in MIGRATIONS[version - 1]:
                    execute(statement, ())
                execute("INSERT INTO schema_version (version) VALUES (?)", (version,))

    def append(self, run_id: str, event: Event) -> Run:
        """Add an event; see :class:`lineage.ports.RunStore`."""
        payload = event.model_dump_json(exclude={"run": {"duration_s", "fingerprint"}})
        with self._writing() as execute:
            known = execute("SELECT document FROM runs WHERE id = ?", (run_id,))
            if not known and event.kind != "started":
                raise NotFound("run", run_id)
            before = self._parse(known[0][0], run_id) if known else None
            try:
                after = apply(before, event)
            except ValueError as error:
                raise Conflict(str(error)) from error
            if after.id != run_id:
                raise Conflict(f"the record of run {after.id[:12]} cannot be stored as that of {run_id[:12]}")
            last = execute("SELECT number, digest FROM events WHERE run_id = ? ORDER BY number DESC LIMIT 1", (run_id,))
            number, previous = (last[0][0] + 1, last[0][1]) if last else (0, None)
            execute(
                "INSERT INTO events (run_id, number, payload, digest) VALUES (?, ?, ?, ?)",
                (run_id, number, payload, chain_digest(previous, payload)),
            )
            self._write_document(execute, after, is_new=before is None)
            self._write_index(execute, before, after)
        return after

    @staticmethod
    def _write_document(execute: Execute, run: Run, *, is_new: bool) -> None:
        values = (
            run.name,
            run.project,
            run.group,
            run.job_type,
            run.state.value,
            _instant(run.started_at),
            None if run.ended_at is None else _instant(run.ended_at),
            run.fingerprint,
            run.reproduces,
            run.model_dump_json(exclude={"duration_s", "fingerprint"}),
            run.id,
        )
        columns = ("name", "project", "run_group", "job_type", "state", "started_at", "ended_at", "fingerprint", "reproduces", "document")
        if is_new:
            execute(f"INSERT INTO runs ({', '.join(columns)}, id) VALUES ({', '.join('?' * 11)})", values)
        else:
            execute(f"UPDATE runs SET {', '.join(f'{column} = ?' for column in columns)} WHERE id = ?", values)

    @staticmethod
    def _write_index(execute: Execute, before: Run | None, after: Run) -> None:
        known = 0 if before is None else len(before.inputs)
        for ordinal, item in enumerate(after.inputs[known:], known):
            execute(
                "INSERT INTO run_inputs (run_id, ordinal, role, uri, dataset_id, branch, commit_id, view_id, rows_digest, content_digest)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    after.id,
                    ordinal,
                    item.role,
                    item.uri,
                    item.dataset_id,
                    item.branch,
                    item.commit_id,
                    item.view_id,
                    item.rows_digest,
                    item.content_digest,
                ),
            )
        if before is None or before.outputs != after.outputs:
            for artifact in after.outputs:
                execute(
                    "INSERT INTO run_outputs (run_id, name, kind, digest) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (run_id, name) DO UPDATE SET kind = excluded.kind, digest = excluded.digest",
                    (after.id, artifact.name, artifact.kind, artifact.digest),
                )

    def get(self, run_id: str) -> Run:
        """The record with this whole id; see :class:`lineage.ports.RunStore`."""
        with self._reading() as execute:
            found = execute("SELECT document FROM runs WHERE id = ?", (run_id,))
        if not found:
            raise NotFound("run", run_id)
        return self._parse(found[0][0], run_id)

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Ids that begin with ``prefix``."""
        with self._reading() as execute:
            # A range instead of LIKE: it uses the primary key in both databases and needs no escaping. Ids are hexadecimal, and 'g' sorts
            # behind 'f' in every language; the order of signs depends on the database's.
            found = execute("SELECT id FROM runs WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", (prefix, f"{prefix}g", limit))
        return [row[0] for row in found]

    def find(self, query: RunQuery) -> list[Run]:
        """Records that fit, newest first."""
        sql, parameters = _select(query)
        with self._reading() as execute:
            found = execute(sql, parameters)
        return [self._parse(document, run_id) for run_id, document in found]

    def events(self, run_id: str) -> list[tuple[str, str]]:
        """Every event's payload and chain digest."""
        with self._reading() as execute:
            found = execute("SELECT payload, digest FROM events WHERE run_id = ? ORDER BY number", (run_id,))
        return [(row[0], row[1]) for row in found]

    def add_metrics(self, run_id: str, points: Sequence[MetricPoint]) -> None:
        """Append metric points."""
        with self._writing() as execute:
            number = execute("SELECT COALESCE(MAX(number), -1) FROM metrics WHERE run_id = ?", (run_id,))[0][0] + 1
            rows = [(run_id, number + i, point.step, point.at, json.dumps(point.values)) for i, point in enumerate(points)]
            self._insert_metrics(execute, rows)

    def metrics(self, run_id: str) -> list[MetricPoint]:
        """Every metric point, in the order of the calls."""
        with self._reading() as execute:
            found = execute("SELECT step, at, payload FROM metrics WHERE run_id = ? ORDER BY number", (run_id,))
        return [MetricPoint(step=step, at=at, values=json.loads(payload)) for step, at, payload in found]

    @staticmethod
    def _parse(document: str, run_id: str) -> Run:
        try:
            return Run.model_validate_json(document)
        except ValueError as error:
            raise IntegrityError(
                f"record {run_id[:12]}",
                expected="a record this release can read",
                found=str(error).splitlines()[0],
                hint="it was altered, or written by a newer release of dataset-lineage",
            ) from error


def _instant(at: datetime) -> str:
    # Fixed width, so that text order is time order.
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _select(query: RunQuery) -> tuple[str, list[Any]]:
    conditions: list[str] = []
    parameters: list[Any] = []
    for column, value in (
        ("r.project", query.project),
        ("r.run_group", query.group),
        ("r.job_type", query.job_type),
        ("r.state", None if query.state is None else query.state.value),
        ("r.reproduces", query.reproduces),
    ):
        if value is not None:
            conditions.append(f"{column} = ?")
            parameters.append(value)
    for table, columns in (
        (
            "run_inputs",
            (("uri", query.dataset_uri), ("dataset_id", query.dataset_id), ("commit_id", query.commit_id), ("view_id", query.view_id)),
        ),
        ("run_outputs", (("digest", query.output_digest), ("kind", query.output_kind))),
    ):
        # All conditions on an input must hold for one and the same input.
        wanted = [(column, value) for column, value in columns if value is not None]
        if wanted:
            conditions.append(f"r.id IN (SELECT run_id FROM {table} WHERE {' AND '.join(f'{column} = ?' for column, _ in wanted)})")
            parameters.extend(value for _, value in wanted)
    if query.after is not None:
        conditions.append("(r.started_at, r.id) < (?, ?)")
        started_at, run_id = query.after
        # In the column's own spelling: a time can be written in many, and texts are compared.
        parameters.extend((_instant(datetime.fromisoformat(started_at)), run_id))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    limit = ""
    if query.limit is not None:
        limit = " LIMIT ?"
        parameters.append(query.limit)
    return f"SELECT r.id, r.document FROM runs r{where} ORDER BY r.started_at DESC, r.id DESC{limit}", parameters
