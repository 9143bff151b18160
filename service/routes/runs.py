"""``/api/v1/runs``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from lineage.errors import NotFound, UsageError
from lineage.lookup.data import inherited_by, rows_of
from lineage.lookup.leaks import find_leaks
from lineage.lookup.runs import get_run
from lineage.lookup.steps import read_steps, told_steps
from lineage.model.environment import Environment
from lineage.model.findings import LeakReport
from lineage.model.run import Run
from service import example_findings, examples
from service.dependencies import PortsOf, RunName
from service.entity import entity
from service.listing import RunFilters, find_briefs
from service.problems import responses
from service.schemas import RowOfRun, RunData, RunMetrics, RunPage, RunRows, RunSteps, StepOfRun, data_of, run_metrics

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])

_OF_ONE_RUN = {304: examples.NOT_MODIFIED, **responses(400, 404, 422)}


@router.get("", response_model=RunPage, responses={200: examples.run_page(), 304: examples.NOT_MODIFIED, **responses(400, 422)})
def list_runs(request: Request, ports: PortsOf, filters: Annotated[RunFilters, Query()]) -> Response:
    """Runs that fit, newest first, a page at a time. A cursor belongs to the filters that it was given for."""
    page = find_briefs(ports, filters)
    return entity(request, RunPage(items=page.runs, next_cursor=page.next_cursor))


@router.get("/{id}", response_model=Run, responses={200: examples.run(), **_OF_ONE_RUN})
def show_run(request: Request, ports: PortsOf, name: RunName) -> Response:
    """Everything recorded of a run, as `lineage show --json` prints it."""
    return entity(request, get_run(ports.runs, ports.liveness, name))


@router.get("/{id}/data", response_model=RunData | RunRows, responses={200: examples.run_data(), **_OF_ONE_RUN})
def show_run_data(
    request: Request,
    ports: PortsOf,
    name: RunName,
    rows: Annotated[bool, Query(description="Every row instead: sample ids, digests, epochs in which it was read.")] = False,
    role: Annotated[str | None, Query(description="Only inputs of this role.", max_length=40, examples=["train"])] = None,
    cursor: Annotated[str | None, Query(description="With `rows`: `next_cursor` of the page before.", max_length=20)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="With `rows`: at most so many.")] = 1_000,
) -> Response:
    """What a run read, by role: dataset, commit id, view and rows; with `rows=true` row by row."""
    run = get_run(ports.runs, ports.liveness, name)
    if not rows:
        return entity(request, data_of(run, inherited_by(ports.runs, ports.rows, run), role))
    start = _parse_position(cursor)
    found = tuple(RowOfRun(**row) for row in rows_of(ports.objects, run, role, start=start, stop=start + limit))
    total = sum(item.rows for item in run.inputs if role in (None, item.role))
    next_cursor = str(start + limit) if start + limit < total else None
    return entity(request, RunRows(run_id=run.id, items=found, next_cursor=next_cursor))


def _parse_position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit():
        raise UsageError("the cursor is not one that this service gave", hint="leave it out to begin with the first row")
    return int(cursor)


@router.get("/{id}/leaks", response_model=LeakReport, responses={200: example_findings.leaks(), **_OF_ONE_RUN})
def show_run_leaks(
    request: Request,
    ports: PortsOf,
    name: RunName,
    role: Annotated[
        list[str] | None, Query(description="Inputs that count as evaluated; all but `train` by default.", max_length=20)
    ] = None,
) -> Response:
    """Evaluated rows that the model, or one that it was fine-tuned from, was trained on.

    By row, picture bytes and sequence, from the record alone; no dataset is opened here. `lineage leaks` also finds pictures that look
    alike.
    """
    run = get_run(ports.runs, ports.liveness, name)
    return entity(request, find_leaks(ports, run, roles=role or (), near=False))


@router.get("/{id}/steps", response_model=RunSteps, responses={200: example_findings.run_steps(), **_OF_ONE_RUN})
def show_run_steps(
    request: Request,
    ports: PortsOf,
    name: RunName,
    first: Annotated[int, Query(alias="from", ge=-1, lt=2**63, description="First step; -1 is the state before the first.")] = -1,
    last: Annotated[int | None, Query(alias="to", ge=-1, lt=2**63, description="Last step.")] = None,
    rank: Annotated[int, Query(ge=0, lt=2**31, description="Which process of a distributed training.")] = 0,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=20)] = None,
    limit: Annotated[int, Query(ge=1, le=1_000, description="At most so many.")] = 100,
) -> Response:
    """What each step of a training read, got, lost and changed, as `lineage steps` shows it."""
    run = get_run(ports.runs, ports.liveness, name)
    log = read_steps(ports, run, rank)
    chosen = [record for record in log.records if record.step >= first and (last is None or record.step <= last)]
    start = _parse_position(cursor)
    shown = told_steps(ports, run, chosen[start : start + limit])
    return entity(
        request,
        RunSteps(
            run_id=run.id,
            rank=rank,
            every=log.header.every,
            steps=log.steps,
            head=log.head,
            torn=log.torn,
            records=tuple(StepOfRun.model_validate(item) for item in shown),
            next_cursor=str(start + limit) if start + limit < len(chosen) else None,
        ),
    )


@router.get("/{id}/environment", response_model=Environment, responses={200: examples.environment(), **_OF_ONE_RUN})
def show_run_environment(request: Request, ports: PortsOf, name: RunName) -> Response:
    """Interpreter, packages and machine that a run had; names of variables, never a secret's value."""
    run = get_run(ports.runs, ports.liveness, name)
    if run.environment is None:
        raise NotFound("environment", run.id[:12], detail="the record of this run has none")
    return entity(request, run.environment)


@router.get("/{id}/metrics", response_model=RunMetrics, responses={200: examples.run_metrics(), **_OF_ONE_RUN})
def show_run_metrics(request: Request, ports: PortsOf, name: RunName) -> Response:
    """Everything a run logged, one series for each metric."""
    found = get_run(ports.runs, ports.liveness, name)
    return entity(request, run_metrics(found.id, ports.runs.metrics(found.id)))
