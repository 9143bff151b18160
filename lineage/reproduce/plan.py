"""Planning a reproduction: every ingredient looked at, every blocker named at once, nothing run."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lineage.errors import LineageError
from lineage.model.dataset import InputRecord, normalise_uri
from lineage.model.event import replay
from lineage.model.plan import Ingredient, Plan, Severity
from lineage.model.run import Run, RunState
from lineage.model.secrets import REDACTED
from lineage.ports import Ports, Progress, no_progress
from lineage.record.code_packs import code_missing
from lineage.record.opening import locate
from lineage.reproduce.environment import ChosenEnvironment
from lineage.reproduce.files import plan_files
from lineage.reproduce.loaded_code import plan_loose, plan_modules
from lineage.reproduce.trust import check_trust


def make_plan(
    ports: Ports,
    run: Run,
    data: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
    *,
    is_vouched: bool = False,
    environment: ChosenEnvironment | None = None,
) -> Plan:
    """What reproducing ``run`` needs and what is there.

    Args:
        ports: The outside world.
        run: The run to repeat.
        data: Role to address, for data that moved; it must hold the same rows.
        progress: Told of rows checked.
        is_vouched: The caller answers for a record that came from elsewhere (:mod:`lineage.reproduce.trust`).
        environment: Which environment it is to run in; this one without it.
    """
    if run.imported is not None:
        return Plan(run_id=run.id, command=run.command, ingredients=(check_record(ports, run), *_imported(run)))
    moved = {role: normalise_uri(uri) for role, uri in (data or {}).items()}
    trust = check_trust(ports, run, is_vouched=is_vouched)
    if any(item.severity == "blocker" for item in trust):
        # Nor are its addresses opened: where they lead is its maker's choice.
        return Plan(run_id=run.id, command=run.command, ingredients=(check_record(ports, run), *trust, *_state(run), _command(run)))
    ingredients = [check_record(ports, run), *trust, *_state(run), _command(run), _code(ports, run), *plan_modules(run)]
    ingredients += [_data(ports, item, moved.get(item.role), progress) for item in run.inputs]
    ingredients += plan_files(ports, run)
    for role in sorted(set(moved) - {item.role for item in run.inputs}):
        ingredients.append(
            Ingredient(
                name=f"data: {role}",
                status="missing",
                severity="blocker",
                recorded="no input",
                found=moved[role],
                detail=(f"the run has no input '{role}'",),
            )
        )
    ingredients += [*(environment or ChosenEnvironment(ports, run, "current")).rows(), _seed(run)]
    return Plan(run_id=run.id, command=run.command, ingredients=tuple(ingredients))


def check_record(ports: Ports, run: Run) -> Ingredient:
    """Whether a record's events are intact and add up to it."""
    events = ports.runs.events(run.id)
    try:
        told = replay(events, run.id, ports.runs.environment)
    except LineageError as error:
        detail = (error.message,) if error.hint is None else (error.message, error.hint)
        return Ingredient(
            name="record", status="changed", severity="blocker", recorded="a chain of events", found="a broken one", detail=detail
        )
    if told != _stored(ports, run.id):
        return Ingredient(
            name="record",
            status="changed",
            severity="blocker",
            recorded=f"{len(events)} events",
            found="a record that tells something else",
            detail=("the stored record is not what its events add up to; it was altered",),
        )
    if told.state is not RunState.running and (found := ports.runs.metrics_digest(run.id)) != told.metrics_digest:
        return Ingredient(
            name="record",
            status="changed",
            severity="blocker",
            recorded=f"metrics {'none' if told.metrics_digest is None else told.metrics_digest[:19]}",
            found=f"metrics {'none' if found is None else found[:19]}",
            detail=("logged values were changed, added or lost after the run ended",),
        )
    return Ingredient(name="record", status="ready", recorded=f"{len(events)} events", found="chain intact")


def _stored(ports: Ports, run_id: str) -> Run | None:
    try:
        return ports.runs.get(run_id)
    except LineageError:  # it cannot be read, so it is not what its events add up to
        return None


def _imported(run: Run) -> list[Ingredient]:
    # Whatever was not kept when it ran cannot be had now: each such thing is a blocker of its own, all named at once.
    imported = run.imported
    missing = () if imported is None else imported.missing or ("the run was not recorded by this layer",)
    where = "" if imported is None else f"imported from {imported.tracker} ({imported.id})"
    return [
        Ingredient(name=text.partition(":")[0], status="missing", severity="blocker", recorded=where, found="not kept", detail=(text,))
        for text in missing
    ]


def _state(run: Run) -> list[Ingredient]:
    if run.state is RunState.finished:
        return []
    blocked = run.state is RunState.running
    detail = "it has not ended yet" if blocked else f"it ended as {run.state}: {run.error or 'no reason recorded'}"
    return [
        Ingredient(
            name="run",
            status="different",
            severity="blocker" if blocked else "warning",
            recorded="a finished run",
            found=run.state.value,
            detail=(detail,),
        )
    ]


def _command(run: Run) -> Ingredient:
    text = " ".join(run.command)
    if not run.command:
        return Ingredient(
            name="command", status="missing", severity="blocker", recorded="none", found="none", detail=("no command was recorded",)
        )
    reason = _unrepeatable(run)
    if reason is not None:
        return Ingredient(name="command", status="missing", severity="blocker", recorded=text, found="cannot be repeated", detail=(reason,))
    found = "as recorded, but for secrets" if any(REDACTED in word for word in run.command) else "as recorded"
    outside = [item.path for item in run.outputs if item.details.get("observed") is True and item.path.startswith("/")]
    if outside:  # a workspace cannot keep them apart
        more = f" and {len(outside) - 1} more" if len(outside) > 1 else ""
        found += f"; it also writes outside its folder and will again: {outside[0]}{more} is replaced"
    if (before := run.process_ordinal) > 0:
        earlier = "the one before it is" if before == 1 else f"the {before} before it are"
        found += f"; it was run number {before + 1} of its process: {earlier} executed again, unrecorded"
    return Ingredient(name="command", status="ready", recorded=text, found=found)


def _unrepeatable(run: Run) -> str | None:
    if run.job_type == "dataset_upload":
        return "an upload writes to its target; compare datasets by their content digests instead"
    program, *arguments = run.command
    if "ipykernel_launcher" in run.command or any("ipykernel_launcher" in word for word in arguments):
        return "it ran in a notebook, whose cells are not recorded"
    if is_interpreter(program):
        rest = [word for word in arguments if not re.fullmatch(r"-[bBdEhiIOPqsSuvVxX]+", word)]
        if not rest or rest[0] == "-":
            return "the program was typed or read from standard input and is not recorded"
    return None


def is_interpreter(program: str) -> bool:
    """Whether a program's name is Python's: ``python``, ``python3``, ``python3.11``, in any folder."""
    return re.fullmatch(r"python(3(\.\d+)?)?", program.rpartition("/")[2]) is not None


def _code(ports: Ports, run: Run) -> Ingredient:
    code = run.code
    if code is None:
        return plan_loose(ports, run)
    recorded = f"{(code.git_sha or code.snapshot_sha)[:10]}{' + uncommitted changes' if code.is_dirty else ''}"
    reason = code_missing(ports, run)
    if reason is not None:
        return Ingredient(name="code", status="missing", severity="blocker", recorded=recorded, found="not found", detail=(reason,))
    if code.left_out:
        detail = f"not kept with the code (large untracked files, repositories inside this one): {', '.join(code.left_out[:3])}"
        return Ingredient(
            name="code", status="missing", severity="warning", recorded=recorded, found="all but what is named", detail=(detail,)
        )
    where = "reachable" if ports.source.has(code) is None else "kept in the object store; its repository is lost"
    return Ingredient(name="code", status="ready", recorded=recorded, found=f"snapshot {code.snapshot_sha[:10]} {where}")


def _data(ports: Ports, item: InputRecord, moved: str | None, progress: Progress) -> Ingredient:
    recorded = f"{item.rows} rows at {item.commit_id} of {item.uri}"
    check, place = locate(ports.datasets, ports.objects, ports.rows, item, moved, progress)
    if place is not None:
        where = f" at {moved}" if moved and place.origin == "dataset" else ""
        severity: Severity = "note" if check.detail else "none"
        return Ingredient(
            name=f"data: {item.role}", status="ready", severity=severity, recorded=recorded, found=check.found + where, detail=check.detail
        )
    status = "missing" if check.status == "missing" else "changed"
    return Ingredient(
        name=f"data: {item.role}", status=status, severity="blocker", recorded=recorded, found=check.found, detail=check.detail
    )


def _seed(run: Run) -> Ingredient:
    if run.seed is None:
        detail = "random numbers will differ unless the program fixes them itself, and with them the result"
        return Ingredient(name="seed", status="missing", severity="warning", recorded="not fixed", found="not fixed", detail=(detail,))
    return Ingredient(name="seed", status="ready", recorded=str(run.seed), found="as recorded")
