"""``lineage runs``, ``show``, ``data`` and ``models``."""

from __future__ import annotations

from typing import Annotated

import typer

from lineage.cli import render
from lineage.cli.output import AsJson, print_json, say, table, when
from lineage.lookup.runs import find_runs, get_run, models_using, runs_behind
from lineage.model.run import RunState
from lineage.ports import RunQuery
from lineage.wiring import wire

RunName = Annotated[str, typer.Argument(metavar="RUN", help="Run id, or a unique prefix of one.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("runs")(runs)
    app.command("show")(show)
    app.command("data")(data)
    app.command("models")(models)


def runs(
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    group: Annotated[str | None, typer.Option(help="Only this group.")] = None,
    job_type: Annotated[str | None, typer.Option(help="Only this kind of job.")] = None,
    state: Annotated[RunState | None, typer.Option(help="Only runs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    ports = wire()
    found = find_runs(ports.runs, ports.liveness, RunQuery(project=project, group=group, job_type=job_type, state=state, limit=limit))
    if as_json:
        print_json([run.model_dump(mode="json") for run in found])
        return
    if not found:
        is_filtered = any((project, group, job_type, state))
        say("done", f"no run {'fits' if is_filtered else 'is recorded'} in {ports.runs.location}")
        return
    rows = [
        [
            run.id[:8],
            run.name,
            run.project,
            run.job_type,
            run.state.value,
            when(run.started_at),
            "" if run.duration_s is None else f"{run.duration_s:.1f} s",
            ", ".join(f"{item.role}: {item.rows} rows" for item in run.inputs),
            ", ".join(sorted({item.verdict for item in run.reproductions})),
        ]
        for run in found
    ]
    table(["run", "name", "project", "job type", "state", "started (UTC)", "took", "data", "reproduced"], rows)
    if len(found) == limit:
        say("done", f"the newest {limit}; --limit shows more")


def show(run: RunName, as_json: AsJson = False) -> None:
    """Show everything recorded of a run."""
    ports = wire()
    found = get_run(ports.runs, ports.liveness, run)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        render.run(found, ports.runs.metrics(found.id))


def data(
    model_or_run: Annotated[str, typer.Argument(metavar="MODEL_OR_RUN", help="Path of a weights file, artifact digest, or run id.")],
    as_json: AsJson = False,
) -> None:
    """Which data made this model: dataset, commit, view and rows, by role."""
    ports = wire()
    found, digest = runs_behind(ports.runs, ports.liveness, model_or_run)
    if as_json:
        print_json(
            {
                "model_digest": digest,
                "runs": [
                    {"run_id": item.id, "name": item.name, "reproduces": item.reproduces, "inputs": item.model_dump(mode="json")["inputs"]}
                    for item in found
                ],
            }
        )
        return
    for item in found:
        render.inputs(item)


def models(
    uri: Annotated[str, typer.Argument(metavar="URI", help="The dataset.")],
    commit: Annotated[str | None, typer.Option("--commit", help="Only runs that used this commit of the dataset.")] = None,
    view: Annotated[str | None, typer.Option("--view", help="Only runs that used the view of this name or id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Which models were made from a dataset, newest first."""
    ports = wire()
    found = list(models_using(ports.runs, ports.liveness, uri, commit_id=commit, view=view))
    if as_json:
        print_json(
            [
                {
                    "run_id": run.id,
                    "run_name": run.name,
                    "model": model.model_dump(mode="json"),
                    "inputs": run.model_dump(mode="json")["inputs"],
                }
                for run, model in found
            ]
        )
        return
    if not found:
        say("done", f"no recorded model was made from {uri}")
        return
    rows = [
        [
            model.name,
            model.digest[:19],
            run.id[:8],
            run.name,
            when(run.started_at),
            ", ".join(f"{item.role}: {item.view_name or item.commit_id}" for item in run.inputs),
        ]
        for run, model in found
    ]
    table(["model", "digest", "run", "name", "started (UTC)", "data"], rows)
