"""``lineage repeat``."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from lineage.cli import render
from lineage.cli.look import RunName
from lineage.cli.output import AsJson, escape, print_json, progress_bars, say, talk
from lineage.cli.reproduce import EnvironmentMode, by_role
from lineage.cli.secrets import AskedSecrets, ask_secrets
from lineage.errors import UsageError
from lineage.lookup.runs import get_run
from lineage.model.repetition import Repeated, Repetition
from lineage.model.run import Run, RunState
from lineage.ports import Ports
from lineage.settings import load_settings
from lineage.wiring import child_variables, wire

_SEEDS = 5
_MOST = 1000
_LARGEST = 2**63


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("repeat")(repeat_command)


def repeat_command(
    run: RunName,
    repetitions: Annotated[
        int | None, typer.Option("-n", "--repetitions", min=1, max=_MOST, help="How many; 5, or as many as there are seeds.")
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds", metavar="1,2,3", help="One run for each; ranges such as 1-5, too. Without it those behind the run's own seed."
        ),
    ] = None,
    group: Annotated[str | None, typer.Option(help="Group of the repetitions; NAME-repeats without it, with the name of the run.")] = None,
    unseeded: Annotated[bool, typer.Option("--unseeded", help="For a run whose random numbers nothing fixes: repeat it as it is.")] = False,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="ROLE=URI", help="Read the data of a role from another place; it must hold the same rows."),
    ] = None,
    env: Annotated[EnvironmentMode, typer.Option("--env", help="Where they run; as for reproduce.")] = EnvironmentMode.auto,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done and what stands in the way, and stop.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Execute the command of a record that came from elsewhere and that nobody trusted signed.")
    ] = False,
    secret: AskedSecrets = None,
    as_json: AsJson = False,
) -> None:
    """Run a recorded run again several times, each with another seed, in its recorded code, environment and rows, as a group of new runs.

    The seed takes the place of the one that the program gives to lineage.start_run, and of the one after --seed in its command line. Each
    repetition is recorded as any run is, and can be reproduced. Called again it makes only what is missing. At the end it prints the group.

    Exit codes: 0 all finished, 3 one did not end well or the seed changed nothing, 4 blocked (nothing was run).
    """
    from lineage.reproduce.repeat import repeat

    ask_secrets(secret or [])
    settings = load_settings()
    ports = wire(settings)
    found = get_run(ports.runs, ports.liveness, run)
    wanted = _seeds(found, repetitions, seeds, unseeded=unseeded)
    with progress_bars() as progress:
        made = repeat(
            ports,
            found,
            wanted,
            variables=child_variables(settings),
            group=group,
            data=by_role(data or []),
            plan_only=plan,
            is_vouched=yes,
            environment=env.value,
            on_plan=render.plan,
            on_line=lambda line: talk().print(f"  │ {line}", markup=False, soft_wrap=True),
            on_repetition=lambda item: _told(item, len(wanted)),
            progress=progress,
        )
    _print(ports, found, made, is_plan=plan, as_json=as_json)
    raise typer.Exit(0 if plan and not made.plan.blockers else made.exit_code)


def _seeds(run: Run, repetitions: int | None, seeds: str | None, *, unseeded: bool) -> list[int | None]:
    if unseeded:
        if seeds is not None:
            raise UsageError("--unseeded and --seeds contradict each other", hint="one of the two")
        return [None] * (repetitions or _SEEDS)
    if seeds is None:
        first = (run.seed or 0) + 1
        return list(range(first, first + (repetitions or _SEEDS)))
    found: list[int | None] = []
    for word in filter(None, re.split(r"[,\s]+", seeds)):
        match = re.fullmatch(r"(\d{1,19})(?:-(\d{1,19}))?", word)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high or high >= _LARGEST or high - low >= _MOST:
            raise UsageError(f"--seeds: expected whole numbers and ranges such as 1,2,5-9, found '{word}'", hint=f"0 to {_LARGEST - 1}")
        found += range(low, high + 1)
    if repetitions is not None and repetitions != len(found):
        raise UsageError(f"-n says {repetitions} repetitions, --seeds names {len(found)}", hint="one of the two is enough")
    if not found or len(found) > _MOST:
        raise UsageError(f"--seeds names {len(found)} seeds", hint=f"name one at least, and {_MOST} at most")
    return found


def _told(item: Repetition, wanted: int) -> None:
    which = f"seed {item.seed}" if item.seed is not None else "repetition"
    if not item.is_new:
        told = "there already" if item.state is RunState.finished else "another process is at it"
        say("done", f"{which}: run {item.run_id[:12]}, {told}")
        return
    took = "" if item.duration_s is None else f" in {item.duration_s:.1f} s"
    say("done" if item.state is RunState.finished else "warning", f"{which} of {wanted}: run {item.run_id[:12]} {item.state.value}{took}")
    if item.error:
        talk().print(f"  {escape(item.error)}", soft_wrap=True)


def _print(ports: Ports, run: Run, made: Repeated, *, is_plan: bool, as_json: bool) -> None:
    from lineage.cli import render_group
    from lineage.lookup.groups import group_of

    has_group = bool(made.repetitions) and not is_plan and not made.plan.blockers
    found = group_of(ports, made.group, project=run.project, points=600) if has_group else None
    if as_json:
        told = made.model_dump(mode="json") | {"statistics": None if found is None else found.model_dump(mode="json")}
        print_json(told)
        return
    for blocker in made.plan.blockers:
        typer.echo(f"blocked by {escape(blocker)}")
    if is_plan and not made.plan.blockers:
        there = f", {len(made.repetitions)} are there already" if made.repetitions else ""
        typer.echo(f"nothing stands in the way of {len(made.missing)} repetitions in group {escape(made.group)}{there}")
    if found is not None:
        render_group.groups([found], is_drawn=False)
    if made.reason is not None:
        typer.echo(f"stopped: {escape(made.reason)}")
        say("warning", "use run.seed (lineage.training.make_deterministic does) wherever the program draws random numbers")
