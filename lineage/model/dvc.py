"""What a run inside a DVC repository knows of it: the lock, the stage, and what the stage's dependencies really held."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from lineage.model.digest import Digest


class DvcDependency(BaseModel):
    """A file or folder that a stage declares as dependency, or that it made.

    Attributes:
        path: Relative to the DVC repository; an address for one that is elsewhere.
        md5: Of the bytes that were there, as DVC computes it (``….dir`` for a folder); ``None`` when nothing was there, or it is
            no local file.
        size_bytes: Of those bytes.
        files: How many files, for a folder.
        locked_md5: What ``dvc.lock`` names; ``None`` when it names none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    md5: str | None
    size_bytes: int | None = None
    files: int | None = None
    locked_md5: str | None = None


class DvcRecord(BaseModel):
    """A run in a DVC repository.

    Attributes:
        root: The DVC repository, relative to the git repository's top folder when inside it.
        lock: Path of ``dvc.lock``, relative to ``root``; ``None`` when there is none.
        lock_digest: Of that file, when the run began.
        stage: As DVC addresses it (``train``, ``models/dvc.yaml:train``); ``None`` for a run that DVC did not start.
        working_directory: Where the stage's command is run, relative to ``root``; ``None`` while that is not known.
        dependencies: Of the stage, as they were read; ``None`` when that is not known (a note says why).
        params: Of the stage: file to names and values, as they were read.
        outputs: Paths that the stage declares to make, relative to ``root``.
        read_at: When the dependencies were looked at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str
    lock: str | None = None
    lock_digest: Digest | None = None
    stage: str | None = None
    working_directory: str | None = None
    dependencies: tuple[DvcDependency, ...] | None = None
    params: dict[str, dict[str, Any]] = {}
    outputs: tuple[str, ...] = ()
    read_at: datetime | None = None

    def facts(self) -> dict[str, Any]:
        """What decides the result, under names for people: stage, MD5 of each dependency, value of each parameter."""
        found: dict[str, Any] = {} if self.stage is None else {"dvc.stage": self.stage}
        found |= {f"dvc.dependency {item.path}": item.md5 or "nothing there" for item in self.dependencies or ()}
        return found | {f"dvc.param {file}:{name}": value for file, values in self.params.items() for name, value in values.items()}
