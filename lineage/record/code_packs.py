"""A run's code kept apart from its repository, which may be deleted, moved or never pushed.

Objects of a snapshot go into the object store as pack files. A repository's next snapshot adds only what is new; a chain of packs that has
grown long begins anew.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lineage.errors import IntegrityError, LineageError, NotFound
from lineage.model.code import CodeVersion
from lineage.model.digest import digest_of_bytes
from lineage.model.event import CodeKept, Event
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.sinks import describe_error

_FOLDER = "code"
_LONGEST_CHAIN = 16


class CodeKeeper:
    """Keeps a run's code while it is under way, in a thread: the first time takes as long as reading all files of the snapshot.

    Args:
        ports: The outside world.
        run: Its record; the code is known.
        original: The run that it repeats.
        append: Adds an event to the record.
        note: Adds a sentence to it.
    """

    def __init__(self, ports: Ports, run: Run, original: Run | None, append: Callable[[Event], Run], note: Callable[[str], None]) -> None:
        self._ports = ports
        self._run = run
        self._original = original
        self._append = append
        self._note = note
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
        try:
            packs = self._known(code) or keep_code(self._ports, code)
            self._append(CodeKept(at=datetime.now(UTC), packs=packs))
        except (LineageError, OSError) as error:
            self._note(f"the code is kept in its repository only: {describe_error(error)}")

    def _known(self, code: CodeVersion) -> tuple[str, ...]:
        original = self._original
        if original is None or original.code is None or original.code.snapshot_sha != code.snapshot_sha:
            return ()
        return original.code_packs if all(map(self._ports.objects.has, original.code_packs)) else ()


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


def code_missing(ports: Ports, run: Run) -> str | None:
    """Why the run's code cannot be had, ``None`` when it can: from its repository, or from what was kept."""
    if run.code is None:
        return "the run was not started inside a git repository"
    reason = ports.source.has(run.code)
    if reason is None:
        return None
    if not run.code_packs:
        return reason
    lost = [digest for digest in run.code_packs if not ports.objects.has(digest)]
    return f"{reason}, and {len(lost)} of its {len(run.code_packs)} packs are not in the object store" if lost else None


def put_code(ports: Ports, run: Run, folder: Path) -> None:
    """Check the run's code out into a new folder.

    Raises:
        NotFound: It is neither in its repository nor kept.
        IntegrityError: What was kept is damaged, or gives other files.
    """
    if run.code is None:
        raise NotFound("code", run.id[:12], detail="none was recorded", hint="record the run inside a git repository")
    packs: Sequence[Path] = ()
    if ports.source.has(run.code) is not None:
        packs = [_checked(ports, digest) for digest in run.code_packs]
    ports.source.check_out(run.code, folder, packs)


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
