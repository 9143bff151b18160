"""Where records, and the processes behind them, are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from lineage.model.environment import Environment
from lineage.model.event import Event
from lineage.model.metrics import StoredPoint
from lineage.model.run import MetricPoint, Run, RunState

if TYPE_CHECKING:
    from lineage.model.listing import RunBrief  # a run that records lists nothing


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs to list; ``None`` means any. Newest first, ties by id."""

    project: str | None = None
    group: str | None = None
    job_type: str | None = None
    state: RunState | None = None
    dataset_uri: str | None = None
    dataset_id: str | None = None
    commit_id: str | None = None
    view_id: str | None = None
    output_digest: str | None = None
    output_kind: str | None = None
    reproduces: str | None = None
    view: str | None = None
    """Name or id of a saved view that it read."""
    view_keys: tuple[str, ...] | None = None
    """Only runs that read one of these views (``lineage.ports.RowIndex``); conditions on data hold for one and the same input."""
    code: str | None = None
    """What its code is called: a git commit, snapshot or tree (or how one begins), or the digest of several trees."""
    package: str | None = None
    package_version: str | None = None
    """Of ``package``."""
    since: datetime | None = None
    until: datetime | None = None
    """Began at ``since`` or later, and before this."""
    mentions: str | None = None
    """Only records that hold this word (letters, digits and ``_.-``) somewhere; upper and lower case may count as the same."""
    after: tuple[str, str] | None = None
    """Continue below this (started_at, id): the last line of the page before."""
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """How far a record has got.

    Attributes:
        events: Number of its events; 0 when there is no such run.
        digest: Chain digest of the last one.
        points: Number of its metric points.
    """

    events: int
    digest: str | None
    points: int


class RunStore(Protocol):
    """Keeps records: append-only events, and the folded record beside them."""

    @property
    def location(self) -> str:
        """Where it is, without credentials."""

    def append(self, run_id: str, event: Event) -> Run:
        """Add an event and return the record after it.

        Raises:
            Conflict: The event does not fit the record.
            NotFound: There is no such run (unless the event starts one).
        """

    def get(self, run_id: str) -> Run:
        """The record with this whole id.

        Raises:
            NotFound: There is none.
        """

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Ids that begin with ``prefix``, at most ``limit``."""

    def find(self, query: RunQuery) -> list[Run]:
        """Records that fit, newest first."""

    def briefs(self, query: RunQuery) -> list[RunBrief]:
        """What a list shows of the records that fit, newest first; reads no whole record."""

    def events(self, run_id: str) -> list[tuple[str, str]]:
        """(payload text, chain digest) of every event, in order."""

    def environment(self, digest: str) -> Environment:
        """The environment that events name by this digest.

        Raises:
            IntegrityError: It is not kept, or no longer what its digest says.
        """

    def environment_text(self, digest: str) -> str:
        """The text of that environment, as it was written: its digest covers this spelling.

        Raises:
            IntegrityError: As :meth:`environment`.
        """

    def adopt(
        self, run_id: str, events: Sequence[tuple[str, str]], environments: Mapping[str, str], points: Sequence[MetricPoint], source: str
    ) -> int:
        """Take over a record that was made elsewhere, letter by letter; everything or nothing.

        A record of this store is never changed by it. One that was taken over before and has grown where it came from grows here, too.

        Args:
            run_id: Its id.
            events: (payload text, chain digest) of every event, in order.
            environments: Texts of the environments that they name, by digest.
            points: Every metric point.
            source: Where it comes from (:meth:`origin`).

        Returns:
            Number of events that are new here.

        Raises:
            Conflict: Another record has this id, or the two went different ways.
            IntegrityError: The events are not a whole chain, or an environment or the metrics are not what they name.
        """

    def position(self, run_id: str) -> Position:
        """How far the record has got."""

    def extend(
        self, run_id: str, number: int, events: Sequence[tuple[str, str]], environments: Mapping[str, str], *, again: bool = False
    ) -> int | None:
        """Add events that were written elsewhere, letter by letter, to a record that grows here; everything or nothing.

        Args:
            run_id: Its id.
            number: Number of the first of them, counted from 0.
            events: (payload text, chain digest) of each, in order.
            environments: Texts of the environments that they name, by digest.
            again: They may be here already, all or the first of them: an answer was lost, for example.

        Returns:
            Number of events that are new here; ``None`` when the record has got to another place, or holds other events there.

        Raises:
            Conflict: An event does not fit the record.
            IntegrityError: They are no chain, or an environment or the metrics are not what they name.
        """

    def extend_metrics(self, run_id: str, number: int, points: Sequence[MetricPoint], *, again: bool = False) -> int | None:
        """Add metric points, the first of which is number ``number`` of its run; arguments and answer as of :meth:`extend`.

        Raises:
            NotFound: There is no such run.
        """

    def origin(self, run_id: str) -> str | None:
        """Where a record was taken over from; ``None`` for one that this store saw grow."""

    def add_metrics(self, run_id: str, points: Sequence[MetricPoint]) -> None:
        """Append metric points, in the order of their calls."""

    def metrics(self, run_id: str, skip: int = 0) -> list[MetricPoint]:
        """Every metric point, in the order of the calls, without the first ``skip``."""

    def stored_metrics(self, run_id: str) -> list[StoredPoint]:
        """Every metric point as it is kept, in the order of the calls: to read many in a fraction of the time."""

    def metrics_digest(self, run_id: str) -> str | None:
        """Digest over every metric point in order (step, time, names and values, bit for bit); ``None`` without any.

        The same for every store: it belongs to the record's last event.
        """

    def close(self) -> None:
        """Release what the store holds open."""


class Liveness(Protocol):
    """Knows which runs still have a process behind them."""

    def hold(self, run_id: str) -> None:
        """Declare that this process is the run's, until it ends or :meth:`release` is called."""

    def release(self, run_id: str) -> None:
        """Give it up."""

    def leavings(self, run_id: str) -> list[Event]:
        """Events for what a dead process left on this machine and had no time to record: its step log, for example."""

    def is_alive(self, run: Run) -> bool | None:
        """Whether some process holds it; ``None`` when that cannot be known from here (another machine)."""
