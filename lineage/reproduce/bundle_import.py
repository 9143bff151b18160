"""Taking a bundle into a store. Its maker may be anybody: everything is checked before anything is written, and nothing is executed."""

from __future__ import annotations

import json
import re
import unicodedata
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import cast

from lineage.errors import CaptureError, IntegrityError, NotFound
from lineage.model.dataset import InputRecord
from lineage.model.digest import digest_of_bytes
from lineage.model.environment import Environment
from lineage.model.event import replay
from lineage.model.metrics import digest_of_points, stored_points
from lineage.model.run import MetricPoint, Run, RunState
from lineage.ports import ObjectStore, Ports, Progress, no_progress
from lineage.record.identity import recorded_digests, recorded_rows
from lineage.record.reindex import enter_run
from lineage.reproduce.archive import is_complete
from lineage.reproduce.bundle_file import BundleFile
from lineage.reproduce.bundle_needs import Record, environment_of, needed_objects
from lineage.reproduce.bundle_wheels import check_wheels, take_wheels

_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Letters that change the direction in which a text is shown."""
_GIT_OBJECT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Imported:
    """What came in.

    Attributes:
        run: The run that the bundle is for, as the store has it now.
        new: Ids of records that were not there before.
        grown: Ids of records that were there and had gone on where they come from.
        objects: How many objects the bundle holds.
    """

    run: Run
    new: tuple[str, ...]
    grown: tuple[str, ...]
    objects: int


def read_bundle(bundle: BundleFile, progress: Progress = no_progress) -> list[Record]:
    """Every record of a bundle, the one that it is for first, after a check of every byte and of all that holds them together.

    Raises:
        IntegrityError: Something is not what it should be; the first such thing is named.
    """
    bundle.check(progress)
    contents = bundle.contents
    environments = {f"sha256:{digest}": bundle.read(member).decode() for digest, member in contents.named("environments").items()}
    kept, points = contents.named("records"), contents.named("metrics")
    if contents.run not in kept:
        raise _wrong(bundle, f"the record of run {contents.run}", "none")
    if kept.keys() != points.keys():
        raise _wrong(bundle, "metrics for each record", ", ".join(sorted(kept.keys() ^ points.keys())))
    order = [contents.run]
    records: dict[str, Record] = {}
    for run_id in order:  # it grows: a run that was resumed leads to the one before
        record = records[run_id] = _record(bundle, run_id, environments)
        resumes = record.run.resumes
        if resumes is not None and resumes.run_id not in order:
            if resumes.run_id not in kept:
                raise _wrong(bundle, f"the record of run {resumes.run_id}, which was resumed", "none")
            order.append(resumes.run_id)
    if len(order) != len(kept):
        raise _wrong(bundle, "only records that the run needs", f"also {', '.join(sorted(kept.keys() - set(order)))}")
    first = records[contents.run]
    if first.events[-1][1] != contents.head:
        raise _wrong(bundle, f"a record that ends in {contents.head}", first.events[-1][1])
    check_wheels(bundle, first.run)
    _check_objects(bundle, [records[run_id] for run_id in order], environments)
    return [records[run_id] for run_id in order]


def import_bundle(ports: Ports, bundle: BundleFile, progress: Progress = no_progress, *, findable: bool = False) -> Imported:
    """Put a bundle's records and objects into a store. Done again, it changes nothing.

    Args:
        ports: The store.
        bundle: The bundle.
        progress: Told of parts.
        findable: Enter its rows into the row index, for look-ups by picture.

    Raises:
        IntegrityError: The bundle is not what it should be; nothing was written.
        Conflict: The store has another record under one of its ids.
        CaptureError: The store cannot be written (a full disk); no record was.
    """
    records = read_bundle(bundle, progress)
    try:
        for number, (digest, member) in enumerate(bundle.objects.items(), 1):
            if not ports.objects.has(f"sha256:{digest}"):
                ports.objects.put_stream(bundle.stream_at(member), member.size, f"sha256:{digest}")
            progress("taking over objects", number, len(bundle.objects))
        take_wheels(ports, bundle)
    except OSError as error:
        raise CaptureError(
            f"the bundle {bundle.path.name} cannot be taken into {ports.folder}: {error.strerror}",
            hint="no record was written; `lineage gc` deletes the objects that are there already",
        ) from error
    new: list[str] = []
    grown: list[str] = []
    source = f"{bundle.path.name} ({bundle.contents.head})"
    for record in reversed(records):  # what was resumed is there before what goes on with it
        before = bool(ports.runs.ids_with_prefix(record.run.id, 1))
        if ports.runs.adopt(record.run.id, record.events, record.environments, record.points, source):
            (grown if before else new).append(record.run.id)
    for item in records[0].run.inputs:
        known = ports.rows.archive(item.content_digest)
        if known is None or not is_complete(ports, known, item):
            ports.rows.put_archive(item.content_digest, bundle.contents.archives[item.content_digest])
    if findable:
        enter_run(ports, records[0].run)  # of the runs that it resumed, the rows need not be there
    return Imported(ports.runs.get(records[0].run.id), tuple(new), tuple(grown), len(bundle.objects))


def _record(bundle: BundleFile, run_id: str, environments: dict[str, str]) -> Record:
    what = f"bundle {bundle.path.name}, record {run_id[:12]}"
    try:
        events = tuple(_event(line) for line in bundle.read(bundle.contents.named("records")[run_id]).splitlines())
        points = [_point(line) for line in bundle.read(bundle.contents.named("metrics")[run_id]).splitlines()]
        named = environment_of(events[0][0]) if events else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(what, expected="events and metric points", found=f"something else ({type(error).__name__})") from error
    run = replay(events, run_id, lambda digest: _environment(environments, digest))
    if run.id != run_id:
        raise IntegrityError(what, expected=f"the record of run {run_id}", found=f"that of run {run.id}")
    if run.state is RunState.running:
        raise IntegrityError(what, expected="a run that is over", found="one that goes on")
    if run.metrics_digest != (found := digest_of_points(stored_points(points))) and (run.metrics_digest is not None or points):
        raise IntegrityError(what, expected=f"metrics {run.metrics_digest}", found=f"metrics {found}")
    check_places(run, what)
    return Record(run, events, {} if named is None else {named: environments[named]}, points)


def _event(line: bytes) -> tuple[str, str]:
    payload, digest = json.loads(line)
    if not (isinstance(payload, str) and isinstance(digest, str)):
        raise TypeError("no event")
    return payload, digest


def _point(line: bytes) -> MetricPoint:
    step, at, values = json.loads(line)
    return MetricPoint.model_validate({"step": step, "at": at, "values": values})


def _environment(environments: dict[str, str], digest: str) -> Environment:
    text = environments.get(digest)
    found = "none" if text is None else digest_of_bytes(text.encode())
    if text is None or found != digest:
        raise IntegrityError("environment", expected=digest, found=found)
    return Environment.model_validate_json(text)


def check_places(run: Run, what: str) -> None:
    """Refuse a record from elsewhere that leads out of its folder, or whose command cannot be shown.

    Raises:
        IntegrityError: It does; ``what`` names the record.
    """
    # A record says where its code is put and which commit is checked out; neither may lead anywhere else.
    paths = [run.working_directory, *(used.path for used in run.uses)]
    if run.code is not None:
        paths += [path for path, _ in run.code.parts()]
        for name in (item for _, code in run.code.parts() for item in (code.snapshot_sha, code.tree_sha, code.git_sha)):
            if name is not None and not _GIT_OBJECT.fullmatch(name):
                raise IntegrityError(what, expected="git's names of commits and trees", found=ascii(name))
    paths += [file.path for file in run.kept_code.large] + list(run.kept_code.inner)
    wheels = () if run.installed is None else run.installed.wheels.values()
    for wheel in wheels:
        if PurePosixPath(wheel.file).name != wheel.file:
            raise IntegrityError(what, expected="plain names of wheels", found=ascii(wheel.file))
    paths += [] if run.installed is None else [item.path for item in run.installed.altered or ()]
    for word in run.command:
        # It is shown before it is executed: what is seen must be what it is.
        if any((unicodedata.category(letter) == "Cc" and letter not in "\n\t") or letter in _TURNING for letter in word):
            raise IntegrityError(what, expected="a command that can be shown", found=ascii(word))
    for path in paths:
        if ".." in PurePosixPath(path).parts or "\0" in path:
            raise IntegrityError(what, expected="paths inside its folder", found=ascii(path))


def _check_objects(bundle: BundleFile, records: list[Record], environments: dict[str, str]) -> None:
    contents, lost = bundle.contents, list[str]()
    needed = needed_objects(bundle, records[0].run, contents.archives, lost)
    unlisted = sorted({item.content_digest for item in records[0].run.inputs} - contents.archives.keys())
    if unlisted:
        raise _wrong(bundle, "the kept rows of every input", f"none for content {unlisted[0]}")
    for item in records[0].run.inputs:
        _check_rows(bundle, item)
    missing = sorted(digest for digest in needed if not bundle.has(digest))
    if missing or lost:
        raise _wrong(bundle, "every object that the run needs", lost[0] if lost else f"{len(missing)} missing, first {missing[0]}")
    allowed = needed | {digest for record in records for digest in record.mentioned()}
    for record in records[1:]:
        allowed |= needed_objects(bundle, record.run, {}, [])
    extra = sorted(f"sha256:{digest}" for digest in bundle.objects if f"sha256:{digest}" not in allowed)
    extra += sorted(environments.keys() - {digest for record in records for digest in record.environments})
    extra += sorted(contents.archives.keys() - {item.content_digest for item in records[0].run.inputs})
    if extra:
        raise _wrong(bundle, "only what its records mention", f"{len(extra)} more, first {extra[0]}")


def _check_rows(bundle: BundleFile, item: InputRecord) -> None:
    objects = cast("ObjectStore", bundle)  # reading is all that is done
    try:
        recorded_digests(objects, item, recorded_rows(objects, item))
    except NotFound:
        pass  # it is told with all that is missing
    except (ValueError, LookupError, TypeError, MemoryError, OverflowError, zlib.error) as error:
        raise _wrong(bundle, f"rows of input '{item.role}'", f"something else ({type(error).__name__}: {error})") from error


def _wrong(bundle: BundleFile, expected: str, found: str) -> IntegrityError:
    return IntegrityError(f"bundle {bundle.path.name}", expected=expected, found=found)
