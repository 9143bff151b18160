"""``lineage upload``."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer

from lineage.cli.output import AsJson, print_json, progress_bars, say
from lineage.model.dataset import normalise_uri
from lineage.record.start import start_run
from lineage.record.upload import upload
from lineage.settings import load_settings
from lineage.wiring import available_trackers, importer, wire


class OnErrorChoice(enum.StrEnum):
    """What a bad sample does."""

    fail = "fail"
    skip = "skip"


class WandbChoice(enum.StrEnum):
    """Whether W&B is told."""

    auto = "auto"
    offline = "offline"
    online = "online"
    disabled = "disabled"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("upload")(upload_command)


def upload_command(
    layout: Annotated[str, typer.Argument(help="Layout of the source: visdrone, coco, yolo, cifar10, off, points, or module:Class.")],
    source: Annotated[Path, typer.Argument(help="The folder, or the file where a layout has one.")],
    uri: Annotated[str, typer.Argument(help="Where to: a new Deep Lake dataset.")],
    on_error: Annotated[
        OnErrorChoice, typer.Option(help="fail: store nothing when any sample is bad. skip: leave bad samples out and report them.")
    ] = OnErrorChoice.fail,
    project: Annotated[str | None, typer.Option(help="Project of the tracked job.")] = None,
    wandb: Annotated[WandbChoice, typer.Option(help="Tell Weights & Biases. auto: offline when it is installed.")] = WandbChoice.auto,
    as_json: AsJson = False,
) -> None:
    """Store pictures and annotations, meshes or arrays as a dataset version, byte for byte, as a tracked job.

    The whole source is checked first and everything stored is read back and compared. An interrupted upload continues when the same command
    is given again.
    """
    settings = load_settings()
    ports = wire(settings)
    reader = importer(layout)
    address = normalise_uri(uri)
    with (
        start_run(
            ports,
            project=project or settings.project,
            job_type="dataset_upload",
            name=f"upload-{address.rstrip('/').rsplit('/', 1)[-1]}",
            command=("lineage", *sys.argv[1:]),
            trackers=available_trackers(wandb.value),
        ) as run,
        progress_bars() as progress,
    ):
        made = upload(run, ports, reader, source, address, on_error=on_error.value, progress=progress)
    version = made.version
    for problem in made.problems:
        say("warning", f"{'skipped: ' if problem.severity == 'error' else ''}{problem}")
    if made.earlier:
        of = f" (of run {', '.join(earlier[:12] for earlier in made.earlier)})"
        say("done", f"continued an interrupted upload after {made.continued} rows{of}")
    say("done", f"{version.rows} rows stored, read back and equal to the source")
    if as_json:
        print_json(
            {
                "run_id": run.id,
                "uri": version.uri,
                "dataset_id": version.dataset_id,
                "branch": version.branch,
                "commit_id": version.commit_id,
                "rows": version.rows,
                "content_digest": version.content_digest,
                "continued": {"runs": list(made.earlier), "rows": made.continued} if made.earlier else None,
                "skipped": [str(problem) for problem in made.problems if problem.severity == "error"],
                "warnings": [str(problem) for problem in made.problems if problem.severity == "warning"],
            }
        )
    else:
        facts = {"uri": version.uri, "commit id": version.commit_id, "rows": version.rows, "content": version.content_digest, "run": run.id}
        for name, value in facts.items():
            typer.echo(f"{name:<11}{value}")
