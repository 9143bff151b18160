"""Sweeps as records tell them: the runs of a group, the trial that each of them is, and the definition beside them."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lineage.errors import LineageError, NotFound, UsageError
from lineage.lookup.diff import dotted
from lineage.lookup.results import LOWER_IS_BETTER
from lineage.lookup.runs import find_runs
from lineage.model.run import Run, RunState
from lineage.model.sweep import Goal, SweepTrial
from lineage.model.sweep_findings import SweepParameter, SweepTrialView, SweepView, end_of, number_of, result_of
from lineage.ports import ObjectStore, Ports, RunQuery, SweepName

_NOT_SET = "not set"
_WIDE = 100.0  # the greatest value is so many times the least: drawn on a logarithmic scale
_ASIDE = ("timing/", "system/")


def sweep_of(ports: Ports, sweep_id: str, *, metric: str | None = None, goal: Goal | None = None) -> SweepView:
    """A sweep, of its runs.

    Args:
        ports: Where records and definitions are.
        sweep_id: Its whole id.
        metric: Another metric than the one that it is about.
        goal: Another goal.

    Raises:
        NotFound: No run belongs to such a sweep.
    """
    runs = [run for run in find_runs(ports.runs, ports.liveness, RunQuery(group=sweep_id)) if _trial_of(run, sweep_id) is not None]
    if not runs:
        raise NotFound("sweep", sweep_id, detail="no recorded run is a trial of it", hint="`lineage sweeps` lists sweeps")
    return _sweep(ports.objects, sweep_id, runs, metric, goal)


def list_sweeps(ports: Ports, most: int, *, after: tuple[str, str] | None = None, prefix: str = "") -> list[SweepName]:
    """Sweeps that runs belong to, the newest first, each trial in its true state; reads no record but of those that seem to run.

    Args:
        ports: Where records are.
        most: So many at most.
        after: Go on behind this (began_at, id).
        prefix: Only those whose ids begin so.
    """
    found = ports.rows.sweeps(most, after=after, prefix=prefix)
    running = [item.sweep for item in found if item.running]
    for sweep_id in running:
        find_runs(ports.runs, ports.liveness, RunQuery(group=sweep_id, state=RunState.running))  # notes the end of those that died
    return ports.rows.sweeps(most, after=after, prefix=prefix) if running else found


def sweep_named(ports: Ports, prefix: str) -> str:
    """The whole id of the sweep that begins so.

    Raises:
        NotFound: No run belongs to such a sweep.
        UsageError: Several do.
    """
    found = [item.sweep for item in ports.rows.sweeps(3, prefix=prefix)] if prefix else []
    if not found:
        raise NotFound("sweep", prefix, detail="no recorded run is a trial of it", hint="`lineage sweeps` lists sweeps")
    if len(found) > 1:
        raise UsageError(f"'{prefix}' fits several sweeps: {', '.join(found)}", hint="give more characters of the id")
    return found[0]


def sweep_or_group(
    ports: Ports, name: str, *, metric: str | None = None, goal: Goal | None = None, project: str | None = None
) -> SweepView:
    """A sweep, or a plain group of runs looked at as one: its parameters are then the fields of the configuration that differ.

    Args:
        ports: Where records are.
        name: Id of a sweep or how one begins, or name of a group.
        metric: What it is about; needed for a plain group.
        goal: What is looked for; without it what the sweep says, or what the metric's name says.
        project: Of a plain group, when several projects have one of this name.

    Raises:
        NotFound: No run belongs to it.
        UsageError: A plain group without a metric, or one that several projects have.
    """
    runs = find_runs(ports.runs, ports.liveness, RunQuery(group=name, project=project))
    if not runs and project is None and len(found := ports.rows.sweeps(2, prefix=name)) == 1:
        return sweep_of(ports, found[0].sweep, metric=metric, goal=goal)
    if not runs:
        detail = "no recorded run belongs to it" + (f" in project '{project}'" if project else "")
        raise NotFound("sweep or group", name, detail=detail, hint="`lineage sweeps` lists sweeps, `lineage runs` groups")
    trials = [run for run in runs if _trial_of(run, name) is not None]
    if trials:
        return _sweep(ports.objects, name, trials, metric, goal)
    return _group(name, runs, metric, goal)


def _trial_of(run: Run, sweep_id: str) -> SweepTrial | None:
    return run.sweep if run.sweep is not None and run.sweep.sweep == sweep_id else None


def _sweep(objects: ObjectStore, sweep_id: str, runs: Sequence[Run], metric: str | None, goal: Goal | None) -> SweepView:
    notes: list[str] = []
    attempts: dict[int, list[tuple[SweepTrial, Run]]] = {}
    repetitions = 0
    for run in runs:
        trial = _trial_of(run, sweep_id)
        if trial is None or run.reproduces is not None or run.repeats is not None:
            repetitions += 1  # the same values once more: counted, they would stand for trials that nobody proposed
        else:
            attempts.setdefault(trial.number, []).append((trial, run))
    if repetitions:
        notes.append(f"{_runs(repetitions)} that {_repeat(repetitions)} trials {_are(repetitions)} left out")
    told = next(trial for run in runs if (trial := _trial_of(run, sweep_id)) is not None)
    kept_definition = definition_of(objects, told.definition)
    if isinstance(kept_definition, str):
        notes.append(kept_definition)
    definition = kept_definition if isinstance(kept_definition, dict) else None
    chosen, looked_for = metric or told.metric, goal or told.goal
    trials: list[SweepTrialView] = []
    values: list[dict[str, Any]] = []
    for number in sorted(attempts):
        found = sorted(attempts[number], key=lambda item: (_rank(item[1]), item[0].attempt, item[1].started_at), reverse=True)
        trial, run = found[0]
        values.append(_flat(trial.parameters))
        trials.append(_view(run, number, trial.attempt, values[-1], chosen, [other.id for _, other in found[1:]]))
    distributions = _distributions(definition)
    parameters = tuple(parameter_of(name, values, distributions.get(name)) for name in _names(values, distributions))
    kept = [run for found in attempts.values() for _, run in found]
    return _finished(
        SweepView(
            id=sweep_id,
            is_sweep=True,
            name=text_in(definition, "name"),
            project=runs[0].project,
            method=text_in(definition, "method"),
            metric=chosen,
            goal=looked_for,
            definition=definition,
            parameters=parameters,
            trials=tuple(trials),
            best=None,
            logged=_logged(kept),
            notes=tuple(notes),
        )
    )


def _group(name: str, runs: Sequence[Run], metric: str | None, goal: Goal | None) -> SweepView:
    projects = sorted({run.project for run in runs})
    if len(projects) > 1:
        raise UsageError(f"{len(projects)} projects have a group '{name}': {', '.join(projects)}", hint="say which with --project")
    members = sorted((run for run in runs if run.reproduces is None), key=lambda run: (run.started_at, run.id))
    left_out = len(runs) - len(members)
    if metric is None:
        hint = f"name one with --metric: {', '.join(_logged(members)[:12]) or 'its runs logged none'}"
        raise UsageError(f"'{name}' is a plain group, which says not what metric it is about", hint=hint)
    values = [_flat(run.config) for run in members]
    parameters = tuple(item for key in _names(values, {}) if (item := parameter_of(key, values, None)).distinct > 1)
    shown = {item.name for item in parameters}
    trials = [
        _view(run, number, 1, {key: value for key, value in flat.items() if key in shown}, metric, [])
        for number, (run, flat) in enumerate(zip(members, values, strict=True))
    ]
    return _finished(
        SweepView(
            id=name,
            is_sweep=False,
            name=None,
            project=projects[0],
            method=None,
            metric=metric,
            goal=goal or ("minimize" if LOWER_IS_BETTER.search(metric.lower()) else "maximize"),
            definition=None,
            parameters=parameters,
            trials=tuple(trials),
            best=None,
            logged=_logged(members),
            notes=(f"{_runs(left_out)} that {_repeat(left_out)} others {_are(left_out)} left out",) if left_out else (),
        )
    )


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _repeat(count: int) -> str:
    return "repeats" if count == 1 else "repeat"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _finished(view: SweepView) -> SweepView:
    """With the best trial, and a note when no trial has the metric."""
    complete = [item for item in view.ranked() if item.state == "complete" and item.finite is not None]
    notes = list(view.notes)
    if (
        view.metric is not None
        and not any(item.value is not None for item in view.trials)
        and any(item.state == "complete" for item in view.trials)
    ):
        near = difflib.get_close_matches(view.metric, view.logged, 1)
        meant = f"; is '{near[0]}' meant?" if near else f"; they logged {', '.join(view.logged[:8])}" if view.logged else ""
        notes.append(f"no trial logged '{view.metric}'{meant}")
    return view.model_copy(update={"best": complete[0].run_id if complete else None, "notes": tuple(notes)})


def _rank(run: Run) -> int:
    return {"running": 1, "failed": 0}.get(end_of(run), 2)


def _view(run: Run, number: int, attempt: int, parameters: dict[str, Any], metric: str | None, others: list[str]) -> SweepTrialView:
    return SweepTrialView(
        number=number,
        attempt=attempt,
        run_id=run.id,
        run_name=run.name,
        state=end_of(run),
        started_at=run.started_at,
        duration_s=run.duration_s,
        parameters=parameters,
        value=result_of(run, metric),
        error=run.error,
        attempts=tuple(others),
    )


def _logged(runs: Sequence[Run]) -> tuple[str, ...]:
    names = {name for run in runs for name, value in run.summary.items() if number_of(value) is not None}
    return tuple(sorted(names, key=lambda name: (name.startswith(_ASIDE), name)))


def definition_of(objects: ObjectStore, digest: str) -> dict[str, Any] | str:
    """A sweep's definition, in W&B's form; or a sentence why it cannot be read."""
    try:
        found = json.loads(objects.get_bytes(digest))
    except (LineageError, ValueError, RecursionError) as error:
        return f"its definition cannot be read: {error}"
    return found if isinstance(found, dict) else "its definition is no mapping"


def text_in(definition: Mapping[str, Any] | None, name: str) -> str | None:
    """A text of a definition; ``None`` where there is none."""
    value = (definition or {}).get(name)
    return value if isinstance(value, str) else None


def _distributions(definition: Mapping[str, Any] | None, prefix: str = "") -> dict[str, str | None]:
    """Parameter with dots to the name of its distribution; in the order of the definition."""
    found: dict[str, str | None] = {}
    told = (definition or {}).get("parameters")
    for name, item in told.items() if isinstance(told, Mapping) else ():
        if isinstance(item, Mapping) and isinstance(item.get("parameters"), Mapping):
            found |= _distributions(item, f"{prefix}{name}.")
        elif isinstance(item, Mapping):
            distribution = item.get("distribution", "uniform" if {"min", "max"} & item.keys() else None)
            found[f"{prefix}{name}"] = distribution if isinstance(distribution, str) else None
    return found


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, float) and not math.isfinite(value) else value for name, value in dotted(values).items()}


def _names(values: Sequence[Mapping[str, Any]], first: Mapping[str, Any]) -> list[str]:
    present = dict.fromkeys(name for flat in values for name in flat)
    return [*(name for name in first if name in present), *(name for name in present if name not in first)]


def text_of(value: Any) -> str:
    """A parameter's value as the name of a category."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_number(value: Any) -> float | None:
    """A parameter's value, when it is a finite number."""
    found = number_of(value)
    return found if isinstance(found, float) else None


def parameter_of(name: str, values: Sequence[Mapping[str, Any]], distribution: str | None) -> SweepParameter:
    """A parameter over all trials.

    Args:
        name: Its name, with dots.
        values: Parameters of each trial, with dots.
        distribution: W&B's name of how it is drawn; ``None`` where nothing is said.
    """
    present = [flat[name] for flat in values if name in flat]
    missing = len(values) - len(present)
    numbers = [as_number(value) for value in present]
    finite = [value for value in numbers if value is not None]
    distinct = len({text_of(value) for value in present}) + bool(missing)
    if not finite or len(finite) < len(present):
        texts = sorted({text_of(value) for value in present})
        return SweepParameter(
            name=name,
            kind="category",
            categories=(*texts, *([_NOT_SET] if missing else [])),
            distinct=distinct,
            missing=missing,
        )
    low, high = min(finite), max(finite)
    draws = distribution is not None and distribution not in ("categorical", "categorical_w_probabilities", "constant")
    is_log = low > 0 and ("log" in (distribution or "") if draws else high / low >= _WIDE)
    return SweepParameter(
        name=name,
        kind="number",
        scale="log" if is_log else "linear",
        low=low,
        high=high,
        distinct=len(set(finite)) + bool(missing),
        missing=missing,
    )
