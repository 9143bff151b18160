"""``lineage sync``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lineage.cli.handing_over import hand_over_spool
from lineage.cli.output import AsJson, print_json, progress_bars, say
from lineage.errors import Unavailable
from lineage.lookup.runs import find_runs, get_run
from lineage.ports import RunQuery
from lineage.record.delivering import check_own, send_runs, undelivered
from lineage.wiring import sender, wire

_TRACKER = "wandb"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sync")(sync)


def sync(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs; without any, all that the server has not got.", show_default=False)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Send a named run again, though the server has it.")] = False,
    wait: Annotated[
        float, typer.Option(min=1, max=86_400, metavar="SECONDS", help="Give a run up after so long without a word from the server.")
    ] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Send to Weights & Biases what was recorded offline, and to the service of `LINEAGE_STORE=http://…` what it did not get.

    Done again it changes nothing: neither run nor metrics nor artifacts are there twice. A run whose W&B folder is gone is written again
    from its record. Of a folder that breaks off (a killed training) everything that can be read is sent, and that is said.
    """
    ports = wire()
    handed = hand_over_spool(ports)
    if runs:
        found = [get_run(ports.runs, ports.liveness, name) for name in runs]
    else:
        found = undelivered(ports, find_runs(ports.runs, ports.liveness, RunQuery()), _TRACKER)
    for run in found:
        check_own(run, _TRACKER)
    if not found:
        if as_json:
            print_json([asdict(item) for item in handed])
        say("done", "nothing to send: no W&B run of this store waits for its server")
        return
    with progress_bars() as progress:
        done = send_runs(ports, sender(_TRACKER), found, limit_s=wait, again=again and bool(runs), progress=progress)
    if as_json:
        print_json([*(asdict(item) for item in handed), *(asdict(item) for item in done)])
    for item in done:
        kind = {"failed": "error", "partly": "warning", "skipped": "warning"}.get(item.outcome, "done")
        rebuilt = " (its folder was gone: written again from the record)" if item.was_rebuilt else ""
        say(kind, f"{item.run_id[:12]} {item.name}: {item.outcome}{rebuilt}" + (f": {item.detail}" if item.detail else ""))
    failed = sum(item.outcome == "failed" for item in done)
    if failed:
        raise Unavailable(
            f"{failed} of {len(done)} runs could not be sent", hint="nothing is lost: give the same command again when the server answers"
        )
