"""One page of runs: filters, a cursor, and the runs that fit."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from lineage.errors import UsageError
from lineage.lookup.runs import settle
from lineage.model.dataset import normalise_uri
from lineage.model.run import Run, RunState
from lineage.ports import Ports, RunQuery

MOST = 200
"""Runs on one page, at most."""

_Word = Annotated[str | None, Field(max_length=500)]


class RunFilters(BaseModel):
    """Query parameters of a list of runs. All given ones must hold; those on data must hold for one and the same input."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: _Word = Field(None, description="Only this project.", examples=["parking"])
    group: _Word = Field(None, description="Only this group.")
    job_type: _Word = Field(None, description="Only this kind of job.", examples=["train"])
    state: RunState | None = Field(None, description="Only runs in this state.")
    dataset: str | None = Field(
        None, description="Only runs that read the dataset at this address.", max_length=2000, examples=["s3://pictures/visdrone-train"]
    )
    dataset_id: _Word = Field(None, description="Only runs that read the dataset with this id, wherever it was.")
    commit: _Word = Field(None, description="Only runs that read this commit id of a dataset. Not a git commit.")
    view: _Word = Field(None, description="Only runs that read the saved view with this id.")
    artifact: str | None = Field(None, description="Only runs that made a file with this digest.", pattern=r"^sha256:[0-9a-f]{64}$")
    since: AwareDatetime | None = Field(
        None, description="Only runs that began then or later: ISO 8601, with a zone.", examples=["2026-03-14T00:00:00Z"]
    )
    until: AwareDatetime | None = Field(None, description="Only runs that began before: ISO 8601, with a zone.")
    cursor: _Word = Field(None, description="`next_cursor` of the page before.")
    limit: int = Field(50, ge=1, le=MOST, description="At most so many runs.")


@dataclass(frozen=True, slots=True)
class Page:
    """Runs, newest first, and where the next page begins (``None`` on the last one)."""

    runs: tuple[Run, ...]
    next_cursor: str | None


def find_page(ports: Ports, filters: RunFilters) -> Page:
    """The runs that fit, each in its true state.

    Raises:
        UsageError: The cursor is not one of ours, or the dataset's address cannot be one.
    """
    query = RunQuery(
        project=filters.project,
        group=filters.group,
        job_type=filters.job_type,
        state=filters.state,
        dataset_uri=None if filters.dataset is None else _address(filters.dataset),
        dataset_id=filters.dataset_id,
        commit_id=filters.commit,
        view_id=filters.view,
        output_digest=filters.artifact,
        after=_start(filters),
        limit=filters.limit + 1,  # one more tells whether there is a next page
    )
    # Newest first: the first run that began too early ends the list.
    found = [*takewhile(lambda run: filters.since is None or run.started_at >= filters.since, ports.runs.find(query))]
    shown = found[: filters.limit]
    # The cursor is taken before settling: a run that leaves the filter now must not end the list early.
    next_cursor = _cursor(shown[-1]) if len(found) > filters.limit else None
    settled = (settle(ports.runs, ports.liveness, run) for run in shown)
    return Page(tuple(run for run in settled if filters.state is None or run.state is filters.state), next_cursor)


def _address(text: str) -> str:
    if "://" not in text and not text.startswith("/"):
        raise UsageError(
            f"the dataset address '{text}' is relative to a folder that the service does not know",
            hint="give it as the record does, for example file:///data/visdrone-train or s3://pictures/visdrone-train",
        )
    return normalise_uri(text)


def _start(filters: RunFilters) -> tuple[str, str] | None:
    # "Before a time" is a place in the list, as a cursor is: no id is smaller than the empty text. The lower place holds.
    places = [] if filters.cursor is None else [_parse_cursor(filters.cursor)]
    if filters.until is not None:
        try:
            places.append((filters.until.astimezone(UTC).isoformat(timespec="microseconds"), ""))
        except OverflowError as error:
            raise UsageError(f"until: {filters.until} cannot be told in UTC") from error
    return min(places, default=None)


def _cursor(last: Run) -> str:
    text = f"{last.started_at.astimezone(UTC).isoformat(timespec='microseconds')} {last.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_cursor(cursor: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        instant, _, run_id = text.partition(" ")
        at = datetime.fromisoformat(instant)
        if at.utcoffset() is None or not re.fullmatch(r"[0-9a-f]{32}", run_id):
            raise ValueError(text)
        return at.astimezone(UTC).isoformat(timespec="microseconds"), run_id
    except (binascii.Error, ValueError, OverflowError) as error:
        raise UsageError("the cursor is not one that this service gave", hint="leave it out to begin with the newest run") from error
