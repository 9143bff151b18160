"""The pipeline tool around a run: which stage it is, and what that stage depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from lineage.model.dvc import DvcRecord


class StageReading(Protocol):
    """A look at a stage's dependencies that is under way in a process of its own."""

    def result(self) -> dict[str, Any]:
        """What was found, as fields of :class:`lineage.model.dvc.DvcRecord`; waits for it.

        Raises:
            Unavailable: It could not be found out.
        """


class StageProbe(Protocol):
    """Knows pipelines of DVC."""

    def around(self, folder: Path) -> DvcRecord | None:
        """The repository around a folder, with what can be seen at once; ``root`` is an absolute path. ``None`` when there is none."""

    def read(self, root: Path, stage: str, folder: Path) -> StageReading:
        """Begin to read a stage's dependencies.

        Args:
            root: The DVC repository.
            stage: As DVC calls it.
            folder: Where the stage's command runs.

        Raises:
            Unavailable: DVC is not there, or nothing can be started.
        """
