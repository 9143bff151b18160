"""Taking runs over that another system recorded: past W&B or MLflow runs become records, marked as what they are."""

from __future__ import annotations

import functools
import hashlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

from lineage.errors import InvalidSource
from lineage.model.digest import canonical_json, digest_of_bytes, digest_of_json
from lineage.model.environment import Environment, Package
from lineage.model.event import ArtifactMade, ArtifactUsed, Ended, Event, Noted, Started, chain_digest
from lineage.model.imported import Imported
from lineage.model.media import histogram
from lineage.model.metrics import digest_of_points, stored_points
from lineage.model.plain import plain
from lineage.model.run import Artifact, MetricPoint, Run, RunState, UsedArtifact
from lineage.model.secrets import redact_command, redact_text, redact_values
from lineage.ports import ForeignFile, ForeignMedia, ForeignRun, Ports
from lineage.record.media import MediaKeeper, Put, picture

_UNKNOWN = "unknown"


def imported_id(foreign: ForeignRun) -> str:
    """The id of its record: 32 hexadecimal digits, the same whenever and from wherever it is imported."""
    return hashlib.sha256(f"imported\n{foreign.tracker}\n{foreign.id}".encode()).hexdigest()[:32]


def take_over(ports: Ports, foreign: ForeignRun) -> tuple[Run, bool]:
    """Put a foreign run into the store, whole or not at all.

    The record has the run's own times. It is marked as made elsewhere, and as imported with what a reproduction would lack: a plan to
    reproduce it is blocked with these reasons. Files that are at hand go into the object store; of others their listing does.

    Args:
        ports: The store.
        foreign: What the other system knows.

    Returns:
        (record, whether it is new). A run that was recorded here when it ran, or imported before, is given back as it is.

    Raises:
        CaptureError: The store cannot be written.
    """
    for known in (foreign.recorded_as, imported_id(foreign)):
        if known is not None and known in ports.runs.ids_with_prefix(known, 1):
            return ports.runs.get(known), False
    run_id = imported_id(foreign)
    points = list(foreign.points)
    environments: dict[str, str] = {}
    if (environment := _environment(foreign)) is not None:
        text = canonical_json(environment.model_dump(mode="json"))
        environments[digest_of_bytes(text)] = text.decode()
    chain: list[tuple[str, str]] = []
    previous: str | None = None
    for event in _events(ports, foreign, run_id, points):
        payload = _payload(event, next(iter(environments), None))
        previous = chain_digest(previous, payload)
        chain.append((payload, previous))
    ports.runs.adopt(run_id, chain, environments, points, redact_text(f"{foreign.tracker} ({foreign.place})"))
    return ports.runs.get(run_id), True


def _events(ports: Ports, foreign: ForeignRun, run_id: str, points: list[MetricPoint]) -> Iterator[Event]:
    run = Run(
        id=run_id,
        name=foreign.name,
        project=foreign.project,
        group=foreign.group,
        job_type=foreign.job_type,
        tags=tuple(foreign.tags),
        started_at=foreign.started_at,
        command=redact_command(foreign.command),
        host=foreign.host,
        user=foreign.user,
        config=redact_values(plain(dict(foreign.config), "config")),
        trackers={foreign.tracker: redact_values(plain(dict(foreign.called), foreign.tracker))},
        notes=tuple(map(redact_text, foreign.notes)),
        imported=Imported(
            tracker=foreign.tracker,
            id=foreign.id,
            place=redact_text(foreign.place),
            missing=tuple(map(redact_text, foreign.missing)),
            facts=redact_values(plain(dict(foreign.facts), "facts")),
        ),
    )
    yield Started(at=run.started_at, run=run)
    for item in foreign.used:
        digest, size = _kept(ports, item)
        role = re.sub(r"[^a-z0-9_-]+", "-", item.kind.lower()).strip("-") or "file"
        used = UsedArtifact(
            role=role, kind=item.kind, path=item.path or item.name, digest=digest, size_bytes=size, used_at=foreign.started_at
        )
        yield ArtifactUsed(at=foreign.started_at, artifact=used)
    names: set[str] = set()
    for item in foreign.made:
        digest, size = _kept(ports, item)
        name = next(name for name in (item.name, *(f"{item.name}-{n}" for n in range(2, len(foreign.made) + 2))) if name not in names)
        names.add(name)
        details = redact_values(plain(dict(item.listing), "listing")) | {"content": "kept" if item.content is not None else "listing only"}
        made = Artifact(name=name, kind=item.kind, path=item.path or item.name, digest=digest, size_bytes=size, details=details)
        yield ArtifactMade(at=foreign.ended_at, artifact=made)
    yield from _media(ports, foreign)
    state = foreign.state if foreign.state is not RunState.running else RunState.aborted
    yield Ended(
        at=foreign.ended_at,
        state=state,
        summary=redact_values(plain(dict(foreign.summary), "summary")),
        error=None if foreign.error is None else redact_text(foreign.error),
        metrics_digest=digest_of_points(stored_points(points)),
    )


def _media(ports: Ports, foreign: ForeignRun) -> Iterator[Event]:
    said: list[str] = []
    made: list[ArtifactMade] = []

    def append(event: Event) -> Run:
        if isinstance(event, ArtifactMade):
            made.append(event.model_copy(update={"at": foreign.ended_at}))
        return run

    run = Run(id=imported_id(foreign), name="", project="", job_type="", started_at=foreign.started_at)
    keeper = MediaKeeper(ports.objects, append, said.append)
    for item in foreign.media:
        with warnings.catch_warnings(action="ignore"):  # said in the record
            keeper.keep(item.key, item.step, functools.partial(_sheet, item))
    yield from made
    yield from (Noted(at=foreign.ended_at, note=redact_text(text)) for text in said)


def _sheet(item: ForeignMedia, put: Put) -> dict[str, Any]:
    if item.histogram is not None:
        try:
            return {"type": "histogram", **histogram(*item.histogram)}
        except (TypeError, ValueError) as error:
            raise InvalidSource(f"a histogram cannot be read: {error}") from error
    return {"type": "pictures", "items": [picture(file.read_bytes(), put, caption) for file, caption in item.pictures], "classes": {}}


def _payload(event: Event, environment: str | None) -> str:
    # In the form in which stores write events: the environment by its digest, and nothing that the model computes.
    if not isinstance(event, Started):
        return event.model_dump_json()
    told = event.model_dump(exclude={"run": {"environment", "duration_s", "fingerprint"}})
    told["run"]["environment"] = environment
    return to_json(told, inf_nan_mode="null").decode()


def _kept(ports: Ports, item: ForeignFile) -> tuple[str, int]:
    if item.content is not None:
        return ports.objects.put_file(item.content)
    listing = canonical_json({"kind": "foreign artifact", "name": item.name, "type": item.kind, **plain(dict(item.listing), "listing")})
    return ports.objects.put_bytes(listing), item.size_bytes


def _environment(foreign: ForeignRun) -> Environment | None:
    if not foreign.packages and not foreign.python:
        return None
    packages = {re.sub(r"[-_.]+", "-", name).lower(): Package(version=version) for name, version in sorted(foreign.packages.items())}
    python = foreign.python or _UNKNOWN
    # A name for this list only: it says nothing of files, so it equals no digest of an environment that was really looked at.
    digest = digest_of_json({"imported": True, "python": python, "packages": {name: item.version for name, item in packages.items()}})
    return Environment(
        python=python,
        implementation="CPython",
        executable=str(foreign.facts.get("executable") or _UNKNOWN),
        packages=packages,
        digest=digest,
        platform=str(foreign.facts.get("os") or _UNKNOWN),
        libc="",
        cpu=str(foreign.facts.get("cpu") or ""),
        cpu_count=int(foreign.facts.get("cpu_count") or 0),
        gpus=tuple(str(name) for name in foreign.facts.get("gpus") or ()),
    )
