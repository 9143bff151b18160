"""``/api/v1/store``: the store of records for clients that record to this service. What was written is kept letter by letter.

Every change says at which place of the record it goes on, so that it can be sent again when its answer was lost, and is made once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic_core import to_json

from lineage.errors import IntegrityError, LineageError, UsageError
from lineage.model.digest import canonical_json, digest_of_bytes
from lineage.model.environment import Environment
from lineage.model.run import MetricPoint, Run
from lineage.model.transport import (
    MOST_POINTS,
    Added,
    Adoption,
    Extension,
    Points,
    PointText,
    PositionText,
    RowQuestion,
    RunTexts,
    point_texts,
    points_of,
)
from lineage.model.transport import Query as RunConditions
from lineage.ports import Ports, RunQuery, texts_of
from lineage.record.reindex import enter_run
from service.access import scope
from service.dependencies import PortsOf
from service.problems import UnknownDigest, WrongContent, responses

router = APIRouter(prefix="/api/v1/store", tags=["store"])

RunId = Annotated[
    str, Path(alias="id", description="Whole run id: 32 hexadecimal digits.", pattern=r"^[0-9a-f]{32}$", examples=["4f0c2a" + "0" * 26])
]
EnvironmentDigest = Annotated[str, Path(alias="digest", description="Digest of the environment's text.", pattern=r"^sha256:[0-9a-f]{64}$")]
Question = Literal[
    "find_keys",
    "views_with",
    "sightings",
    "makers",
    "users",
    "made_by",
    "used_by",
    "links",
    "run_names",
    "datasets",
    "versions_read",
    "views_read",
    "uploads",
    "sweeps",
    "unindexed_inputs",
    "ledger",
    "archive",
]
_READ = responses(400, 404, 422)
_CHANGE = responses(400, 404, 409, 422)
_INDEXED = ('"kind":"input_used"', '"kind":"ended"')


@router.get("/runs", responses=responses(422))
def list_ids(
    ports: PortsOf,
    prefix: Annotated[str, Query(max_length=64, description="What they begin with.")] = "",
    limit: Annotated[int, Query(ge=1, le=1_000, description="At most so many.")] = 100,
) -> list[str]:
    """Whole ids of runs, in their order."""
    return ports.runs.ids_with_prefix(prefix, limit)


@router.post("/runs/find", responses=responses(400, 422), openapi_extra=scope("read"))
def find_runs(ports: PortsOf, conditions: RunConditions) -> RunTexts:
    """Whole records that fit, newest first. Changes nothing."""
    try:
        return _texts(ports.runs.find(RunQuery(**conditions.model_dump())))
    except ValueError as error:
        raise UsageError(f"'after' is not (started_at, id) of a run: {error}") from error


@router.get("/runs/{id}", responses=_READ)
def show_record(ports: PortsOf, run_id: RunId) -> RunTexts:
    """A whole record as it is kept."""
    return _texts([ports.runs.get(run_id)])


@router.get("/runs/{id}/events", responses=_READ)
def list_events(ports: PortsOf, run_id: RunId) -> list[tuple[str, str]]:
    """(payload text, chain digest) of every event; none when there is no such run."""
    return ports.runs.events(run_id)


@router.get("/runs/{id}/position", responses=_READ)
def show_position(ports: PortsOf, run_id: RunId) -> PositionText:
    """How far a record has got; nothing yet when there is no such run."""
    place = ports.runs.position(run_id)
    return PositionText(events=place.events, digest=place.digest, points=place.points, origin=ports.runs.origin(run_id))


@router.get("/runs/{id}/metrics", responses=_READ)
def list_points(
    ports: PortsOf, run_id: RunId, skip: Annotated[int, Query(ge=0, lt=2**31, description="Without the first so many.")] = 0
) -> list[PointText]:
    """Metric points in the order of the calls, a page at a time."""
    return point_texts(ports.runs.metrics(run_id, skip)[:MOST_POINTS])


@router.get("/runs/{id}/metrics-digest", responses=_READ)
def show_metrics_digest(ports: PortsOf, run_id: RunId) -> str | None:
    """Digest over every metric point; `null` without any."""
    return ports.runs.metrics_digest(run_id)


@router.get("/environments/{digest}", responses=_READ)
def show_environment(ports: PortsOf, digest: EnvironmentDigest) -> Response:
    """The text of an environment that events name, as a JSON string."""
    try:
        text = ports.runs.environment_text(digest)
    except IntegrityError as error:
        if error.found == "none":
            raise UnknownDigest(error.what, expected=error.expected, found=error.found, hint=error.hint) from error
        raise
    return Response(json.dumps(text), media_type="application/json")


@router.post("/rows/{question}", responses=responses(400, 422), openapi_extra=scope("read"))
def ask_rows(ports: PortsOf, question: Question, told: RowQuestion) -> Any:
    """Ask the row index: which views and runs hold which rows, and which runs made or used which files. Changes nothing."""
    match question:
        case "find_keys":
            return ports.rows.find_keys(told.kind, told.key)
        case "views_with":
            return ports.rows.views_with(told.space, told.rows)
        case "sightings":
            return ports.rows.sightings(told.values)
        case "makers":
            return ports.rows.makers(told.values)
        case "users":
            return ports.rows.users(told.values)
        case "made_by":
            return ports.rows.made_by(told.values, replaced=told.replaced)
        case "used_by":
            return ports.rows.used_by(told.values)
        case "links":
            if any(len(item) != texts_of(told.link, forward=told.forward) for item in told.things):
                raise UsageError(f"a thing that '{told.link}' leads from has {texts_of(told.link, forward=told.forward)} texts")
            return ports.rows.links(told.link, told.things, forward=told.forward, most=told.most, skip=told.skip)
        case "run_names":
            return ports.rows.run_names(told.values)
        case "datasets":
            return ports.rows.datasets(told.space, told.most)
        case "versions_read" | "views_read" | "uploads" if not told.values:
            return []
        case "versions_read":
            return ports.rows.versions_read(told.values[0], told.most, told.skip)
        case "views_read":
            return ports.rows.views_read(told.values[0], told.values[1] if len(told.values) > 1 else None, told.most, told.skip)
        case "uploads":
            return ports.rows.uploads(told.values[0], told.values[1] if len(told.values) > 1 else None, told.most)
        case "sweeps":
            after = (told.values[0], told.values[1]) if len(told.values) > 1 else None
            return ports.rows.sweeps(told.most, after=after, prefix=told.space)
        case "unindexed_inputs":
            return ports.rows.unindexed_inputs()
        case "ledger":
            return ports.rows.ledger(told.space)
        case "archive":
            return ports.rows.archive(told.values[0]) if told.values else None


@router.post("/runs/{id}/events", responses=_CHANGE)
def extend_record(ports: PortsOf, run_id: RunId, told: Extension) -> Added:
    """Go on with a record. `added` is `null` when it has got to another place: ask where, and send what fits there."""
    with _checked():
        added = ports.runs.extend(run_id, told.number, told.events, told.environments, again=told.again)
    if added and any(word in payload for payload, _ in told.events for word in _INDEXED):
        _enter(ports, run_id)
    return Added(added=added)


@router.post("/runs/{id}/metrics", responses=_CHANGE)
def extend_points(ports: PortsOf, run_id: RunId, told: Points) -> Added:
    """Go on with a run's metric points."""
    return Added(added=ports.runs.extend_metrics(run_id, told.number, _points(told.points), again=told.again))


@router.post("/runs/{id}/adoption", responses=_CHANGE)
def adopt_record(ports: PortsOf, run_id: RunId, told: Adoption) -> Added:
    """Take over a record that was made elsewhere: it is kept, and its commands are not trusted."""
    with _checked():
        added = ports.runs.adopt(run_id, told.events, told.environments, _points(told.points), told.source)
    if added:
        _enter(ports, run_id)
    return Added(added=added)


def _texts(runs: list[Run]) -> RunTexts:
    texts: dict[str, str] = {}
    digests: dict[int, str] = {}

    def named(environment: Environment | None) -> str | None:
        if environment is None:
            return None
        if id(environment) not in digests:  # the store gives runs that share an environment one object
            text = canonical_json(environment.model_dump(mode="json"))
            digests[id(environment)] = digest_of_bytes(text)
            texts[digests[id(environment)]] = text.decode()
        return digests[id(environment)]

    left_out = {"environment", "duration_s", "fingerprint"}
    told = [run.model_dump(exclude=left_out) | {"environment": named(run.environment)} for run in runs]
    return RunTexts(runs=tuple(to_json(item, inf_nan_mode="null").decode() for item in told), environments=texts)


def _points(texts: tuple[PointText, ...]) -> list[MetricPoint]:
    try:
        return points_of(texts)
    except ValueError as error:
        raise UsageError(
            f"a metric point cannot be read: {str(error).splitlines()[0]}", hint="values are a JSON object of numbers"
        ) from error


@contextmanager
def _checked() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise WrongContent(error.what, expected=error.expected, found=error.found, hint=error.hint) from error


def _enter(ports: Ports, run_id: str) -> None:
    # The record is kept, whatever the index can do now: objects may come later, and `lineage doctor` names what is not findable.
    with suppress(LineageError):
        enter_run(ports, ports.runs.get(run_id))
