"""Which code ran."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from lineage.model.digest import Digest, digest_of_json


def _check_inside(text: str) -> str:
    # A record may be a stranger's: a path in it must not lead out of the folder that the code is put into, nor into git's own.
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or ".git" in path.parts:
        raise ValueError(f"expected a path inside the code's folder, found {text!r}")
    return text


PathInside = Annotated[str, AfterValidator(_check_inside)]
"""A relative path that does not lead out of a folder."""


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
            the end, other repositories inside this one that could not be captured.
        ref: Private reference that keeps the snapshot from being pruned.
        inner: Repositories inside this one, however deep, each captured as a snapshot of its own: submodules and others.
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
    inner: tuple[InnerRepository, ...] = ()

    @property
    def content(self) -> str:
        """Equal for equal files, those of inner repositories included: the tree, or a digest of all trees."""
        return (
            self.tree_sha if not self.inner else digest_of_json([self.tree_sha, *([item.path, item.code.tree_sha] for item in self.inner)])
        )

    def parts(self) -> Iterator[tuple[str, CodeVersion]]:
        """(path, snapshot) of each repository alone; the outermost first, its path empty."""
        yield "", self if not self.inner else self.model_copy(update={"inner": ()})
        yield from ((item.path, item.code) for item in self.inner)


class InnerRepository(BaseModel):
    """A repository inside another one.

    Attributes:
        path: Where, relative to the outermost top folder.
        is_submodule: Whether the outer repository knows of it; the outer snapshot then names this one's snapshot.
        code: Its code; its own ``inner`` is empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: PathInside
    is_submodule: bool
    code: CodeVersion


class CodeFile(BaseModel):
    """A file of the code that is kept by its digest, because no snapshot holds its content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: PathInside
    digest: Digest
    size_bytes: int


class KeptCode(BaseModel):
    """What the object store holds of the code beside the packs of the repository itself.

    Attributes:
        inner: Packs of inner repositories, by path.
        large: Contents of files that the tree names by a Git LFS pointer, with paths relative to the outermost top folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inner: dict[PathInside, tuple[Digest, ...]] = {}
    large: tuple[CodeFile, ...] = ()


class LoadedCode(BaseModel):
    """Files of modules that no snapshot holds as they were loaded. Installed packages are not among them: they are the environment.

    Attributes:
        how: ``imported``: the process itself told what it had loaded; ``import statements``: the script and what its import statements
            lead to, which misses what is imported by a computed name.
        top: Folder on the machine that recorded; paths of ``outside`` and ``search`` are relative to it.
        search: Folders in which Python looked for the modules outside, in order.
        outside: Modules from outside the repository; without a repository the script and all its modules.
        inside: Modules inside the repository, relative to its top folder, whose loaded content the snapshot does not have: ignored by git,
            or edited between the snapshot and the moment they were loaded.
        edited: Files that were no longer what was loaded when the run ended.
        not_kept: Files whose content is not kept, each with the reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    how: Literal["imported", "import statements"]
    top: str = ""
    search: tuple[PathInside, ...] = ()
    outside: tuple[CodeFile, ...] = ()
    inside: tuple[CodeFile, ...] = ()
    edited: tuple[str, ...] = ()
    not_kept: tuple[str, ...] = ()

    @property
    def files(self) -> list[tuple[str, str]]:
        """Path and digest of each file, for a fingerprint."""
        return [(item.path, item.digest) for item in (*self.outside, *self.inside)]
