"""What a command and everything it started use: processes, memory, disk. Standard library only; measured from Linux's ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

_OWN = ("RssAnon:", "RssShmem:", "VmSwap:")
_SHARED_FAIRLY = ("Pss_Anon:", "SwapPss:")
_BLOCK = 512  # what st_blocks counts in, whatever the file system


def descendants(root: int) -> list[tuple[int, int]]:
    """Processes below ``root`` with their depth (its children have 1), parents first. Empty where the system does not tell."""
    found: list[tuple[int, int]] = []
    waiting = [(root, 0)]
    while waiting:
        process, depth = waiting.pop(0)
        children = [(child, depth + 1) for child in _children(process)]
        found += children
        waiting += children
    return found


def _children(process: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children", encoding="ascii") as stream:
                found += map(int, stream.read().split())
    except OSError:  # it ended meanwhile
        pass
    return found


def used_memory(processes: Sequence[int], limit: int, places: Iterable[str] = ()) -> int:
    """Bytes that the processes hold together; pages of files are left out, since the system takes them back when it needs them.

    Shared pages are counted once. Finding that out is slow (milliseconds for a process with PyTorch), so a sum that counts them again
    for every process comes first: when even that is within the limit, it is the answer.

    Args:
        processes: Their numbers.
        limit: What they may use, in bytes.
        places: Folders of file systems that are kept in memory for these processes alone, as this process reaches them.
    """
    files = sum(map(_filled, places))
    bound = files + sum(_kilobytes(f"/proc/{process}/status", _OWN)[0] for process in processes) * 1024
    if bound <= limit:
        return bound
    own = shared = 0
    for process in processes:
        total, is_told = _kilobytes(f"/proc/{process}/smaps_rollup", _SHARED_FAIRLY)
        if not is_told:  # another account's
            total, _ = _kilobytes(f"/proc/{process}/status", _OWN)
        own += total
        shared += _kilobytes(f"/proc/{process}/smaps_rollup", ("Pss_Shmem:",))[0]
    # Shared memory that has a name is a file in one of the places, too.
    return own * 1024 + max(shared * 1024, files)


def _kilobytes(file: str, names: tuple[str, ...]) -> tuple[int, bool]:
    total, is_told = 0, False
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith(names):
                    total += int(line.split()[1])
                    is_told = True
    except OSError:
        pass
    return total, is_told


def _filled(place: str) -> int:
    try:
        told = os.statvfs(place)
    except OSError:
        return 0
    return (told.f_blocks - told.f_bfree) * told.f_frsize


def held(folders: Iterable[str]) -> int:
    """Bytes that the files below the folders take on disk. A file with several names counts once; links are not followed."""
    total = 0
    seen: set[tuple[int, int]] = set()
    waiting = list(folders)
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        told = entry.stat(follow_symlinks=False)
                        is_folder = entry.is_dir(follow_symlinks=False)
                    except OSError:  # deleted meanwhile
                        continue
                    if is_folder:
                        waiting.append(entry.path)
                    elif told.st_nlink > 1:
                        if (told.st_dev, told.st_ino) in seen:
                            continue
                        seen.add((told.st_dev, told.st_ino))
                    total += told.st_blocks * _BLOCK
        except OSError:
            continue
    return total
