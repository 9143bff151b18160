"""Code in git: captured as a commit through a temporary index, put back as a repository that borrows the objects.

Nothing of the user's is touched: not the index, the files, HEAD, the reflog or the configuration. Capture starts git directly, because
importing GitPython costs more than the whole capture; checking out, where a tenth of a second does not matter, uses it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from lineage.adapters.source.git_commands import NO_FETCH, OBJECT_NAME, REPOSITORY_VARIABLES, lines, output, start
from lineage.adapters.source.git_lfs import NO_FILTER, lfs_settings, own_filter
from lineage.errors import CaptureError, IntegrityError, NotFound
from lineage.model.code import CodeFile, CodeVersion, InnerRepository

if TYPE_CHECKING:
    from lineage.model.difference import FileChange

_LARGEST_UNTRACKED_BYTES = 16 << 20
_CHANGED_SHOWN = 100
_MOST_INNER = 256  # repositories directly inside another one; each costs five starts of git
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
        return self._capture(*_places(folder), f"refs/lineage/{run_id}")

    def _capture(self, root: Path, git_folder: Path, ref: str) -> CodeVersion:
        settings = own_filter(root, git_folder)
        words = ("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=none")
        head, branch, changed, untracked = _parse_status(output(root, *settings, *words))
        hidden, linked = _special_entries(root)
        inner, foreign = self._inner(root, linked, [name for name in untracked if name.endswith("/")], ref)
        submodules = {item.path: item.code.snapshot_sha for item in inner if item.path in linked}
        # What a snapshot cannot hold: repositories inside that cannot be captured, and large data.
        large = [name for name in untracked if not name.endswith("/") and _size_bytes(root / name) > self._largest_untracked_bytes]
        left_out = [*foreign, *large]
        excluded = [name for name in untracked if name.endswith("/") or name in left_out]
        if (
            changed
            or hidden
            or head is None
            or not set(untracked) <= set(excluded)
            or any(linked[name] != submodules[name] for name in submodules)
        ):
            snapshot, tree, captured = self._snapshot(root, git_folder, head, excluded, hidden, submodules, settings)
            changed = sorted({*changed, *(name for name in captured if name in hidden)})
        else:
            snapshot, tree = head, lines(root, "rev-parse", "HEAD^{tree}")[0]
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
            left_out=tuple(map(_readable, (*left_out, *(f"{item.path}/{name}" for item in inner for name in item.code.left_out)))),
            ref=ref,
            inner=tuple(inner),
        )

    def _inner(self, root: Path, linked: Mapping[str, str], foreign: Sequence[str], ref: str) -> tuple[list[InnerRepository], list[str]]:
        """Repositories inside, innermost included, and names of those that cannot be captured."""
        inner: list[InnerRepository] = []
        found: list[str] = []
        for name in sorted({*linked, *(name.rstrip("/") for name in foreign)}):
            folder = root / name
            if (name in linked and not folder.is_dir()) or (folder.is_dir() and not any(folder.iterdir())):
                continue  # a submodule that was not fetched: the program saw an empty folder
            found.append(name)
        captured = self._captured_all([root / name for name in found[:_MOST_INNER]], ref)
        left_out = [f"{name}/" for name in found[_MOST_INNER:]]
        for name, code in zip(found, captured, strict=False):
            if code is None or _readable(name) != name:
                left_out.append(f"{name}/")
                continue
            inner.append(InnerRepository(path=name, is_submodule=name in linked, code=code.model_copy(update={"inner": ()})))
            inner += (item.model_copy(update={"path": f"{name}/{item.path}"}) for item in code.inner)
        return inner, left_out

    def _captured_all(self, folders: Sequence[Path], ref: str) -> list[CodeVersion | None]:
        if len(folders) < 2:
            return [self._captured(folder, ref) for folder in folders]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=4) as pool:  # most of the time goes into waiting for git
            return list(pool.map(lambda folder: self._captured(folder, ref), folders))

    def _captured(self, folder: Path, ref: str) -> CodeVersion | None:
        """A repository inside; ``None`` when it cannot be captured."""
        try:
            top, git_folder = _places(folder)
            # Without git's own folder the answer is about the repository around it.
            return self._capture(top, git_folder, ref) if top == folder.resolve() else None
        except CaptureError:
            return None

    @staticmethod
    def _snapshot(
        root: Path,
        git_folder: Path,
        head: str | None,
        left_out: Sequence[str],
        hidden: Sequence[str],
        submodules: Mapping[str, str],
        settings: Sequence[str],
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
            output(root, *settings, "add", "--all", "--pathspec-from-file=-", "--pathspec-file-nul", extra=extra, given=excluded)
            if submodules:  # the tree names their snapshots, so that equal trees have equal submodules
                entries = "".join(f"160000 {sha}\t{name}\0" for name, sha in submodules.items())
                output(root, "update-index", "-z", "--index-info", extra=extra, given=entries)
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
        return next(iter(self.lacking(code).values()), None)

    def lacking(self, code: CodeVersion) -> dict[str, str]:
        """Path to reason, for each repository whose snapshot is not at hand."""
        return {
            path: f"commit {part.snapshot_sha[:12]} is neither in {part.root} nor in the repository here"
            for path, part in code.parts()
            if self._holder(part, path) is None
        }

    def names(self, code: CodeVersion) -> frozenset[str]:
        """Paths of all files in the snapshot and in inner ones."""
        from lineage.adapters.source.git_files import names_in

        return frozenset(
            f"{path}/{name}" if path else name for path, part in code.parts() for name in names_in(Path(part.root), part.tree_sha)
        )

    def differing(self, code: CodeVersion, paths: Sequence[str]) -> frozenset[str]:
        """Those of some files of the snapshot that are not what it has."""
        from lineage.adapters.source.git_files import differing

        return differing(code, paths)

    def content(self, code: CodeVersion, path: str) -> bytes | None:
        """What the snapshot has at a path, as a check-out writes it."""
        from lineage.adapters.source.git_files import content_of, part_of

        place, part = part_of(code, path)
        holder = self._holder(part, place)
        return None if holder is None else content_of(holder, part.snapshot_sha, path[len(place) + 1 :] if place else path)

    def large_files(self, code: CodeVersion) -> list[tuple[CodeFile, Path | None]]:
        """Files of which the tree holds a Git LFS pointer only, and where their content is."""
        from lineage.adapters.source.git_lfs import large_files

        return [
            (file.model_copy(update={"path": f"{place}/{file.path}" if place else file.path}), at_hand)
            for place, part in code.parts()
            for file, at_hand in large_files(part)
        ]

    def settle(self, code: CodeVersion, folder: Path, paths: Sequence[str]) -> None:
        """Tell a check-out that contents of Git LFS files, which were put there since, are no changes."""
        from lineage.adapters.source.git_files import grouped

        for place, (_, names) in grouped(code, paths).items():
            output(folder / place, *lfs_settings(), "add", "--", *(f":(literal,top){name}" for name in names))

    @staticmethod
    def _holder(code: CodeVersion, path: str = "") -> Path | None:
        # A record may be a stranger's: what stands in it for a commit could be an option, and a repository that it names could say what
        # git is to execute when an object must be fetched.
        if not all(OBJECT_NAME.fullmatch(name) for name in (code.snapshot_sha, code.tree_sha)):
            return None
        candidates = [Path(code.root)]
        with contextlib.suppress(CaptureError):  # started outside any repository: only the recorded one can hold the snapshot
            here = Path(lines(Path.cwd(), "rev-parse", "--show-toplevel")[0])
            candidates += [here / path, here]
        for candidate in candidates:
            if candidate.is_dir() and start(candidate, (*NO_FETCH, "cat-file", "-e", f"{code.snapshot_sha}^{{tree}}"), {}).returncode == 0:
                return candidate
        return None

    def changed_files(self, a: CodeVersion, b: CodeVersion) -> list[FileChange] | None:
        """Files that differ between two snapshots; ``None`` when one of them is not at hand."""
        from lineage.adapters.source.git_diff import changed_parts

        return changed_parts(a, b, self._holder)

    def pack(self, code: CodeVersion, base_tree: str | None, file: Path) -> bool:
        """Write what the snapshot needs; see :class:`lineage.ports.SourceControl`."""
        from lineage.adapters.source.git_packs import write_pack

        return write_pack(code, base_tree, file)

    def check_out(
        self, code: CodeVersion, folder: Path, packs: Sequence[Path] = (), inner_packs: Mapping[str, Sequence[Path]] | None = None
    ) -> None:
        """Put the snapshot into the new ``folder``: a repository of its own, with a detached HEAD, that borrows the original's objects.

        Where the original is lost they come from packs. Inner repositories are put into it in the same way.
        """
        for path, part in code.parts():
            if not (folder / path).resolve().is_relative_to(folder.resolve()):
                raise IntegrityError(
                    f"inner repository {path}", expected="a place inside the code's folder", found="a link that leads out of it"
                )
            self._check_out(part, folder / path, path, (inner_packs or {}).get(path, ()) if path else packs)

    def _check_out(self, code: CodeVersion, folder: Path, path: str, packs: Sequence[Path]) -> None:
        import git

        from lineage.adapters.source.git_packs import add_packs

        holder = self._holder(code, path)
        if holder is None and not OBJECT_NAME.fullmatch(code.snapshot_sha):
            raise IntegrityError("code snapshot", expected="the name of a commit", found=ascii(code.snapshot_sha))
        if holder is None and not packs:
            raise NotFound("code snapshot", code.snapshot_sha, hint="fetch the repository that holds it, with refs/lineage/*")
        object_format = "sha256" if len(code.snapshot_sha) == 64 else "sha1"
        plain = [word for setting in NO_FILTER for word in ("-c", setting)]
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
                repository.git.execute(["git", *plain, "checkout", "--detach", "--quiet", code.snapshot_sha])
                found = repository.git.rev_parse("HEAD^{tree}")
                left = repository.git.execute(["git", *plain, "status", "--porcelain"])
            finally:
                repository.close()
        if found != code.tree_sha or left:
            raise IntegrityError(
                f"code snapshot {path}".strip(),
                expected=f"tree {code.tree_sha}",
                found=f"tree {found}, {len(str(left).splitlines())} files differ",
            )


def _places(folder: Path) -> tuple[Path, Path]:
    """Top folder of the repository that a folder is in, and git's own folder."""
    top, git_folder = lines(folder, "rev-parse", "--show-toplevel", "--absolute-git-dir")
    return Path(top), Path(git_folder)


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


def _special_entries(root: Path) -> tuple[list[str], dict[str, str]]:
    """Tracked files whose changes git was told not to look at and that are there; and submodules with the commits that are staged."""
    hidden: list[str] = []
    linked: dict[str, str] = {}
    for entry in output(root, "ls-files", "-v", "--stage", "-z").split("\0")[:-1]:
        facts, _, name = entry.partition("\t")
        if facts[2:8] == "160000":
            linked[name] = facts.split(" ")[2]
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
