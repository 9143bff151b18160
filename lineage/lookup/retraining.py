"""How to make models again without some rows: cleaned views first, then runs, base models before what starts from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lineage.lookup.cleaned_views import clean_view, parts
from lineage.lookup.rows import Occurrence
from lineage.model.dataset import InputRecord, local_path
from lineage.model.findings import AffectedRun, CleanedView, PlanStep, Replacement, RetrainingPlan
from lineage.model.run import Run, UsedArtifact
from lineage.ports import Ports, Progress, no_progress

_SLUG_LETTERS = 24


def make_retraining_plan(
    ports: Ports,
    affected: Sequence[AffectedRun],
    records: Mapping[str, Run],
    held: Mapping[str, Sequence[Occurrence]],
    *,
    condition_of: tuple[str | None, str | None] = (None, None),
    progress: Progress = no_progress,
) -> RetrainingPlan:
    """What to do, in order. Nothing is done.

    Args:
        ports: The outside world.
        affected: Runs that read the rows or inherit them.
        records: Run id to record, of all of them.
        held: View key to the rows it has to lose.
        condition_of: The query that chose the rows and the id of its dataset, when one did.
        progress: Told of views looked at.
    """
    inputs = {
        item.view_key: records[run.run_id].inputs[item.input] for run in affected for item in run.inputs if run.reason != "never_read"
    }
    slug = _slug([item for rows in held.values() for item in rows])
    views: dict[str, CleanedView] = {}
    for number, (key, item) in enumerate(inputs.items(), start=1):
        views[key] = clean_view(ports, item, held[key], _condition(item, *condition_of), slug)
        progress("narrowing queries", number, len(inputs))
    known = {run.run_id for run in affected}
    again = [run for run in affected if run.reason != "never_read" and run.reproduces not in known]
    steps = _steps(ports, again, records, views)
    return RetrainingPlan(views=tuple(views.values()), steps=tuple(steps), notes=tuple(_notes(ports, affected, records, inputs, held)))


def _condition(item: InputRecord, query: str | None, dataset_id: str | None) -> str | None:
    if query is None or item.dataset_id != dataset_id:
        return None
    condition, tail = parts(query)
    return condition if condition and not tail else None


def _slug(held: Sequence[Occurrence]) -> str:
    ids = sorted({item.sample_id for item in held if item.sample_id})
    if len(ids) == 1:
        return re.sub(r"[^A-Za-z0-9_-]+", "-", ids[0]).strip("-")[:_SLUG_LETTERS] or "sample"
    return f"{len({(item.space, item.row) for item in held})}-rows"


# --- steps ------------------------------------------------------------------------------------------------------------------


def _steps(ports: Ports, again: Sequence[AffectedRun], records: Mapping[str, Run], views: Mapping[str, CleanedView]) -> list[PlanStep]:
    makers: dict[str, list[str]] = {}
    digests = sorted({used.digest for run in again for used in records[run.run_id].uses})
    for edge in ports.rows.makers(digests):
        makers.setdefault(edge.digest, []).append(edge.run_id)
    ids = {run.run_id for run in again}
    # A reproduction makes the same bytes as its original and has no step of its own.
    stands_for = {item.id: item.reproduces for item in map(ports.runs.get, {name for names in makers.values() for name in names})}
    older = {
        run.run_id: {
            used.digest: maker
            for used in records[run.run_id].uses
            for name in makers.get(used.digest, [])
            for maker in (name if name in ids else stands_for[name],)
            if maker is not None and maker in ids and maker != run.run_id
        }
        for run in again
    }
    oldest_first = [run.run_id for run in sorted(again, key=lambda run: run.started_at)]
    order = bases_first({run_id: set(made.values()) for run_id, made in older.items()}, oldest_first)
    number = {run_id: place for place, run_id in enumerate(order, start=1)}
    by_id = {run.run_id: run for run in again}
    return [_step(by_id[run_id], records[run_id], number, older[run_id], records, views) for run_id in order]


def bases_first(needs: Mapping[str, set[str]], oldest_first: Sequence[str]) -> list[str]:
    """Runs in an order in which each comes after those it needs; the oldest first where that leaves a choice.

    Starting times alone would do if every machine's clock were right.
    """
    order: list[str] = []
    waiting = list(oldest_first)
    while waiting:
        ready = next((run_id for run_id in waiting if needs[run_id] <= set(order)), waiting[0])  # a file may be passed round in a circle
        order.append(ready)
        waiting.remove(ready)
    return order


def _step(
    affected: AffectedRun,
    run: Run,
    number: Mapping[str, int],
    older: Mapping[str, str],
    records: Mapping[str, Run],
    views: Mapping[str, CleanedView],
) -> PlanStep:
    replace = [_replaced_input(run, run.inputs[item.input], views[item.view_key]) for item in affected.inputs]
    replace += [_replaced_model(run, used, number[older[used.digest]], records) for used in run.uses if used.digest in older]
    fits = affected.reason != "evaluated" and any(item.kind == "model" for item in run.outputs)
    return PlanStep(
        number=number[run.id],
        run_id=run.id,
        run_name=run.name,
        action="train" if fits or any(item.role == "train" for item in run.inputs) else "evaluate",
        command=run.command,
        working_directory=run.working_directory,
        git_sha=None if run.code is None else run.code.git_sha,
        replace=tuple(replace),
    )


def _replaced_input(run: Run, item: InputRecord, view: CleanedView) -> Replacement:
    called = f"view '{item.view_name}'" if item.view_name else f"query '{item.query}'" if item.query else "all rows"
    if view.rows_left == 0:
        by = "nothing: no row is left"
    elif view.command is not None:
        by = f"the view '{view.name}' ({view.rows_left} rows)"
    elif view.query is not None:
        by = f"{view.rows_left} rows: query=\"{view.query}\", commit_id='{view.commit_id}'"
    else:
        by = f"the {view.rows_left} rows that are left, chosen by hand"
    names = [item.view_name, item.view_id, item.query] if item.view_id or item.query else [item.uri, str(local_path(item.uri) or "")]
    return Replacement(
        what=f"{item.role} input: {called} of {item.uri}, {item.rows} rows",
        by=by,
        where=tuple(_places(run, [name for name in names if name])),
    )


def _replaced_model(run: Run, used: UsedArtifact, step: int, records: Mapping[str, Run]) -> Replacement:
    return Replacement(
        what=f"{used.role} {used.kind} {used.path} ({used.digest[:19]}…)",
        by=f"what step {step} makes in its place",
        where=tuple(_places(run, [used.path])),
    )


def _places(run: Run, names: Sequence[str]) -> Iterator[str]:
    """Where the command and the configuration name something: whole words, values of options, or the ends of paths."""
    for word in run.command:
        if any(_is_named(value, name) for value in (word, word.partition("=")[2]) for name in names):
            yield f"command: {word}"
    for path, value in _leaves(run.config, "config"):
        if isinstance(value, str) and any(_is_named(value, name) for name in names):
            yield f"{path}: {value}"


def _is_named(value: str, name: str) -> bool:
    return bool(value) and (value == name or (value.count("/") > 0 and name.endswith(f"/{value.removeprefix('./').rstrip('/')}")))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]")
    else:
        yield path, value


# --- what else ----------------------------------------------------------------------------------------------------------------


def _notes(
    ports: Ports,
    affected: Sequence[AffectedRun],
    records: Mapping[str, Run],
    inputs: Mapping[str, InputRecord],
    held: Mapping[str, Iterable[Occurrence]],
) -> Iterator[str]:
    for uri in sorted({item.uri for run in affected for item in run.inputs}):
        yield f"the rows may still be in {uri}: delete them there and commit, or new views will hold them again"
    known = {run.run_id for run in affected}
    for run in affected:
        if run.reproduces in known:
            yield f"run {run.run_id[:12]} ({run.run_name}) reproduced run {str(run.reproduces)[:12]}: it has no step of its own"
        if run.reason == "never_read":
            yield f"run {run.run_id[:12]} ({run.run_name}) had the rows in a view but never read them: it has no step"
    archived = [item for item in inputs.values() if ports.rows.archive(item.content_digest) is not None]
    if archived:
        yield f"{len(archived)} of the views are archived: the store keeps copies of their rows"
    pictures = {row.picture_digest for rows in held.values() for row in rows if row.picture_digest is not None}
    kept = sum(ports.objects.has(digest) for digest in pictures)
    if kept:
        yield f"the object store holds the bytes of {kept} of the pictures"
    weights = {item.digest for run in affected for item in records[run.run_id].outputs if item.kind == "model"}
    stored = sum(ports.objects.has(digest) for digest in weights)
    if stored:
        yield f"the object store holds the weights of {stored} of the models"
