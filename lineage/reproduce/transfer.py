"""Putting what a run made and needs into a DVC remote, and getting it back."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from lineage.errors import CaptureError, Conflict, IntegrityError, InvalidSource, LineageError, NotFound
from lineage.model.digest import canonical_json
from lineage.model.event import Pushed
from lineage.model.push import Push, PushedObject, PushListing
from lineage.model.run import Artifact, Run, RunState
from lineage.ports import ObjectStore, Ports, Progress, Remote, no_progress
from lineage.reproduce.bundle import record_of
from lineage.reproduce.bundle_needs import expected_outputs, needed_objects

_BLOCK_BYTES = 1 << 20
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class PushedRun:
    """What a push did.

    Attributes:
        run_id: The run.
        push: As recorded.
        sent: How many objects the remote did not have.
        sent_bytes: Their size.
        is_recorded: Whether the record says so; a record from elsewhere is not added to.
        outputs: (artifact, its MD5) of each file that the run made and that is in the remote now.
        not_here: Digests of objects that the record leads to and that this store does not hold.
        unreadable: One sentence for each list of objects that cannot be read: what it leads to is not in the remote.
    """

    run_id: str
    push: Push
    sent: int
    sent_bytes: int
    is_recorded: bool
    outputs: tuple[tuple[Artifact, str], ...]
    not_here: tuple[str, ...]
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PulledRun:
    """What a pull did.

    Attributes:
        objects: How many objects the remote holds for the run.
        fetched: How many of them were not here.
        fetched_bytes: Their size.
    """

    run_id: str
    remote: str
    objects: int
    fetched: int
    fetched_bytes: int


def push_run(ports: Ports, run: Run, remote: Remote, *, read_back: bool = True, progress: Progress = no_progress) -> PushedRun:
    """Put every object of a run into a remote. What is there already is not sent again, so an interrupted push goes on.

    The record is added to last, when everything is there.

    Args:
        ports: The outside world.
        run: The run; it is over.
        remote: Where to.
        read_back: Read what was sent again and compare it; else only sizes are compared.
        progress: Told of objects.

    Raises:
        Conflict: The run goes on.
        InvalidSource: Files that it made are not in this store.
        IntegrityError: An object was changed, here or on its way.
        Unavailable: The remote cannot be used.
    """
    if run.state is RunState.running:
        raise Conflict(f"run {run.id[:12]} is still running", hint="wait for it to end; a push takes a whole record along")
    lost: list[str] = []
    wanted = _wanted(ports, run, lost)
    here = sorted(digest for digest in wanted if ports.objects.has(digest))
    gone = sorted(digest for digest in expected_outputs(ports, run) if not ports.objects.has(digest))
    if gone:
        names = {item.digest: item.name for item in run.outputs}
        raise InvalidSource(
            f"run {run.id[:12]} cannot be pushed: files that it made are not in the object store",
            problems=[f"{names.get(digest, 'a file that it replaced')} ({digest})" for digest in gone],
            hint="`lineage pull` gets what was pushed before; `lineage verify` tells more",
        )
    objects = tuple(_each(here, lambda digest: _named(ports.objects, digest), remote.jobs, "digesting", progress))
    text = canonical_json(PushListing(run_id=run.id, objects=objects).model_dump())
    listing = _named(ports.objects, ports.objects.put_bytes(text))

    def send(item: PushedObject) -> int:
        return _send(ports.objects, item, remote, read_back=read_back)

    sent = list(_each([*objects, listing], send, remote.jobs, "pushing", progress))
    push = Push(
        remote=remote.name,
        address=remote.address,
        listing=listing.digest,
        listing_md5=listing.md5,
        objects=len(objects),
        size_bytes=sum(item.size_bytes for item in objects),
        at=datetime.now(UTC),
    )
    is_known = any((item.address, item.listing) == (push.address, push.listing) for item in run.pushes)
    is_own = ports.runs.origin(run.id) is None
    if is_own and not is_known:
        ports.runs.append(run.id, Pushed(at=push.at, push=push))
    md5s = {item.digest: item.md5 for item in objects}
    outputs = tuple((item, md5s[item.digest]) for item in run.outputs if item.digest in md5s)
    not_here = tuple(sorted(digest for digest in wanted if digest not in md5s))
    return PushedRun(
        run.id, push, sum(size >= 0 for size in sent), sum(max(size, 0) for size in sent), is_own, outputs, not_here, tuple(lost)
    )


def pull_run(ports: Ports, run: Run, remote: Remote, *, progress: Progress = no_progress) -> PulledRun:
    """Get every object of a run that is not here, or no longer intact, out of a remote that it was pushed to.

    Args:
        ports: The outside world.
        run: The run.
        remote: Where from.
        progress: Told of objects.

    Raises:
        NotFound: It was never pushed there, or the remote has lost objects; the others are here then.
        IntegrityError: The remote has something else under a name.
        CaptureError: This store cannot be written.
        Unavailable: The remote cannot be used.
    """
    pushes = [item for item in run.pushes if item.address == remote.address] or [item for item in run.pushes if item.remote == remote.name]
    if not pushes:
        known = ", ".join(sorted({f"{item.remote} ({item.address})" for item in run.pushes}))
        detail = f"it was pushed to {known}" if known else "it was pushed nowhere"
        raise NotFound(
            "push", f"{run.id[:12]} to {remote.name}", detail=detail, hint="`lineage push` in the store that has the files, or --remote"
        )
    last = pushes[-1]
    listing = _listing(ports, last, remote)

    def fetch(item: PushedObject) -> tuple[int, str | None]:
        if _is_intact(ports.objects, item.digest):
            return -1, None
        try:
            _fetch(ports, item.digest, item.md5, remote)
        except NotFound as error:
            return -1, error.message
        return item.size_bytes, None

    done = list(_each(listing.objects, fetch, remote.jobs, "pulling", progress))
    lost = [message for _, message in done if message is not None]
    if lost:
        raise NotFound(
            f"object of run {run.id[:12]}",
            f"{len(lost)} of {len(done)}",
            detail=f"the remote lost them; first {lost[0]}",
            hint="push again from a store that has them; `dvc gc --cloud` deletes what no .dvc file names",
        )
    fetched = [size for size, _ in done if size >= 0]
    return PulledRun(run.id, remote.name, len(done), len(fetched), sum(fetched))


def dvc_file(name: str, md5: str, size_bytes: int) -> str:
    """Text of the ``.dvc`` file with which ``dvc pull`` gets a pushed file as ``name``."""
    # Quoted, both: digits alone would be read as a number, and a name may hold anything.
    return f'outs:\n- md5: "{md5}"\n  size: {size_bytes}\n  hash: md5\n  path: {json.dumps(name, ensure_ascii=False)}\n'


def _wanted(ports: Ports, run: Run, lost: list[str]) -> set[str]:
    """Everything that the record leads to."""
    archives = {item.content_digest: listing for item in run.inputs if (listing := ports.rows.archive(item.content_digest)) is not None}
    record = record_of(ports, run)
    earlier = {item.listing for item in run.pushes}  # a list of a list would grow with every push
    kept = {digest for digest in record.mentioned() if ports.objects.has(digest)}
    return (needed_objects(ports.objects, record.run, archives, lost) | kept | expected_outputs(ports, run)) - earlier


def _named(objects: ObjectStore, digest: str) -> PushedObject:
    """An object under both names, from one reading."""
    path = objects.path_of(digest)
    if path is None:
        raise NotFound("object", digest, hint="it was deleted meanwhile")
    ours, theirs, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            ours.update(block)
            theirs.update(block)
            size += len(block)
    if f"sha256:{ours.hexdigest()}" != digest:
        raise IntegrityError(f"object {digest[:19]}…", expected=digest, found=f"sha256:{ours.hexdigest()}", hint="restore it from a copy")
    return PushedObject(digest=digest, md5=theirs.hexdigest(), size_bytes=size)


def _send(objects: ObjectStore, item: PushedObject, remote: Remote, *, read_back: bool) -> int:
    """Size in bytes of what was sent; -1 when it was there."""
    if remote.size_of(item.md5) == item.size_bytes:
        return -1
    path = objects.path_of(item.digest)
    if path is None:
        raise NotFound("object", item.digest, hint="it was deleted meanwhile")
    remote.put(path, item.md5)
    found = remote.size_of(item.md5)
    if found not in (item.size_bytes, -1):
        raise IntegrityError(f"{item.digest[:19]}… in DVC remote '{remote.name}'", expected=f"{item.size_bytes} bytes", found=f"{found}")
    if read_back and (md5 := remote.md5_of(item.md5)) != item.md5:
        raise IntegrityError(f"{item.digest[:19]}… in DVC remote '{remote.name}'", expected=f"MD5 {item.md5}", found=md5)
    return item.size_bytes


def _listing(ports: Ports, push: Push, remote: Remote) -> PushListing:
    if not _is_intact(ports.objects, push.listing):
        _fetch(ports, push.listing, push.listing_md5, remote)
    try:
        return PushListing.model_validate_json(ports.objects.get_bytes(push.listing))
    except ValidationError as error:
        found = str(error).splitlines()[0]
        raise IntegrityError(f"list of objects {push.listing[:19]}…", expected="a list of pushed objects", found=found) from error


def _is_intact(objects: ObjectStore, digest: str) -> bool:
    try:
        objects.check(digest)
    except LineageError:
        return False
    return True


def _fetch(ports: Ports, digest: str, md5: str, remote: Remote) -> None:
    try:
        with tempfile.TemporaryDirectory(dir=ports.folder, prefix=".pull-") as folder:
            file = Path(folder) / md5
            remote.get(md5, file)
            found = hashlib.md5(usedforsecurity=False)
            with file.open("rb") as stream:
                while block := stream.read(_BLOCK_BYTES):
                    found.update(block)
                if found.hexdigest() != md5:
                    what = f"{digest[:19]}… from DVC remote '{remote.name}'"
                    raise IntegrityError(what, expected=f"MD5 {md5}", found=found.hexdigest(), hint="push it again; nothing was taken over")
                stream.seek(0)
                ports.objects.put_stream(stream, file.stat().st_size, digest)
    except OSError as error:
        raise CaptureError(
            f"{ports.folder} cannot be written: {error.strerror}", hint="the same command again goes on from there"
        ) from error


def _each(items: Sequence[_Item], work: Callable[[_Item], _Result], jobs: int, what: str, progress: Progress) -> Iterable[_Result]:
    """``work`` of each item, in order; the first error ends the rest."""
    pool = ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="lineage-transfer")
    try:
        for number, result in enumerate(pool.map(work, items), 1):
            yield result
            progress(what, number, len(items))
    finally:
        pool.shutdown(cancel_futures=True)
