"""Code in git: captured as a commit through a temporary index, put back as a detached clone.

Nothing of the user's is touched: not the index, the files, HEAD, the reflog or the configuration. Capture starts git directly, because
importing GitPython costs more than the whole capture; checking out, where a tenth of a second does not matter, uses it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lineage.errors import CaptureError, IntegrityError, NotFound
from lineage.model.code import CodeVersion

_LARGEST_UNTRACKED_BYTES = 16 << 20
_CHANGED_SHOWN = 100
_AUTHOR = {
    "GIT_AUTHOR_NAME": "lineage",
    "GIT_AUTHOR_EMAIL": "lineage@localhost",
    "GIT_COMMITTER_NAME": "lineage",
    "GIT_COMMITTER_EMAIL": "lineage@localhost",
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
        top, git_folder = _lines(folder, "rev-parse", "--show-toplevel", "--absolute-git-dir")
        root = Path(top)
        status = _output(root, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames")
        head, branch, changed, untracked = _parse_status(status)
        left_out = tuple(name for name in untracked if _size_bytes(root / name) > self._largest_untracked_bytes)
        is_dirty = bool(changed) or len(untracked) > len(left_out)
        if is_dirty or head is None:
            snapshot, tree = self._snapshot(root, Path(git_folder), head, left_out)
        else:
            snapshot, tree = head, _lines(root, "rev-parse", "HEAD^{tree}")[0]
        ref = f"refs/lineage/{run_id}"
        _output(root, "update-ref", ref, snapshot)
        return CodeVersion(
            git_sha=head,
            branch=branch,
            is_dirty=bool(changed or untracked),
            snapshot_sha=snapshot,
            tree_sha=tree,
            repository=_remote(root) or str(root),
            root=str(root),
            changed=tuple(sorted([*changed, *untracked])[:_CHANGED_SHOWN]),
            left_out=left_out,
            ref=ref,
        )

    @staticmethod
    def _snapshot(root: Path, git_folder: Path, head: str | None, left_out: tuple[str, ...]) -> tuple[str, str]:
        with tempfile.TemporaryDirectory(prefix="lineage-index-") as temporary:
            index = Path(temporary) / "index"
            if (git_folder / "index").exists():
                # copy2 keeps the time: git tells a file edited in the same second as the index by comparing it with the index's own.
                shutil.copy2(git_folder / "index", index)
            extra = {"GIT_INDEX_FILE": str(index), **_AUTHOR}
            excluded = [f":(exclude,literal,top){name}" for name in left_out]
            _output(root, "add", "--all", "--", ":/", *excluded, extra=extra)
            tree = _lines(root, "write-tree", extra=extra)[0]
            parents = [] if head is None else ["-p", head]
            commit = _lines(root, "commit-tree", tree, *parents, "-m", "lineage snapshot", extra=extra)[0]
        return commit, tree

    def has(self, code: CodeVersion) -> str | None:
        """``None`` when the snapshot is at hand, else the reason."""
        return None if self._holder(code) else f"commit {code.snapshot_sha[:12]} is neither in {code.root} nor in the repository here"

    @staticmethod
    def _holder(code: CodeVersion) -> Path | None:
        candidates = [Path(code.root)]
        with contextlib.suppress(CaptureError):  # started outside any repository: only the recorded one can hold the snapshot
            candidates.append(Path(_lines(Path.cwd(), "rev-parse", "--show-toplevel")[0]))
        for candidate in candidates:
            if candidate.is_dir() and _start(candidate, ("cat-file", "-e", f"{code.snapshot_sha}^{{tree}}"), {}).returncode == 0:
                return candidate
        return None

    def check_out(self, code: CodeVersion, folder: Path) -> None:
        """Put the snapshot into the new ``folder`` as a detached clone that borrows the original's objects."""
        import git

        holder = self._holder(code)
        if holder is None:
            raise NotFound("code snapshot", code.snapshot_sha, hint="fetch the repository that holds it, with refs/lineage/*")
        no_hooks = f"core.hooksPath={os.devnull}"
        repository = git.Repo.clone_from(
            str(holder),
            str(folder),
            multi_options=["--shared", "--no-checkout", "--quiet", f"--config {no_hooks}"],
            allow_unsafe_options=True,
        )
        try:
            repository.git.checkout("--detach", "--quiet", code.snapshot_sha)
            found = repository.git.rev_parse("HEAD^{tree}")
            left = repository.git.status("--porcelain")
        finally:
            repository.close()
        if found != code.tree_sha or left:
            raise IntegrityError(
                "code snapshot", expected=f"tree {code.tree_sha}", found=f"tree {found}, {len(left.splitlines())} files differ"
            )


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


def _size_bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0  # gone since git listed it; `git add` decides


def _remote(root: Path) -> str | None:
    answer = _start(root, ("config", "--get", "remote.origin.url"), {})
    url = answer.stdout.strip()
    if answer.returncode != 0 or not url:
        return None
    parts = urlsplit(url)
    if parts.scheme in ("http", "https", "ssh", "git") and "@" in parts.netloc:
        return urlunsplit((parts.scheme, parts.netloc.rsplit("@", 1)[1], parts.path, "", ""))
    return url


def _start(folder: Path, arguments: tuple[str, ...], extra: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    # No optional locks: `git status` would otherwise refresh, that is rewrite, the user's index.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **extra}
    if not extra:
        environment.pop("GIT_INDEX_FILE", None)
    try:
        return subprocess.run(
            ["git", "-c", "core.quotePath=false", "-C", str(folder), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            env=environment,
            check=False,
        )
    except FileNotFoundError as error:
        raise CaptureError("git is not installed", hint="install git; the code of a run is recorded with it") from error


def _output(folder: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> str:
    answer = _start(folder, arguments, extra or {})
    if answer.returncode != 0:
        reason = (answer.stderr.strip() or f"status {answer.returncode}").splitlines()[0]
        raise CaptureError(f"git {arguments[0]} in {folder}: {reason}")
    return answer.stdout


def _lines(folder: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> list[str]:
    return _output(folder, *arguments, extra=extra).splitlines()
