"""What a command prints, into a file that cannot grow without end. Standard library only."""

from __future__ import annotations

import os
from collections import deque

MOST_BYTES = 64 << 20
_LAST_BYTES = 64 << 10
_AT_ONCE = 64 << 10


def open_log(path: str) -> int:
    """A descriptor that appends to the file.

    A link is refused: whoever may write in its folder could have it lead to any file of the account.

    Raises:
        OSError: It cannot be opened.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def pump(source: int, log: int, most: int = MOST_BYTES) -> None:
    """Copy until the end; of more than ``most`` bytes the beginning and the last 64 KiB are kept, with a note between them.

    It goes on reading in any case: whoever writes must never wait because a disk is full.
    """
    written = left_out = 0
    last: deque[bytes] = deque()
    while part := _read(source):
        room = most - written
        _write(log, part[:room])
        written += len(part[:room])
        if len(part) > room:
            last.append(part[room:])
            left_out += len(part) - room
            while sum(map(len, last)) - len(last[0]) >= _LAST_BYTES:
                last.popleft()
    if left_out:
        tail = b"".join(last)[-_LAST_BYTES:]
        note = f"\n[the log is full: {written} bytes are above, {left_out - len(tail)} bytes were left out, the last {len(tail)} follow]\n"
        _write(log, note.encode() + tail)


def _read(source: int) -> bytes:
    try:
        return os.read(source, _AT_ONCE)
    except OSError:
        return b""


def _write(log: int, part: bytes) -> None:
    try:
        while part:
            part = part[os.write(log, part) :]
    except OSError:  # the disk is full: what does not fit is lost
        pass
