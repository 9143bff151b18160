"""Git LFS's filter without git-lfs, started by git: a file's content becomes its pointer, and nothing is written anywhere.

git-lfs itself may not be installed where a run is recorded, and where it is, it would write into the user's repository. This file is
started as a program of its own, so it imports nothing but the standard library. It speaks git's long-running filter protocol, version 2.
"""

import hashlib
import sys

POINTER_START = b"version https://git-lfs.github.com/spec/v1\n"
LARGEST_POINTER_BYTES = 1024
_LARGEST_PACKET_BYTES = 65516


def pointer(sha256: str, size_bytes: int) -> bytes:
    """The text that a tree holds in place of a content."""
    return POINTER_START + f"oid sha256:{sha256}\nsize {size_bytes}\n".encode()


def _read() -> bytes | None:
    """A packet; ``None`` for the mark between packets, and at the end of the input the program ends."""
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        raise SystemExit(0)
    size = int(head, 16)
    return None if size == 0 else sys.stdin.buffer.read(size - 4)


def _read_lines() -> list[str]:
    lines = []
    while (packet := _read()) is not None:
        lines.append(packet.decode("utf-8", "surrogateescape").rstrip("\n"))
    return lines


def _write(*packets: bytes) -> None:
    for packet in packets:
        sys.stdout.buffer.write(f"{len(packet) + 4:04x}".encode() + packet)
    sys.stdout.buffer.write(b"0000")
    sys.stdout.buffer.flush()


def _clean() -> bytes:
    """Read a file from git; return its pointer, or what it is when it is a pointer already, or empty."""
    state, size, start = hashlib.sha256(), 0, b""
    while (packet := _read()) is not None:
        state.update(packet)
        size += len(packet)
        if len(start) < LARGEST_POINTER_BYTES:
            start += packet
    if size == 0 or (size < LARGEST_POINTER_BYTES and start.startswith(POINTER_START)):
        return start
    return pointer(state.hexdigest(), size)


def _serve() -> None:
    _read_lines()
    _write(b"git-filter-server\n", b"version=2\n")
    _read_lines()
    _write(b"capability=clean\n")
    while True:
        _read_lines()  # the command, which is always the one that was offered, and the path
        content = _clean()
        _write(b"status=success\n")
        _write(*([content] if content else []))
        _write()


if __name__ == "__main__":
    _serve()
