"""A run store in SQL whose records may also grow by events that were written elsewhere: what a service keeps for its clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lineage.adapters.stores.database import Execute
from lineage.adapters.stores.sql import SqlRunStore, points_digest
from lineage.errors import Conflict, IntegrityError, NotFound
from lineage.model.environment import Environment
from lineage.model.event import Ended, apply, chain_digest, parse_event
from lineage.model.metrics import stored_points
from lineage.model.run import MetricPoint, Run
from lineage.ports import Position

_RECORDS = ("events", "metrics", "run_inputs", "run_outputs", "replaced_outputs", "run_uses", "run_code", "dataset_outputs", "adopted")


class ContinuingRunStore(SqlRunStore):
    """See :class:`lineage.ports.RunStore`."""

    def position(self, run_id: str) -> Position:
        """How far the record has got."""
        with self._database.reading() as execute:
            return _position(execute, run_id)

    def extend(
        self, run_id: str, number: int, events: Sequence[tuple[str, str]], environments: Mapping[str, str], *, again: bool = False
    ) -> int | None:
        """Add events that were written elsewhere; see :class:`lineage.ports.RunStore`."""
        with self._database.writing() as execute:
            known = _position(execute, run_id).events
            if known < number or (known > number and not again):
                return None
            start = max(0, number - 1)
            there = execute("SELECT payload, digest FROM events WHERE run_id = ? AND number >= ? ORDER BY number", (run_id, start))
            previous = there[0][1] if number > 0 else None
            here = there[number - start :]
            common = min(len(here), len(events))
            if [*map(tuple, here[:common])] != [*map(tuple, events[:common])]:
                return None
            if len(here) >= len(events):
                return 0
            for digest, text in environments.items():
                self._environments.adopt(execute, digest, text)
            previous = here[-1][1] if here else previous
            self._continue(execute, run_id, known, previous, events[common:])
        return len(events) - common

    def _continue(self, execute: Execute, run_id: str, number: int, previous: str | None, events: Sequence[tuple[str, str]]) -> None:
        def find_environment(digest: str) -> Environment:
            return self._environments.get(execute, digest, f"record {run_id[:12]}, ")

        document = execute("SELECT document FROM runs WHERE id = ?", (run_id,))
        run: Run | None = self._parse(execute, document[0][0], run_id) if document else None
        is_new = run is None
        for place, (payload, digest) in enumerate(events, number):
            where = f"record {run_id[:12]}, event {place}"
            if (found := chain_digest(previous, payload)) != digest:
                raise IntegrityError(where, expected=digest, found=found)
            try:
                event = parse_event.validate_json(payload, context={"find_environment": find_environment})
            except ValueError as error:
                raise IntegrityError(
                    where, expected="an event that this release knows", found=str(error).splitlines()[0], hint="is the service older?"
                ) from error
            try:
                after = apply(run, event)
            except ValueError as error:
                raise Conflict(str(error)) from error
            if after.id != run_id:
                raise Conflict(f"the record of run {after.id[:12]} cannot be stored as that of {run_id[:12]}")
            if isinstance(event, Ended) and event.metrics_digest is not None:
                stored = points_digest(execute, run_id)
                if stored != event.metrics_digest:
                    raise IntegrityError(f"metrics of run {run_id[:12]}", expected=event.metrics_digest, found=stored or "none")
            execute("INSERT INTO events (run_id, number, payload, digest) VALUES (?, ?, ?, ?)", (run_id, place, payload, digest))
            self._write_index(execute, run, after)
            run, previous = after, digest
        if run is not None:
            environment = None if run.environment is None else self._environments.keep(execute, run.environment)
            self._write_document(execute, run, environment, is_new=is_new)

    def extend_metrics(self, run_id: str, number: int, points: Sequence[MetricPoint], *, again: bool = False) -> int | None:
        """Add metric points at their place; see :class:`lineage.ports.RunStore`."""
        with self._database.writing() as execute:
            known = _position(execute, run_id)
            if known.events == 0:
                raise NotFound("run", run_id)
            if known.points < number or (known.points > number and not again):
                return None
            found = execute(
                "SELECT step, at, payload FROM metrics WHERE run_id = ? AND number >= ? ORDER BY number LIMIT ?",
                (run_id, number, len(points)),
            )
            if any(point != tuple(row) for point, row in zip(stored_points(points), found, strict=False)):
                return None
            self._insert_points(run_id, number + len(found), points[len(found) :])
        return len(points) - len(found)

    def forget(self, run_id: str, expected: Position) -> bool:
        """Delete a record that is kept elsewhere by now, unless it has grown since ``expected``; say whether it was deleted."""
        with self._database.writing() as execute:
            if _position(execute, run_id) != expected:
                return False
            for table in _RECORDS:
                execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))
            execute("DELETE FROM runs WHERE id = ?", (run_id,))
        return True


def _position(execute: Execute, run_id: str) -> Position:
    # Numbers count from 0 without gaps: nothing is ever taken out of the middle.
    last = execute("SELECT number, digest FROM events WHERE run_id = ? ORDER BY number DESC LIMIT 1", (run_id,))
    points = execute("SELECT COALESCE(MAX(number), -1) FROM metrics WHERE run_id = ?", (run_id,))[0][0] + 1
    return Position(last[0][0] + 1, last[0][1], points) if last else Position(0, None, points)
