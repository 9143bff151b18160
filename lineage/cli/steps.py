"""``lineage steps``."""

from __future__ import annotations

from typing import Annotated

import typer

from lineage.cli import render_difference
from lineage.cli.look import RunName
from lineage.cli.output import AsJson, print_json, say, table
from lineage.lookup.runs import runs_behind
from lineage.lookup.steps import compare_steps, losses_of, read_steps, told_steps
from lineage.model.steps import StepRecord
from lineage.wiring import wire

_LIMIT = 50


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("steps")(steps)


def steps(
    run: RunName,
    other: Annotated[str | None, typer.Argument(metavar="OTHER", help="Compare with this run: where do they part?")] = None,
    first: Annotated[int, typer.Option("--from", help="First step shown; -1 is the state before the first.")] = -1,
    last: Annotated[int | None, typer.Option("--to", help="Last step shown.")] = None,
    rank: Annotated[int, typer.Option(help="Which process of a distributed training.")] = 0,
    as_json: AsJson = False,
) -> None:
    """What each step of a training read, got, lost and changed; or the first step in which two trainings part, and what in it.

    Kept by run.watch(model, optimizer). A step is one call of optimizer.step(). With two runs the exit code is 0 when their logs are the
    same to the end and 1 when they are not.
    """
    ports = wire()
    a = runs_behind(ports.runs, ports.liveness, run)[0][0]
    if other is not None:
        b = runs_behind(ports.runs, ports.liveness, other)[0][0]
        found = compare_steps(ports, a, b, rank)
        if as_json:
            print_json(found.model_dump(mode="json") | {"is_same": found.is_same})
        else:
            render_difference.steps(found)
        raise typer.Exit(0 if found.is_same else 1)
    log = read_steps(ports, a, rank)
    chosen = [record for record in log.records if record.step >= first and (last is None or record.step <= last)]
    if as_json:
        print_json(
            {
                "run_id": a.id,
                "rank": rank,
                "every": log.header.every,
                "steps": log.steps,
                "head": log.head,
                "torn": log.torn,
                "records": told_steps(ports, a, chosen),
            }
        )
        return
    shown = chosen if last is not None or len(chosen) <= _LIMIT else chosen[:_LIMIT]
    columns = ("step", "epoch", "rows", "loss", "batch", "input", "gradient", "parameters")
    table(columns, [_line(record) for record in shown])
    if len(shown) < len(chosen):
        say("done", f"{len(shown)} of {log.steps} steps are shown; --from and --to choose others")
    if log.torn is not None:
        say("warning", f"the log was broken off: {log.torn} at its end were left out")


def _line(record: StepRecord) -> tuple[str, ...]:
    epochs = sorted({rows.epoch for rows in record.rows if rows.epoch is not None})
    count = sum(len(rows.positions) for rows in record.rows)
    digests = (_hex(digest) for digest in (record.batch, record.input, record.gradient, record.parameters))
    return (
        "start" if record.step < 0 else str(record.step),
        ",".join(map(str, epochs)),
        str(count) if record.rows else "",
        " ".join(f"{loss:.6g}" for loss in losses_of(record)),
        *("" if digest is None else digest[:10] for digest in digests),
    )


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()
