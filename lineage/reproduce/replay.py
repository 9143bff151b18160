"""Replaying steps: the recorded transform, in the recorded code, on the recorded rows; nothing is trained."""

from __future__ import annotations

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineage.errors import Conflict, ExecutionFailed, NotFound, Unavailable, UsageError
from lineage.lookup.steps import losses_of
from lineage.model.plan import Plan
from lineage.model.replay import Replay, ReplayedSample, ReplayedStep, Verdict
from lineage.model.run import Run
from lineage.model.steps import LoaderRecord, StepRecord, StepRows
from lineage.ports import Ports, Progress, Step, no_progress
from lineage.record.code_packs import code_missing, put_code
from lineage.record.step_log import StepLog
from lineage.reproduce.carrying_out import new_workspace, workspace_variables
from lineage.reproduce.environment import ChosenEnvironment, Interpreter, Mode
from lineage.reproduce.loaded_code import place_loaded
from lineage.reproduce.trust import require_trust

RESULT = "replay.json"
_LAST_LINES = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """A batch, or part of one, to be made again.

    Attributes:
        record: The step; ``None`` when the batch is named by epoch and number.
        rows: What of it.
        is_batch: Whether it is the whole batch, to be collated and compared.
    """

    record: StepRecord | None
    rows: StepRows
    is_batch: bool

    @property
    def whole(self) -> tuple[int, ...]:
        """Positions of the whole batch."""
        return self.rows.positions if self.record is None or len(self.record.rows) != 1 else self.record.rows[0].positions

    @property
    def recorded(self) -> str | None:
        """Digest of the whole batch, hexadecimal; ``None`` when the step log does not tell."""
        if self.record is None or self.record.batch is None or len(self.record.rows) != 1:
            return None
        return self.record.batch.hex()


def wanted_step(run: Run, log: StepLog, step: int) -> list[Wanted]:
    """The batches of a step: several when gradients of several passes were added up.

    Raises:
        NotFound: There is no such step.
        UsageError: Its rows are not known.
    """
    record = next((item for item in log.records if item.step == step and step >= 0), None)
    if record is None:
        last = max((item.step for item in log.records), default=-1)
        told = (
            f"the log was broken off behind step {last}"
            if log.torn
            else f"steps 0 to {last} were logged"
            if last >= 0
            else "no step was logged"
        )
        raise NotFound("step", str(step), detail=told)
    if not record.rows:
        raise UsageError(
            f"step {step} of run {run.id[:12]}: the log does not know its rows",
            hint="rows are known when the loop reads a view of the run, for example with lineage.training.DataLoader",
        )
    return [Wanted(record, rows, is_batch=len(record.rows) == 1) for rows in record.rows]


def wanted_batch(run: Run, ordinal: int, loader: LoaderRecord, epoch: int, number: int) -> Wanted:
    """A batch by epoch and number, from the loader's order alone.

    Raises:
        NotFound: There is no such batch.
    """
    from lineage.record.order import epoch_batches

    if epoch < 0:
        raise NotFound("epoch", str(epoch), detail="epochs count from 0")
    batches = epoch_batches(
        loader.rows,
        loader.seed,
        epoch,
        shuffle=loader.shuffle,
        batch_size=loader.batch_size,
        drop_last=loader.drop_last,
        rank=loader.rank,
        world_size=loader.world_size,
    )
    if not 0 <= number < len(batches):
        raise NotFound("batch", str(number), detail=f"an epoch of run {run.id[:12]} has batches 0 to {len(batches) - 1}")
    return Wanted(None, StepRows(ordinal, epoch, tuple(batches[number])), is_batch=True)


def wanted_row(log: StepLog, ordinal: int, positions: Sequence[int]) -> list[Wanted]:
    """Every step in which one of these positions was handed to the model, in order."""
    chosen = frozenset(positions)
    found = []
    for record in log.records:
        for rows in record.rows:
            seen = tuple(position for position in rows.positions if position in chosen) if rows.ordinal == ordinal else ()
            if seen:
                found.append(Wanted(record, rows._replace(positions=seen), is_batch=False))
    return found


def replay(
    ports: Ports,
    run: Run,
    wanted: Sequence[Wanted],
    *,
    rank: int,
    folder: Path,
    variables: Mapping[str, str],
    left_out: int = 0,
    is_vouched: bool = False,
    environment: Mode = "current",
    on_line: Callable[[str], None] | None = None,
    progress: Progress = no_progress,
) -> Replay:
    """Make batches again, in the run's code, and compare each with the step log.

    Args:
        ports: The outside world.
        run: The run.
        wanted: What to make.
        rank: Which process of a distributed training.
        folder: Gets pictures, tensors and ``replay.json``; everything or nothing. A replay that is there is replaced, nothing else is.
        variables: Environment of the process that makes them; it must lead to the same store.
        left_out: Told in the result.
        is_vouched: The caller answers for the code of a record that came from elsewhere.
        environment: Where they are made: in the ``recorded`` environment, built again; in the ``current`` one; or ``auto``
            (:class:`lineage.reproduce.environment.ChosenEnvironment`).
        on_line: Told of each line that the process prints.
        progress: Told while an environment is built.

    Raises:
        Unavailable: The recorded environment was asked for and cannot be had.
        UsageError: The run's batches cannot be made again: its transform could not be kept; or nobody answers for its code.
        Conflict: The folder holds something else.
        NotFound: The run's code is gone, or its transform is.
        ExecutionFailed: The recorded code failed; its last lines are told.
        IntegrityError: The code that was checked out is not the recorded one.
    """
    require_trust(ports, run, is_vouched=is_vouched)
    loaders = {number: loaders_of(run, number, rank) for number in sorted({item.rows.ordinal for item in wanted})}
    if folder.exists() and not (folder / RESULT).is_file():
        raise Conflict(f"{folder} exists and is no replay", hint="give another folder")
    if (reason := code_missing(ports, run)) is not None:
        raise NotFound("code", run.id[:12], detail=reason, hint="record runs inside a git repository")
    ports, interpreter, notes = _environment(ports, run, environment, progress)
    workspace = new_workspace(ports.folder / "workspaces", run.id)
    aside = folder.parent / f".{folder.name}.{os.getpid()}"
    try:
        put_code(ports, run, workspace)
        place_loaded(ports, run, workspace)
        aside.mkdir(parents=True)
        request = {
            "run": run.id,
            "out": str(aside.resolve()),
            "root": str(workspace),
            "classes": _classes(run),
            "loaders": {str(number): [loader.model_dump(mode="json") for loader in found] for number, found in loaders.items()},
            "wanted": [
                {
                    "name": _name(item),
                    "ordinal": item.rows.ordinal,
                    "epoch": item.rows.epoch,
                    "positions": item.rows.positions,
                    "is_batch": item.is_batch,
                    "whole": item.whole,
                    "recorded": item.recorded,
                }
                for item in wanted
            ],
        }
        (aside / "request.json").write_text(json.dumps(request), encoding="utf-8")
        made = _execute(ports, run, workspace, aside, interpreter, variables, on_line)
        made["notes"] = [*notes, *made["notes"]]
        result = _result(run, wanted, made, rank, folder, left_out)
        (aside / "request.json").unlink()
        (aside / RESULT).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
    return result


def loader_of(run: Run, ordinal: int, rank: int) -> LoaderRecord:
    """How batches of an input were made; by the loader that was made last when there were several."""
    return loaders_of(run, ordinal, rank)[0]


def loaders_of(run: Run, ordinal: int, rank: int) -> list[LoaderRecord]:
    """Every way in which batches of an input were made and can be made again, the newest first.

    Raises:
        UsageError: They were not made by a loader of ours, or its transform could not be kept.
    """
    found = [item for item in run.loaders if item.ordinal == ordinal and item.rank == rank]
    if not found:
        raise UsageError(
            f"run {run.id[:12]}: batches of input {ordinal} were not made by lineage.training.DataLoader in process {rank}",
            hint="only its batches follow from the record",
        )
    kept = [item for item in reversed(found) if item.code_object is not None]
    if not kept:
        raise UsageError(
            f"run {run.id[:12]}: its transform was not kept: {found[-1].code_missing}",
            hint="use functions of a module, or functools.partial of them, in place of lambdas and functions inside functions",
        )
    return kept


def _environment(ports: Ports, run: Run, mode: Mode, progress: Progress) -> tuple[Ports, Interpreter, list[str]]:
    """Ports and interpreter of the environment that batches are made in; and how it differs from the recorded one."""
    chosen = ChosenEnvironment(ports, run, mode)
    plan = Plan(run_id=run.id, command=run.command, ingredients=tuple(chosen.rows()))
    if not plan.blockers:
        plan = chosen.build(plan, progress)
    if plan.blockers:
        raise Unavailable(
            f"run {run.id[:12]} cannot be replayed in its recorded environment: {plan.blockers[0]}",
            hint="--env current replays it in this environment",
        )
    notes = [f"environment: {line}" for item in plan.ingredients if item.severity == "warning" for line in item.detail]
    return chosen.ports, chosen.interpreter, notes


def _execute(
    ports: Ports,
    run: Run,
    workspace: Path,
    aside: Path,
    interpreter: Interpreter,
    variables: Mapping[str, str],
    on_line: Callable[[str], None] | None,
) -> dict[str, Any]:
    last: deque[str] = deque(maxlen=_LAST_LINES)

    def heard(line: str) -> None:
        last.append(line)
        if on_line is not None:
            on_line(line)

    command = (interpreter.program("python", is_recorded=True), "-m", "lineage.training.replaying", str((aside / "request.json").resolve()))
    place = workspace / run.working_directory
    place.mkdir(parents=True, exist_ok=True)
    status = ports.executor.execute(
        Step(command, place, interpreter.variables(workspace_variables(ports, run, workspace, variables))), heard
    )
    answer = aside / "answer.json"
    if status != 0 or not answer.is_file():
        raise ExecutionFailed("the replay", status, hint="\n".join(last) or None)
    made: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    answer.unlink()
    return made


def _result(run: Run, wanted: Sequence[Wanted], made: dict[str, Any], rank: int, folder: Path, left_out: int) -> Replay:
    steps = []
    for item, answer in zip(wanted, made["made"], strict=True):
        recorded = item.recorded if item.is_batch else None
        steps.append(
            ReplayedStep(
                step=None if item.record is None else item.record.step,
                role=run.inputs[item.rows.ordinal].role,
                epoch=item.rows.epoch,
                samples=tuple(ReplayedSample.model_validate(sample) for sample in answer["samples"]),
                losses=() if item.record is None else tuple(losses_of(item.record)),
                recorded=recorded,
                found=answer["digest"],
                tensors=answer["tensors"],
                values=answer["values"],
            )
        )
    compared = [step for step in steps if step.recorded is not None and step.found is not None]
    verdict: Verdict = "inconclusive"
    if compared:
        verdict = "identical" if all(step.recorded == step.found for step in compared) else "diverged"
    return Replay(
        run_id=run.id, rank=rank, verdict=verdict, steps=tuple(steps), folder=str(folder), left_out=left_out, notes=tuple(made["notes"])
    )


def _classes(run: Run) -> list[str]:
    found = run.config.get("classes")
    return [str(name) for name in found] if isinstance(found, list) else []


def _name(item: Wanted) -> str:
    return f"epoch-{item.rows.epoch}" if item.record is None else f"step-{item.record.step:06d}"


def positions_of(ports: Ports, run: Run, role: str, *, row: int | None, sample: str | None, picture: str | None) -> tuple[int, list[int]]:
    """(number of the input, positions) of a row by source row, sample id or digest of its picture.

    Raises:
        NotFound: The run has no such input or row.
    """
    from lineage.lookup.input_rows import load_input

    for ordinal, item in enumerate(run.inputs):
        if item.role != role:
            continue
        known = load_input(ports.objects, run, ordinal)
        if row is not None:
            found = [place for place, source in enumerate(known.rows.tolist()) if source == row]
        elif sample is not None:
            found = [place for place, name in enumerate(known.names.sample_ids or ()) if name == sample]
        else:
            wanted = bytes.fromhex((picture or "").removeprefix("sha256:"))
            found = [place for place in range(len(known.rows)) if known.digests.pictures[place].tobytes() == wanted]
        if found:
            return ordinal, found
    named = str(row) if row is not None else sample or (picture or "")[:19]
    roles = ", ".join(sorted({item.role for item in run.inputs})) or "none"
    raise NotFound("row", named, detail=f"not in the {role} data of run {run.id[:12]} (roles: {roles})", hint="--role names another input")
