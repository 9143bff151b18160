"""Making a bundle: one file that holds a run and all that reproducing it takes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lineage.errors import CaptureError, Conflict, IntegrityError, InvalidSource, LineageError, NotFound, UsageError
from lineage.model.bundle import FORMAT, Contents, Member
from lineage.model.digest import digest_of_file
from lineage.model.event import replay
from lineage.model.run import MetricPoint, Run, RunState
from lineage.ports import Ports, Progress, no_progress
from lineage.record.reproducing import first_of
from lineage.reproduce.archive import archive_run
from lineage.reproduce.bundle_file import BundleFile, write_bundle_file
from lineage.reproduce.bundle_needs import Record, environment_of, needed_objects
from lineage.reproduce.bundle_wheels import PackedWheels, packed_wheels
from lineage.reproduce.files import in_users_folder
from lineage.reproduce.plan import check_record


@dataclass(frozen=True, slots=True)
class Bundled:
    """A bundle that was made.

    Attributes:
        file: Where.
        size_bytes: Of the whole file.
        records: Ids of the runs in it: the one asked for, then those that it resumed.
        objects: How many objects.
        left_out: Files that the runs made and that are not in it.
        wheels: How many wheels.
        platform: What these are for; empty without any.
    """

    file: str
    size_bytes: int
    digest: str
    records: tuple[str, ...]
    objects: int
    left_out: int
    wheels: int = 0
    platform: str = ""


def bundle_run(
    ports: Ports,
    run: Run,
    file: Path,
    *,
    checkpoints: bool = False,
    outputs: bool = False,
    wheels: bool = False,
    progress: Progress = no_progress,
) -> Bundled:
    """Write a run and all that it needs into one file. The same record gives the same bytes.

    Written aside, read back and compared, then renamed: the file is whole or not there.

    Args:
        ports: The outside world.
        run: The run; it is over.
        file: New.
        checkpoints: Take its checkpoints along.
        outputs: Take along what else it made; the digests, which a verdict needs, are there in any case.
        wheels: Take along every installed package, for machines of this one's platform: they need no index.
        progress: Told of rows and parts.

    Raises:
        Conflict: The file exists, or the run goes on.
        InvalidSource: Something that it needs is gone; everything is named at once.
        IntegrityError: The record, its data or an object was changed.
        CaptureError: The file cannot be written.
    """
    if run.state is RunState.running:
        raise Conflict(f"run {run.id[:12]} is still running", hint="wait for it to end; a bundle holds a whole record")
    _check_target(file)
    problems: list[str] = []
    _data(ports, run, problems, progress)
    records = _records(ports, run)
    archives = {item.content_digest: listing for item in run.inputs if (listing := ports.rows.archive(item.content_digest)) is not None}
    _base_weights(ports, run)
    needed = needed_objects(ports.objects, run, archives, problems)
    missing = sorted(digest for digest in needed if not ports.objects.has(digest))
    problems += [f"object {digest} ({_purpose(run, digest)}) is not in the object store" for digest in missing]
    for path, _ in () if run.code is None else run.code.parts():
        if not run.packs_of(path):
            problems.append(f"the code{f' of {path}' if path else ''} is in its repository only, not in the object store")
    with tempfile.TemporaryDirectory(prefix="lineage-wheels-") as folder:
        packed = packed_wheels(ports, run, Path(folder), problems, progress) if wheels else None
        if problems:
            raise InvalidSource(
                f"run {run.id[:12]} cannot be bundled: not everything that it needs is at hand",
                problems=problems,
                hint="`lineage verify` tells more; `lineage archive` keeps data while they exist",
            )
        taken, left_out = _taken(ports, records, needed, checkpoints=checkpoints, outputs=outputs)
        return _write(ports, run, records, archives, sorted(taken), packed, file, left_out, progress)


def _check_target(file: Path) -> None:
    if file.is_dir():
        raise UsageError(f"{file} is a folder", hint="give the name of a new file")
    if os.path.lexists(file):
        raise Conflict(f"{file} exists", hint="give another name, or delete it first")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {file.absolute().parent}", hint="make it first")


def _data(ports: Ports, run: Run, problems: list[str], progress: Progress) -> None:
    try:
        archive_run(ports, run, progress)
    except LineageError as error:
        problems.append(error.message)


def _base_weights(ports: Ports, run: Run) -> None:
    # Files that it started from may be kept nowhere but where they were read.
    run = in_users_folder(ports.runs, run)
    for used in run.uses:
        there = (Path() if run.code is None else Path(run.code.root)) / used.path
        if not ports.objects.has(used.digest) and there.is_file() and digest_of_file(there) == used.digest:
            ports.objects.put_file(there)


def _purpose(run: Run, digest: str) -> str:
    purposes: Mapping[str, str] = {
        **{log.object: "a step log" for log in run.step_logs},
        **{loader.code_object: "a loader's transform" for loader in run.loaders if loader.code_object is not None},
        **{used.digest: f"the file {used.path}, used as {used.role}" for used in run.uses},
        **dict.fromkeys(run.code_objects(), "code"),
        **{item.envelope: "a signature" for item in run.signatures},
        **({} if run.resumes is None else {run.resumes.checkpoint: "the checkpoint that it was resumed from"}),
    }
    return purposes.get(digest, "rows of its data")


def _records(ports: Ports, run: Run) -> list[Record]:
    found = [record_of(ports, run)]
    first = first_of(ports.runs, run)
    if run.sweep is None and first.sweep is not None:
        raise InvalidSource(
            f"run {run.id[:12]} cannot be bundled: it repeats a trial of a sweep, whose values are in the record of run {first.id[:12]}",
            hint=f"lineage bundle {first.id[:12]} FILE; whoever gets it can repeat it with any seed",
        )
    while (resumes := found[-1].run.resumes) is not None:
        if any(record.run.id == resumes.run_id for record in found):
            raise IntegrityError(f"record {run.id[:12]}", expected="a run resumed from an earlier one", found="a circle")
        try:
            found.append(record_of(ports, ports.runs.get(resumes.run_id)))
        except NotFound:
            raise InvalidSource(
                f"run {run.id[:12]} cannot be bundled: run {resumes.run_id[:12]}, which it resumed, is not in this store",
                hint="bundle it in the store that holds both",
            ) from None
    return found


def record_of(ports: Ports, run: Run) -> Record:
    """A run's record as it is stored, checked.

    Raises:
        IntegrityError: It was altered.
    """
    checked = check_record(ports, run)
    if checked.status != "ready":
        raise IntegrityError(f"record {run.id[:12]}", expected="a record as it was written", found="; ".join(checked.detail))
    events = tuple(ports.runs.events(run.id))
    named = {digest for payload, _ in events[:1] if (digest := environment_of(payload)) is not None}
    environments = {digest: ports.runs.environment_text(digest) for digest in named}
    return Record(replay(events, run.id, ports.runs.environment), events, environments, ports.runs.metrics(run.id))


def _taken(ports: Ports, records: list[Record], needed: set[str], *, checkpoints: bool, outputs: bool) -> tuple[set[str], int]:
    mentioned = {digest for record in records for digest in record.mentioned()}
    made = {digest: is_checkpoint for record in records for digest, is_checkpoint in record.made().items()}
    unwanted = {digest for digest, is_checkpoint in made.items() if not (checkpoints if is_checkpoint else outputs)} - needed
    led_to: set[str] = set()
    for record in records[1:]:
        led_to |= needed_objects(ports.objects, record.run, {}, [])
    present = {digest for digest in mentioned | led_to if ports.objects.has(digest)}
    return needed | (present - unwanted), len(unwanted & present)


def _write(
    ports: Ports,
    run: Run,
    records: list[Record],
    archives: dict[str, str],
    objects: list[str],
    packed: PackedWheels | None,
    file: Path,
    left_out: int,
    progress: Progress,
) -> Bundled:
    texts: dict[str, bytes] = {}
    for record in records:
        texts[f"records/{record.run.id}"] = b"".join(json.dumps(event).encode() + b"\n" for event in record.events)
        texts[f"metrics/{record.run.id}"] = b"".join(_line(point) for point in record.points)
        texts |= {f"environments/{digest.partition(':')[2]}": text.encode() for digest, text in record.environments.items()}
    members = [Member(name=name, sha256=hashlib.sha256(text).hexdigest(), size=len(text)) for name, text in texts.items()]
    for digest in objects:
        plain = digest.partition(":")[2]
        members.append(Member(name=f"objects/{plain}", sha256=plain, size=_file(ports, digest).stat().st_size))
    members += [] if packed is None else packed.members()
    contents = Contents(
        format=1 if packed is None else FORMAT,
        run=run.id,
        head=records[0].events[-1][1],
        archives=archives,
        members=tuple(sorted(members, key=lambda member: member.name)),
        wheels=None if packed is None else packed.wheels,
    )

    def open_member(member: Member) -> IO[bytes]:
        text = texts.get(member.name)
        if packed is not None and member.name.startswith("wheels/"):
            return packed.files[member.sha256].open("rb")
        return _file(ports, f"sha256:{member.sha256}").open("rb") if text is None else io.BytesIO(text)

    try:
        handle, name = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}.")
        aside = Path(name)
        try:
            with os.fdopen(handle, "wb") as target:
                write_bundle_file(target, contents, open_member, progress)
                target.flush()
                os.fsync(target.fileno())
            with BundleFile(aside) as made:
                made.check(progress)
            aside.chmod(0o644)
            aside.rename(file)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise CaptureError(f"{file} cannot be written: {error.strerror}", hint="nothing was left behind") from error
    ids, of_wheels = tuple(record.run.id for record in records), () if packed is None else (len(packed.files), packed.wheels.platform)
    return Bundled(str(file), file.stat().st_size, digest_of_file(file), ids, len(objects), left_out, *of_wheels)


def _line(point: MetricPoint) -> bytes:
    return json.dumps([point.step, point.at, point.values]).encode() + b"\n"


def _file(ports: Ports, digest: str) -> Path:
    path = ports.objects.path_of(digest)
    if path is None:
        raise NotFound("object", digest)
    return path
