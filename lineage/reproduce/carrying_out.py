"""The recorded command of a run, started again in a workspace of its own: as a reproduction, or as a repetition with another seed."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from lineage.model.run import Run, RunState
from lineage.model.sweep import SweepTrial
from lineage.ports import Ports, RunStore, Step
from lineage.ports.keys import PASSPHRASE_VARIABLE
from lineage.record import rehearsing
from lineage.record.code_packs import put_code
from lineage.record.live import LiveRun
from lineage.record.observed.observation import observed_again
from lineage.record.reproducing import Reproducing, first_of
from lineage.record.start import start_run
from lineage.record.trial import GROUP_VARIABLE, place_trial
from lineage.reproduce.environment import ChosenEnvironment, Interpreter, editable_folders
from lineage.reproduce.files import in_users_folder, place_files, placed_file
from lineage.reproduce.loaded_code import place_loaded, placed_path, search_folders, working_folder
from lineage.reproduce.needed_secrets import with_secrets, without_secrets
from lineage.reproduce.plan import is_interpreter

_NEVER_RESTORED = ("LD_PRELOAD",)  # it loads code into every process; a record must not decide that
_LAST_LINES = 5


class RecordedCommand:
    """A recorded command about to be executed again; use it in a ``with`` block.

    An exception that leaves the block closes the new record and removes the workspace.

    Args:
        ports: The outside world, with the chosen environment in it.
        run: The run whose command it is; a repetition may have put another seed into it.
        chosen: Where it runs.
        reproducing: What the command's process is told.
        variables: Environment of the command; it must lead to the same store, and holds the secrets that the command needs.
        on_line: Told of each line that the command prints.

    Attributes:
        workspace: A folder of its own.
        last_lines: What the command printed last.
    """

    def __init__(
        self,
        ports: Ports,
        run: Run,
        chosen: ChosenEnvironment,
        reproducing: Reproducing,
        variables: Mapping[str, str],
        on_line: Callable[[str], None] | None,
    ) -> None:
        self._ports, self._run, self._chosen, self._reproducing = ports, run, chosen, reproducing
        self._variables, self._on_line = variables, on_line
        self._live: LiveRun | None = None
        self.workspace = new_workspace(ports.folder / "workspaces", run.id)
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)

    def __enter__(self) -> RecordedCommand:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            return
        if self._live is not None:
            self._keep_leavings(self._live.id)
            is_interrupt = isinstance(error, KeyboardInterrupt | SystemExit)
            told = "interrupted" if is_interrupt else without_secrets(self._run, str(error), self._variables)
            self._live.finish(RunState.aborted if is_interrupt else RunState.failed, told)
        self.remove()

    def begin(self, *, name: str, group: str | None, seed: int | None) -> LiveRun:
        """Lay the workspace out, and begin the record.

        Raises:
            IntegrityError: The code that was checked out is not the recorded one.
        """
        ports, run = self._ports, self._run
        put_code(ports, run, self.workspace)
        place_files(ports.objects, in_users_folder(ports.runs, run), self.workspace)
        folder = working_folder(run, self.workspace)
        folder.mkdir(parents=True, exist_ok=True)
        live = self._live = start_run(
            ports,
            project=run.project,
            job_type=run.job_type,
            name=name,
            group=group,
            seed=seed,
            command=self._recorded(folder) if self._reproducing.is_repeat else run.command,
            folder=folder,
            reproducing=self._reproducing,
        )
        place_loaded(ports, run, self.workspace)
        return live

    def execute(self, should_stop: Callable[[], bool] | None = None) -> int:
        """Run the command to its end, or until it is to stop; its exit status.

        Raises:
            ExecutionFailed: The program cannot be started.
        """
        ports, run, live = self._ports, self._run, self._live
        if live is None:
            raise RuntimeError("the record has not begun")
        child = self._chosen.interpreter.variables(self._environment(live))
        words = list(_runnable(run, self.workspace, self._chosen.interpreter))
        trial = _trial_of(ports.runs, run)
        if trial is not None:
            files = place_trial(trial, ports.folder, live.id)
            child |= files.variables | ({GROUP_VARIABLE: str(live.record.group)} if self._reproducing.is_repeat else {})
            words = list(files.command(trial, words))
        command = with_secrets(run, tuple(words), self._variables)
        folder = working_folder(run, self.workspace)
        with observed_again(ports, run, live) as observed:
            status = ports.executor.execute(Step(command, folder, observed(child)), self._heard, should_stop)
        if trial is not None:
            files.remove()
        self._keep_leavings(live.id)
        return status

    def remove(self) -> None:
        """Delete the workspace."""
        shutil.rmtree(self.workspace, ignore_errors=True)

    def _heard(self, line: str) -> None:
        line = without_secrets(self._run, line, self._variables)
        self.last_lines.append(line)
        if self._on_line is not None:
            self._on_line(line)

    def _recorded(self, folder: Path) -> tuple[str, ...]:
        """The command as the record of a repetition has it: paths that lead into its workspace relative, as that will be gone."""
        words = []
        for word in self._run.command:
            there = _in_workspace(word, self._run, self.workspace)
            place = there.find(str(self.workspace))
            words.append(word if there == word or place < 0 else there[:place] + os.path.relpath(there[place:], folder))
        return tuple(words)

    def _environment(self, live: LiveRun) -> dict[str, str]:
        child = workspace_variables(self._ports, self._run, self.workspace, self._variables)
        return child | rehearsing.variables(self._run.process_ordinal, live.id) | self._reproducing.variables()

    def _keep_leavings(self, run_id: str) -> None:
        # What a command that was ended had no time to record: its step log.
        for event in self._ports.liveness.leavings(run_id):
            self._ports.runs.append(run_id, event)


def _trial_of(runs: RunStore, run: Run) -> SweepTrial | None:
    """The trial of a sweep that a run is, or that it repeats with another seed: the program got its values from there."""
    return run.sweep or first_of(runs, run).sweep


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
