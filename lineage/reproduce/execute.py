"""Carrying a plan out: the recorded command, in a workspace of its own, recorded as a run that is linked to the first."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from lineage.lookup.steps import compare_steps
from lineage.model.comparison import Report, Verdict
from lineage.model.dataset import normalise_uri
from lineage.model.event import Reproduced
from lineage.model.plan import Plan
from lineage.model.run import Reproduction, Run, RunState
from lineage.ports import Ports, Progress, Step, no_progress
from lineage.record.code_packs import put_code
from lineage.record.live import LiveRun
from lineage.record.reproducing import RUN_VARIABLE, Reproducing
from lineage.record.start import start_run
from lineage.reproduce.compare import compare_runs, verdict_of
from lineage.reproduce.files import place_files
from lineage.reproduce.plan import is_interpreter, make_plan

_NEVER_RESTORED = ("LD_PRELOAD",)  # it loads code into every process; a record must not decide that
_LAST_LINES = 5


def reproduce(
    ports: Ports,
    run: Run,
    *,
    variables: Mapping[str, str],
    data: Mapping[str, str] | None = None,
    plan_only: bool = False,
    keep_workspace: bool = False,
    on_plan: Callable[[Plan], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Repeat a run and say whether the result is the same.

    Args:
        ports: The outside world.
        run: The run to repeat.
        variables: Environment of the command; it must lead to the same store.
        data: Role to address, for data that moved.
        plan_only: Stop after the plan.
        keep_workspace: Leave the workspace; it is left in any case when the result differs.
        on_plan: Told of the plan before anything is run.
        on_line: Told of each line that the command prints.
        progress: Told of rows checked.

    Raises:
        ExecutionFailed: The program cannot be started.
        IntegrityError: The code that was checked out is not the recorded one.
    """
    began = time.monotonic()
    moved = {role: normalise_uri(uri) for role, uri in (data or {}).items()}
    plan = make_plan(ports, run, moved, progress)
    if on_plan is not None:
        on_plan(plan)
    if plan.blockers:
        return Report(run_id=run.id, verdict=Verdict.blocked, plan=plan, reason=plan.blockers[0], duration_s=time.monotonic() - began)
    if plan_only:
        return Report(run_id=run.id, verdict=None, plan=plan, duration_s=time.monotonic() - began)
    workspace = new_workspace(ports.folder / "workspaces", run.id)
    replica: LiveRun | None = None
    try:
        put_code(ports, run, workspace)
        place_files(ports.objects, run, workspace)
        folder = workspace / run.working_directory
        folder.mkdir(parents=True, exist_ok=True)
        replica = start_run(
            ports,
            project=run.project,
            job_type=run.job_type,
            name=f"{run.name}-again",
            group=run.group,
            seed=run.seed,
            command=run.command,
            folder=folder,
            reproducing=Reproducing(run, moved),
        )
        step = Step(_runnable(run, workspace), folder, _environment(ports, run, replica, workspace, variables, moved))
        last: deque[str] = deque(maxlen=_LAST_LINES)

        def heard(line: str) -> None:
            last.append(line)
            if on_line is not None:
                on_line(line)

        status = ports.executor.execute(step, heard)
    except BaseException as error:
        if replica is not None:
            is_interrupt = isinstance(error, KeyboardInterrupt | SystemExit)
            replica.finish(RunState.aborted if is_interrupt else RunState.failed, "interrupted" if is_interrupt else str(error))
        shutil.rmtree(workspace, ignore_errors=True)
        raise
    ended = replica.finish(
        RunState.finished if status == 0 else RunState.failed, None if status == 0 else f"the command ended with status {status}"
    )
    report = _verify(ports, run, ended, plan, status, list(last))
    keep = keep_workspace or report.verdict is not Verdict.identical
    if not keep:
        shutil.rmtree(workspace)
    return report.model_copy(update={"workspace": str(workspace) if keep else None, "duration_s": time.monotonic() - began})


def _verify(ports: Ports, run: Run, replica: Run, plan: Plan, status: int, last: list[str]) -> Report:
    steps = compare_steps(ports, run, replica) if run.step_logs and replica.step_logs else None
    comparison = compare_runs(run, replica, ports.runs.metrics(run.id), ports.runs.metrics(replica.id), plan, steps)
    verdict, reason = verdict_of(comparison), None
    if status != 0 and run.state is RunState.finished:
        verdict = Verdict.inconclusive
        reason = f"the command ended with status {status}" + (f": {last[-1].strip()}" if last else "")
    elif verdict is Verdict.inconclusive:
        reason = "the run logged no metric and no artifact, so there is no result to compare"
    elif verdict is Verdict.diverged:
        first = next(change for change in comparison.changes if not change.same)
        reason = f"{first.subject}: {first.detail}"
        if run.state is not RunState.finished:
            verdict, reason = Verdict.inconclusive, f"the original ended as {run.state.value}; {reason}"
    now = datetime.now(UTC)
    ports.runs.append(run.id, Reproduced(at=now, reproduction=Reproduction(run_id=replica.id, verdict=verdict.value, at=now)))
    return Report(run_id=run.id, verdict=verdict, plan=plan, comparison=comparison, replica_id=replica.id, reason=reason)


def new_workspace(folder: Path, run_id: str) -> Path:
    """An empty folder for the code of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        workspace = folder / f"{run_id[:12]}-{number}"
        try:
            workspace.mkdir()
        except FileExistsError:
            number += 1
        else:
            return workspace


def _runnable(run: Run, workspace: Path) -> tuple[str, ...]:
    program, *arguments = (_in_workspace(word, run, workspace) for word in run.command)
    recorded = None if run.environment is None else run.environment.executable
    is_recorded = run.command[0] == recorded or (is_interpreter(program) and not Path(program).is_absolute())
    return (sys.executable if is_recorded else program, *arguments)


def _in_workspace(word: str, run: Run, workspace: Path) -> str:
    """The word with a path inside the recorded repository turned into the same path of the workspace, where the snapshot has it.

    A script that is named by its whole path would otherwise bring today's files, and its folder would be searched for modules first.
    """
    if run.code is None:
        return word
    option, equals, value = word.partition("=")
    text = value if equals and option.startswith("-") else word
    try:
        inside = Path(text).relative_to(run.code.root)
    except ValueError:
        return word
    found = workspace / inside
    return word[: len(word) - len(text)] + str(found) if inside != Path() and os.path.lexists(found) else word


def _environment(
    ports: Ports, run: Run, replica: LiveRun, workspace: Path, variables: Mapping[str, str], moved: dict[str, str]
) -> dict[str, str]:
    child = workspace_variables(ports, run, workspace, variables)
    return child | {RUN_VARIABLE: replica.id} | Reproducing(run, moved).variables()


def workspace_variables(ports: Ports, run: Run, workspace: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Environment of a process that executes a run's code: variables that change numbers as recorded, recorded modules first.

    Args:
        ports: The outside world.
        run: The run.
        workspace: Where its code is.
        variables: Of this process; they lead to the store.
    """
    child = dict(variables)
    for name in ports.environment.describe().variables:
        child.pop(name, None)
    if run.environment is not None:
        child |= {name: value for name, value in run.environment.variables.items() if name not in _NEVER_RESTORED}
    # The recorded code comes before anything installed: an editable install would otherwise bring today's.
    given = [_in_workspace(entry, run, workspace) for entry in child.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sources = [str(folder) for folder in (workspace, workspace / "src") if folder.is_dir()]
    child["PYTHONPATH"] = os.pathsep.join([*sources, *given])
    if child.get("WANDB_MODE") != "disabled":
        child["WANDB_MODE"] = "offline"  # a reproduction does not write into other people's projects
    return child
