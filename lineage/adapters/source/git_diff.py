"""Which files differ between two snapshots of code, also when they lie in two repositories."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lineage.adapters.source.git import _readable
from lineage.adapters.source.git_commands import lines, output
from lineage.model.code import CodeVersion
from lineage.model.difference import FileChange

_STATUS = {"A": "added", "D": "deleted", "M": "modified", "R": "renamed", "T": "type changed"}


def changed_parts(a: CodeVersion, b: CodeVersion, holder: Callable[[CodeVersion, str], Path | None]) -> list[FileChange] | None:
    """Files that differ between two snapshots and their inner ones; ``None`` when one that differs is not at hand.

    Args:
        a: The first snapshot.
        b: The second.
        holder: Finds the repository that holds a snapshot, by the snapshot and its path.
    """
    ours, theirs = dict(a.parts()), dict(b.parts())
    both = ours.keys() & theirs.keys()
    found = [FileChange(status="deleted" if path in ours else "added", path=f"{path}/") for path in ours.keys() ^ theirs.keys()]
    for path in both:
        if ours[path].tree_sha == theirs[path].tree_sha:
            continue
        here, there = holder(ours[path], path), holder(theirs[path], path)
        if here is None or there is None:
            return None
        for change in changed_files(ours[path].tree_sha, theirs[path].tree_sha, here, there):
            place = f"{path}/{change.path}" if path else change.path
            if place not in both:  # else what differs in a submodule is listed file by file
                old = f"{path}/{change.old_path}" if path and change.old_path else change.old_path
                found.append(change.model_copy(update={"path": place, "old_path": old}))
    return sorted(found, key=lambda change: change.path)


def changed_files(a: str, b: str, holder_a: Path, holder_b: Path) -> list[FileChange]:
    """Files that differ between two trees, by path.

    Args:
        a: Tree of the first snapshot.
        b: Tree of the second.
        holder_a: Repository that holds the first.
        holder_b: Repository that holds the second; only its objects are read.
    """
    # An environment variable, not a file in either repository: nothing of the user's is touched.
    extra = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(_objects(holder_b))}
    compare = ("diff-tree", "-r", "-z", "-M", "--full-index")
    counts = _counts(output(holder_a, *compare, "--numstat", a, b, extra=extra))
    words = iter(output(holder_a, *compare, "--raw", a, b, extra=extra).split("\0")[:-1])
    found: list[FileChange] = []
    for facts in words:
        letter, first = facts.rsplit(" ", 1)[1][0], next(words)
        path = next(words) if letter == "R" else first
        added, deleted = counts.get(path, (None, None))
        found.append(
            FileChange.model_validate(
                {
                    "status": _STATUS[letter],
                    "path": _readable(path),
                    "old_path": _readable(first) if letter == "R" else None,
                    "lines_added": added,
                    "lines_deleted": deleted,
                }
            )
        )
    return sorted(found, key=lambda change: change.path)


def _counts(text: str) -> dict[str, tuple[int | None, int | None]]:
    """Path to (lines added, lines deleted); ``None`` for files that are no text."""
    counts: dict[str, tuple[int | None, int | None]] = {}
    words = iter(text.split("\0")[:-1])
    for word in words:
        added, deleted, path = word.split("\t", 2)
        if not path:  # a renamed file: its old and new path follow
            next(words)
            path = next(words)
        counts[path] = (None, None) if added == "-" else (int(added), int(deleted))
    return counts


def _objects(holder: Path) -> Path:
    return Path(lines(holder, "rev-parse", "--path-format=absolute", "--git-common-dir")[0]) / "objects"


def _quoted(path: Path) -> str:
    # The variable is a list: a path with its separator in it has to be quoted.
    text = str(path)
    if os.pathsep not in text and not text.startswith('"'):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
