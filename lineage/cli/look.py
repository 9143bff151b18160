"""``lineage runs``, ``show``, ``data`` and ``models``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from lineage.cli import render
from lineage.cli.output import AsJson, print_json, say, table, when
from lineage.errors import UsageError
from lineage.lookup.data import Inherited, inherited_by, rows_of
from lineage.lookup.filters import make_query, parse_time
from lineage.lookup.models import ModelUse, models_of_dataset, models_with, occurrences_of
from lineage.lookup.runs import find_runs, runs_behind
from lineage.model.dataset import InputRecord, normalise_uri
from lineage.model.run import Run, RunState
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
    dataset: Annotated[str | None, typer.Option(metavar="URI", help="Only runs that read this dataset.")] = None,
    commit: Annotated[str | None, typer.Option(help="Only runs that read this commit of a dataset (not a git commit).")] = None,
    view: Annotated[str | None, typer.Option(help="Only runs that read the view of this name or id.")] = None,
    sample: Annotated[str | None, typer.Option(metavar="ID", help="Only runs that had this sample, or picture (sha256:…).")] = None,
    artifact: Annotated[str | None, typer.Option(metavar="DIGEST", help="Only runs that made this file.")] = None,
    code: Annotated[str | None, typer.Option(metavar="SHA", help="Only runs of this git commit or tree, or how one begins.")] = None,
    package: Annotated[str | None, typer.Option(metavar="NAME[==VERSION]", help="Only runs with this package installed.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only runs that began then or later, for example 2026-03-14.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only runs that began before. UTC, where no zone is given.")] = None,
    text: Annotated[str | None, typer.Option(metavar="WORD", help="Only runs whose record holds this word somewhere.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000_000, help="At most so many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first. All conditions must hold; those on data for one and the same input."""
    ports = wire()
    query = make_query(
        ports.rows,
        ports.objects,
        project=project,
        group=group,
        job_type=job_type,
        state=state,
        dataset=None if dataset is None else normalise_uri(dataset),
        commit=commit,
        view=view,
        sample=sample,
        artifact=artifact,
        code=code,
        package=package,
        since=None if since is None else parse_time("--since", since),
        until=None if until is None else parse_time("--until", until),
        text=text,
        limit=limit,
    )
    found = find_runs(ports.runs, ports.liveness, query)
    if as_json:
        print_json([run.model_dump(mode="json") for run in found])
        return
    if not found:
        is_filtered = replace(query, limit=None) != RunQuery()
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
            ", ".join(sorted({item.words for item in run.reproductions})),
        ]
        for run in found
    ]
    table(["run", "name", "project", "job type", "state", "started (UTC)", "took", "data", "reproduced"], rows)
    if len(found) == limit:
        say("done", f"the newest {limit}; --limit shows more")


def show(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run id, or a unique prefix of one; or a file made by lineage bundle.")],
    as_json: AsJson = False,
) -> None:
    """Show everything recorded of a run."""
    from lineage.cli.bundle import open_run  # it shares this module's arguments

    opened = open_run(context, run)
    ports, found = opened.ports, opened.run
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        render.run(found, ports.runs.metrics(found.id))


def data(
    model_or_run: Annotated[str, typer.Argument(metavar="MODEL_OR_RUN", help="Path of a weights file, artifact digest, or run id.")],
    rows: Annotated[bool, typer.Option("--rows", help="Every row: sample id, digests, and the epochs in which it was read.")] = False,
    role: Annotated[str | None, typer.Option(help="Only inputs of this role.")] = None,
    as_json: AsJson = False,
) -> None:
    """Which data made this model: dataset, commit, view and rows, by role; and what it inherits from models it was fine-tuned from.

    With --rows each row is a line: tab-separated values, or one JSON object a line with --json. Of several runs that made the same model,
    the newest is taken.
    """
    ports = wire()
    found, digest = runs_behind(ports.runs, ports.liveness, model_or_run)
    if rows:
        _print_rows(rows_of(ports.objects, found[0], role), as_json=as_json)
        return
    inherited = {item.id: inherited_by(ports.runs, ports.rows, item) for item in found}
    if as_json:
        print_json({"model_digest": digest, "runs": [_data_json(item, inherited[item.id], role) for item in found]})
        return
    for item in found:
        render.inputs(item, role=role)
        for older in inherited[item.id]:
            render.inherited(older, role=role)


def _data_json(run: Run, inherited: Sequence[Inherited], role: str | None) -> dict[str, Any]:
    def inputs(items: Sequence[InputRecord]) -> list[dict[str, Any]]:
        return [item.model_dump(mode="json") for item in items if role in (None, item.role)]

    return {
        "run_id": run.id,
        "name": run.name,
        "reproduces": run.reproduces,
        "inputs": inputs(run.inputs),
        "inherited": [
            {"run_id": item.run_id, "name": item.run_name, "path": [asdict(hop) for hop in item.path], "inputs": inputs(item.inputs)}
            for item in inherited
        ],
    }


_ROW_COLUMNS = ("role", "position", "row", "sample_id", "sequence", "picture_digest", "row_digest", "epochs")


def _print_rows(rows: Iterator[dict[str, Any]], *, as_json: bool) -> None:
    write = sys.stdout.write
    if not as_json:
        write("\t".join(_ROW_COLUMNS) + "\n")
    for row in rows:
        if as_json:
            write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            spans = None if row["epochs"] is None else ",".join(str(a) if a == b else f"{a}-{b}" for a, b in row["epochs"]) or "never"
            cells = row | {"epochs": spans}
            write("\t".join("" if cells[name] is None else str(cells[name]) for name in _ROW_COLUMNS) + "\n")


def models(
    uri: Annotated[str | None, typer.Argument(metavar="URI", help="A dataset. Not with --image or --sample.")] = None,
    commit: Annotated[str | None, typer.Option("--commit", help="Only runs that used this commit of the dataset.")] = None,
    view: Annotated[str | None, typer.Option("--view", help="Only runs that used the view of this name or id.")] = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="FILE", help="A picture, found by its bytes whatever it is called; or their digest.")
    ] = None,
    sample: Annotated[str | None, typer.Option("--sample", metavar="ID", help="A sample id, as in the column 'sample_id'.")] = None,
    as_json: AsJson = False,
) -> None:
    """Which models were made from a dataset, or saw a picture or sample, newest first; then models fine-tuned from those."""
    if (uri is None) == (image is None and sample is None):
        raise UsageError("give a dataset's URI, --image FILE or --sample ID: one of them", hint="lineage models --help")
    if uri is None and (commit or view):
        raise UsageError(
            "--commit and --view belong to a dataset's URI", hint="leave them out, or give a URI instead of a picture or sample"
        )
    ports = wire()
    if uri is not None:
        found = models_of_dataset(ports.runs, ports.liveness, ports.rows, uri, commit_id=commit, view=view)
    else:
        found = models_with(ports.rows, occurrences_of(ports.rows, ports.objects, image=image, sample=sample))
    if as_json:
        print_json([model_json(item) for item in found])
        return
    if not found:
        say("done", f"no recorded model was made from {uri or image or sample}")
        return
    render.models(found)


def model_json(item: ModelUse) -> dict[str, Any]:
    """A model as JSON."""
    return {
        "run_id": item.run_id,
        "run_name": item.run_name,
        "started_at": item.started_at,
        "reproduces": item.reproduces,
        "model": {"name": item.model_name, "kind": "model", "digest": item.model_digest},
        "inputs": [
            {key: getattr(used, key) for key in ("run_id", "ordinal", "role", "uri", "commit_id", "view_id", "view_name")}
            for used in item.inputs
        ],
        "rows": [{"row": seen.row, "sample_id": seen.sample_id, "picture_digest": seen.picture_digest} for seen in item.occurrences],
        "path": [asdict(hop) for hop in item.path],
    }
