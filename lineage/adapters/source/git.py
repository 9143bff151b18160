"""Code in git: captured as a commit through a temporary index, put back as a repository that borrows the objects.

Nothing of the user's is touched: not the index, the files, HEAD, the reflog or the configuration. Capture starts git directly, because
importing GitPython costs more than the whole capture; checking out, where a tenth of a second does not matter, uses it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from lineage.adapters.source.git_commands import REPOSITORY_VARIABLES, lines, output, start
from lineage.errors import CaptureError, IntegrityError, NotFound
from lineage.model.code import CodeVersion

if TYPE_CHECKING:
    from lineage.model.difference import FileChange

_LARGEST_UNTRACKED_BYTES = 16 << 20
_CHANGED_SHOWN = 100
_AUTHOR = {
    "GIT_AUTHOR_NAME": "lineage",
    "GIT_AUTHOR_EMAIL": "lineage@localhost",
    "GIT_COMMITTER_NAME": "lineage",
    "GIT_COMMITTER_EMAIL": "lineage@localhost",
    # The same files on the same commit give the same snapshot, which is then kept once.
    "GIT_AUTHOR_DATE": "@0 +0000",
    "GIT_COMMITTER_DATE": "@0 +0000",
}


class GitSourceControl:
    """Source control by git.

    Args:
        largest_untracked_bytes: Untracked files above this size are left out of a snapshot, and named.
    """

    def __init__(self, largest_untracked_bytes: int = _LARGEST_UNTRACKED_BYTES) -> None:
        self._largest_untracked_bytes = largest_untracked_bytes

    def describe(self, folder: Path, run_id: str) -> CodeVersion:
        """Capture the code of the repository that ``folder`` is in; see :class:`lineage.ports.SourceControl`."""
        top, git_folder = lines(folder, "rev-parse", "--show-toplevel", "--absolute-git-dir")
        root = Path(top)
        status = output(root, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames")
        head, branch, changed, untracked = _parse_status(status)
        hidden, linked = _special_entries(root)
        # What a snapshot cannot hold: files of other repositories inside this one, and large data.
        foreign = sorted({name for name in untracked if name.endswith("/")} | {f"{name}/" for name in linked})
        large = [name for name in untracked if not name.endswith("/") and _size_bytes(root / name) > self._largest_untracked_bytes]
        left_out = [*foreign, *large]
        if changed or hidden or head is None or not set(untracked) <= set(left_out):
            names = [name for name in left_out if name in untracked]
            snapshot, tree, captured = self._snapshot(root, Path(git_folder), head, names, hidden)
            changed = sorted({*changed, *(name for name in captured if name in hidden)})
        else:
            snapshot, tree = head, lines(root, "rev-parse", "HEAD^{tree}")[0]
        ref = f"refs/lineage/{run_id}"
        output(root, "update-ref", ref, snapshot)
        return CodeVersion(
            git_sha=head,
            branch=branch,
            is_dirty=bool(changed or untracked),
            snapshot_sha=snapshot,
            tree_sha=tree,
            repository=_readable(_remote(root) or str(root)),
            root=str(root),
            changed=tuple(map(_readable, sorted({*changed, *untracked})[:_CHANGED_SHOWN])),
            left_out=tuple(map(_readable, left_out)),
            ref=ref,
        )

    @staticmethod
    def _snapshot(
        root: Path, git_folder: Path, head: str | None, left_out: Sequence[str], hidden: Sequence[str]
    ) -> tuple[str, str, list[str]]:
        """Commit, tree, and paths in which it differs from HEAD."""
        with tempfile.TemporaryDirectory(prefix="lineage-index-") as temporary:
            index = Path(temporary) / "index"
            if (git_folder / "index").exists():
                # copy2 keeps the time: git tells a file edited in the same second as the index by comparing it with the index's own.
                shutil.copy2(git_folder / "index", index)
            extra = {"GIT_INDEX_FILE": str(index), **_AUTHOR}
            if hidden:
                for mark in ("--no-assume-unchanged", "--no-skip-worktree"):
                    output(root, "update-index", mark, "-z", "--stdin", extra=extra, given="\0".join(hidden))
            excluded = "\0".join([":/", *(f":(exclude,literal,top){name}" for name in left_out)])
            output(root, "add", "--all", "--pathspec-from-file=-", "--pathspec-file-nul", extra=extra, given=excluded)
            tree = lines(root, "write-tree", extra=extra)[0]
            captured: list[str] = []
            if head is not None:
                captured = output(root, "diff-tree", "-r", "-z", "--name-only", "--no-renames", head, tree).split("\0")[:-1]
                if not captured:
                    return head, tree, []
            parents = [] if head is None else ["-p", head]
            commit = lines(root, "commit-tree", tree, *parents, "-m", "lineage snapshot", extra=extra)[0]
        return commit, tree, captured

    def has(self, code: CodeVersion) -> str | None:
        """``None`` when the snapshot is at hand, else the reason."""
        return None if self._holder(code) else f"commit {code.snapshot_sha[:12]} is neither in {code.root} nor in the repository here"

    @staticmethod
    def _holder(code: CodeVersion) -> Path | None:
        candidates = [Path(code.root)]
        with contextlib.suppress(CaptureError):  # started outside any repository: only the recorded one can hold the snapshot
            candidates.append(Path(lines(Path.cwd(), "rev-parse", "--show-toplevel")[0]))
        for candidate in candidates:
            if candidate.is_dir() and start(candidate, ("cat-file", "-e", f"{code.snapshot_sha}^{{tree}}"), {}).returncode == 0:
                return candidate
        return None

    def changed_files(self, a: CodeVersion, b: CodeVersion) -> list[FileChange] | None:
        """Files that differ between two snapshots; ``None`` when one of them is not at hand."""
        from lineage.adapters.source.git_diff import changed_files

        holders = self._holder(a), self._holder(b)
        return None if holders[0] is None or holders[1] is None else changed_files(a.tree_sha, b.tree_sha, holders[0], holders[1])

    def pack(self, code: CodeVersion, base_tree: str | None, file: Path) -> bool:
        """Write what the snapshot needs; see :class:`lineage.ports.SourceControl`."""
        from lineage.adapters.source.git_packs import write_pack

        return write_pack(code, base_tree, file)

    def check_out(self, code: CodeVersion, folder: Path, packs: Sequence[Path] = ()) -> None:
        """Put the snapshot into the new ``folder``: a repository of its own, with a detached HEAD, that borrows the original's objects.

        Where the original is lost they come from packs.
        """
        import git

        from lineage.adapters.source.git_packs import add_packs

        holder = self._holder(code)
        if holder is None and not packs:
            raise NotFound("code snapshot", code.snapshot_sha, hint="fetch the repository that holds it, with refs/lineage/*")
        object_format = "sha256" if len(code.snapshot_sha) == 64 else "sha1"
        # Not a clone: a clone fetches what branches name, and a snapshot in a shallow repository is named by none of them.
        with _without_git_variables():
            repository = git.Repo.init(
                str(folder),
                template="",  # or a template's hooks would come along
                object_format=object_format,
                allow_unsafe_options=True,
            )
            try:
                if holder is None:
                    add_packs(folder, code, packs)
                else:
                    _borrow(holder, Path(repository.git_dir))
                with repository.config_writer() as config:
                    config.set_value("core", "hooksPath", os.devnull)
                    config.set_value('remote "origin"', "url", code.repository)
                repository.git.checkout("--detach", "--quiet", code.snapshot_sha)
                found = repository.git.rev_parse("HEAD^{tree}")
                left = repository.git.status("--porcelain")
            finally:
                repository.close()
        if found != code.tree_sha or left:
            raise IntegrityError(
                "code snapshot", expected=f"tree {code.tree_sha}", found=f"tree {found}, {len(left.splitlines())} files differ"
            )


def _borrow(holder: Path, git_folder: Path) -> None:
    common = Path(lines(holder, "rev-parse", "--path-format=absolute", "--git-common-dir")[0])
    info = git_folder / "objects" / "info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "alternates").write_text(f"{common / 'objects'}\n", encoding="utf-8")
    if (common / "shallow").exists():
        shutil.copy(common / "shallow", git_folder / "shallow")


@contextlib.contextmanager
def _without_git_variables() -> Iterator[None]:
    # GitPython hands this process's environment on; inside a hook it names another repository.
    kept = {name: os.environ.pop(name) for name in REPOSITORY_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _parse_status(status: str) -> tuple[str | None, str | None, list[str], list[str]]:
    head: str | None = None
    branch: str | None = None
    changed: list[str] = []
    untracked: list[str] = []
    for entry in status.split("\0"):
        if entry.startswith("# branch.oid "):
            head = None if entry.endswith("(initial)") else entry.removeprefix("# branch.oid ")
        elif entry.startswith("# branch.head "):
            branch = None if entry.endswith("(detached)") else entry.removeprefix("# branch.head ")
        elif entry.startswith("? "):
            untracked.append(entry[2:])
        elif entry.startswith("1 "):
            changed.append(entry.split(" ", 8)[8])
        elif entry.startswith("u "):
            changed.append(entry.split(" ", 10)[10])
    return head, branch, changed, untracked


def _special_entries(root: Path) -> tuple[list[str], list[str]]:
    """Tracked files whose changes git was told not to look at and that are there; and submodules."""
    hidden: list[str] = []
    linked: list[str] = []
    for entry in output(root, "ls-files", "-v", "--stage", "-z").split("\0")[:-1]:
        facts, _, name = entry.partition("\t")
        if facts[2:8] == "160000":
            linked.append(name)
        elif (facts[0].islower() or facts[0] == "S") and (facts[0] != "S" or os.path.lexists(root / name)):
            hidden.append(name)
    return hidden, linked


def _readable(name: str) -> str:
    # Names that are no UTF-8 cannot stand in a record as they are.
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _size_bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0  # gone since git listed it; `git add` decides


def _remote(root: Path) -> str | None:
    answer = start(root, ("config", "--get", "remote.origin.url"), {})
    url = answer.stdout.strip()
    if answer.returncode != 0 or not url:
        return None
    parts = urlsplit(url)
    if "://" not in url or parts.scheme == "file":
        return url
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
