"""Reading what the processes of a command note (``hook/sitecustomize.py`` writes it), while they run and after they ended."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_MOST_BYTES = 1 << 20  # at a time


@dataclass(frozen=True, slots=True)
class Opened:
    """A file at the moment when it was opened.

    Attributes:
        size_bytes: Its size then; -1 when there was none.
        changed_ns: When it had last been written, in nanoseconds since the epoch.
    """

    size_bytes: int
    changed_ns: int


@dataclass(slots=True)
class Seen:
    """What is known so far.

    Attributes:
        processes: How many Python processes began.
        interpreters: (path, version, folder of the environment) of their interpreters, each once.
        read: Files that were there before the command wrote them, by whole path, as they were when they were first read.
        written: Files that it wrote, under the names that they have now; ``None`` for those that were new or emptied, else the file as it
            was when it was opened for writing.
        native: Libraries that read or write files without Python's knowing.
        problems: What could not be noted, in words.
        records_itself: Whether a process imported what records metrics by itself.
    """

    processes: int = 0
    interpreters: dict[tuple[str, str, str], None] = field(default_factory=dict)
    read: dict[str, Opened] = field(default_factory=dict)
    written: dict[str, Opened | None] = field(default_factory=dict)
    native: dict[str, None] = field(default_factory=dict)
    problems: dict[str, None] = field(default_factory=dict)
    records_itself: bool = False


class Spool:
    """The folder of the files that processes write, one each.

    Args:
        folder: It.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rest: dict[str, bytes] = {}
        self._offsets: dict[str, int] = {}
        self.seen = Seen()

    def read(self) -> Iterator[str]:
        """Take in what is new; yields each printed line, in the order of each process."""
        try:
            # By age: a process that starts another has noted what it opened before.
            names = [entry.name for entry in sorted(os.scandir(self._folder), key=lambda entry: (entry.stat().st_ctime_ns, entry.name))]
        except OSError:
            return
        for name in [*self._offsets, *(name for name in names if name not in self._offsets)]:
            yield from self._of(name)

    def _of(self, name: str) -> Iterator[str]:
        while True:
            try:
                with open(self._folder / name, "rb") as stream:
                    stream.seek(self._offsets.setdefault(name, 0))
                    found = stream.read(_MOST_BYTES)
            except OSError:
                return
            if not found:
                return
            self._offsets[name] += len(found)
            *records, self._rest[name] = (self._rest.get(name, b"") + found).split(b"\0\0")
            for record in records:
                kind, *fields = (os.fsdecode(part) for part in record.split(b"\0"))
                if kind == "p" and fields:
                    yield fields[0]
                else:
                    self._take(kind, fields)

    def _take(self, kind: str, fields: list[str]) -> None:
        seen = self.seen
        match kind, fields:
            case (("r" | "w" | "u"), [size, changed, path]):
                place, opened = _place(path), Opened(int(size), int(changed))
                if kind == "r":
                    if place not in seen.written:
                        seen.read.setdefault(place, opened)
                elif place not in seen.written or kind == "w":
                    seen.written[place] = opened if kind == "u" else None
            case (("m" | "l"), [source, target]):
                self._move(_place(source), _place(target), keep=kind == "l")
            case "s", [_, executable, prefix, version, _]:
                seen.processes += 1
                seen.interpreters[executable.strip(), version, prefix] = None
            case "n", [name]:
                seen.native[name] = None
            case "j", [_]:
                seen.records_itself = True
            case "e", [text]:
                seen.problems[text] = None
            case "x", [what]:
                seen.problems[f"a process opened or printed so much that the rest of its {what} was not noted"] = None
            case _:  # torn: the process was killed while it wrote
                pass

    def _move(self, source: str, target: str, *, keep: bool) -> None:
        written, inside = self.seen.written, source + os.sep
        moved = [path for path in written if path == source or path.startswith(inside)]
        for path in moved:
            written[target + path[len(source) :]] = None
            if not keep:
                del written[path]
        if not moved and os.path.isfile(target):  # one that was there before has another name now
            written.setdefault(target, None)


def _place(path: str) -> str:
    """The path without links in its folder."""
    folder, name = os.path.split(path)
    return os.path.join(_real(folder), name)


_known: dict[str, str] = {}


def _real(folder: str) -> str:
    if folder not in _known:
        if len(_known) > 10_000:
            _known.clear()
        _known[folder] = os.path.realpath(folder)
    return _known[folder]
