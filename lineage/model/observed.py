"""What was seen of a command from outside: which processes ran, and which files of its code's snapshot they read."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

READ = "read"
"""Role of used files that were seen to be read, and that nobody named."""


class Observed(BaseModel):
    """How a command was observed, and what of it has no other place in the record.

    Files that it read and that are in no snapshot are among the run's ``uses`` (role ``read``), files that it wrote among its ``outputs``
    (``details.observed``), numbers that it printed among its metric points.

    Attributes:
        printed: Whether printed numbers were taken as metrics.
        volatile: Patterns of files whose content is recorded and not compared.
        processes: How many Python processes told what they did.
        interpreters: Path and version of each interpreter among them.
        read: Files of the code's snapshot that were read, relative to the repository; at most 1,000.
        read_more: How many more.
        native: Libraries that were loaded and that read or write files without Python's knowing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    printed: bool = True
    volatile: tuple[str, ...] = ()
    processes: int = 0
    interpreters: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    read_more: int = 0
    native: tuple[str, ...] = ()
