"""One upload at a time into a dataset: a lock that the kernel releases, and a claim in the dataset that other machines can read."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lineage.errors import Conflict, Unavailable
from lineage.model.processes import is_running

_FRESH = timedelta(minutes=10)
"""A claim is renewed with each commit. One that is older, on a machine that cannot be asked, belongs to a job that is gone."""


def new_claim(job: str) -> dict[str, Any]:
    """What says who uploads: run, machine, process, time."""
    return {"run": job, "host": socket.gethostname(), "process": os.getpid(), "at": datetime.now(UTC).isoformat(timespec="seconds")}


def check_claim(uri: str, claim: Mapping[str, Any]) -> None:
    """Return when the job that made a claim cannot be running any more.

    Raises:
        Conflict: It may be; it is named.
    """
    try:
        at = datetime.fromisoformat(str(claim["at"]))
        is_fresh = datetime.now(UTC) - at < _FRESH
    except (KeyError, TypeError, ValueError):
        return
    is_here = claim.get("host") == socket.gethostname()
    if is_fresh and (_is_another(claim.get("process")) if is_here else True):
        raise _taken(uri, claim, "" if is_here else f"; after {_FRESH.seconds // 60} minutes without a commit of that job it continues")


class UploadLock:
    """Held by the one process of this account and machine that uploads to an address, until it lets go or ends, however it ends.

    Args:
        uri: The address.
        claim: What another process is told meanwhile, from :func:`new_claim`.

    Raises:
        Conflict: Another process holds it; its job is named.
        Unavailable: The folder for temporary files cannot be written.
    """

    def __init__(self, uri: str, claim: Mapping[str, Any]) -> None:
        folder = Path(tempfile.gettempdir()) / f"lineage-uploads-{os.getuid()}"
        self._path = folder / hashlib.sha256(uri.encode()).hexdigest()
        self._handle: int | None = None
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                raise PermissionError("it belongs to another account")
            self._take(uri, claim)
        except OSError as error:
            raise Unavailable(
                f"no lock can be kept in {folder}: {error}", hint="let TMPDIR name a folder of your own that can be written"
            ) from error

    def _take(self, uri: str, claim: Mapping[str, Any]) -> None:
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                other = _claim_in(handle)
                os.close(handle)
                raise _taken(uri, other, "") from error
            if _is_same(handle, self._path):
                break
            os.close(handle)  # its last holder removed it between our opening and our locking
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(dict(claim)).encode(), 0)
        self._handle = handle

    def release(self) -> None:
        """Let go; again is harmless."""
        if self._handle is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None


def _claim_in(handle: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(handle, 1 << 16, 0))
    except ValueError:  # it has just been locked and is not written yet
        return {}
    return found if isinstance(found, dict) else {}


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _taken(uri: str, claim: Mapping[str, Any], more: str) -> Conflict:
    who = f"run {str(claim['run'])[:12]}" if claim.get("run") else "another job"
    where = f" (process {claim['process']} on {claim['host']}, last heard of {claim['at']})" if "at" in claim else ""
    return Conflict(
        f"{uri} is being uploaded to by {who}{where}",
        hint=f"wait until it has ended, then give the same command again: what is missing is added{more}. Or choose another address",
    )


def _is_another(process: object) -> bool:
    return isinstance(process, int) and process != os.getpid() and is_running(process)
