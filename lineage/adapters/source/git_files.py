"""Reading single files of a snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lineage.adapters.source.git_commands import output, raw
from lineage.errors import CaptureError
from lineage.model.code import CodeVersion


def names_in(root: Path, tree: str) -> list[str]:
    """Paths of all files of a tree, relative to its top.

    Raises:
        CaptureError: The tree is not there.
    """
    return output(root, "ls-tree", "-r", "-z", "--name-only", tree).split("\0")[:-1]


def content_of(root: Path, commit: str, path: str) -> bytes | None:
    """A file as a check-out writes it, line ends converted; ``None`` when the commit has none there."""
    try:
        return raw(root, "cat-file", "--filters", f"{commit}:{path}")
    except CaptureError:
        return None


def part_of(code: CodeVersion, path: str) -> tuple[str, CodeVersion]:
    """The repository, with its place, that a path belongs to: the innermost one."""
    inside = [(place, part) for place, part in code.parts() if not place or path.startswith(f"{place}/")]
    return max(inside, key=lambda item: len(item[0]))


def grouped(code: CodeVersion, paths: Sequence[str]) -> dict[str, tuple[CodeVersion, list[str]]]:
    """Paths by the place of their repository, relative to it."""
    parts: dict[str, tuple[CodeVersion, list[str]]] = {}
    for path in paths:
        place, part = part_of(code, path)
        parts.setdefault(place, (part, []))[1].append(path[len(place) + 1 :] if place else path)
    return parts


def differing(code: CodeVersion, paths: Sequence[str]) -> frozenset[str]:
    """Those of some files that are not what the snapshot has, line ends aside; each must be there, and none is asked for twice.

    Raises:
        CaptureError: They cannot be compared.
    """
    found: set[str] = set()
    for place, (part, names) in grouped(code, paths).items():
        root = Path(part.root)
        # git would take a name with a line break for two.
        asked = [name for name in names if "\n" not in name]
        now = dict(
            zip(asked, output(root, "hash-object", "--stdin-paths", given="".join(f"{name}\n" for name in asked)).split(), strict=True)
        )
        known: dict[str, str] = {}
        for entry in output(root, "ls-tree", "-r", "-z", part.tree_sha).split("\0")[:-1]:
            facts, _, name = entry.partition("\t")
            known[name] = facts.split(" ")[2]
        found |= {f"{place}/{name}" if place else name for name in names if now.get(name) != known.get(name)}
    return frozenset(found)
