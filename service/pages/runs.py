"""The list of runs: filtered, sorted by any column, or put into groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lineage.model.run import Run, RunState
from lineage.ports import Ports
from service.dependencies import PortsOf
from service.listing import MOST, Page, RunFilters, find_page
from service.pages import columns
from service.pages.addresses import group_address
from service.pages.columns import Column, column
from service.pages.grouping import RunGroup, grouped
from service.pages.rendering import html

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

MOST_SORTED = 500
"""Runs that are sorted or put into groups, at most: the newest ones that fit. The page says when there are more."""

IN_FORM = ("project", "group", "job_type", "state", "dataset", "text")
"""Filters that the form shows at all times; others come from links, and stay as they are."""


def _known(key: str) -> str:
    if column(key) is None:
        raise ValueError(f"there is no column '{key}'")
    return key


_Key = Annotated[str, Field(max_length=500), AfterValidator(_known)]


class Layout(BaseModel):
    """How the runs that fit are shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sort: _Key = "started"
    order: Literal["asc", "desc"] = "desc"
    column: tuple[_Key, ...] = Field((), max_length=30)
    by: tuple[_Key, ...] = Field((), max_length=3)
    start: int = Field(0, ge=0, le=MOST_SORTED)

    @property
    def is_newest_first(self) -> bool:
        """Whether the store's own order is the one that is asked for."""
        return (self.sort, self.order) == ("started", "desc") and not self.by


@dataclass(frozen=True, slots=True)
class _Asked:
    filters: RunFilters
    layout: Layout

    def address(self, **changed: Any) -> str:
        """The same page with other parameters; ``None`` takes one away. Whatever changes, it begins at its first run."""
        given = {
            **self.filters.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
            **self.layout.model_dump(mode="json", exclude_defaults=True),
        }
        given = {name: value for name, value in given.items() if name not in ("cursor", "start")} | changed
        query = urlencode({name: value for name, value in given.items() if value is not None}, doseq=True)
        return f"/runs?{query}" if query else "/runs"


async def _asked(request: Request) -> _Asked:
    # A form sends its empty fields too; they mean "any".
    given = [(name, value) for name, value in request.query_params.multi_items() if value]
    filters = {name: value for name, value in given if name not in Layout.model_fields}
    layout: dict[str, Any] = {name: value for name, value in given if name in Layout.model_fields}
    for name in ("column", "by"):
        if name in layout:
            layout[name] = tuple(dict.fromkeys(value for key, value in given if key == name))
    try:
        return _Asked(RunFilters.model_validate(filters), Layout.model_validate(layout))
    except ValidationError as error:
        raise RequestValidationError([{**item, "loc": ("query", *item["loc"])} for item in error.errors()]) from error


@router.get("/")
async def home() -> Response:
    """The list of runs is the front page."""
    return RedirectResponse("/runs")


@router.get("/runs")
def runs_page(ports: PortsOf, asked: Annotated[_Asked, Depends(_asked)]) -> Response:
    """Runs, newest first, with a form that filters, sorts and groups them."""
    filters, layout = asked.filters, asked.layout
    pool, is_cut = _pool(ports, asked)
    sorted_by = column(layout.sort) or columns.FACTS["started"]
    shown, newer, older = _part(asked, pool, sorted_by)
    chosen = [found for key in layout.column or columns.usual(pool.runs) if key != "name" and (found := column(key))]
    metrics = [item.title for item in chosen if item.key.startswith(columns.METRIC)]
    given = filters.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return html(
        "runs.html",
        runs=shown,
        groups=_groups(asked, pool.runs, metrics),
        metrics=metrics,
        chosen=chosen,
        by=[found for key in layout.by if (found := column(key))],
        is_cut=is_cut,
        sorted_among=len(pool.runs),
        filters=filters,
        layout=layout,
        address=asked.address,
        group_address=group_address,
        choices=_choices(pool.runs, chosen),
        grouping=[columns.FACTS[key] for key in columns.GROUPING],
        states=[state.value for state in RunState],
        known={name: sorted({value for run in pool.runs if (value := getattr(run, name))}) for name in ("project", "group", "job_type")},
        datasets=sorted({item.uri for run in pool.runs for item in run.inputs}),
        fixed={name: given[name] for name in given if name not in (*IN_FORM, "cursor")},
        is_filtered=bool(given.keys() - {"limit", "cursor"}),
        newest=newer,
        older=older,
    )


def _pool(ports: Ports, asked: _Asked) -> tuple[Page, bool]:
    """The runs to show; for another order than the store's, all that are sorted, and whether more would fit."""
    if asked.layout.is_newest_first:
        return find_page(ports, asked.filters), False
    found: list[Run] = []
    cursor: str | None = None
    while len(found) < MOST_SORTED:
        page = find_page(ports, asked.filters.model_copy(update={"cursor": cursor, "limit": min(MOST, MOST_SORTED - len(found))}))
        found += page.runs
        cursor = page.next_cursor
        if cursor is None:
            break
    return Page(tuple(found), None), cursor is not None


def _part(asked: _Asked, pool: Page, by: Column) -> tuple[Sequence[Run], str | None, str | None]:
    """The runs of this page, and the addresses of the first and the next one."""
    filters, layout = asked.filters, asked.layout
    if layout.is_newest_first:
        older = asked.address(cursor=pool.next_cursor) if pool.next_cursor else None
        return pool.runs, asked.address() if filters.cursor else None, older
    runs = columns.in_order(pool.runs, by, descending=layout.order == "desc")
    end = layout.start + filters.limit
    return runs[layout.start : end], asked.address() if layout.start else None, asked.address(start=end) if end < len(runs) else None


def _groups(asked: _Asked, runs: Sequence[Run], metrics: Sequence[str]) -> list[RunGroup]:
    by = [found for key in asked.layout.by if (found := column(key))]
    return grouped(runs, by, metrics) if by else []


def _choices(runs: Sequence[Run], chosen: Sequence[Column]) -> list[tuple[str, list[Column]]]:
    """Columns that can be chosen, under three heads; those that are chosen are among them, whatever the runs have."""
    metrics = dict.fromkeys(f"{columns.METRIC}{name}" for name in columns.metric_names(runs))
    config = dict.fromkeys(f"{columns.CONFIG}{name}" for name in columns.config_names(runs))
    for item in chosen:
        for kept, prefix in ((metrics, columns.METRIC), (config, columns.CONFIG)):
            if item.key.startswith(prefix):
                kept.setdefault(item.key)
    return [
        ("Facts", [item for key, item in columns.FACTS.items() if key != "name"]),
        ("Metrics, last value", [found for key in metrics if (found := column(key))]),
        ("Configuration", [found for key in config if (found := column(key))]),
    ]
