"""A snapshot's objects as pack files: what is needed to check it out where its repository is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lineage.adapters.source.git_commands import CONFIG, command_environment, lines, output, start
from lineage.errors import CaptureError, IntegrityError
from lineage.model.code import CodeVersion
from lineage.ports.children import completed

_LARGEST_BYTES = 1 << 30


def write_pack(code: CodeVersion, base_tree: str | None, file: Path) -> bool:
    """Write what the snapshot's files need, without the history before it.

    Args:
        code: The snapshot; its repository must be there.
        base_tree: A tree whose objects are kept already; ignored when the repository has it no more.
        file: Written.

    Returns:
        Whether the pack stands alone; else it adds to what holds ``base_tree``.

    Raises:
        CaptureError: The objects are not there, or more than 1 GiB.
    """
    root = Path(code.root)
    if base_tree is not None and start(root, ("cat-file", "-e", f"{base_tree}^{{tree}}"), {}).returncode != 0:
        base_tree = None
    wanted = [code.tree_sha] if base_tree is None else [code.tree_sha, f"^{base_tree}"]
    size = int(lines(root, "rev-list", "--objects", "--disk-usage", *wanted)[0])
    if size > _LARGEST_BYTES:
        raise CaptureError(f"the tracked files take {size >> 20} MiB, more than {_LARGEST_BYTES >> 20}")
    # Names come with their paths, by which git chooses what to store as a difference.
    names = output(root, "rev-list", "--objects", *wanted) + code.snapshot_sha + "\n"
    with file.open("wb") as stream:
        ended = completed(
            ["git", *CONFIG, "-C", str(root), "pack-objects", "--quiet", "--delta-base-offset", "--stdout"],
            env=command_environment({}),
            given=names.encode("utf-8", "surrogateescape"),
            stdout=stream,
        )
    if ended.returncode != 0:
        raise CaptureError(f"git pack-objects in {root}: {ended.stderr.decode(errors='replace').strip()}")
    return base_tree is None


def add_packs(repository: Path, code: CodeVersion, packs: Sequence[Path]) -> None:
    """Put the objects of pack files into a new repository, where the snapshot's commit then has no parents.

    Raises:
        IntegrityError: A pack is damaged.
    """
    for pack in packs:
        with pack.open("rb") as stream:
            ended = completed(
                ["git", *CONFIG, "-C", str(repository), "index-pack", "--stdin", "--fix-thin"], env=command_environment({}), stdin=stream
            )
        if ended.returncode != 0:
            raise IntegrityError(
                f"code pack {pack.name[:12]}", expected="a pack that git can read", found=ended.stderr.decode(errors="replace").strip()
            )
    (repository / ".git" / "shallow").write_text(f"{code.snapshot_sha}\n", encoding="ascii")
