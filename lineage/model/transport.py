"""How records travel between a service and its clients. What was written travels letter by letter: chains are over spellings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

from lineage.model.digest import Digest
from lineage.model.metrics import stored_points
from lineage.model.run import MetricPoint, RunState

MOST_RUNS = 200
MOST_POINTS = 5_000

PointText = tuple[Annotated[int, Field(ge=-(2**63), lt=2**63)], FiniteFloat, Annotated[str, Field(max_length=1 << 20)]]
"""(step, seconds since the epoch, values as JSON in which NaN and infinities have Python's words)."""
EventText = tuple[str, Digest]
"""(payload text, chain digest)."""


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# No database keeps NUL in a text.
_Name = Annotated[str, Field(max_length=4_096, pattern=r"^[^\x00]*$")]


class RunTexts(_Body):
    """Records, each as JSON with its environment by digest, and the text of every environment they name."""

    runs: tuple[str, ...]
    environments: dict[str, str]


class Query(_Body):
    """Which runs to list, newest first; ``None`` means any (``lineage.ports.RunQuery``)."""

    project: _Name | None = None
    group: _Name | None = None
    job_type: _Name | None = None
    state: RunState | None = None
    dataset_uri: _Name | None = None
    dataset_id: _Name | None = None
    commit_id: _Name | None = None
    view_id: _Name | None = None
    output_digest: _Name | None = None
    output_kind: _Name | None = None
    reproduces: _Name | None = None
    view: _Name | None = None
    view_keys: Annotated[tuple[_Name, ...], Field(max_length=100_000)] | None = None
    code: _Name | None = None
    package: _Name | None = None
    package_version: _Name | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    mentions: _Name | None = None
    after: tuple[_Name, _Name] | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_RUNS)] = MOST_RUNS


class PositionText(_Body):
    """How far a record has got, and where it was taken over from, if it was."""

    events: int
    digest: str | None
    points: int
    origin: str | None


class Extension(_Body):
    """Events that go on with a record; ``again``: some of them may be there already."""

    number: Annotated[int, Field(ge=0, lt=2**31)]
    events: Annotated[tuple[EventText, ...], Field(max_length=10_000)]
    environments: dict[Digest, str] = {}
    again: bool = False


class Points(_Body):
    """Metric points that go on with those of a run."""

    number: Annotated[int, Field(ge=0, lt=2**31)]
    points: Annotated[tuple[PointText, ...], Field(max_length=MOST_POINTS)]
    again: bool = False


class Adoption(_Body):
    """A whole record that was made elsewhere."""

    events: tuple[EventText, ...]
    environments: dict[Digest, str]
    points: tuple[PointText, ...]
    source: _Name


class RowQuestion(_Body):
    """A question to the row index (``lineage.ports.RowIndex``); each uses some of these.

    Attributes:
        values: View keys, run ids or digests.
        space: Numbering of rows.
        rows: In that space.
        kind: What ``key`` is of.
        key: First eight bytes of a digest as a number.
        replaced: Also files that were replaced later.
        link: Kind of links from ``things``, which are tuples of texts (``lineage.ports.Link``).
        forward: In the direction of time.
        most: Links of each thing.
        skip: Leave out so many of each.
    """

    values: Annotated[tuple[_Name, ...], Field(max_length=100_000)] = ()
    space: _Name = ""
    rows: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**62)], ...], Field(max_length=100_000)] = ()
    kind: Literal["picture", "sample"] = "picture"
    key: Annotated[int, Field(ge=0, lt=2**64)] = 0
    replaced: bool = False
    link: Literal["holds", "reads", "makes", "starts", "repeats", "uploads"] = "reads"
    things: Annotated[tuple[Annotated[tuple[_Name, ...], Field(min_length=1, max_length=3)], ...], Field(max_length=1_000)] = ()
    forward: bool = True
    most: Annotated[int, Field(ge=0, le=10_000)] = 0
    skip: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Added(_Body):
    """Number of events or points that were new; ``null``: the record had got to another place, and nothing was added."""

    added: int | None


def point_texts(points: Iterable[MetricPoint]) -> list[PointText]:
    """Metric points as they travel."""
    return list(stored_points(points))


def points_of(texts: Sequence[PointText]) -> list[MetricPoint]:
    """Metric points as they were sent.

    Raises:
        ValueError: One is none.
    """
    return [MetricPoint(step=step, at=at, values=json.loads(values)) for step, at, values in texts]
