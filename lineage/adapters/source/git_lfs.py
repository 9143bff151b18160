"""Git LFS: trees hold pointers, folders hold contents."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from lineage.adapters.source import lfs_filter
from lineage.adapters.source.git_commands import lines, output, raw
from lineage.model.code import CodeFile, CodeVersion

NO_FILTER = ("filter.lfs.process=", "filter.lfs.clean=", "filter.lfs.smudge=", "filter.lfs.required=false")
"""Settings with which a check-out leaves pointers as they are, and asks no server for contents."""


def own_filter(root: Path, git_folder: Path) -> tuple[str, ...]:
    """Settings with which git makes pointers by our own filter; none where no file is said to be one of Git LFS.

    Args:
        root: Top folder. Only its own attributes are looked at: others cost a walk through all folders.
        git_folder: Where its index is.
    """
    for file in (root / ".gitattributes", git_folder / "info" / "attributes"):
        try:
            if b"filter=lfs" in file.read_bytes():
                break
        except OSError:
            continue
    else:
        return ()
    return lfs_settings()


def lfs_settings() -> tuple[str, ...]:
    """Settings with which git makes pointers by our own filter."""
    program = shlex.join([sys.executable, "-I", "-S", lfs_filter.__file__])
    return ("-c", f"filter.lfs.process={program}", "-c", "filter.lfs.required=true")


def large_files(code: CodeVersion) -> list[tuple[CodeFile, Path | None]]:
    """Pointers in the snapshot of one repository whose content the folder held, and where the content is now.

    Raises:
        CaptureError: git cannot list them.
    """
    root = Path(code.root)
    listed = output(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z", ":(attr:filter=lfs)")
    names = sorted({name for name in listed.split("\0")[:-1] if "\n" not in name})
    if not names:
        return []
    store = Path(lines(root, "rev-parse", "--path-format=absolute", "--git-common-dir")[0]) / "lfs" / "objects"
    found = []
    for name, text in zip(names, _texts(root, code.snapshot_sha, names), strict=True):
        parsed = None if text is None else _parse(text)
        if parsed is None or _is_pointer(root / name):  # where the folder has the pointer, the program saw the pointer
            continue
        sha256, size_bytes = parsed
        places = (root / name, store / sha256[:2] / sha256[2:4] / sha256)
        at_hand = next((place for place in places if _size_bytes(place) == size_bytes), None)
        found.append((CodeFile(path=name, digest=f"sha256:{sha256}", size_bytes=size_bytes), at_hand))
    return found


def _texts(root: Path, snapshot: str, names: list[str]) -> list[bytes | None]:
    asked = "".join(f"{snapshot}:{name}\n" for name in names).encode("utf-8", "surrogateescape")
    answer = raw(root, "cat-file", "--batch", given=asked)
    texts: list[bytes | None] = []
    at = 0
    for _ in names:
        head, _, _ = answer[at:].partition(b"\n")
        at += len(head) + 1
        if head.endswith(b" missing"):
            texts.append(None)
            continue
        size = int(head.rsplit(b" ", 1)[1])
        texts.append(answer[at : at + size] if size < lfs_filter.LARGEST_POINTER_BYTES else None)
        at += size + 1
    return texts


def _parse(text: bytes) -> tuple[str, int] | None:
    if not text.startswith(lfs_filter.POINTER_START):
        return None
    fields = dict(line.split(" ", 1) for line in text.decode("utf-8", "replace").splitlines() if " " in line)
    oid, size = fields.get("oid", "").removeprefix("sha256:"), fields.get("size", "")
    is_whole = len(oid) == 64 and set(oid) <= set("0123456789abcdef") and size.isdecimal()
    return (oid, int(size)) if is_whole else None


def _is_pointer(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(len(lfs_filter.POINTER_START)) == lfs_filter.POINTER_START
    except OSError:
        return False


def _size_bytes(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None
