"""Carrying a plan out: the recorded command, in a workspace of its own, recorded as a run that is linked to the first."""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from lineage.model.comparison import Report, Verdict
from lineage.model.dataset import normalise_uri
from lineage.model.plan import Plan
from lineage.model.run import Run, RunState
from lineage.ports import Ports, Progress, Step, no_progress
from lineage.ports.keys import PASSPHRASE_VARIABLE
from lineage.record.code_packs import put_code
from lineage.record.live import LiveRun
from lineage.record.observed.observation import observed_again
from lineage.record.reproducing import RUN_VARIABLE, Reproducing
from lineage.record.start import start_run
from lineage.reproduce.environment import ChosenEnvironment, Interpreter, Mode, editable_folders
from lineage.reproduce.files import place_files, placed_file
from lineage.reproduce.judging import judge
from lineage.reproduce.loaded_code import place_loaded, placed_path, search_folders, working_folder
from lineage.reproduce.needed_secrets import secret_rows, with_secrets, without_secrets
from lineage.reproduce.plan import is_interpreter, make_plan
from lineage.reproduce.segment import Segment, needs
from lineage.reproduce.tolerance import usable
from lineage.reproduce.watching import ReadAlong, Stop

_NEVER_RESTORED = ("LD_PRELOAD",)  # it loads code into every process; a record must not decide that
_LAST_LINES = 5


def reproduce(
    ports: Ports,
    run: Run,
    *,
    variables: Mapping[str, str],
    data: Mapping[str, str] | None = None,
    plan_only: bool = False,
    keep_workspace: bool | None = None,
    keep_going: bool = False,
    until_step: int | None = None,
    segment: Segment | None = None,
    is_vouched: bool = False,
    environment: Mode = "auto",
    on_plan: Callable[[Plan], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Repeat a run and say whether the result is the same.

    Args:
        ports: The outside world.
        run: The run to repeat.
        variables: Environment of the command; it must lead to the same store, and holds the secrets that the command needs.
        data: Role to address, for data that moved.
        plan_only: Stop after the plan.
        keep_workspace: Leave the workspace, or not; ``None``: leave it when the result differs.
        keep_going: Run to the end in any case; without it the run is stopped at the first difference.
        until_step: Stop when this step is done; the verdict is then about the steps up to it, and says so.
        segment: Repeat this part of the run only, from the checkpoint at its beginning.
        is_vouched: The caller answers for the command of a record that came from elsewhere.
        environment: Where it runs: in the ``recorded`` environment, built again; in the ``current`` one; ``auto``
            (:class:`lineage.reproduce.environment.ChosenEnvironment`).
        on_plan: Told of the plan before anything is run.
        on_line: Told of each line that the command prints.
        progress: Told of rows checked.

    Raises:
        ExecutionFailed: The program cannot be started.
        IntegrityError: The code that was checked out is not the recorded one.
        UsageError: The run did not log the step of ``until_step``.
    """
    began = time.monotonic()
    moved = {role: normalise_uri(uri) for role, uri in (data or {}).items()}
    chosen = ChosenEnvironment(ports, run, environment)
    plan = make_plan(ports, run, moved, progress, is_vouched=is_vouched, environment=chosen)
    more = [*secret_rows(run, variables), *([] if segment is None else needs(ports, segment))]
    plan = plan.model_copy(update={"ingredients": (*plan.ingredients, *more)})
    if not plan.blockers and not plan_only:
        plan = chosen.build(plan, progress)
    ports = chosen.ports
    if on_plan is not None:
        on_plan(plan)
    if plan.blockers:
        return Report(run_id=run.id, verdict=Verdict.blocked, plan=plan, reason=plan.blockers[0], duration_s=time.monotonic() - began)
    tolerance = usable(run.calibration, ports.environment.describe().digest)[0]
    until_output = None if segment is None or segment.end is None else segment.end.name
    reading = ReadAlong(ports, run, keep_going=keep_going, until_step=until_step, until_output=until_output, tolerance=tolerance)
    begin = None if segment is None or segment.begin is None else segment.begin.digest
    reproducing = Reproducing(run, moved, begin, until_output)
    if plan_only:
        return Report(run_id=run.id, verdict=None, plan=plan, duration_s=time.monotonic() - began)
    workspace = new_workspace(ports.folder / "workspaces", run.id)
    replica: LiveRun | None = None
    try:
        put_code(ports, run, workspace)
        place_files(ports.objects, run, workspace)
        folder = working_folder(run, workspace)
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
            reproducing=reproducing,
        )
        place_loaded(ports, run, workspace)
        reading.follow(replica.id)
        child = chosen.interpreter.variables(_environment(ports, reproducing, replica, workspace, variables))
        command = with_secrets(run, _runnable(run, workspace, chosen.interpreter), variables)
        last: deque[str] = deque(maxlen=_LAST_LINES)

        def heard(line: str) -> None:
            line = without_secrets(run, line, variables)
            last.append(line)
            if on_line is not None:
                on_line(line)

        with observed_again(ports, run, replica) as observed:
            status = ports.executor.execute(Step(command, folder, observed(child)), heard, reading.should_stop)
        _keep_leavings(ports, replica.id)
        stopped = reading.stopped
        if stopped is None and status == 0 and any(item.name == until_output for item in ports.runs.get(replica.id).outputs):
            stopped = Stop("until", f"{until_output} is made")
        ended = _finish(replica, status, stopped)
        report = judge(ports, run, ended, plan, status=status, last_lines=last, stop=stopped, until_step=until_step, segment=segment)
    except BaseException as error:
        if replica is not None:
            _keep_leavings(ports, replica.id)
            is_interrupt = isinstance(error, KeyboardInterrupt | SystemExit)
            told = "interrupted" if is_interrupt else without_secrets(run, str(error), variables)
            replica.finish(RunState.aborted if is_interrupt else RunState.failed, told)
        shutil.rmtree(workspace, ignore_errors=True)
        raise
    keep = report.verdict is not Verdict.identical if keep_workspace is None else keep_workspace
    if not keep:
        shutil.rmtree(workspace, ignore_errors=True)
    return report.model_copy(update={"workspace": str(workspace) if keep else None, "duration_s": time.monotonic() - began})


def _finish(replica: LiveRun, status: int, stopped: Stop | None) -> Run:
    if stopped is not None:
        replica.note(f"the reproduction stopped it before its end: {stopped.sentence}")
        return replica.finish(RunState.aborted, f"stopped: {stopped.sentence}")
    if status == 0:
        return replica.finish()
    return replica.finish(RunState.failed, f"the command ended with status {status}")


def _keep_leavings(ports: Ports, run_id: str) -> None:
    """Make what a command that was ended had no time to record part of its record: its step log."""
    for event in ports.liveness.leavings(run_id):
        ports.runs.append(run_id, event)


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


def _runnable(run: Run, workspace: Path, interpreter: Interpreter) -> tuple[str, ...]:
    program, *arguments = (_in_workspace(word, run, workspace) for word in run.command)
    recorded = None if run.environment is None else run.environment.executable
    is_recorded = run.command[0] == recorded or (is_interpreter(program) and not Path(program).is_absolute())
    return (interpreter.program(program, is_recorded=is_recorded), *arguments)


def _in_workspace(word: str, run: Run, workspace: Path) -> str:
    """The word with a path inside the recorded repository turned into the same path of the workspace, where the snapshot has it.

    A script that is named by its whole path would otherwise bring today's files, and its folder would be searched for modules first.
    """
    option, equals, value = word.partition("=")
    text = value if equals and option.startswith("-") else word
    if (placed := placed_path(run, workspace, text) or placed_file(run, workspace, text)) is not None:
        return word[: len(word) - len(text)] + str(placed)
    if run.code is None:
        return word
    try:
        inside = Path(text).relative_to(run.code.root)
    except ValueError:
        return word
    found = workspace / inside
    return word[: len(word) - len(text)] + str(found) if inside != Path() and os.path.lexists(found) else word


def _environment(ports: Ports, reproducing: Reproducing, replica: LiveRun, workspace: Path, variables: Mapping[str, str]) -> dict[str, str]:
    child = workspace_variables(ports, reproducing.original, workspace, variables)
    return child | {RUN_VARIABLE: replica.id} | reproducing.variables()


def workspace_variables(ports: Ports, run: Run, workspace: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Environment of a process that executes a run's code: variables that change numbers as recorded, recorded modules first.

    Args:
        ports: The outside world.
        run: The run.
        workspace: Where its code is.
        variables: Of this process; they lead to the store.
    """
    child = {name: value for name, value in variables.items() if name != PASSPHRASE_VARIABLE}  # what it does is signed by this process
    for name in ports.environment.describe().variables:
        child.pop(name, None)
    if run.environment is not None:
        child |= {name: value for name, value in run.environment.variables.items() if name not in _NEVER_RESTORED}
    # The recorded code comes before anything installed: an editable install would otherwise bring today's.
    given = [_in_workspace(entry, run, workspace) for entry in child.get("PYTHONPATH", "").split(os.pathsep) if entry]
    places = (workspace, workspace / "src", *(workspace / folder for folder in editable_folders(run)))
    sources = [str(folder) for folder in dict.fromkeys(places) if folder.is_dir() and run.code is not None]
    sources += map(str, search_folders(run, workspace))
    child["PYTHONPATH"] = os.pathsep.join([*sources, *given])
    if child.get("WANDB_MODE") != "disabled":
        child["WANDB_MODE"] = "offline"  # a reproduction does not write into other people's projects
    return child
