"""Repeating: the recorded command of a run in its recorded code, environment and data, each time with another seed.

Repetitions are runs of their own, in one group. Nothing is compared with the original: there is no verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from lineage.errors import UsageError
from lineage.lookup.results import first_difference, flat_points
from lineage.lookup.runs import find_runs
from lineage.lookup.seed_words import with_seed, words_of_seed
from lineage.model.dataset import normalise_uri
from lineage.model.plan import Ingredient, Plan
from lineage.model.repetition import Repeated, Repetition
from lineage.model.run import Run, RunState
from lineage.ports import Ports, Progress, RunQuery, no_progress
from lineage.record.reproducing import Reproducing
from lineage.reproduce.carrying_out import RecordedCommand
from lineage.reproduce.environment import ChosenEnvironment, Mode
from lineage.reproduce.needed_secrets import secret_rows
from lineage.reproduce.plan import make_plan

Seed = int | None
"""``None``: a repetition of a run whose randomness nobody fixed."""


def repeat(
    ports: Ports,
    run: Run,
    seeds: Sequence[Seed],
    *,
    variables: Mapping[str, str],
    group: str | None = None,
    data: Mapping[str, str] | None = None,
    plan_only: bool = False,
    is_vouched: bool = False,
    environment: Mode = "auto",
    on_plan: Callable[[Plan], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    on_repetition: Callable[[Repetition], None] | None = None,
    progress: Progress = no_progress,
) -> Repeated:
    """Run the command of a run again, once for each seed that has no finished repetition yet.

    Args:
        ports: The outside world.
        run: The run to repeat. Its recorded rows are read, whatever the dataset holds by now.
        seeds: One for each repetition; ``None`` for each of a run without a seed.
        variables: Environment of the command; it must lead to the same store, and holds the secrets that the command needs.
        group: Of the repetitions; :func:`group_name` without one.
        data: Role to address, for data that moved.
        plan_only: Stop after the plan.
        is_vouched: The caller answers for the command of a record that came from elsewhere.
        environment: Where it runs (:class:`lineage.reproduce.environment.ChosenEnvironment`).
        on_plan: Told of the plan before anything is run.
        on_line: Told of each line that the command prints.
        on_repetition: Told of each repetition when it is over, of those that were there before first.
        progress: Told of rows checked.

    Raises:
        UsageError: Seeds for a run that has none, or the reverse; a run that went on from another one's checkpoint.
        ExecutionFailed: The program cannot be started.
        IntegrityError: The code that was checked out is not the recorded one.
    """
    check_seeds(run, seeds)
    where = group or group_name(run)
    there = _known(ports, run, where, seeds)
    chosen = ChosenEnvironment(ports, run, environment)
    plan = _plan(ports, run, seeds, data or {}, variables, chosen, is_vouched=is_vouched, progress=progress)
    if not plan.blockers and not plan_only and len(there) < len(seeds):
        plan = chosen.build(plan, progress)
    if on_plan is not None:
        on_plan(plan)
    if plan.blockers or plan_only:
        missing = tuple(seed for number, seed in enumerate(seeds) if number not in there)
        return Repeated(run_id=run.id, group=where, plan=plan, repetitions=tuple(there.values()), missing=missing)
    moved = {role: normalise_uri(uri) for role, uri in (data or {}).items()}
    done: list[Repetition] = list(there.values())
    for item in done:
        _tell(on_repetition, item)
    for number, seed in enumerate(seeds):
        if number in there:
            continue
        began = time.monotonic()
        ended = _once(chosen, run, Reproducing(run, moved, seed=seed, is_repeat=True), where, number, variables, on_line)
        made = _repetition(ended, is_new=True, duration_s=time.monotonic() - began)
        done.append(made)
        _tell(on_repetition, made)
        same = _same_as(ports, ended, [run, *(ports.runs.get(item.run_id) for item in done[:-1])])
        if same is not None:
            missing = tuple(later for place, later in enumerate(seeds) if place > number and place not in there)
            return Repeated(run_id=run.id, group=where, plan=plan, repetitions=tuple(done), missing=missing, reason=same)
    return Repeated(run_id=run.id, group=where, plan=plan, repetitions=tuple(done))


def group_name(run: Run) -> str:
    """The group of a run's repetitions: its own may hold runs of other settings."""
    name = run.name if run.id[:6] in run.name else f"{run.name}-{run.id[:6]}"
    return f"{name}-repeats"


def check_seeds(run: Run, seeds: Sequence[Seed]) -> None:
    """Whether a run can be repeated with these seeds.

    Raises:
        UsageError: It cannot; the message says why.
    """
    if run.resumes is not None:
        raise UsageError(
            f"run {run.id[:12]} went on from a checkpoint of run {run.resumes.run_id[:12]}, which holds the state of its random numbers: "
            "another seed would change nothing before it",
            hint=f"lineage repeat {run.resumes.run_id[:12]}",
        )
    given = [seed for seed in seeds if seed is not None]
    twice = next((seed for number, seed in enumerate(given) if seed in given[:number]), None)
    if twice is not None:
        raise UsageError(f"the seed {twice} is named twice", hint="each seed gives one run")
    is_seeded = run.seed is not None or bool(words_of_seed(run))
    if given and not is_seeded:
        raise UsageError(
            f"run {run.id[:12]} has no seed: neither lineage.start_run(seed=…) nor a --seed in its command line says one, so no other "
            "can be given to it",
            hint="when it fixes its random numbers by itself, every repetition would come out the same; give its program a seed first, "
            "lineage.start_run(seed=…). When nothing fixes them: lineage repeat RUN -n 5 --unseeded",
        )
    if len(given) < len(seeds) and is_seeded:
        raise UsageError(
            f"run {run.id[:12]} has a seed: without another one, each repetition would be a reproduction of it",
            hint="leave --unseeded out; lineage calibrate measures how far reproductions of one seed lie apart",
        )


def _plan(
    ports: Ports,
    run: Run,
    seeds: Sequence[Seed],
    data: Mapping[str, str],
    variables: Mapping[str, str],
    chosen: ChosenEnvironment,
    *,
    is_vouched: bool,
    progress: Progress,
) -> Plan:
    plan = make_plan(ports, run, data, progress, is_vouched=is_vouched, environment=chosen)
    rows = [_seed_row(run, seeds) if item.name == "seed" else item for item in plan.ingredients]
    return plan.model_copy(update={"ingredients": (*rows, *secret_rows(run, variables))})


def _seed_row(run: Run, seeds: Sequence[Seed]) -> Ingredient:
    if None in seeds:
        detail = ("the repetitions differ by whatever the program draws from the operating system, and none of them can be reproduced",)
        return Ingredient(name="seed", status="missing", severity="note", recorded="not fixed", found="not fixed", detail=detail)
    words = words_of_seed(run)
    ways = [*([] if run.seed is None else ["lineage.start_run"]), *dict.fromkeys(item.name for item in words)]
    recorded = str(run.seed if run.seed is not None else words[0].value)
    shown = ", ".join(str(seed) for seed in seeds[:10]) + (f" and {len(seeds) - 10} more" if len(seeds) > 10 else "")
    return Ingredient(name="seed", status="ready", recorded=recorded, found=f"{shown}, by {' and '.join(ways)}")


def _known(ports: Ports, run: Run, group: str, seeds: Sequence[Seed]) -> dict[int, Repetition]:
    """Repetitions that need not be made: by number of the seed. Those that ended badly are made again."""
    found = find_runs(ports.runs, ports.liveness, RunQuery(project=run.project, group=group))
    usable = [item for item in reversed(found) if item.repeats == run.id and item.state in (RunState.finished, RunState.running)]
    usable.sort(key=lambda item: item.state is RunState.running)
    known: dict[int, Repetition] = {}
    for number, seed in enumerate(seeds):
        # Without seeds each stands for one.
        item = next((item for item in usable if item.seed == seed), None)
        if item is not None:
            known[number] = _repetition(item, is_new=False, duration_s=item.duration_s)
            usable.remove(item)
    return known


def _once(
    chosen: ChosenEnvironment,
    run: Run,
    reproducing: Reproducing,
    group: str,
    number: int,
    variables: Mapping[str, str],
    on_line: Callable[[str], None] | None,
) -> Run:
    seed = reproducing.seed
    seeded = run if seed is None else run.model_copy(update={"command": with_seed(run, seed)})
    with RecordedCommand(chosen.ports, seeded, chosen, reproducing, variables, on_line) as command:
        name = f"{run.name}-{number + 1}" if seed is None else f"{run.name}-seed-{seed}"
        live = command.begin(name=name, group=group, seed=seed)
        status = command.execute()
        if status == 0:
            ended = live.finish()
        else:
            last = f": {command.last_lines[-1].strip()}" if command.last_lines else ""
            ended = live.finish(RunState.failed, f"the command ended with status {status}{last}")
    command.remove()
    return ended


def _same_as(ports: Ports, ended: Run, others: Sequence[Run]) -> str | None:
    """A sentence when a repetition came out as a run with another seed, bit for bit: its seed did not reach the program."""
    if ended.state is not RunState.finished or ended.seed is None:
        return None
    mine = flat_points(ports.runs.metrics(ended.id))
    files = {item.name: item.digest for item in ended.outputs if item.kind != "dataset"}
    for other in others:
        if other.state is not RunState.finished or other.seed == ended.seed:
            continue
        if files != {item.name: item.digest for item in other.outputs if item.kind != "dataset"}:
            continue
        if (mine or files) and first_difference(mine, flat_points(ports.runs.metrics(other.id))) is None:
            return (
                f"with the seed {ended.seed} it came out as run {other.id[:12]} with the seed {other.seed}, bit for bit: the seed does not "
                "reach the program's random numbers, so further repetitions would give the same"
            )
    return None


def _repetition(run: Run, *, is_new: bool, duration_s: float | None) -> Repetition:
    return Repetition(seed=run.seed, run_id=run.id, name=run.name, state=run.state, is_new=is_new, error=run.error, duration_s=duration_s)


def _tell(on_repetition: Callable[[Repetition], None] | None, item: Repetition) -> None:
    if on_repetition is not None:
        on_repetition(item)
