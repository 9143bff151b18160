"""What differs between two runs: everything that went in, what came out, and the likeliest cause first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lineage.errors import LineageError
from lineage.lookup.diff_causes import likely_causes
from lineage.lookup.diff_data import diff_data
from lineage.lookup.environments import compare_environments
from lineage.lookup.results import changed_values, compare_results
from lineage.lookup.steps import compare_steps
from lineage.model.code import CodeVersion
from lineage.model.difference import CodeDifference, DataDifference, Difference, FileChange, RunSide, ValueChange
from lineage.model.metrics import is_sample, logged
from lineage.model.observed import READ
from lineage.model.run import MetricPoint, Run
from lineage.ports import Ports, Progress, SourceControl, no_progress
from lineage.record.metrics import NOT_COMPARED

_NOT_OPENED = "repositories are not opened here: `lineage diff` does it where they are"


def diff_runs(
    ports: Ports,
    a: Run,
    b: Run,
    *,
    rows: int = 20,
    role: str | None = None,
    opens_repositories: bool = True,
    progress: Progress = no_progress,
) -> Difference:
    """Compare two runs.

    Args:
        ports: The outside world. Data are compared by what was recorded; datasets are opened only to describe rows that changed.
        a: The first run.
        b: The second.
        rows: How many changed rows of each kind are described; the others are counted.
        role: Only inputs of this role.
        opens_repositories: Look for the code in the repositories that the records name; else only whether it is the same is told.
        progress: Told of rows described.

    Raises:
        NotFound: An object that a record needs is gone.
        IntegrityError: An object is not what its record says.
    """
    data = diff_data(ports, a, b, rows=rows, role=role, progress=progress)
    code = _code(ports.source if opens_repositories else None, a, b)
    configuration, (weights, read) = _configuration(a, b), _used_files(a, b)
    environment = compare_environments(a.environment, b.environment)
    metrics_a, metrics_b = ports.runs.metrics(a.id), ports.runs.metrics(b.id)
    results = compare_results(a, b, metrics_a, metrics_b)
    causes = likely_causes(data, code, configuration, weights, read, environment, results)
    return Difference(
        a=_side(a),
        b=_side(b),
        is_same=not any(cause.decides for cause in causes),
        causes=causes,
        data=data,
        code=code,
        configuration=configuration,
        base_weights=weights,
        files_read=read,
        environment=environment,
        results=results,
        steps=compare_steps(ports, a, b) if a.step_logs and b.step_logs else None,
        not_compared=tuple(_not_compared(a, b, [*metrics_a, *metrics_b], data, code, role)),
    )


def _side(run: Run) -> RunSide:
    return RunSide(
        run_id=run.id,
        name=run.name,
        project=run.project,
        job_type=run.job_type,
        state=run.state.value,
        started_at=run.started_at.isoformat(),
    )


def _code(source: SourceControl | None, run_a: Run, run_b: Run) -> CodeDifference:
    a, b = run_a.code, run_b.code
    loaded = _loaded(run_a, run_b)
    if a is None or b is None:
        is_loose = a is b is None and run_a.loaded is not None and run_b.loaded is not None
        if is_loose:
            return CodeDifference(is_same=not loaded, a=None, b=None, files=loaded)
        return CodeDifference(is_same=False, a=code_in_short(a), b=code_in_short(b), files=None, reason="no code was recorded")
    if a.content == b.content:
        return CodeDifference(is_same=not loaded, a=code_in_short(a), b=code_in_short(b), files=loaded)
    if source is None:
        return CodeDifference(is_same=False, a=code_in_short(a), b=code_in_short(b), files=None, reason=_NOT_OPENED)
    reason: str | None
    try:
        files = source.changed_files(a, b)
        reason = None if files is not None else source.has(a) or source.has(b)
    except LineageError as error:
        files, reason = None, error.message
    return CodeDifference(
        is_same=False, a=code_in_short(a), b=code_in_short(b), files=None if files is None else (*files, *loaded), reason=reason
    )


def _loaded(a: Run, b: Run) -> tuple[FileChange, ...]:
    """Files of modules that no snapshot holds, where two runs loaded others."""
    ours, theirs = ({} if run.loaded is None else dict(run.loaded.files) for run in (a, b))
    return tuple(
        FileChange(status="added" if path not in ours else "deleted" if path not in theirs else "modified", path=path)
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path)
    )


def code_in_short(code: CodeVersion | None) -> str | None:
    """A snapshot's commit, and whether it holds more than that; ``None`` without one."""
    return None if code is None else f"{(code.git_sha or code.snapshot_sha)[:10]}{' + uncommitted changes' if code.is_dirty else ''}"


def _configuration(a: Run, b: Run) -> tuple[ValueChange, ...]:
    return (
        *changed_values(dotted(a.config), dotted(b.config), "config."),
        *changed_values(dotted(a.determinism), dotted(b.determinism), "determinism."),
        *changed_values({"command": " ".join(a.command)}, {"command": " ".join(b.command)}),
        *changed_values({"working directory": a.working_directory}, {"working directory": b.working_directory}),
        *changed_values({"seed": a.seed}, {"seed": b.seed}),
        *(() if a.dvc is None or b.dvc is None else changed_values(a.dvc.facts(), b.dvc.facts())),
    )


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, under keys such as ``optimizer.lr``. An empty mapping is a value, too.

    Args:
        values: Keys to values or further mappings.
        prefix: Put before each key.
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= dotted(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _used_files(a: Run, b: Run) -> tuple[tuple[ValueChange, ...], tuple[ValueChange, ...]]:
    """Base weights by role, several files of one role in the order of their use; and by path those that were seen to be read."""
    ours, theirs = used_files(a), used_files(b)
    return changed_values(ours[0], theirs[0]), changed_values(ours[1], theirs[1])


def used_files(run: Run) -> tuple[dict[str, str], dict[str, str]]:
    """Digests of the files that a run started from, by role, and of those that it was seen to read, by path."""
    weights, read = (
        {_numbered(run, i): item.digest for i, item in enumerate(run.uses) if (item.role == READ) is is_read} for is_read in (False, True)
    )
    return weights, read


def _numbered(run: Run, index: int) -> str:
    role = run.uses[index].role
    if role == READ:
        return run.uses[index].path
    earlier = sum(item.role == role for item in run.uses[:index])
    return role if earlier == 0 else f"{role} {earlier + 1}"


def _not_compared(
    a: Run, b: Run, points: Sequence[MetricPoint], data: Sequence[DataDifference], code: CodeDifference, role: str | None
) -> Iterator[str]:
    if role is not None:
        yield f"data of other roles than '{role}'"
    for item in data:
        yield from (f"data {item.role}: {line}" for line in item.not_compared)
    if not code.is_same and code.reason is not None:
        yield f"code, file by file: {code.reason}"
    for which, run in (("a", a), ("b", b)):
        if run.code is not None and run.code.left_out:
            yield f"code of {which}: what its snapshot does not hold ({', '.join(run.code.left_out[:3])})"
        if not run.inputs:
            yield f"data of {which}: no input was recorded"
    skipped = sorted({name for point in logged(points) for name in point.values if name.startswith(NOT_COMPARED)})
    if skipped:
        yield f"metrics that depend on speed: {', '.join(skipped)}"
    if any(map(is_sample, points)):
        yield "what the machine did meanwhile (metrics system/…)"
