"""A run store in SQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from lineage.adapters.stores.briefs import briefs
from lineage.adapters.stores.database import Database, Execute
from lineage.adapters.stores.environments import Environments
from lineage.adapters.stores.run_briefs import run_brief, write_code_names
from lineage.adapters.stores.selecting import select_runs
from lineage.adapters.stores.uploads import write_upload
from lineage.errors import Conflict, IntegrityError, NotFound
from lineage.model.environment import Environment
from lineage.model.event import Event, Started, apply, chain_digest, fold
from lineage.model.metrics import StoredPoint, digest_of_points, stored_points
from lineage.model.run import MetricPoint, Run
from lineage.model.words import instant
from lineage.ports import RunQuery

if TYPE_CHECKING:
    from lineage.model.listing import RunBrief

_POINTS_AT_ONCE = 20_000
_COLUMNS = (
    "name",
    "project",
    "run_group",
    "job_type",
    "state",
    "started_at",
    "ended_at",
    "fingerprint",
    "reproduces",
    "document",
    "brief",
    "environment",
)


class SqlRunStore:
    """Run store over a relational database.

    Events hold the record, environments the part of it that many records share; the ``document`` column holds the fold of the events,
    and every other column and table is an index that could be rebuilt from them.

    Args:
        database: Where; a row index may be kept in the same one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._environments = Environments()

    @property
    def location(self) -> str:
        """Where it is, without credentials."""
        return self._database.location

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def append(self, run_id: str, event: Event) -> Run:
        """Add an event; see :class:`lineage.ports.RunStore`."""
        with self._database.writing() as execute:
            known = execute("SELECT document FROM runs WHERE id = ?", (run_id,))
            if not known and event.kind != "started":
                raise NotFound("run", run_id)
            before = self._parse(execute, known[0][0], run_id) if known else None
            try:
                after = apply(before, event)
            except ValueError as error:
                raise Conflict(str(error)) from error
            if after.id != run_id:
                raise Conflict(f"the record of run {after.id[:12]} cannot be stored as that of {run_id[:12]}")
            environment = None if after.environment is None else self._environments.keep(execute, after.environment)
            payload = event_text(event, environment)
            last = execute("SELECT number, digest FROM events WHERE run_id = ? ORDER BY number DESC LIMIT 1", (run_id,))
            number, previous = (last[0][0] + 1, last[0][1]) if last else (0, None)
            execute(
                "INSERT INTO events (run_id, number, payload, digest) VALUES (?, ?, ?, ?)",
                (run_id, number, payload, chain_digest(previous, payload)),
            )
            self._write_document(execute, after, environment, is_new=before is None)
            self._write_index(execute, before, after)
        return after

    @staticmethod
    def _write_document(execute: Execute, run: Run, environment: str | None, *, is_new: bool) -> None:
        facts, fingerprint = run_facts(run, environment), run.fingerprint
        values = (
            run.name,
            run.project,
            run.group,
            run.job_type,
            run.state.value,
            instant(run.started_at),
            None if run.ended_at is None else instant(run.ended_at),
            fingerprint,
            run.reproduces,
            json_text(facts),
            run_brief(facts, fingerprint),
            environment,
            run.id,
        )
        if is_new:
            execute(f"INSERT INTO runs ({', '.join(_COLUMNS)}, id) VALUES ({', '.join('?' * len(values))})", values)
        else:
            execute(f"UPDATE runs SET {', '.join(f'{column} = ?' for column in _COLUMNS)} WHERE id = ?", values)

    @staticmethod
    def _write_index(execute: Execute, before: Run | None, after: Run) -> None:
        if after.sweep is not None:
            from lineage.adapters.stores.sweeps import write_trial  # few runs are one

            write_trial(execute, after, after.sweep)
        if after.code is not None and (before is None or before.code != after.code):
            write_code_names(execute, after.id, after.code.model_dump())
        known, told = 0 if before is None else len(before.inputs), briefs(after)
        for ordinal, (old, new) in enumerate(zip([] if before is None else briefs(before), told, strict=False)):
            if old != new:
                execute("UPDATE run_inputs SET brief = ? WHERE run_id = ? AND ordinal = ?", (new, after.id, ordinal))
        for ordinal, item in enumerate(after.inputs[known:], known):
            execute(
                "INSERT INTO run_inputs (run_id, ordinal, role, uri, dataset_id, branch, commit_id, view_id, rows_digest, content_digest,"
                " view_name, view_key, brief, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                    item.view_name,
                    item.view_key,
                    told[ordinal],
                    instant(after.started_at),
                ),
            )
        known = 0 if before is None else len(before.uses)
        for ordinal, used in enumerate(after.uses[known:], known):
            execute(
                "INSERT INTO run_uses (run_id, ordinal, role, kind, path, digest, started_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (after.id, ordinal, used.role, used.kind, used.path, used.digest, instant(after.started_at)),
            )
        former = {} if before is None else {artifact.name: artifact for artifact in before.outputs}
        for artifact in after.outputs:
            replaced = former.get(artifact.name)
            if replaced == artifact:
                continue
            if replaced is not None and replaced.digest != artifact.digest:
                execute(
                    "INSERT INTO replaced_outputs (run_id, name, kind, digest) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (after.id, replaced.name, replaced.kind, replaced.digest),
                )
            execute(
                "INSERT INTO run_outputs (run_id, name, kind, digest) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (run_id, name) DO UPDATE SET kind = excluded.kind, digest = excluded.digest",
                (after.id, artifact.name, artifact.kind, artifact.digest),
            )
            write_upload(execute, after.id, artifact)

    def get(self, run_id: str) -> Run:
        """The record with this whole id; see :class:`lineage.ports.RunStore`."""
        with self._database.reading() as execute:
            found = execute("SELECT document FROM runs WHERE id = ?", (run_id,))
            if not found:
                raise NotFound("run", run_id)
            return self._parse(execute, found[0][0], run_id)

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Ids that begin with ``prefix``."""
        with self._database.reading() as execute:
            # A range instead of LIKE: it uses the primary key in both databases and needs no escaping. Ids are hexadecimal, and 'g' sorts
            # behind 'f' in every language; the order of signs depends on the database's.
            found = execute("SELECT id FROM runs WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", (prefix, f"{prefix}g", limit))
        return [row[0] for row in found]

    def find(self, query: RunQuery) -> list[Run]:
        """Records that fit, newest first."""
        sql, parameters = select_runs(query, "r.id, r.document", self._database.members)
        with self._database.reading() as execute:
            return [self._parse(execute, document, run_id) for run_id, document in execute(sql, parameters)]

    def briefs(self, query: RunQuery) -> list[RunBrief]:
        """What a list shows of the records that fit, newest first."""
        from lineage.model.listing import RunBrief, brief  # recording needs neither

        sql, parameters = select_runs(query, "r.id, r.brief", self._database.members)
        with self._database.reading() as execute:
            found = execute(sql, parameters)
        return [brief(self.get(run_id)) if text is None else RunBrief.model_validate_json(text) for run_id, text in found]

    def events(self, run_id: str) -> list[tuple[str, str]]:
        """Every event's payload and chain digest."""
        with self._database.reading() as execute:
            found = execute("SELECT payload, digest FROM events WHERE run_id = ? ORDER BY number", (run_id,))
        return [(row[0], row[1]) for row in found]

    def environment(self, digest: str) -> Environment:
        """The environment that events name by this digest, as the database has it now."""
        with self._database.reading() as execute:
            return self._environments.read(execute, digest, "")

    def environment_text(self, digest: str) -> str:
        """The text of that environment."""
        with self._database.reading() as execute:
            return self._environments.text(execute, digest, "")

    def adopt(
        self, run_id: str, events: Sequence[tuple[str, str]], environments: Mapping[str, str], points: Sequence[MetricPoint], source: str
    ) -> int:
        """Take over a record; see :class:`lineage.ports.RunStore`."""
        with self._database.writing() as execute:
            known = execute("SELECT payload, digest FROM events WHERE run_id = ? ORDER BY number", (run_id,))
            common = min(len(known), len(events))
            if [*map(tuple, known[:common])] != [*map(tuple, events[:common])]:
                raise Conflict(
                    f"run {run_id[:12]} is in {self.location} already, with another record",
                    hint="one of the two was altered, or both went on apart; use another store for this one",
                )
            is_adopted = bool(execute("SELECT 1 FROM adopted WHERE run_id = ?", (run_id,)))
            if len(events) <= len(known) or (known and not is_adopted):
                return 0
            for digest, text in environments.items():
                self._environments.adopt(execute, digest, text)
            if not known:
                self._insert_points(run_id, 0, points)
            self._adopt_events(execute, run_id, events, len(known))
            if not known:
                at = instant(datetime.now(UTC))
                execute("INSERT INTO adopted (run_id, source, at) VALUES (?, ?, ?)", (run_id, source, at))
        return len(events) - len(known)

    def _adopt_events(self, execute: Execute, run_id: str, events: Sequence[tuple[str, str]], known: int) -> None:
        def find_environment(digest: str) -> Environment:
            return self._environments.get(execute, digest, f"record {run_id[:12]}, ")

        before: Run | None = None
        after: Run | None = None
        for number, (_, after) in enumerate(fold(events, run_id, find_environment)):
            if after.id != run_id:
                raise Conflict(f"the record of run {after.id[:12]} cannot be stored as that of {run_id[:12]}")
            if number >= known:
                payload, digest = events[number]
                execute("INSERT INTO events (run_id, number, payload, digest) VALUES (?, ?, ?, ?)", (run_id, number, payload, digest))
                self._write_index(execute, before, after)
            before = after
        if after is not None:
            if after.metrics_digest is not None and (found := points_digest(execute, run_id)) != after.metrics_digest:
                raise IntegrityError(f"metrics of run {run_id[:12]}", expected=after.metrics_digest, found=found or "none")
            environment = None if after.environment is None else self._environments.keep(execute, after.environment)
            self._write_document(execute, after, environment, is_new=known == 0)

    def origin(self, run_id: str) -> str | None:
        """Where a record was taken over from."""
        with self._database.reading() as execute:
            found = execute("SELECT source FROM adopted WHERE run_id = ?", (run_id,))
        return found[0][0] if found else None

    def add_metrics(self, run_id: str, points: Sequence[MetricPoint]) -> None:
        """Append metric points."""
        with self._database.writing() as execute:
            number = execute("SELECT COALESCE(MAX(number), -1) FROM metrics WHERE run_id = ?", (run_id,))[0][0] + 1
            self._insert_points(run_id, number, points)

    def _insert_points(self, run_id: str, number: int, points: Sequence[MetricPoint]) -> None:
        rows = [(run_id, place, *point) for place, point in enumerate(stored_points(points), number)]
        self._database.insert_many("metrics", ("run_id", "number", "step", "at", "payload"), rows)

    def metrics(self, run_id: str, skip: int = 0) -> list[MetricPoint]:
        """Metric points in the order of the calls, without the first ``skip``."""
        return [MetricPoint(step=step, at=at, values=json.loads(payload)) for step, at, payload in self._stored(run_id, skip)]

    def stored_metrics(self, run_id: str) -> list[StoredPoint]:
        """Metric points as they are kept, in the order of the calls."""
        return [(step, at, payload) for step, at, payload in self._stored(run_id, 0)]

    def _stored(self, run_id: str, skip: int) -> Sequence[Sequence[Any]]:
        with self._database.reading() as execute:
            return execute(
                "SELECT step, at, payload FROM metrics WHERE run_id = ? ORDER BY number LIMIT ? OFFSET ?", (run_id, 2**63 - 1, skip)
            )

    def metrics_digest(self, run_id: str) -> str | None:
        """Digest over the stored points; read in parts, a long run has millions."""
        with self._database.reading() as execute:
            return points_digest(execute, run_id)

    def _parse(self, execute: Execute, document: str, run_id: str) -> Run:
        def find_environment(digest: str) -> Environment:
            return self._environments.get(execute, digest, f"record {run_id[:12]}, ")

        try:
            return Run.model_validate_json(document, context={"find_environment": find_environment})
        except ValueError as error:
            raise IntegrityError(
                f"record {run_id[:12]}",
                expected="a record this release can read",
                found=str(error).splitlines()[0],
                hint="it was altered, or written by a newer release of dataset-lineage",
            ) from error


def points_digest(execute: Execute, run_id: str) -> str | None:
    """Digest over the stored metric points of a run; ``None`` without any."""
    return digest_of_points(_points_as_stored(execute, run_id))


def _points_as_stored(execute: Execute, run_id: str) -> Iterator[StoredPoint]:
    after = -1
    while found := execute(
        "SELECT number, step, at, payload FROM metrics WHERE run_id = ? AND number > ? ORDER BY number LIMIT ?",
        (run_id, after, _POINTS_AT_ONCE),
    ):
        yield from ((step, at, payload) for _, step, at, payload in found)
        after = found[-1][0]


def event_text(event: Event, environment: str | None) -> str:
    """An event as it is kept, with its run's environment by digest."""
    if not isinstance(event, Started):
        return event.model_dump_json()
    return json_text(event.model_dump(exclude={"run"}) | {"run": run_facts(event.run, environment)})


def run_facts(run: Run, environment: str | None) -> dict[str, Any]:
    """A record as it is kept, with its environment by digest."""
    # By digest: see Environments.
    return run.model_dump(exclude={"environment", "duration_s", "fingerprint"}) | {"environment": environment}


def json_text(value: dict[str, Any]) -> str:
    """JSON as records are kept in."""
    # As the model's own dump spells it: no number of JSON stands for one that is not finite.
    return to_json(value, inf_nan_mode="null").decode()
