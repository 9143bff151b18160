"""Examples of bodies, and of what clients that record and this service say to each other, by method and path."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from lineage.adapters.stores.sql import event_text, json_text, run_facts
from lineage.model.digest import canonical_json, digest_of_bytes
from lineage.model.event import Started, chain_digest
from lineage.model.materialisation import MaterialisationRequest
from lineage.model.metrics import digest_of_points, stored_points
from lineage.model.run import MetricPoint
from lineage.model.transport import Added, Adoption, Extension, Points, PositionText, Query, RowQuestion, RunTexts, point_texts
from service.examples import record

_NONE = object()


@dataclass(frozen=True, slots=True)
class Example:
    """A request's body and its answer."""

    answer: Any = _NONE
    body: Any = _NONE

    @property
    def has_answer(self) -> bool:
        """Whether the answer has a body."""
        return self.answer is not _NONE

    @property
    def has_body(self) -> bool:
        """Whether the request has one."""
        return self.body is not _NONE


@functools.cache
def examples() -> dict[tuple[str, str], Example]:
    """(method, path) to example."""
    run = record()
    assert run.environment is not None
    environment = canonical_json(run.environment.model_dump(mode="json")).decode()
    named = digest_of_bytes(environment.encode())
    payload = event_text(Started(at=run.started_at, run=run), named)
    event = (payload, chain_digest(None, payload))
    points = [MetricPoint(step=step, values={"loss": loss}, at=run.started_at.timestamp() + step) for step, loss in enumerate((2.31, 1.07))]
    texts = RunTexts(runs=(json_text(run_facts(run, named)),), environments={named: environment})
    told = tuple(point_texts(points))
    place = PositionText(events=1, digest=event[1], points=2, origin=None)
    store, one = "/api/v1/store", "/api/v1/store/runs/{id}"
    made = run.outputs[0]
    edge = {
        "run_id": run.id,
        "run_name": run.name,
        "started_at": run.started_at.isoformat(timespec="microseconds"),
        "name": made.name,
        "kind": made.kind,
        "digest": made.digest,
    }
    health = {"status": "ok", "version": "0.1.0"}
    return {
        ("get", f"{store}/runs"): Example([run.id]),
        ("post", f"{store}/runs/find"): Example(_json(texts), _json(Query(project=run.project, limit=50))),
        ("get", one): Example(_json(texts)),
        ("get", f"{one}/events"): Example([event]),
        ("get", f"{one}/position"): Example(_json(place)),
        ("get", f"{one}/metrics"): Example(told),
        ("get", f"{one}/metrics-digest"): Example(digest_of_points(stored_points(points))),
        ("get", f"{store}/environments/{{digest}}"): Example(environment),
        ("post", f"{store}/rows/{{question}}"): Example([edge], _json(RowQuestion(values=(made.digest,)))),
        ("post", f"{one}/events"): Example(
            _json(Added(added=1)), _json(Extension(number=0, events=(event,), environments={named: environment}))
        ),
        ("post", f"{one}/metrics"): Example(_json(Added(added=2)), _json(Points(number=0, points=told))),
        ("post", f"{one}/adoption"): Example(
            _json(Added(added=1)),
            _json(Adoption(events=(event,), environments={named: environment}, points=told, source="bundle run-4f0c2a.zip")),
        ),
        ("get", "/api/v1/objects/{digest}"): Example("bytes of the object"),
        ("put", "/api/v1/objects/{digest}"): Example(body="bytes of the object"),
        ("post", "/api/v1/runs/{id}/materialisations"): Example(
            body=_json(MaterialisationRequest(what="data", format="coco", role="train"))
        ),
        ("get", "/api/v1/materialisations/{id}/files"): Example("bytes of a .tar.gz file"),
        ("get", "/healthz"): Example(health),
        ("get", "/readyz"): Example(health),
    }


def _json(value: BaseModel) -> Any:
    return json.loads(value.model_dump_json(exclude_defaults=not isinstance(value, RunTexts | PositionText | Added)))
