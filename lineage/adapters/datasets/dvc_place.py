"""Where DVC-tracked data are, and which git commit is meant: by the file system and git alone, without DVC."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lineage.errors import NotFound, Unavailable, UncommittedData, UsageError

SCHEME = "dvc://"
DETACHED = "HEAD"
"""Branch of a revision that was named itself, as git calls it."""

# Set inside a git hook, where they name another repository than the one asked for.
_REPOSITORY_VARIABLES = ("GIT_COMMON_DIR", "GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_WORK_TREE")


@dataclass(frozen=True, slots=True)
class Place:
    """Where tracked data are.

    Attributes:
        uri: Address as it is recorded.
        path: Output, or something inside one, with links in the folders above it resolved.
        git_root: Root of the git repository.
        dvc_root: Root of the DVC repository: the same or a folder inside.
    """

    uri: str
    path: Path
    git_root: Path
    dvc_root: Path

    @property
    def inside(self) -> str:
        """Path inside the git repository, with a leading slash."""
        return f"/{self.path.relative_to(self.git_root).as_posix()}"


def place_of(uri: str) -> Place:
    """Find the repositories around an address, ``dvc://`` or ``file://``, of an output or of its ``.dvc`` file.

    Raises:
        NotFound: It lies in no DVC repository.
        UsageError: The DVC repository is in no git repository.
    """
    path = Path(uri.partition("://")[2])
    if path.suffix == ".dvc":
        path = path.with_suffix("")
    real, dvc_root, git_root = roots_around(path)
    if dvc_root is None:
        raise NotFound("dataset", uri, detail="it lies in no DVC repository", hint="check the address")
    if git_root is None:
        raise UsageError(
            f"{uri}: the DVC repository {dvc_root} is in no git repository, so no revision can name its data",
            hint="record a copy outside of it as a plain folder, or put the repository under git",
        )
    return Place(uri=f"{SCHEME}{path}", path=real, git_root=git_root, dvc_root=dvc_root)


def roots_around(path: Path) -> tuple[Path, Path | None, Path | None]:
    """The path with links in the folders above it resolved, and the roots of the DVC and git repositories that it lies in, if it does."""
    real = path.parent.resolve() / path.name
    dvc_root = next((folder for folder in real.parents if os.path.isdir(folder / ".dvc")), None)
    above = () if dvc_root is None else (dvc_root, *dvc_root.parents)
    return real, dvc_root, next((folder for folder in above if os.path.exists(folder / ".git")), None)


def pipelines_with_folders(root: Path) -> list[Path]:
    """Files ``dvc.yaml`` of a DVC repository, known to git or not ignored, in which a stage names its working folder."""
    try:
        listed = git_says(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "dvc.yaml", "*/dvc.yaml")
    except Unavailable:
        return []
    files = [root / name for name in sorted(set(listed.split("\0"))) if name]
    return [file for file in files if file.is_file() and re.search(rb"\bwdir\b", file.read_bytes())]


def revision_of(place: Place, branch: str | None, commit_id: str | None) -> tuple[str, str]:
    """Full id of the git commit that is meant, and its branch: HEAD when neither is given.

    Raises:
        NotFound: Git knows no such branch or revision, or the revision is not in the branch.
        UncommittedData: There is no commit at all.
        Unavailable: Git cannot be run, or cannot read the repository.
    """
    if commit_id is not None:
        sha = _commit(place, commit_id)
        if sha is None:
            raise NotFound("dataset commit", commit_id, detail=f"in the git repository {place.git_root}", hint="`git fetch` may bring it")
        if branch not in (None, DETACHED) and not git_says(place.git_root, "for-each-ref", "--contains", sha, f"refs/heads/{branch}"):
            raise NotFound("dataset commit", commit_id, detail=f"branch '{branch}' of {place.git_root} does not hold it")
        return sha, branch or DETACHED
    if branch is not None and branch != DETACHED:
        sha = _commit(place, f"refs/heads/{branch}") or _commit(place, f"refs/remotes/{branch}")
        if sha is None:
            raise NotFound("dataset branch", branch, detail=f"in the git repository {place.git_root}")
        return sha, branch
    sha = _commit(place, "HEAD")
    if sha is None:
        raise uncommitted(place, "commit the .dvc file to git first: the repository has no commit yet")
    return sha, git_says(place.git_root, "symbolic-ref", "--quiet", "--short", "HEAD") or DETACHED


def _commit(place: Place, revision: str) -> str | None:
    return git_says(place.git_root, "rev-parse", "--quiet", "--verify", "--end-of-options", f"{revision}^{{commit}}") or None


def git_says(root: Path, *arguments: str) -> str:
    """What git prints, or nothing when it answers with status 1 and no word: there is no such thing."""
    variables = {name: value for name, value in os.environ.items() if name not in _REPOSITORY_VARIABLES}
    try:
        # Its own settings could have git start a program to watch its files.
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", *arguments],
            cwd=root,
            env=variables,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        raise Unavailable(f"git cannot be run: {error.strerror}") from error
    if done.returncode > 1 or (done.returncode == 1 and done.stderr.strip()):
        raise Unavailable(f"git could not read {root}: {(done.stderr.strip() or str(done.returncode)).splitlines()[0]}")
    return done.stdout.strip()


def uncommitted(place: Place, hint: str) -> UncommittedData:
    """The error for data that no git commit holds."""
    error = UncommittedData(place.uri)
    error.hint = hint
    return error
