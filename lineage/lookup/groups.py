"""Groups of runs: mean ± deviation (least, greatest) of every metric, per step and at the end, and what differs inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineage.errors import NotFound, UsageError
from lineage.lookup.group_differences import between, differences
from lineage.lookup.group_series import STEP, GroupSeries
from lineage.lookup.runs import find_runs
from lineage.lookup.spread import finite, is_not_finite, metrics_in_order, spread
from lineage.model.group import Group, GroupMember, GroupsCompared, MetricOfGroup, SpreadAtEnd
from lineage.model.run import Run, RunState
from lineage.ports import Liveness, Ports, Progress, RunQuery, RunStore, no_progress

if TYPE_CHECKING:
    pass

MOST_POINTS = 600
"""Steps that a drawing needs at most."""


@dataclass(frozen=True, slots=True)
class GroupBrief:
    """A group in a list.

    Attributes:
        runs: Its runs, without reproductions.
        newest: The one that began last.
    """

    name: str
    project: str
    runs: int
    finished: int
    newest: Run


def groups(runs: RunStore, liveness: Liveness, project: str | None = None, most: int = 10_000) -> list[GroupBrief]:
    """Every group, that with the newest run first.

    Args:
        runs: Store.
        liveness: Of its runs.
        project: Only this project.
        most: Runs that are looked at: the newest ones.
    """
    found: dict[tuple[str, str], list[Run]] = {}
    for run in find_runs(runs, liveness, RunQuery(project=project, limit=most)):
        if run.group is not None and run.reproduces is None:
            found.setdefault((run.project, run.group), []).append(run)
    return [
        GroupBrief(name, where, len(members), sum(run.state is RunState.finished for run in members), members[0])
        for (where, name), members in found.items()
    ]


def group_of(
    ports: Ports,
    name: str,
    *,
    project: str | None = None,
    metrics: Sequence[str] = (),
    axis: str | None = None,
    machine: bool = False,
    points: int | None = None,
    most: int | None = None,
    progress: Progress = no_progress,
) -> Group:
    """A group with its statistics.

    Runs that were made to reproduce another one do not belong to it: they would count its result twice. Failed and aborted runs are named
    and do not count; one that goes on counts at the steps that it has, and not at the end.

    Args:
        ports: The outside world.
        name: Of the group.
        project: Of its runs; needed where several projects have a group of this name.
        metrics: Only these; every metric that a run logged or put into its summary without them.
        axis: ``step``, or a metric whose last value at or before each step takes the step's place, as W&B's step metric does. Without it,
            what the runs said with ``define_metric``.
        machine: Also those of the machine (``system/…``, ``timing/…``), which are else told only when they are asked for by name.
        points: At most about so many steps for each metric, for drawing; all of them without it.
        most: Look at the newest so many runs only.
        progress: Told of runs read.

    Raises:
        NotFound: There is no such group; or no run of it has a metric that is asked for.
        UsageError: Several projects have a group of this name.
    """
    members = members_of(ports, name, project, None if most is None else most + 1)
    is_whole = most is None or len(members) <= most
    members = members if most is None else members[:most]
    counted = [run for run in members if left_out(run) is None]
    read = GroupSeries(metrics, axis, machine=machine)
    for number, run in enumerate(counted, 1):
        read.add(run, ports.runs.stored_metrics(run.id))
        progress("reading metrics", number, len(counted))
    names = list(dict.fromkeys(metrics)) or metrics_in_order(read.counted)
    missing = [item for item in metrics if item not in read.counted]
    if missing and counted:
        known = ", ".join(metrics_in_order(read.counted)[:8]) or "none was logged"
        raise NotFound("metric", missing[0], detail=f"no run of group '{name}' has it", hint=f"known: {known}")
    found = tuple(_metric(read, item, counted, points) for item in names)
    return Group(
        name=name,
        project=members[0].project,
        runs=len(counted),
        members=tuple(_member(run, read.last.get(run.id, {}), names) for run in members),
        is_whole=is_whole,
        metrics=found,
        difference=differences(counted),
        notes=tuple(_notes(found, counted, read)),
    )


def members_of(ports: Ports, name: str, project: str | None = None, most: int | None = None) -> list[Run]:
    """Runs of a group, newest first, each in its true state; without those that reproduce another one.

    Raises:
        NotFound: There is no such group.
        UsageError: Several projects have one.
    """
    found = find_runs(ports.runs, ports.liveness, RunQuery(project=project, group=name, limit=most))
    found = [run for run in found if run.reproduces is None]
    if not found:
        where = "" if project is None else f"in project '{project}'"
        raise NotFound("group", name, detail=where or None, hint="`lineage groups` lists them; lineage.start_run(group=…) makes one")
    projects = sorted({run.project for run in found})
    if len(projects) > 1:
        raise UsageError(
            f"group '{name}' is in {len(projects)} projects: {', '.join(projects[:5])}", hint="name one of them as the project"
        )
    return found


def compare_groups(ports: Ports, found: Sequence[Group]) -> GroupsCompared:
    """What differs between groups: between the runs of each that count."""
    return between({item.name: [ports.runs.get(member.run_id) for member in item.members if member.left_out is None] for item in found})


def left_out(run: Run) -> str | None:
    """Why a run of a group does not count; ``None`` when it does."""
    if run.state in (RunState.finished, RunState.running):
        return None
    return f"it {'failed' if run.state is RunState.failed else 'was broken off'}"


def _metric(read: GroupSeries, name: str, runs: Sequence[Run], points: int | None) -> MetricOfGroup:
    bands = read.bands.get(name)
    over = None if bands is None or not len(bands.x) else bands.told(points)
    return MetricOfGroup(name=name, end=_at_end(name, runs, read.last), axis=read.axes.get(name, STEP), over=over)


def _at_end(name: str, runs: Sequence[Run], last: Mapping[str, Mapping[str, Any]]) -> SpreadAtEnd:
    ended = [run for run in runs if run.state is not RunState.running]
    values = [last[run.id].get(name) for run in ended]
    kept = [value for value in map(finite, values) if value is not None]
    not_finite = sum(map(is_not_finite, values))
    found = spread(kept)
    return SpreadAtEnd(
        n=len(kept),
        mean=None if found is None else found.mean,
        std=None if found is None else found.deviation,
        min=None if found is None else found.low,
        max=None if found is None else found.high,
        not_finite=not_finite,
        missing=len(ended) - len(kept) - not_finite,
    )


def _member(run: Run, last: Mapping[str, Any], names: Sequence[str]) -> GroupMember:
    return GroupMember(
        run_id=run.id,
        name=run.name,
        project=run.project,
        state=run.state,
        seed=run.seed,
        started_at=run.started_at,
        repeats=run.repeats,
        left_out=left_out(run),
        last={name: value if finite(value) is not None else str(value) for name in names if (value := last.get(name)) is not None},
    )


def _notes(metrics: Sequence[MetricOfGroup], counted: Sequence[Run], read: GroupSeries) -> Iterator[str]:
    going = sum(run.state is RunState.running for run in counted)
    if going:
        yield f"{_many(going, 'run')} still running: counted at the steps so far, not at the end"
    ragged = [(item.name, item.over) for item in metrics if item.over is not None and len(set(item.over.n)) > 1]
    if ragged:
        name, first = ragged[0]
        more = f" and {_many(len(ragged) - 1, 'other metric')}" if len(ragged) > 1 else ""
        yield f"{name}{more}: not every run has a value at every step (n of {name} is {min(first.n)} to {max(first.n)} of {len(counted)})"
    for item in metrics:
        over = item.over
        if over is not None and over.not_finite:
            yield f"{item.name}: {_many(over.not_finite, 'value')} left out that {'is' if over.not_finite == 1 else 'are'} NaN or infinite"
        if over is not None and over.repeated:
            yield f"{item.name}: {_many(over.repeated, 'value')} logged again at the same step; the last one counts"
        if item.end.not_finite:
            yield f"{item.name}: {_many(item.end.not_finite, 'run')} left out at the end, where the value is NaN or infinite"
        if item.end.missing:
            yield f"{item.name}: {_many(item.end.missing, 'run')} without a value"
    if read.no_axis:
        yield f"{_many(read.no_axis, 'value')} left out that came before the axis had one"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
