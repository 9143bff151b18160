"""Modules that only worker processes import: each tells what it loads in a file of its own; the run's process reads them at the end.

A forked worker has the loader of :mod:`lineage.record.modules` from its parent. One that was spawned, or forked of a server, begins anew.
It tells once it imports ``lineage``, as it does to unpickle a recorded view, or when the script that it imports again does. Nothing is
written before a worker loads something, and no content: files are read when the run ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys

VARIABLE = "LINEAGE_LOADS"
"""Where worker processes tell, and since when the run records: ``<nanoseconds>:<folder>``."""

_AGAIN = (("multiprocessing.popen_spawn_posix", "spawn"), ("multiprocessing.popen_forkserver", "forkserver"))
_folders: list[str] = []
_owner: list[int] = []


def ask_workers(folder: str, since_ns: int) -> None:
    """Let worker processes that are started from now on tell what they load.

    Args:
        folder: Made when there is something to tell, and deleted when this process ends.
        since_ns: When the code was captured, in nanoseconds since the epoch.
    """
    if _owner != [os.getpid()]:
        _folders[:], _owner[:] = [], [os.getpid()]
        atexit.register(_clear)
    _folders.append(folder)
    os.environ[VARIABLE] = f"{since_ns}:{folder}"


def is_asked() -> tuple[int, str] | None:
    """(since when, where) a worker process that began anew is to tell; ``None`` in every other process."""
    since, _, folder = os.environ.get(VARIABLE, "").partition(":")
    is_worker = any("--multiprocessing-fork" in word or "multiprocessing.forkserver" in word for word in sys.orig_argv)
    return (int(since), folder) if is_worker and since.isdecimal() and folder else None


def tell_as_worker(folder: str) -> None:
    """This is a worker process that began anew."""
    _folders[:], _owner[:] = [folder], [-1]


def tell(path: str, changed_ns: int) -> None:
    """A file was loaded: a worker says so, the run's own process has no need to."""
    if not _owner or _owner[0] == os.getpid():
        return
    kind = "anew" if _owner[0] == -1 else "forked"
    with contextlib.suppress(OSError):  # a full disk must not stop a training
        os.makedirs(_folders[-1], exist_ok=True)
        with open(os.path.join(_folders[-1], f"{os.getpid()}.{kind}"), "ab") as stream:
            stream.write(f"{changed_ns}:".encode() + os.fsencode(path) + b"\0")


def told() -> dict[str, int]:
    """Files that workers of this process loaded, with their times of change in nanoseconds since the epoch."""
    found: dict[str, int] = {}
    for file in _files():
        with contextlib.suppress(OSError), open(file, "rb") as stream:
            for line in stream.read().split(b"\0")[:-1]:
                changed_ns, _, path = line.partition(b":")
                if changed_ns.isdigit():
                    found.setdefault(os.fsdecode(path), int(changed_ns))
    return found


def silent_workers() -> str | None:
    """The way in which workers were started that began anew, when none of them told anything; ``None`` when there are none such."""
    started = [word for module, word in _AGAIN if module in sys.modules]
    return started[0] if started and not any(name.endswith(".anew") for name in _files()) else None


def _files() -> list[str]:
    found: list[str] = []
    for folder in _folders if _owner == [os.getpid()] else ():
        with contextlib.suppress(OSError):
            found += sorted(os.path.join(folder, name) for name in os.listdir(folder))
    return found


def _clear() -> None:
    for file in _files():
        with contextlib.suppress(OSError):
            os.unlink(file)
    for folder in _folders if _owner == [os.getpid()] else ():
        with contextlib.suppress(OSError):
            os.rmdir(folder)
