"""One page of runs: filters, a cursor, and the runs that fit."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from lineage.errors import UsageError
from lineage.lookup.filters import make_query
from lineage.lookup.runs import settle, settle_brief
from lineage.model.dataset import normalise_uri
from lineage.model.listing import RunBrief
from lineage.model.run import Run, RunState
from lineage.model.words import instant
from lineage.ports import Ports, RunQuery

MOST = 200
"""Runs on one page, at most."""

# No database keeps NUL in a text.
_Word = Annotated[str | None, Field(max_length=500, pattern=r"^[^\x00]*$")]


class RunConditions(BaseModel):
    """Query parameters that choose runs. All given ones must hold; those on data must hold for one and the same input."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: _Word = Field(None, description="Only this project.", examples=["parking"])
    group: _Word = Field(None, description="Only this group.")
    job_type: _Word = Field(None, description="Only this kind of job.", examples=["train"])
    state: RunState | None = Field(None, description="Only runs in this state.")
    dataset: str | None = Field(
        None,
        description="Only runs that read the dataset at this address.",
        max_length=2000,
        pattern=r"^[^\x00]*$",
        examples=["s3://pictures/visdrone-train"],
    )
    dataset_id: _Word = Field(None, description="Only runs that read the dataset with this id, wherever it was.")
    commit: _Word = Field(None, description="Only runs that read this commit id of a dataset. Not a git commit.")
    view: _Word = Field(None, description="Only runs that read the saved view of this name or id.")
    sample: _Word = Field(None, description="Only runs that had this sample id, or the picture with this digest, in an input.")
    artifact: str | None = Field(None, description="Only runs that made a file with this digest.", pattern=r"^sha256:[0-9a-f]{64}$")
    code: _Word = Field(
        None,
        description="Only runs of this git commit, snapshot or tree, or of one that begins so (four digits or more).",
        examples=["9fceb02d0a"],
    )
    package: _Word = Field(
        None, description="Only runs with this package installed: `NAME` or `NAME==VERSION`.", examples=["torch", "torch==2.8.0"]
    )
    since: AwareDatetime | None = Field(
        None, description="Only runs that began then or later: ISO 8601, with a zone.", examples=["2026-03-14T00:00:00Z"]
    )
    until: AwareDatetime | None = Field(None, description="Only runs that began before: ISO 8601, with a zone.")
    text: str | None = Field(
        None, description="Only runs whose record holds this word somewhere.", pattern=r"^[A-Za-z0-9_.-]{1,100}$", examples=["mobilenet"]
    )


class RunFilters(RunConditions):
    """Query parameters of a list of runs."""

    cursor: _Word = Field(None, description="`next_cursor` of the page before.")
    limit: int = Field(50, ge=1, le=MOST, description="At most so many runs.")


@dataclass(frozen=True, slots=True)
class Page:
    """Runs, newest first, and where the next page begins (``None`` on the last one)."""

    runs: tuple[Run, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class BriefPage:
    """As :class:`Page`, each run in short."""

    runs: tuple[RunBrief, ...]
    next_cursor: str | None


def find_page(ports: Ports, filters: RunFilters) -> Page:
    """The runs that fit, each in its true state.

    Raises:
        UsageError: The cursor is not one of ours or of another list, or a filter has another form.
    """
    found = ports.runs.find(_query(ports, filters))
    settled = (settle(ports.runs, ports.liveness, run) for run in found[: filters.limit])
    # The cursor is taken before settling: a run that leaves the filter now must not end the list early.
    return Page(tuple(run for run in settled if filters.state in (None, run.state)), _next_cursor(found, filters))


def find_briefs(ports: Ports, filters: RunFilters) -> BriefPage:
    """The runs that fit, in short and each in its true state; reads no whole record but of those that seem to run.

    Raises:
        UsageError: As :func:`find_page`.
    """
    found = ports.runs.briefs(_query(ports, filters))
    settled = (settle_brief(ports.runs, ports.liveness, item) for item in found[: filters.limit])
    return BriefPage(tuple(item for item in settled if filters.state in (None, item.state)), _next_cursor(found, filters))


def _query(ports: Ports, filters: RunFilters) -> RunQuery:
    given = filters.model_dump(exclude={"cursor", "limit", "dataset", "since", "until"})
    return make_query(
        ports.rows,
        ports.objects,
        **given,
        dataset=None if filters.dataset is None else dataset_address(filters.dataset),
        since=None if filters.since is None else _in_utc("since", filters.since),
        until=None if filters.until is None else _in_utc("until", filters.until),
        after=None if filters.cursor is None else _parse_cursor(filters.cursor, _mark(filters)),
        limit=filters.limit + 1,  # one more tells whether there is a next page
    )


def dataset_address(text: str) -> str:
    """A dataset's address in its normal form.

    Raises:
        UsageError: It cannot be one that a record holds.
    """
    if "://" not in text and not text.startswith("/"):
        raise UsageError(
            f"the dataset address '{text}' is relative to a folder that the service does not know",
            hint="give it as the record does, for example file:///data/visdrone-train or s3://pictures/visdrone-train",
        )
    return normalise_uri(text)


def _in_utc(name: str, at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise UsageError(f"{name}: {at} cannot be told in UTC") from error


def _mark(filters: RunFilters) -> str:
    told = filters.model_dump_json(exclude={"cursor", "limit"}, exclude_none=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _next_cursor(found: Sequence[Run | RunBrief], filters: RunFilters) -> str | None:
    if len(found) <= filters.limit:
        return None
    last = found[filters.limit - 1]
    text = f"{instant(last.started_at)} {last.id} {_mark(filters)}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_cursor(cursor: str, mark: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        its_time, run_id, its_mark = text.split(" ")
        at = datetime.fromisoformat(its_time)
        if at.utcoffset() is None or not re.fullmatch(r"[0-9a-f]{32}", run_id):
            raise ValueError(text)
        place = instant(at), run_id
    except (binascii.Error, ValueError, OverflowError) as error:
        raise UsageError("the cursor is not one that this service gave", hint="leave it out to begin with the newest run") from error
    if its_mark != mark:
        raise UsageError("the cursor belongs to a list with other filters", hint="keep the filters, or leave the cursor out")
    return place
