"""Which code ran."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class CodeVersion(BaseModel):
    """The code of a run: the commit checked out, and a snapshot of what really was in the folder.

    Attributes:
        git_sha: The commit that HEAD named, or ``None`` before the first one.
        branch: The branch, or ``None`` when HEAD was detached.
        is_dirty: Whether the folder differed from ``git_sha`` (untracked files count, ignored ones do not).
        snapshot_sha: Commit of exactly what was in the folder; equals ``git_sha`` when it was clean.
        tree_sha: Tree of that commit: the same files give the same tree, whoever commits them.
        repository: Address of the ``origin`` remote without credentials, or the repository's folder.
        root: Top folder of the repository on the machine that recorded.
        changed: Paths that differed, at most 100 of them.
        left_out: What a snapshot does not hold and a reproduction will miss: untracked files too large to keep and, with a slash at
            the end, other repositories inside this one (submodules too).
        ref: Private reference that keeps the snapshot from being pruned.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    git_sha: str | None
    branch: str | None
    is_dirty: bool
    snapshot_sha: str
    tree_sha: str
    repository: str
    root: str
    changed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    ref: str | None = None
