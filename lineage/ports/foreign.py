"""Runs that other systems recorded, as they are read from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from lineage.model.run import MetricPoint, RunState


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A file, or a set of files under one name, that a foreign run made or used.

    Attributes:
        name: What the other system calls it, with its version.
        kind: ``model``, ``dataset``, ``file`` …
        path: Where it was, as far as known.
        size_bytes: Of all its files; 0 when not known.
        content: The file itself, where there is exactly one and it is at hand.
        listing: What is known of it: digests of its files in whatever form, description, aliases.
    """

    name: str
    kind: str
    path: str = ""
    size_bytes: int = 0
    content: Path | None = None
    listing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ForeignMedia:
    """What a foreign run showed under a key at a step.

    Attributes:
        pictures: (PNG or JPEG file, caption) of each, where it showed pictures.
        histogram: (counts, edges), where it showed one.
    """

    key: str
    step: int
    pictures: Sequence[tuple[Path, str | None]] = ()
    histogram: tuple[Sequence[Any], Sequence[Any]] | None = None


@dataclass(frozen=True, slots=True)
class ForeignRun:
    """What another system knows of a run. Everything but identity and times may be unknown.

    Attributes:
        tracker: The system: ``wandb``, ``mlflow``.
        id: Unique in that system, on any server and in any folder: with ``tracker`` it decides the record's id.
        place: Where it was read, without credentials.
        called: What a live run's ``trackers`` entry would hold: id, project, address.
        points: Metric points in the order of the calls, with their own steps and times.
        packages: Name to version, as far as known.
        python: Version of the interpreter, for example ``3.11.7``; empty when not known.
        made: Files that came out of it.
        used: Files that went into it.
        media: Pictures and histograms, in the order of their steps.
        missing: What a reproduction would need and is not there, one sentence each.
        facts: What else is known.
        notes: What a reader of the record should know: a torn log, values that are no numbers.
        recorded_as: Id of the record that this layer made of the run when it ran, if it did.
    """

    tracker: str
    id: str
    place: str
    called: Mapping[str, Any]
    name: str
    project: str
    state: RunState
    started_at: datetime
    ended_at: datetime
    group: str | None = None
    job_type: str = "run"
    tags: Sequence[str] = ()
    command: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    points: Sequence[MetricPoint] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    host: str = ""
    user: str = ""
    error: str | None = None
    made: Sequence[ForeignFile] = ()
    used: Sequence[ForeignFile] = ()
    media: Sequence[ForeignMedia] = ()
    missing: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    recorded_as: str | None = None


class EventFiles(Protocol):
    """Reads files that a training writes for TensorBoard."""

    def metrics(self, file: Path) -> tuple[list[MetricPoint], Mapping[str, object], str | None]:
        """Every number in a file, hyperparameters, and why the rest could not be read (``None``: all was).

        Raises:
            InvalidSource: Nothing in it can be read.
        """


class PastRuns(Protocol):
    """Reads what another system recorded."""

    def places(self, what: str) -> Sequence[str]:
        """The runs behind a folder or an address, each as a text for :meth:`read`; oldest first.

        Raises:
            NotFound: There is none.
            UsageError: It is neither a folder nor an address.
            Unavailable: The server cannot be asked.
        """

    def read(self, place: str) -> ForeignRun:
        """One run.

        Raises:
            InvalidSource: Nothing in it can be read; what is readable of a torn one is given with a note.
            Unavailable: The server cannot be asked.
        """
