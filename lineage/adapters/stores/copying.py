"""Bringing records and objects from one store to another, letter by letter. Done again it brings what is new, and nothing twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lineage.errors import Conflict, IntegrityError, LineageError
from lineage.model.event import replay
from lineage.model.run import Run
from lineage.model.transport import MOST_POINTS, MOST_RUNS
from lineage.ports import ObjectStore, Progress, RunQuery, RunStore, no_progress

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LARGEST_LIST_BYTES = 64 << 20
_EVENTS_AT_ONCE = 500
_TEXT_AT_ONCE = 8 << 20


class ObjectTarget(Protocol):
    """Where objects are brought."""

    def has(self, digest: str) -> bool:
        """Whether it is there."""

    def put_file(self, path: Path, digest: str) -> None:
        """Bring a file's content.

        Raises:
            LineageError: It is not what its digest says, or cannot be kept.
        """


class LocalTarget:
    """Objects in a store on this machine."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def has(self, digest: str) -> bool:
        return self._objects.has(digest)

    def put_file(self, path: Path, digest: str) -> None:
        with path.open("rb") as content:
            self._objects.put_stream(content, path.stat().st_size, digest)


class ObjectSender:
    """Brings objects that texts name, and those that lists among them name.

    Args:
        source: Has them, or some of them.
        target: Gets them.

    Attributes:
        sent: How many were brought.
    """

    def __init__(self, source: ObjectStore, target: ObjectTarget) -> None:
        self._source, self._target = source, target
        self._there: set[str] = set()
        self.sent = 0

    def send(self, text: str) -> None:
        """Bring every object that ``text`` names and that the source has.

        Raises:
            LineageError: One cannot be brought.
        """
        for digest in dict.fromkeys(_DIGEST.findall(text)):
            if digest in self._there or (path := self._source.path_of(digest)) is None:
                continue
            self._there.add(digest)  # now: a list may name itself, by accident or to harm
            try:
                self.send(_list_in(path))  # what a list names is there before the list
                if not self._target.has(digest):
                    self._target.put_file(path, digest)
                    self.sent += 1
            except BaseException:
                self._there.discard(digest)
                raise


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of one run.

    Attributes:
        run_id: Of the record.
        outcome: ``copied``; ``grown``: the target had the beginning; ``known``: it has all, or more; ``failed``.
        detail: Why it failed, in one line.
        events: How many it has in the source.
        points: How many metric points.
    """

    run_id: str
    outcome: str
    detail: str
    events: int
    points: int


def copy_store(
    source: RunStore, target: RunStore, objects: ObjectSender | None, enter: Callable[[Run], object], progress: Progress = no_progress
) -> Iterator[Copied]:
    """Bring every record to another store, oldest first, and compare each there: chain, number and digest of points, the record itself.

    Args:
        source: Is only read.
        target: Gets them.
        objects: Brings their objects before them; ``None`` for records alone.
        enter: Makes the rows of a record findable in the target.
        progress: Told of runs done.
    """
    ids = _all_ids(source)
    for number, run_id in enumerate(reversed(ids), 1):
        try:
            yield _copy_run(source, target, run_id, objects, enter)
        except LineageError as error:
            yield Copied(run_id, "failed", error.message, 0, 0)
        progress("copying runs", number, len(ids))


def _all_ids(source: RunStore) -> list[str]:
    ids: list[str] = []
    after: tuple[str, str] | None = None
    while page := source.find(RunQuery(limit=MOST_RUNS, after=after)):
        ids += [run.id for run in page]
        after = (page[-1].started_at.isoformat(), page[-1].id)
    return ids


def _copy_run(source: RunStore, target: RunStore, run_id: str, objects: ObjectSender | None, enter: Callable[[Run], object]) -> Copied:
    events = source.events(run_id)
    record = replay(events, run_id, source.environment)  # what was altered is not passed on
    place, before, origin = source.position(run_id), target.position(run_id), source.origin(run_id)
    if objects is not None:
        objects.send("".join(payload for payload, _ in events))
    if origin is None:
        added = copy_record(source, target, run_id, events)
    else:
        added = target.adopt(run_id, events, _environments(source, events), source.metrics(run_id), origin)
    after = target.position(run_id)
    if target.events(run_id)[: len(events)] != events or after.points < place.points:
        found = f"{after.events} and {after.points}"
        raise IntegrityError(f"copy of run {run_id[:12]}", expected=f"{place.events} events, {place.points} points", found=found)
    if after.points == place.points and (ours := source.metrics_digest(run_id)) != (theirs := target.metrics_digest(run_id)):
        raise IntegrityError(f"metrics of the copy of run {run_id[:12]}", expected=str(ours), found=str(theirs))
    if after.events == len(events) and target.get(run_id) != record:
        raise IntegrityError(f"copy of run {run_id[:12]}", expected="the record that its events add up to", found="another one")
    enter(record)
    outcome = "known" if not added and after == before else "grown" if before.events else "copied"
    return Copied(run_id, outcome, "", place.events, place.points)


def _list_in(path: Path) -> str:
    # Lists of objects (ledgers, kept copies) are JSON; anything else names no object.
    try:
        with path.open("rb") as content:
            if content.read(1) not in (b"{", b"[") or path.stat().st_size > _LARGEST_LIST_BYTES:
                return ""
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def copy_record(source: RunStore, target: RunStore, run_id: str, events: list[tuple[str, str]]) -> int:
    """Bring a record, as far as ``events`` go, to another store, where part of it may be; returns how many events were new.

    Raises:
        Conflict: The other store has another record under this id.
    """
    place = target.position(run_id)
    if place.events > len(events):
        if target.events(run_id)[: len(events)] != events:
            raise _fork(run_id, target)
        return 0
    if place.events and events[place.events - 1][1] != place.digest:
        raise _fork(run_id, target)
    end = next((number for number, (payload, _) in enumerate(events) if _is_end(payload)), len(events))
    added = _send_events(source, target, run_id, events[:end], place.events)
    # The points before the end, which says what their digest is.
    _send_points(source, target, run_id)
    return added + _send_events(source, target, run_id, events, max(place.events, end))


def _is_end(payload: str) -> bool:
    return '"kind":"ended"' in payload and json.loads(payload)["kind"] == "ended"


def _send_events(source: RunStore, target: RunStore, run_id: str, events: list[tuple[str, str]], number: int) -> int:
    added = 0
    while number < len(events):
        part, text = [], 0
        for event in events[number : number + _EVENTS_AT_ONCE]:
            part.append(event)
            text += len(event[0])
            if text > _TEXT_AT_ONCE:
                break
        new = target.extend(run_id, number, part, _environments(source, part), again=True)
        if new is None:
            raise _fork(run_id, target)
        added += new
        number += len(part)
    return added


def _environments(source: RunStore, events: list[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for payload, _ in events:
        if (named := re.search(r'"environment":"(sha256:[0-9a-f]{64})"', payload)) is not None:
            found[named[1]] = source.environment_text(named[1])
    return found


def _send_points(source: RunStore, target: RunStore, run_id: str) -> None:
    number = target.position(run_id).points
    points = source.metrics(run_id, number)
    for first in range(0, len(points), MOST_POINTS):
        if target.extend_metrics(run_id, number + first, points[first : first + MOST_POINTS], again=True) is None:
            raise _fork(run_id, target)


def _fork(run_id: str, target: RunStore) -> Conflict:
    return Conflict(
        f"run {run_id[:12]} is in {target.location} with another record",
        hint="both went on apart, or one was altered; nothing was changed, and the one here stays here",
    )
