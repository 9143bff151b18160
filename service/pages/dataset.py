"""Datasets as records know them: versions, views, who used them, and uploads. No dataset is opened."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import HTMLResponse

from lineage.lookup.datasets import dataset_page
from lineage.model.graph import node_id
from service.dependencies import PortsOf
from service.pages.addresses import dataset_address, lineage_address
from service.pages.rendering import html

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_AT_ONCE = 25

SkipOf = Annotated[int, Query(ge=0, lt=2**31)]


@router.get("/datasets")
def datasets_page(ports: PortsOf, after: Annotated[str, Query(max_length=500, pattern=r"^[^\x00]*$")] = "") -> Response:
    """Every dataset that a run read, by id."""
    found = ports.rows.datasets(after, _AT_ONCE + 1)
    following = found[_AT_ONCE - 1].dataset_id if len(found) > _AT_ONCE else None
    return html(
        "datasets.html",
        datasets=found[:_AT_ONCE],
        at=datetime.fromisoformat,
        address=dataset_address,
        first=None if not after else "/datasets",
        following=None if following is None else f"/datasets?{urlencode({'after': following})}",
    )


@router.get("/datasets/{id:path}")
def show_dataset(
    ports: PortsOf,
    dataset_id: Annotated[str, Path(alias="id", max_length=500, pattern=r"^[^\x00]+$")],
    commit: Annotated[str | None, Query(max_length=500, pattern=r"^[^\x00]*$")] = None,
    versions: SkipOf = 0,
    views: SkipOf = 0,
) -> Response:
    """One dataset, or one version of it; ``versions`` and ``views`` leave out so many of each."""
    chosen = commit or None
    page = dataset_page(ports, dataset_id, chosen, most=_AT_ONCE, skip_versions=versions, skip_views=views)

    def turned(**skips: int) -> str:
        told = {"versions": versions, "views": views} | skips
        query = {"commit": chosen} | {name: skip for name, skip in told.items() if skip}
        return f"{dataset_address(dataset_id)}?{urlencode({name: value for name, value in query.items() if value})}"

    return html(
        "dataset.html",
        page=page,
        commit=chosen,
        at=datetime.fromisoformat,
        address=dataset_address,
        graph_of=lambda commit_id: lineage_address(node_id("version", (dataset_id, commit_id))),
        graph_of_view=lambda item: lineage_address(node_id("view", (dataset_id, item.commit_id, item.content_digest))),
        newer_versions=turned(versions=max(0, versions - _AT_ONCE)) if versions else None,
        older_versions=turned(versions=versions + _AT_ONCE) if page.more_versions else None,
        newer_views=turned(views=max(0, views - _AT_ONCE)) if views else None,
        older_views=turned(views=views + _AT_ONCE) if page.more_views else None,
    )
