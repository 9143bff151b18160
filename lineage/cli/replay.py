"""``lineage replay``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineage.cli.bundle import RunOrFile, StoreForFile, open_run
from lineage.cli.output import AsJson, print_json, progress_bars, say, table, talk
from lineage.cli.reproduce import EnvironmentMode
from lineage.errors import NotFound, UsageError
from lineage.lookup.steps import losses_of, read_steps
from lineage.model.digest import digest_of_file
from lineage.model.replay import Replay
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.reproduce.replay import Wanted, loader_of, positions_of, replay, wanted_batch, wanted_row, wanted_step
from lineage.wiring import child_variables


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay_command)


def replay_command(
    context: typer.Context,
    run: RunOrFile,
    step: Annotated[int | None, typer.Option(help="The batch of this step (one optimizer.step(), counted from 0).")] = None,
    epoch: Annotated[int | None, typer.Option(help="Without a step log: the batch of this epoch …")] = None,
    batch: Annotated[int | None, typer.Option(help="… with this number, counted from 0.")] = None,
    row: Annotated[int | None, typer.Option(help="Every step that saw this source row.")] = None,
    sample: Annotated[str | None, typer.Option(metavar="ID", help="Every step that saw this sample.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="Every step that saw this picture, by its bytes.")] = None,
    role: Annotated[str, typer.Option(help="Input that --row, --sample and --image look in.")] = "train",
    list_only: Annotated[bool, typer.Option("--list", help="Only list the steps that saw it; nothing is executed.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many sightings are made again.")] = 24,
    rank: Annotated[int, typer.Option(help="Which process of a distributed training.")] = 0,
    yes: Annotated[
        bool, typer.Option("--yes", help="Execute the code of a record that came from elsewhere and that nobody trusted signed.")
    ] = False,
    env: Annotated[
        EnvironmentMode,
        typer.Option(
            "--env", help="Where batches are made: in the recorded environment (built again), the current one, or as it fits (auto)."
        ),
    ] = EnvironmentMode.auto,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Where pictures and tensors go; else inside the store.")] = None,
    store: StoreForFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a step's exact batch again, without training: pictures with boxes as PNG, tensors as .pt, compared with the step log.

    Or, for one row, every step in which the model saw it, and how it looked. The run's own transform is executed, in a check-out of its
    recorded code, on rows that are compared with their digests. Exit codes: 0 the batch has the recorded digest, 1 it has not, 3 there was
    none to compare with. A bundle's file is taken into a store of its own, and replayed from there.
    """
    if sum(item is not None for item in (step, epoch, row, sample, image)) != 1 or (epoch is None) != (batch is None):
        raise UsageError(
            "say what to replay: one of --step, --epoch with --batch, --row, --sample, --image", hint="lineage replay RUN --step 17"
        )
    opened = open_run(context, run, store)
    ports, found = opened.ports, opened.run
    name, wanted = _wanted(ports, found, step, epoch, batch, row, sample, image, role, rank)
    if list_only:
        _list(found, wanted, as_json=as_json)
        return
    shown = wanted[:limit] if step is None else wanted
    folder = output or ports.folder / "replays" / f"{found.id[:12]}-{name}"
    code = "" if found.code is None else f" in its recorded code {found.code.snapshot_sha[:10]}"
    talk().print(f"making {len(shown)} {'batch' if len(shown) == 1 else 'batches'} of run {found.id[:12]} again{code}", markup=False)
    with progress_bars() as progress:
        made = replay(
            ports,
            found,
            shown,
            rank=rank,
            folder=folder,
            variables=child_variables(opened.settings),
            left_out=len(wanted) - len(shown),
            is_vouched=yes,
            environment=env.value,
            on_line=lambda line: talk().print(f"  │ {line}", markup=False, soft_wrap=True),
            progress=progress,
        )
    if output is None:
        opened.keep()
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        _print(made)
    raise typer.Exit(made.exit_code if step is not None or batch is not None else 0)


def _wanted(
    ports: Ports,
    run: Run,
    step: int | None,
    epoch: int | None,
    batch: int | None,
    row: int | None,
    sample: str | None,
    image: Path | None,
    role: str,
    rank: int,
) -> tuple[str, list[Wanted]]:
    if step is not None:
        return f"step-{step}", wanted_step(run, read_steps(ports, run, rank), step)
    if epoch is not None and batch is not None:
        ordinal = _input_of(run, role)
        return f"epoch-{epoch}-batch-{batch}", [wanted_batch(run, ordinal, loader_of(run, ordinal, rank), epoch, batch)]
    if image is not None and not image.is_file():
        raise NotFound("file", str(image), hint="give the path of one picture")
    picture = None if image is None else digest_of_file(image)
    ordinal, positions = positions_of(ports, run, role, row=row, sample=sample, picture=picture)
    return f"row-{'-'.join(map(str, positions[:3]))}", wanted_row(read_steps(ports, run, rank), ordinal, positions)


def _input_of(run: Run, role: str) -> int:
    for number, item in enumerate(run.inputs):
        if item.role == role:
            return number
    roles = ", ".join(sorted({item.role for item in run.inputs})) or "none"
    raise NotFound("input", role, detail=f"run {run.id[:12]} has the roles: {roles}", hint="--role names another input")


def _list(run: Run, wanted: list[Wanted], *, as_json: bool) -> None:
    lines = []
    for item in wanted:
        losses = [] if item.record is None else losses_of(item.record)
        whole = () if item.record is None else next(rows.positions for rows in item.record.rows if rows.ordinal == item.rows.ordinal)
        for position in item.rows.positions:
            place = whole.index(position) if position in whole else 0
            lines.append((None if item.record is None else item.record.step, item.rows.epoch, position, place, losses))
    if as_json:
        names = ("step", "epoch", "position", "place_in_batch", "losses")
        print_json({"run_id": run.id, "seen": [dict(zip(names, line, strict=True)) for line in lines]})
        return
    columns = ("step", "epoch", "position", "place in batch", "loss")
    table(
        columns,
        [(*("" if part is None else str(part) for part in line[:4]), " ".join(f"{loss:.6g}" for loss in line[4])) for line in lines],
    )


def _print(made: Replay) -> None:
    for step in made.steps:
        named = f"epoch {step.epoch}" if step.step is None else f"step {step.step}, epoch {step.epoch}"
        boxes = sum(sample.boxes for sample in step.samples)
        typer.echo(f"{named}: {len(step.samples)} {step.role} rows, {boxes} boxes" + "".join(f", loss {loss:.6g}" for loss in step.losses))
        for sample in step.samples:
            typer.echo(f"  row {sample.row}{f' ({sample.sample_id})' if sample.sample_id else ''}  {sample.picture or ''}")
        if step.found is not None:
            typer.echo(f"  batch {step.found}, recorded {step.recorded or 'none'}")
    for note in made.notes:
        say("warning", note)
    if made.left_out:
        say("warning", f"{made.left_out} more sightings were left out; --limit shows more, --list all")
    typer.echo(f"in {made.folder}")
    if any(step.found is not None for step in made.steps):
        typer.echo(f"verdict: {made.verdict}")
