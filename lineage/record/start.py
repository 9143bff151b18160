"""Starting a run: capture everything known before the first step, write it, then let the work begin."""

from __future__ import annotations

import atexit
import getpass
import operator
import os
import socket
import sys
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lineage.errors import CaptureError, UsageError
from lineage.model.code import CodeVersion
from lineage.model.event import Described, Noted, Started
from lineage.model.plain import plain
from lineage.model.run import Run
from lineage.model.secrets import REDACTED, redact_command, redact_values
from lineage.model.sweep import SweepTrial, with_parameters
from lineage.ports import Ports, Tracker
from lineage.ports.telling import telling
from lineage.record.active import began
from lineage.record.joining import Group, command_of_group, group_of_process, is_secondary
from lineage.record.live import LiveRun
from lineage.record.reproducing import RUN_VARIABLE, Reproducing, from_environment
from lineage.record.resuming import Resuming, check_same_training, choose_checkpoint, recorded_checkpoint
from lineage.record.sinks import describe_error
from lineage.record.trial import given_trial, take_trial


def start_run(
    ports: Ports,
    *,
    project: str | None = None,
    default_project: str = "default",
    job_type: str | None = None,
    name: str | None = None,
    group: str | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
    tags: Sequence[str] = (),
    trackers: Sequence[str] = (),
    command: Sequence[str] | None = None,
    folder: Path | None = None,
    reproducing: Reproducing | None = None,
    code: CodeVersion | None = None,
    resume: str | None = None,
    allow_changed: Sequence[str] = (),
    trial: SweepTrial | None = None,
) -> LiveRun:
    """Begin a record; see :func:`lineage.start_run` for the arguments that users give.

    Args:
        ports: The outside world.
        default_project: Project of a run that names none and does not join another.
        command: The command line, when it is not this process's own.
        folder: Where it is started, when it is not here.
        reproducing: The run it repeats.
        code: The code, when it is known already.
        resume: Id or unique prefix of a run to go on with from its last checkpoint.
        allow_changed: Configuration fields that may differ from that run's.
        trial: The trial of a sweep that it is, where the environment does not tell (``LINEAGE_TRIAL``). Its values win over ``config``,
            and its sweep is the group.

    Raises:
        Unavailable: The record cannot be written; the run does not start silently untracked.
        UsageError: A tracker of that name is not known.
    """
    unknown = [item for item in trackers if item not in ports.trackers]
    if unknown:
        raise UsageError(f"no tracker '{unknown[0]}'", hint=f"known: {', '.join(sorted(ports.trackers))}")
    trial = _trial_of(trial, reproducing, is_command=command is not None)
    given = plain(dict(config or {}), "config")
    facts: dict[str, Any] = {
        "config": redact_values(given if trial is None else with_parameters(given, trial.parameters)),
        "seed": None if seed is None else operator.index(seed),
        "tags": tuple(tags),
    }
    joined = os.environ.pop(RUN_VARIABLE, None) if command is None else None
    processes = group_of_process(ports.folder, _begun.get(os.getpid(), 0)) if joined is None and command is None else None
    if processes is not None and processes.rank > 0:
        joined = processes.run_id()
    known = from_environment(ports.runs) if joined is not None else reproducing
    resuming = None if command is not None else _resuming(ports, resume, known, facts, allow_changed)
    if trial is not None:
        group = None if joined is not None else trial.sweep
    if joined is not None:
        _count_in_process()
        if is_secondary():  # the first process describes the run, and tells trackers
            return _go(ports, ports.runs.get(joined), (), known, resuming, is_owner=False, processes=processes)
        said = None if known is None else known.settle_seed(facts)
        if known is not None and known.is_repeat:
            name = group = None  # it is one of the repetitions, whatever the program calls itself
        run = ports.runs.append(
            joined, Described(at=datetime.now(UTC), name=name, project=project, group=group, job_type=job_type, **facts)
        )
        live = _go(ports, run, trackers, known, resuming, is_owner=False)
        if said is not None:
            live.note(said)
        return live
    run_id = uuid.uuid4().hex
    here = folder or Path.cwd()
    own_command = tuple(command) if command is not None else _own_command()
    recorded_command = tuple(map(_readable, redact_command(own_command)))
    notes: list[str] = []
    if any(not _is_text(word) for word in own_command):
        notes.append("the command line held bytes that are no UTF-8 text and are recorded as escapes: a reproduction would get other bytes")
    if any(REDACTED in word for word in recorded_command):
        notes.append("the command line held a secret, which is not recorded: a reproduction must be given it again")
    if code is None and (reproducing is None or reproducing.original.code is not None):
        try:
            code = ports.source.describe(here, run_id)
        except CaptureError as error:
            notes.append(f"the code is not recorded: {error.message}; only the script and modules that it imports are kept, file by file")
            warnings.warn(f"lineage: {notes[-1]}", stacklevel=3)
    if code is not None and code.left_out:
        notes.append(
            f"{len(code.left_out)} paths are not kept with the code (large untracked files, or other repositories inside this one): "
            + ", ".join(code.left_out[:3])
        )
    kind = job_type or ("run" if trial is None else "trial")
    run = Run(
        id=run_id,
        name=name or f"{kind}-{run_id[:6]}",
        project=project or default_project,
        group=group,
        job_type=kind,
        started_at=datetime.now(UTC),
        command=recorded_command,
        working_directory=_relative_to(here, code),
        process_ordinal=_ordinal(trial) if command is None else 0 if reproducing is None else reproducing.original.process_ordinal,
        code=code,
        environment=ports.environment.describe(),
        host=socket.gethostname(),
        user=_user(),
        notes=tuple(notes),
        reproduces=None if reproducing is None or reproducing.is_repeat else reproducing.original.id,
        repeats=reproducing.original.id if reproducing is not None and reproducing.is_repeat else None,
        sweep=trial,
        **facts,
    )
    ports.liveness.hold(run_id)
    try:
        run = ports.runs.append(run_id, Started(at=run.started_at, run=run))
    except BaseException:
        ports.liveness.release(run_id)
        raise
    if processes is not None:
        processes.publish(run_id)
    return _go(ports, run, trackers, reproducing, resuming, is_owner=True, processes=processes, loads_here=command is None)


def _resuming(
    ports: Ports, name: str | None, known: Reproducing | None, facts: dict[str, Any], allow_changed: Sequence[str]
) -> Resuming | None:
    if known is not None:  # the record says where it went on, whatever the repeated command finds
        resuming = recorded_checkpoint(ports, known.original, known.begin)
    elif name is None:
        resuming = None
    else:
        resuming = choose_checkpoint(ports, name)
        changed = check_same_training(resuming.original, facts["config"], facts["seed"], allow_changed)
        resuming = replace(resuming, changed=changed)
    if resuming is not None:
        facts["seed"] = resuming.original.seed
    return resuming


def _go(
    ports: Ports,
    run: Run,
    trackers: Sequence[str],
    reproducing: Reproducing | None,
    resuming: Resuming | None,
    *,
    is_owner: bool,
    processes: Group | None = None,
    loads_here: bool = True,
) -> LiveRun:
    working: list[Tracker] = []
    for name in trackers:
        try:
            tracker = ports.trackers[name]()
            with telling(name):
                called = plain(tracker.started(run), name)
        except Exception as error:  # noqa: BLE001 - a tracker is a guest: whatever it raises must not stop a run
            message = f"{name} could not be started: {describe_error(error)}"
            warnings.warn(f"lineage: {message}", stacklevel=4)
            run = ports.runs.append(run.id, Noted(at=datetime.now(UTC), note=message))
        else:
            working.append(tracker)
            run = ports.runs.append(run.id, Described(at=datetime.now(UTC), trackers={name: called}))
    live = LiveRun(ports, run, working, reproducing, resuming, is_owner=is_owner, processes=processes, loads_here=loads_here)
    atexit.register(live.finish_at_exit)
    began(live)
    return live


def _trial_of(trial: SweepTrial | None, reproducing: Reproducing | None, *, is_command: bool) -> SweepTrial | None:
    if trial is not None:
        return trial
    if not is_command:
        return take_trial()
    if reproducing is not None:
        return None if reproducing.is_repeat else reproducing.original.sweep
    # A command that a trial's program records by itself is a run beside it, and no second one of the same number.
    return None if RUN_VARIABLE in os.environ else given_trial()


_begun: dict[int, int] = {}


def _ordinal(trial: SweepTrial | None) -> int:
    # Trials of one process are repeated one by one, whatever their number in it: what counts is the runs before them.
    return _count_in_process() if trial is None else _begun.get(os.getpid(), 0)


def begun_here() -> int:
    """How many runs this process has begun."""
    return _begun.get(os.getpid(), 0)


def _count_in_process() -> int:
    """How many runs this process had begun before; counts this one."""
    number = _begun.get(os.getpid(), 0)
    _begun[os.getpid()] = number + 1
    return number


def _own_command() -> tuple[str, ...]:
    # The interpreter's place differs between machines; which one it was is recorded with the environment.
    return command_of_group() or ("python", *sys.orig_argv[1:])


def _relative_to(here: Path, code: CodeVersion | None) -> str:
    root = None if code is None else Path(code.root)
    folder = here.resolve()
    return _readable(str(folder.relative_to(root)) if root is not None and folder.is_relative_to(root) else str(folder))


def _is_text(word: str) -> bool:
    return word.isascii() or _readable(word) == word


def _readable(word: str) -> str:
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""  # a container's user without a name
