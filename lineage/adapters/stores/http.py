"""A run store that a service keeps. Every change is tried again until it is answered, and made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic_core import to_json

from lineage.adapters.stores.http_client import HttpClient
from lineage.adapters.stores.sql import event_text
from lineage.errors import Conflict, IntegrityError, NotFound
from lineage.model.digest import canonical_json, digest_of_bytes
from lineage.model.environment import Environment
from lineage.model.event import Event, Started, apply, chain_digest
from lineage.model.metrics import StoredPoint
from lineage.model.run import MetricPoint, Run
from lineage.model.transport import (
    MOST_POINTS,
    MOST_RUNS,
    Added,
    Adoption,
    Extension,
    Points,
    PositionText,
    Query,
    RunTexts,
    point_texts,
    points_of,
)
from lineage.ports import Position, RunQuery

if TYPE_CHECKING:
    from lineage.model.listing import RunBrief

_STORE = "/api/v1/store"
_ENVIRONMENTS = 256


class HttpRunStore:
    """See :class:`lineage.ports.RunStore`; the records are the service's.

    Args:
        client: Of the service.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._environments: dict[str, Environment] = {}

    @property
    def location(self) -> str:
        """The service's address."""
        return self._client.location

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    # --- reading ----------------------------------------------------------------------------------------------------------

    def get(self, run_id: str) -> Run:
        """The record with this whole id."""
        answer = self._client.send("GET", f"{_STORE}/runs/{_part(run_id)}", missing=("run", run_id))
        return self._runs(answer.body)[0]

    def _runs(self, body: bytes) -> list[Run]:
        texts = RunTexts.model_validate_json(body)

        def find_environment(digest: str) -> Environment:
            known = self._environments.get(digest)
            if known is None:
                text = texts.environments.get(digest, "")
                if (found := digest_of_bytes(text.encode())) != digest:
                    raise IntegrityError("environment", expected=digest, found=found)
                known = Environment.model_validate_json(text)
                if len(self._environments) >= _ENVIRONMENTS:
                    self._environments.clear()
                self._environments[digest] = known
            return known

        return [Run.model_validate_json(text, context={"find_environment": find_environment}) for text in texts.runs]

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Ids that begin with ``prefix``."""
        found: list[str] = self._client.send("GET", f"{_STORE}/runs?prefix={_part(prefix)}&limit={limit}").json()
        return found

    def find(self, query: RunQuery) -> list[Run]:
        """Records that fit, newest first; asked for in pages."""
        found: list[Run] = []
        while query.limit is None or len(found) < query.limit:
            wanted = MOST_RUNS if query.limit is None else min(MOST_RUNS, query.limit - len(found))
            body = Query(**asdict(replace(query, limit=wanted))).model_dump_json().encode()
            page = self._runs(self._client.send("POST", f"{_STORE}/runs/find", body).body)
            found += page
            if len(page) < wanted:
                break
            query = replace(query, after=(page[-1].started_at.isoformat(), page[-1].id))
        return found

    def briefs(self, query: RunQuery) -> list[RunBrief]:
        """What a list shows of the records that fit."""
        from lineage.model.listing import brief

        return [brief(run) for run in self.find(query)]

    def events(self, run_id: str) -> list[tuple[str, str]]:
        """Every event's payload and chain digest."""
        found = self._client.send("GET", f"{_STORE}/runs/{_part(run_id)}/events").json()
        return [(payload, digest) for payload, digest in found]

    def environment(self, digest: str) -> Environment:
        """The environment that events name by this digest."""
        return Environment.model_validate_json(self.environment_text(digest))

    def environment_text(self, digest: str) -> str:
        """The text of that environment."""
        text: str = self._client.send("GET", f"{_STORE}/environments/{_part(digest)}").json()
        if (found := digest_of_bytes(text.encode())) != digest:
            raise IntegrityError("environment", expected=digest, found=found)
        return text

    def metrics(self, run_id: str, skip: int = 0) -> list[MetricPoint]:
        """Metric points in the order of the calls, without the first ``skip``; asked for in pages."""
        return points_of(self._stored(run_id, skip))

    def stored_metrics(self, run_id: str) -> list[StoredPoint]:
        """Metric points as the service keeps them, in the order of the calls."""
        return self._stored(run_id, 0)

    def _stored(self, run_id: str, skip: int) -> list[StoredPoint]:
        found: list[StoredPoint] = []
        while True:
            path = f"{_STORE}/runs/{_part(run_id)}/metrics?skip={skip + len(found)}"
            page = [(int(step), float(at), str(values)) for step, at, values in self._client.send("GET", path).json()]
            found += page
            if len(page) < MOST_POINTS:
                return found

    def metrics_digest(self, run_id: str) -> str | None:
        """Digest over every metric point, as the service has them."""
        found: str | None = self._client.send("GET", f"{_STORE}/runs/{_part(run_id)}/metrics-digest").json()
        return found

    def position(self, run_id: str) -> Position:
        """How far the record has got."""
        found = self._position(run_id)
        return Position(found.events, found.digest, found.points)

    def origin(self, run_id: str) -> str | None:
        """Where a record was taken over from."""
        return self._position(run_id).origin

    def _position(self, run_id: str) -> PositionText:
        return PositionText.model_validate_json(self._client.send("GET", f"{_STORE}/runs/{_part(run_id)}/position").body)

    # --- writing ----------------------------------------------------------------------------------------------------------

    def append(self, run_id: str, event: Event) -> Run:
        """Add an event; when somebody else was faster, behind theirs."""
        while True:
            # The position first: a record that is newer than it is refused there, never the other way round.
            place = self.position(run_id)
            if place.events == 0 and event.kind != "started":
                raise NotFound("run", run_id)
            before = self.get(run_id) if place.events else None
            try:
                after = apply(before, event)
            except ValueError as error:
                raise Conflict(str(error)) from error
            if after.id != run_id:
                raise Conflict(f"the record of run {after.id[:12]} cannot be stored as that of {run_id[:12]}")
            environment, texts = None, {}
            if isinstance(event, Started) and event.run.environment is not None:
                text = canonical_json(event.run.environment.model_dump(mode="json")).decode()
                environment = digest_of_bytes(text.encode())
                texts = {environment: text}
            payload = event_text(event, environment)
            if self.extend(run_id, place.events, [(payload, chain_digest(place.digest, payload))], texts) is not None:
                return after

    def add_metrics(self, run_id: str, points: Sequence[MetricPoint]) -> None:
        """Append metric points; parts that others add meanwhile come in between."""
        for first in range(0, len(points), MOST_POINTS):
            part = points[first : first + MOST_POINTS]
            while self.extend_metrics(run_id, self.position(run_id).points, part) is None:
                pass

    def extend(
        self, run_id: str, number: int, events: Sequence[tuple[str, str]], environments: Mapping[str, str], *, again: bool = False
    ) -> int | None:
        """Add events that were written elsewhere; see :class:`lineage.ports.RunStore`."""

        def body(is_second: bool) -> bytes:
            told = Extension(number=number, events=tuple(events), environments=dict(environments), again=again or is_second)
            return told.model_dump_json().encode()

        return self._change(run_id, "events", body)

    def extend_metrics(self, run_id: str, number: int, points: Sequence[MetricPoint], *, again: bool = False) -> int | None:
        """Add metric points at their place; see :class:`lineage.ports.RunStore`."""

        def body(is_second: bool) -> bytes:
            return Points(number=number, points=tuple(point_texts(points)), again=again or is_second).model_dump_json().encode()

        return self._change(run_id, "metrics", body)

    def _change(self, run_id: str, what: str, body: Callable[[bool], bytes]) -> int | None:
        answer = self._client.send("POST", f"{_STORE}/runs/{_part(run_id)}/{what}", body, missing=("run", run_id))
        return Added.model_validate_json(answer.body).added

    def adopt(
        self, run_id: str, events: Sequence[tuple[str, str]], environments: Mapping[str, str], points: Sequence[MetricPoint], source: str
    ) -> int:
        """Take over a record; see :class:`lineage.ports.RunStore`."""
        texts = tuple(point_texts(points))
        told = Adoption(events=tuple(events), environments=dict(environments), points=texts, source=source)
        answer = self._client.send("POST", f"{_STORE}/runs/{_part(run_id)}/adoption", to_json(told))
        return Added.model_validate_json(answer.body).added or 0


def _part(text: str) -> str:
    return quote(text, safe="")
