"""``lineage sweep`` and ``lineage sweeps``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineage.cli.output import AsJson, print_json, say, table, when
from lineage.cli.render_sweep import render_sweep
from lineage.cli.render_trials import project_of, recorded_as_json, render_trials, sweep_as_json
from lineage.errors import NotFound, UsageError
from lineage.lookup.sweeps import list_sweeps, sweep_named, sweep_of
from lineage.settings import Settings, load_settings
from lineage.sweeping.create import PARALLEL, create_sweep
from lineage.wiring import is_service, wire

if TYPE_CHECKING:
    from lineage.ports import Ports
    from lineage.ports.sweeps import Sweep, SweepEngine


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("sweep")(sweep)
    app.command("sweeps")(sweeps)


def sweep(
    file_or_id: Annotated[str, typer.Argument(metavar="FILE|SWEEP", help="A sweep file as W&B has them; or the id of a sweep, to see it.")],
    seed: Annotated[int | None, typer.Option(min=0, help="Decides every proposal; drawn by chance without it, and recorded.")] = None,
    parallel: Annotated[
        int, typer.Option(min=1, help="So many trials may run at the same time where proposals learn from results.")
    ] = PARALLEL,
    project: Annotated[str | None, typer.Option(help="Project of its runs.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="With an id: begin no further trials; those that run go on.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="With an id: end it for good, with the trials that run.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="With an id: go on after --stop.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="With an id: also write a page with all that there is.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a sweep of a file; or show, stop, cancel or resume one.

    The id of a new sweep is printed on stdout: lineage agent takes it.
    """
    wanted = [word for word, is_wanted in (("stopped", stop), ("cancelled", cancel), ("running", resume)) if is_wanted]
    if len(wanted) > 1:
        raise UsageError("--stop, --cancel and --resume exclude one another", hint="give one of them")
    if html is not None and (wanted or _is_file(file_or_id)):
        raise UsageError("--html needs the id of a sweep alone", hint="lineage sweep SWEEP --html FILE")
    settings = load_settings()
    ports = wire(settings)
    engine = None if not wanted and not _is_file(file_or_id) and _keeps_none(settings) else _engine(settings)
    try:
        if wanted and engine is not None:
            _set_state(engine, file_or_id, wanted[0], as_json=as_json)
        elif _is_file(file_or_id) and engine is not None:
            _make(engine, ports, Path(file_or_id), seed=seed, parallel=parallel, project=project, name=name, as_json=as_json)
        else:
            _show(engine, ports, file_or_id, html, as_json=as_json)
    finally:
        if engine is not None:
            engine.close()


def sweeps(
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List sweeps, newest first: those that agents can work on here, and those that only records tell of."""
    settings = load_settings()
    engine = None if _keeps_none(settings) else _engine(settings)
    ports = wire(settings)
    recorded = {item.sweep: item for item in list_sweeps(ports, limit)}
    kept = [] if engine is None else engine.all()[:limit]
    found = [(item, [] if engine is None else engine.trials(item.id)) for item in kept]
    told = [sweep_as_json(item, trials, project_of(ports, item, trials)) for item, trials in found]
    told += [recorded_as_json(item) for name, item in recorded.items() if name not in {sweep.id for sweep in kept}]
    told = sorted(told, key=lambda item: str(item["created_at"]), reverse=True)[:limit]
    if as_json:
        print_json(told)
        return
    rows = [
        [
            item["id"],
            "" if item["name"] == item["id"] else item["name"],
            item["project"],
            item["definition"]["method"] if item["definition"] else "",
            item["state"],
            str(item["ended"]),
            item["best_words"],
            when(item["created_at"]),
        ]
        for item in told
    ]
    table(["id", "name", "project", "method", "state", "ended", "best", "made"], rows)


def _is_file(named: str) -> bool:
    return Path(named).suffix in (".yaml", ".yml", ".json") or Path(named).is_file()


def _keeps_none(settings: Settings) -> bool:
    """Whether there is no place for sweeps: a service keeps records only."""
    return is_service(settings) and settings.sweeps is None


def _engine(settings: Settings) -> SweepEngine:
    from lineage.wiring_sweeps import sweep_engine

    return sweep_engine(settings)


def named_sweep(engine: SweepEngine, name: str) -> Sweep:
    """The sweep of this id; ``entity/project/id``, as W&B names sweeps, will do.

    Raises:
        NotFound: There is none; the nearest id is named.
        UsageError: Several begin so.
    """
    wanted = name.rpartition("/")[2].strip()
    try:
        return engine.get(wanted)
    except NotFound as error:
        import difflib

        near = difflib.get_close_matches(wanted, [item.id for item in engine.all()], 1)
        hint = f"is {near[0]} meant? `lineage sweeps` lists them" if near else "`lineage sweeps` lists them; `lineage sweep FILE` makes one"
        raise NotFound("sweep", name, hint=hint) from error


def _make(
    engine: SweepEngine, ports: Ports, file: Path, *, seed: int | None, parallel: int, project: str | None, name: str | None, as_json: bool
) -> None:
    from lineage.api.sweeping import read_definition

    definition = read_definition(file)
    if name is not None:
        definition = definition.model_copy(update={"name": name})
    default = load_settings().project
    made = create_sweep(engine, ports.objects, definition, project=project, default_project=default, seed=seed, parallel=parallel)
    for note in definition.notes:
        say("warning", note)
    if definition.program is not None and "${program}" in definition.command and not Path(definition.program).is_file():
        say("warning", f"there is no {definition.program} here: start agents in the folder that has it")
    trials = f", {definition.grid_size} trials" if definition.method == "grid" else ""
    say("done", f"sweep {made.id}: {definition.method} over {len(definition.leaves())} parameters{trials}, seed {made.seed}")
    say("done", f"run its trials, with as many agents as you like: lineage agent {made.id}")
    if definition.run_cap is None and definition.method != "grid":
        say("done", f"it has no run_cap: it ends with `lineage sweep --stop {made.id}`, or `lineage agent --count N`")
    if as_json:
        print_json(sweep_as_json(made, [], made.project))
    else:
        typer.echo(made.id)


def _set_state(engine: SweepEngine, name: str, state: Any, *, as_json: bool) -> None:
    changed = engine.set_state(named_sweep(engine, name).id, state)
    words = {"stopped": "no further trial begins", "cancelled": "trials that run are ended", "running": "agents may go on"}
    say("done", f"sweep {changed.id} is {changed.state}: {words.get(changed.state, '')}".rstrip(": "))
    if as_json:
        print_json(sweep_as_json(changed, engine.trials(changed.id), changed.project))


def _show(engine: SweepEngine | None, ports: Ports, name: str, html: Path | None, *, as_json: bool) -> None:
    found, missing = None, None
    try:
        found = None if engine is None else named_sweep(engine, name)
    except NotFound as error:
        missing = error
    try:
        whole_id = found.id if found is not None else sweep_named(ports, name.rpartition("/")[2].strip())
    except NotFound:
        raise missing or NotFound("sweep", name, hint="`lineage sweeps` lists them") from None
    if html is not None:
        from lineage.cli.sweep_page import write_sweep_page

        write_sweep_page(ports, sweep_of(ports, whole_id), html)
        say("done", f"written: {html}")
    if found is None or engine is None:  # only records tell of it: another machine's, or a service's
        view = sweep_of(ports, whole_id)
        if as_json:
            print_json(view.model_dump(mode="json"))
        else:
            render_sweep(view)
        return
    trials = engine.trials(found.id)
    project = project_of(ports, found, trials)
    if as_json:
        print_json(sweep_as_json(found, trials, project))
    else:
        render_trials(found, trials, project)
