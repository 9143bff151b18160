"""A run's code kept apart from its repository, which may be deleted, moved or never pushed.

Objects of a snapshot go into the object store as pack files, those of inner repositories into packs of their own. A repository's next
snapshot adds only what is new; a chain of packs that has grown long begins anew. Contents of Git LFS files are kept as they are.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lineage.errors import IntegrityError, LineageError, NotFound
from lineage.model.code import CodeFile, CodeVersion, KeptCode
from lineage.model.digest import digest_of_bytes
from lineage.model.event import CodeKept
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.recording import Recording
from lineage.record.sinks import describe_error

_FOLDER = "code"
_LONGEST_CHAIN = 16
_LARGEST_LFS_BYTES = 1 << 30


class CodeKeeper:
    """Keeps a run's code while it is under way, in a thread: the first time takes as long as reading all files of the snapshot.

    Args:
        recording: The record; the code is known.
    """

    def __init__(self, recording: Recording) -> None:
        self._ports, self._run, self._original = recording.ports, recording.run, recording.original
        self._append, self._note = recording.append, recording.note
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._keep, name="lineage-code", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait until it is kept."""
        if os.getpid() == self._pid:
            self._thread.join()

    def _keep(self) -> None:
        code = self._run.code
        if code is None:
            return
        also = KeptCode()
        packs: tuple[str, ...] = ()
        for path, part in code.parts():
            name = f"the code of {path}" if path else "the code"
            try:
                kept = self._known(path, part) or keep_code(self._ports, part)
            except (LineageError, OSError) as error:
                self._note(f"{name} is kept in its repository only: {describe_error(error)}")
                continue
            if path:
                also = also.model_copy(update={"inner": also.inner | {path: kept}})
            else:
                packs = kept
        also = also.model_copy(update={"large": keep_large_files(self._ports, code, self._note)})
        if packs or also.inner or also.large:
            self._append(CodeKept(at=datetime.now(UTC), packs=packs, also=also))

    def _known(self, path: str, code: CodeVersion) -> tuple[str, ...]:
        original = self._original
        if original is None or original.code is None:
            return ()
        packs = original.packs_of(path)
        is_same = any(place == path and part.snapshot_sha == code.snapshot_sha for place, part in original.code.parts())
        return packs if is_same and all(map(self._ports.objects.has, packs)) else ()


def keep_large_files(ports: Ports, code: CodeVersion, note: Callable[[str], None]) -> tuple[CodeFile, ...]:
    """Keep the contents of Git LFS files that the folder held.

    Args:
        ports: The outside world.
        code: The snapshot, whose tree has their pointers.
        note: Told what is not kept.
    """
    kept: list[CodeFile] = []
    lost: list[str] = []
    room_bytes = _LARGEST_LFS_BYTES
    try:
        for file, at_hand in ports.source.large_files(code):
            is_kept = ports.objects.has(file.digest)
            if not is_kept and at_hand is not None and file.size_bytes <= room_bytes:
                room_bytes -= file.size_bytes
                is_kept = ports.objects.put_file(at_hand)[0] == file.digest  # else it was edited since the snapshot
            if is_kept:
                kept.append(file)
            else:
                lost.append(file.path)
    except (LineageError, OSError) as error:
        note(f"contents of Git LFS files are not kept with the code: {describe_error(error)}")
    if lost:
        shown = ", ".join(lost[:3])
        note(f"{len(lost)} Git LFS files are not kept with the code (gone since, or more than {_LARGEST_LFS_BYTES >> 20} MiB): {shown}")
    return tuple(kept)


def keep_code(ports: Ports, code: CodeVersion) -> tuple[str, ...]:
    """Keep a snapshot; return digests of the packs that hold it.

    Raises:
        CaptureError: Its objects cannot be read, or are too large.
    """
    folder = ports.folder / _FOLDER
    index = folder / f"{digest_of_bytes(code.repository.encode()).partition(':')[2][:32]}.json"
    known = _read(index)
    if known is not None and not all(map(ports.objects.has, known["packs"])):
        known = None
    if known is not None and code.snapshot_sha in known["commits"]:
        return tuple(known["packs"])
    if known is not None and len(known["packs"]) >= _LONGEST_CHAIN:
        known = None
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".partial-")
    os.close(handle)
    pack = Path(name)
    try:
        if ports.source.pack(code, None if known is None else known["tree"], pack):
            known = None
        digest, _ = ports.objects.put_file(pack)
        chain = {
            "tree": code.tree_sha,
            "commits": [*([] if known is None else known["commits"]), code.snapshot_sha],
            "packs": [*([] if known is None else known["packs"]), digest],
        }
        pack.write_text(json.dumps(chain), encoding="utf-8")
        pack.replace(index)
    finally:
        pack.unlink(missing_ok=True)
    return tuple(chain["packs"])


def code_missing(ports: Ports, run: Run, check: Callable[[str], LineageError | None] | None = None) -> str | None:
    """Why the run's code cannot be had, ``None`` when it can: from its repository, or from what was kept.

    Args:
        ports: The outside world.
        run: The run.
        check: What is wrong with a pack that is there; without it each that is needed is read whole.
    """
    files = () if run.loaded is None else (*run.loaded.outside, *run.loaded.inside)
    gone = [file.path for file in (*run.kept_code.large, *files) if not ports.objects.has(file.digest)]
    if gone:
        return f"{len(gone)} files of its code are not in the object store: {', '.join(gone[:3])}"
    if run.code is None:
        return None if files else "the run was not started inside a git repository, and no script of it is kept"
    for path, reason in ports.source.lacking(run.code).items():
        packs = run.packs_of(path)
        where = f"{path}: {reason}" if path else reason
        if not packs:
            return where
        lost = [digest for digest in packs if not ports.objects.has(digest)]
        if lost:
            return f"{where}, and {len(lost)} of its {len(packs)} packs are not in the object store"
        damaged = [digest for digest in packs if (_damage(ports, digest) if check is None else check(digest)) is not None]
        if damaged:
            return f"{where}, and {len(damaged)} of its {len(packs)} packs are damaged in the object store"
    return None


def _damage(ports: Ports, digest: str) -> LineageError | None:
    try:
        ports.objects.check(digest)
    except LineageError as error:
        return error
    return None


def put_code(ports: Ports, run: Run, folder: Path) -> None:
    """Check the run's code out into a new folder. Files that no snapshot holds are put by ``lineage.reproduce.loaded_code``.

    Raises:
        NotFound: It is neither in its repository nor kept.
        IntegrityError: What was kept is damaged, or gives other files.
    """
    if run.code is None:
        if run.loaded is None or not run.loaded.outside:
            raise NotFound("code", run.id[:12], detail="none was recorded", hint="record the run inside a git repository")
        return
    lacking = ports.source.lacking(run.code)
    packs = {path: [_checked(ports, digest) for digest in run.packs_of(path)] for path in lacking}
    ports.source.check_out(run.code, folder, packs.pop("", ()), packs)
    for file in run.kept_code.large:
        place_object(ports, file, folder)
    if run.kept_code.large:
        ports.source.settle(run.code, folder, [file.path for file in run.kept_code.large])


def place_object(ports: Ports, file: CodeFile, folder: Path) -> Path:
    """Put a kept file into a folder, in place of what is there, without following links.

    Raises:
        NotFound: It is not kept any more.
        IntegrityError: It is damaged.
    """
    parts = Path(file.path).parts
    source = _checked(ports, file.digest)
    place = folder
    for part in parts[:-1]:
        place = place / part
        if place.is_symlink() or place.is_file():
            place.unlink()
        place.mkdir(exist_ok=True)
    place = place / parts[-1]
    mode = place.stat().st_mode if place.is_file() and not place.is_symlink() else 0o644
    place.unlink(missing_ok=True)
    shutil.copyfile(source, place)
    place.chmod(mode)
    return place


def _checked(ports: Ports, digest: str) -> Path:
    ports.objects.check(digest)
    path = ports.objects.path_of(digest)
    if path is None:
        raise NotFound("object", digest)
    return path


def _read(index: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(index.read_bytes())
        if not (isinstance(found["tree"], str) and isinstance(found["commits"], list) and isinstance(found["packs"], list)):
            raise IntegrityError(str(index), expected="tree, commits and packs", found=str(found)[:80])
    except (FileNotFoundError, ValueError, KeyError, TypeError, IntegrityError):
        return None  # it only saves work: the next snapshot is kept whole
    return found
