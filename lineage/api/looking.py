"""Looking up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineage.api.process import ports_of_process
from lineage.errors import UsageError
from lineage.lookup import runs as lookup
from lineage.lookup.data import inherited_by
from lineage.lookup.data import rows_of as _rows_of
from lineage.lookup.filters import make_query
from lineage.lookup.models import ModelUse, models_of_dataset, models_with, occurrences_of
from lineage.model.dataset import InputRecord, normalise_uri
from lineage.model.metrics import is_sample, logged
from lineage.model.run import MetricPoint, Run, RunState
from lineage.ports import Progress, no_progress

if TYPE_CHECKING:
    from lineage.model.difference import Difference
    from lineage.model.findings import ImpactReport, LeakReport
    from lineage.model.group import Group
    from lineage.model.steps import StepsCompared
    from lineage.model.sweep import Goal
    from lineage.model.sweep_findings import SweepReport


def get(run: str) -> Run:
    """The record of a run.

    Args:
        run: Id or unique prefix.

    Raises:
        NotFound: There is none.
        AmbiguousId: The prefix fits several.
    """
    ports = ports_of_process()
    return lookup.get_run(ports.runs, ports.liveness, run)


def runs(
    *,
    project: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    state: str | None = None,
    dataset: str | None = None,
    commit_id: str | None = None,
    view: str | None = None,
    sample: str | None = None,
    artifact: str | None = None,
    code: str | None = None,
    package: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    text: str | None = None,
    limit: int | None = None,
) -> list[Run]:
    """Records that fit, newest first. All conditions must hold; those on data (dataset to sample) for one and the same input.

    Args:
        project: Of the run.
        group: Of the run.
        job_type: Of the run.
        state: ``running``, ``finished``, ``failed`` or ``aborted``.
        dataset: Address of a dataset that it read.
        commit_id: Commit of a dataset that it read.
        view: Name or id of a saved view that it read.
        sample: Sample id, or digest of a picture (``sha256:…``), in one of its inputs.
        artifact: Digest of a file that it made.
        code: Git commit, snapshot or tree of its code, or how one begins (four digits or more).
        package: ``NAME`` or ``NAME==VERSION``, installed where it ran.
        since: Began then or later; with a time zone.
        until: Began before; with a time zone.
        text: A word that is somewhere in its record.
        limit: At most so many.

    Raises:
        UsageError: A condition has another form.
    """
    ports = ports_of_process()
    query = make_query(
        ports.rows,
        ports.objects,
        project=project,
        group=group,
        job_type=job_type,
        state=None if state is None else RunState(state),
        dataset=None if dataset is None else normalise_uri(dataset),
        commit=commit_id,
        view=view,
        sample=sample,
        artifact=artifact,
        code=code,
        package=package,
        since=since,
        until=until,
        text=text,
        limit=limit,
    )
    return lookup.find_runs(ports.runs, ports.liveness, query)


def metrics(run: str, *, system: bool = False) -> list[MetricPoint]:
    """Every metric point of a run, in the order of the calls.

    Args:
        run: Id or unique prefix.
        system: The samples of what its machine and processes used instead (names that begin with ``system/``); their step is the number
            of seconds since the run began.

    Raises:
        NotFound: There is no such run.
    """
    ports = ports_of_process()
    points = ports.runs.metrics(lookup.get_run(ports.runs, ports.liveness, run).id)
    return [point for point in points if is_sample(point)] if system else logged(points)


def trained_on(model: str | Path, *, inherited: bool = False) -> list[InputRecord]:
    """The inputs that made a model.

    Args:
        model: Path of a weights file, artifact digest, or run id.
        inherited: Also those of the models it was fine-tuned from, nearest first.

    Raises:
        NotFound: No recorded run made it.
    """
    ports = ports_of_process()
    found, _ = lookup.runs_behind(ports.runs, ports.liveness, str(model))
    own = [item for run in found[:1] for item in run.inputs]
    if not inherited:
        return own
    return own + [item for older in inherited_by(ports.runs, ports.rows, found[0]) for item in older.inputs]


def models_using(
    uri: str | None = None,
    *,
    commit_id: str | None = None,
    view: str | None = None,
    image: str | Path | None = None,
    sample: str | None = None,
) -> list[ModelUse]:
    """Every model made from a dataset, or that saw a picture or a sample: newest first, then models fine-tuned from those.

    Args:
        uri: A dataset's address.
        commit_id: Only runs that used this commit of it.
        view: Only runs that used its view of this name or id.
        image: A picture file, found by its bytes whatever it is called; or their digest.
        sample: A sample id.

    Raises:
        NotFound: No recorded dataset holds the picture or sample.
        UsageError: Not exactly one of ``uri``, ``image`` and ``sample`` is given.
    """
    ports = ports_of_process()
    if uri is not None and image is None and sample is None:
        return models_of_dataset(ports.runs, ports.liveness, ports.rows, uri, commit_id=commit_id, view=view)
    if uri is not None:
        raise UsageError("give one of uri, image and sample")
    found = occurrences_of(ports.rows, ports.objects, image=None if image is None else str(image), sample=sample)
    return models_with(ports.rows, found)


def rows_of(run: str, role: str | None = None) -> Iterator[dict[str, Any]]:
    """Every row that a run read, in view order: sample id, digests, and the epochs in which it was read.

    Args:
        run: Id or unique prefix.
        role: Only inputs of this role.

    Raises:
        NotFound: There is no such run, or an object of its record is gone.
    """
    ports = ports_of_process()
    return _rows_of(ports.objects, lookup.get_run(ports.runs, ports.liveness, run), role)


def group(
    name: str,
    project: str | None = None,
    *,
    metrics: Sequence[str] = (),
    axis: str | None = None,
    machine: bool = False,
    points: int | None = None,
) -> Group:
    """A group of runs: mean, standard deviation of the sample, least and greatest of each metric, per step and at the end.

    Also what differs between its runs: data, code, configuration, seed, weights, environment, machine. Runs that failed, were broken off,
    or reproduce another run do not count. Nothing is interpolated: ``n`` says how many runs have a value.

    Args:
        name: Of the group.
        project: Of its runs; needed where several projects have a group of this name.
        metrics: Only these; every one without them.
        axis: A metric that takes the step's place, such as ``epoch``; else what ``define_metric`` said.
        machine: Also metrics of the machine (``system/…``, ``timing/…``).
        points: At most about so many steps of each metric, for drawing; all of them without it.

    Raises:
        NotFound: There is no such group, or no run of it has a metric that is asked for.
        UsageError: Several projects have a group of this name.
    """
    from lineage.lookup.groups import group_of  # statistics take more modules than recording

    return group_of(ports_of_process(), name, project=project, metrics=metrics, axis=axis, machine=machine, points=points)


def importance(
    sweep_or_group: str,
    metric: str | None = None,
    *,
    goal: Goal | None = None,
    project: str | None = None,
    with_stopped: bool = False,
) -> SweepReport:
    """The trials of a sweep, or the runs of a plain group, with the best one, and which parameter mattered.

    Args:
        sweep_or_group: Id of a sweep or how one begins, or name of a group; its parameters are the fields of the configuration that differ.
        metric: What it is about; a sweep's own without it.
        goal: ``minimize`` or ``maximize``; what the sweep or the metric's name says without it.
        project: Of a group, when several projects have one of this name.
        with_stopped: Count trials that were stopped early, too, by their last value.

    Returns:
        A report whose ``importance`` is ``None`` where nothing can be said, under 20 complete trials for example; ``refused`` says why.

    Raises:
        NotFound: No run belongs to it.
        UsageError: A plain group without a metric, or one that several projects have.
        MissingExtra: The extra ``sweeps`` is not installed.
    """
    from lineage.lookup.importance import report_of  # measuring takes more modules than recording
    from lineage.lookup.sweeps import sweep_or_group as find
    from lineage.wiring_importance import importance_meter

    view = find(ports_of_process(), sweep_or_group, metric=metric, goal=goal, project=project)
    return report_of(view, importance_meter(), with_stopped=with_stopped)


def diff(a: str | Path, b: str | Path, *, rows: int = 20, role: str | None = None) -> Difference:
    """What differs between two runs, likeliest cause first.

    Args:
        a: Run id or prefix, artifact digest, or path of a weights file; of several runs that made it, the newest.
        b: Likewise.
        rows: How many changed rows of each kind are described; all are counted.
        role: Only the data of this role.

    Raises:
        NotFound: There is no such run, or an object of its record is gone.
        IntegrityError: An object is not what its record says.
    """
    from lineage.lookup.diff import diff_runs  # comparing takes more modules than recording

    ports = ports_of_process()
    first, second = (lookup.runs_behind(ports.runs, ports.liveness, str(name))[0][0] for name in (a, b))
    return diff_runs(ports, first, second, rows=rows, role=role)


def compare_steps(a: str | Path, b: str | Path, *, rank: int = 0) -> StepsCompared:
    """Where two trainings part, by their step logs: step, phase, and the rows of that step.

    Args:
        a: Run id or prefix, artifact digest, or path of a weights file.
        b: Likewise.
        rank: Which process of a distributed training.

    Raises:
        NotFound: There is no such run, or it logged no steps (``run.watch`` does).
        IntegrityError: A log was altered.
    """
    from lineage.lookup.steps import compare_steps as compare

    ports = ports_of_process()
    first, second = (lookup.runs_behind(ports.runs, ports.liveness, str(name))[0][0] for name in (a, b))
    return compare(ports, first, second, rank)


def leaks(
    run: str,
    *,
    roles: Sequence[str] = (),
    near: bool = True,
    strict: bool = False,
    examples: int = 5,
    progress: Progress = no_progress,
) -> LeakReport:
    """Rows that a run evaluated although its model, or one it was fine-tuned from, was trained on them.

    Args:
        run: Id or unique prefix.
        roles: Inputs that count as evaluated; all but ``train`` when empty.
        near: Whether to look for near-duplicate pictures.
        strict: Whether rows of a sequence that was trained on are leaks, too.
        examples: How many matches to name for each way.
        progress: Told of pictures hashed and compared.

    Raises:
        NotFound: There is no such run.
        UsageError: The run has no input of a role.
    """
    from lineage.lookup.leaks import find_leaks

    ports = ports_of_process()
    found = lookup.get_run(ports.runs, ports.liveness, run)
    return find_leaks(ports, found, roles=roles, near=near, strict=strict, examples=examples, progress=progress)


def impact(
    *,
    sample: str | None = None,
    image: str | Path | None = None,
    query: str | None = None,
    dataset: str | None = None,
    commit_id: str | None = None,
    progress: Progress = no_progress,
) -> ImpactReport:
    """Every view, run and model that holds a sample, a picture or the rows of a query; and a plan to retrain without them.

    Args:
        sample: A sample id.
        image: A picture file, found by its bytes whatever it is called; or their digest.
        query: The rows of a query, asked of ``dataset``.
        dataset: The dataset's address.
        commit_id: Its commit; the newest without one.
        progress: Told of rows and views looked at.

    Raises:
        NotFound: No recorded dataset holds the picture or sample, or there is no such dataset.
        InvalidQuery: The query cannot be answered or keeps no row.
        UsageError: Not exactly one of ``sample``, ``image`` and ``query`` is given, or a query without its dataset.
    """
    from lineage.lookup.impact import find_impact, require_one_subject, subject_by_name, subject_by_query

    name = None if image is None else str(image)
    require_one_subject(sample, name, query, dataset)
    ports = ports_of_process()
    if query is not None and dataset is not None:
        subject = subject_by_query(ports, dataset, query, commit_id, progress)
    else:
        subject = subject_by_name(ports, sample=sample, image=name)
    return find_impact(ports, subject, progress)
