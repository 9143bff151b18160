"""The command line. stdout is data, stderr is talk; every command has ``--json``.

Each module holds the commands of one verb. Nothing is decided here that the verbs do not offer to Python as well.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Annotated

import typer

from lineage.cli import (
    agent,
    bundle,
    calibrate,
    diff,
    doctor,
    graph,
    group,
    impact,
    importance,
    importing,
    jobs,
    keep,
    keys,
    leaks,
    look,
    repeat,
    replay,
    reproduce,
    run,
    serve,
    steps,
    store,
    sweep,
    sync,
    tokens,
    transfer,
    upload,
    view,
    worker,
)
from lineage.cli.output import fail
from lineage.errors import LineageError, UsageError

app = typer.Typer(
    name="lineage",
    help="Which exact data made this model, and can I make it again?",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, identical or equivalent · 1 diverged · 2 usage · 3 inconclusive · 4 blocked · 5 and up other errors.",
)

_UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h: an error of ours


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("dataset-lineage"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ["LINEAGE_DEBUG"] = "1"


upload.register(app)
view.register(app)
run.register(app)
sweep.register(app)
agent.register(app)
look.register(app)
graph.register(app)
group.register(app)
importance.register(app)
leaks.register(app)
impact.register(app)
diff.register(app)
steps.register(app)
replay.register(app)
reproduce.register(app)
calibrate.register(app)
repeat.register(app)
keep.register(app)
bundle.register(app)
importing.register(app)
transfer.register(app)
sync.register(app)
store.register(app)
keys.register(app)
serve.register(app)
worker.register(app)
jobs.register(app)
tokens.register(app)
doctor.register(app)


def main() -> None:
    """Entry point: run a command, turn the project's errors into one sentence, a hint and an exit code."""
    for kind in (signal.SIGTERM, signal.SIGHUP):
        # As an exception, so that children are ended and records are closed on the way out.
        signal.signal(kind, lambda number, _: sys.exit(128 + number))
    try:
        app()
    except LineageError as error:
        if os.environ.get("LINEAGE_DEBUG"):
            raise
        fail(error)
        sys.exit(error.exit_code)
    except UnicodeEncodeError as error:
        # A word of the command line that is no UTF-8 text, where something else than a path was expected.
        if os.environ.get("LINEAGE_DEBUG") or not any("\udc80" <= letter <= "\udcff" for word in sys.argv for letter in word):
            raise
        fail(UsageError(f"{error.object!r} holds bytes that are no UTF-8 text", hint="only paths may"))
        sys.exit(UsageError.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # `lineage runs | head`: the reader has seen enough. The status is the one of a program that the pipe's signal ended.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Exception:  # noqa: BLE001 - Python's own status for it, 1, means "diverged" here
        traceback.print_exc()
        sys.exit(_UNEXPECTED)
