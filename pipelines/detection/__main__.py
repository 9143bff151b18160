"""Command line: ``python -m pipelines.detection train --train URI --validation URI --view NAME``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from lineage.errors import UsageError
from pipelines.command_line import errors_on_stderr
from pipelines.configuration import given_options as _overrides
from pipelines.detection.config import CONFIGS, bundled_configs, load_config

app = typer.Typer(
    help=(
        "Train Faster R-CNN on filtered views of a dataset; data, code, environment, losses and weights are recorded as one run.\n\n"
        "A configuration is built from defaults (the playbook's), then a YAML file, then the options given here. stdout has the result, "
        "stderr the talk. Exit codes: 0 done, 2 usage, 5 and up other errors."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="NAME|FILE", help="A bundled configuration (see 'configs') or a YAML file; else the playbook's values."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Any other field, written as in YAML: --set model.representation_size=256."),
]

DATA, RUN, MODEL, MACHINE = "Data", "Run", "Training", "Machine"


@app.command()
def train(
    config: ConfigOption = None,
    train: Annotated[str | None, typer.Option("--train", metavar="URI", help="Training dataset.", rich_help_panel=DATA)] = None,
    validation: Annotated[str | None, typer.Option(metavar="URI", help="Validation dataset.", rich_help_panel=DATA)] = None,
    view: Annotated[
        str | None, typer.Option(metavar="NAME", help="Saved view of both; without it the whole datasets.", rich_help_panel=DATA)
    ] = None,
    validation_view: Annotated[
        str | None, typer.Option(metavar="NAME", help="View of the validation dataset, where it has another name.", rich_help_panel=DATA)
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also write model.pth here; the run's record has it anyway.", rich_help_panel=DATA)
    ] = None,
    project: Annotated[str | None, typer.Option(help="Project of the run.", rich_help_panel=RUN)] = None,
    group: Annotated[str | None, typer.Option(help="Group of runs that belong together.", rich_help_panel=RUN)] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.", rich_help_panel=RUN)] = None,
    wandb: Annotated[str | None, typer.Option(metavar="offline|online|disabled", help="W&B mode.", rich_help_panel=RUN)] = None,
    seed: Annotated[
        str | None, typer.Option(metavar="INTEGER|none", help="Seed of everything random; 'none' leaves it to chance.", rich_help_panel=RUN)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training view; 0 only evaluates.", rich_help_panel=MODEL)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures per step.", rich_help_panel=MODEL)] = None,
    width: Annotated[int | None, typer.Option(help="Width of the model's input in pixels.", rich_help_panel=MODEL)] = None,
    height: Annotated[int | None, typer.Option(help="Height of the model's input in pixels.", rich_help_panel=MODEL)] = None,
    min_area: Annotated[
        float | None, typer.Option(help="Smallest box in square pixels of the input; follows the size unless given.", rich_help_panel=MODEL)
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate of SGD.", rich_help_panel=MODEL)] = None,
    architecture: Annotated[str | None, typer.Option(help="For example fasterrcnn_resnet18_fpn.", rich_help_panel=MODEL)] = None,
    base_weights: Annotated[
        str | None, typer.Option(metavar="FILE|torchvision-cache", help="Weights to start from; never downloaded.", rich_help_panel=MODEL)
    ] = None,
    score_threshold: Annotated[float | None, typer.Option(help="Detections must score above this to count.", rich_help_panel=MODEL)] = None,
    device: Annotated[str | None, typer.Option(metavar="auto|cpu|cuda", help="Where to compute.", rich_help_panel=MACHINE)] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; another number gives other bits.", rich_help_panel=MACHINE)] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read and augment pictures.", rich_help_panel=MACHINE)] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="float32|bfloat16|float16", help="Type of the arithmetic (autocast).", rich_help_panel=MACHINE)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN|last", help="Go on from the last checkpoint of a run that was broken off.", rich_help_panel=RUN),
    ] = None,
    allow_changed: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="With --resume: this field may differ, for example epochs.", rich_help_panel=RUN),
    ] = None,
    set_: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train on a view, evaluate on another after each epoch, save the weights.

    Example: python -m pipelines.detection train --config demo --train URI --validation URI --view cars-20px --epochs 2 --seed 7
    """
    options = {
        "train": train,
        "validation": validation,
        "view": view,
        "validation_view": validation_view,
        "output": output,
        "project": project,
        "group": group,
        "name": name,
        "wandb": wandb,
        "seed": seed,
        "epochs": epochs,
        "batch_size": batch_size,
        "transform.width": width,
        "transform.height": height,
        "transform.min_area": min_area,
        "optimizer.learning_rate": learning_rate,
        "model.architecture": architecture,
        "model.base_weights": base_weights,
        "score_threshold": score_threshold,
        "device": device,
        "threads": threads,
        "workers": workers,
        "precision": precision,
    }
    with errors_on_stderr():
        resolved = load_config(config, _overrides(options, set_ or []))
        from pipelines.detection.job import train_detector  # torch takes seconds; --help must not wait for it

        trained = train_detector(resolved, resume=resume, allow_changed=allow_changed or [])
    if trained.evaluation is None:  # another process of the same training tells
        return
    result: dict[str, Any] = {
        "run_id": trained.run_id,
        **trained.evaluation.metrics(),
        "detections_per_picture": trained.evaluation.detections_per_picture,
        "weights": None if trained.weights is None else str(trained.weights),
    }
    if as_json:
        typer.echo(json.dumps(result))
        return
    for key, value in result.items():
        if value is not None:
            typer.echo(f"{key}: {value:.4f}" if isinstance(value, float) else f"{key}: {value}")


@app.command("compare")
def compare_command(
    config: Annotated[
        list[str],
        typer.Option("--config", metavar="NAME|FILE", help="A configuration; give two or more: --config scenes-160 --config scenes-320."),
    ],
    train: Annotated[str, typer.Option("--train", metavar="URI", help="Training dataset.", rich_help_panel=DATA)],
    validation: Annotated[str, typer.Option(metavar="URI", help="Validation dataset.", rich_help_panel=DATA)],
    view: Annotated[str | None, typer.Option(metavar="NAME", help="Saved view of both.", rich_help_panel=DATA)] = None,
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Gets comparison.md, comparison.png and comparison.json.", rich_help_panel=DATA)
    ] = Path("comparison"),
    group: Annotated[str, typer.Option(help="Group of the runs.", rich_help_panel=RUN)] = "comparison",
    seed: Annotated[int | None, typer.Option(help="Seed of each training.", rich_help_panel=RUN)] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training view.", rich_help_panel=MODEL)] = None,
    set_: SetOption = None,
    again: Annotated[bool, typer.Option("--again", help="Train anew where a finished run is there.", rich_help_panel=RUN)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train the same data at several settings, one after the other, and compare: table, curves, and what differs between the runs.

    The playbook's comparison of two resolutions is: compare --config playbook --config playbook-320. A finished run with the same
    configuration is taken in place of a new one, so the command goes on where it was stopped.
    """
    options = {"train": train, "validation": validation, "view": view, "group": group, "seed": seed, "epochs": epochs}
    with errors_on_stderr():
        if len(set(config)) < 2:
            raise UsageError("compare needs two configurations or more", hint="--config scenes-160 --config scenes-320")
        from pipelines.detection.compare import Wanted, compare, table, write  # its plots are not needed for --help

        wanted = []
        for source in config:
            name = Path(source).stem
            given = {"config": source, **options, "name": name}
            words = [word for key, value in given.items() if value is not None for word in (f"--{key}", str(value))]
            words += [word for assignment in set_ or [] for word in ("--set", assignment)]
            wanted.append(Wanted(name, load_config(source, _overrides(options | {"name": name}, set_ or [])), tuple(words)))
        compared = compare(wanted, again=again)
        files = write(compared, output)
    if as_json:
        runs = [{"name": item.name, "run_id": item.run_id, "was_there": item.was_there} for item in compared]
        typer.echo(json.dumps({"runs": runs, "files": [str(file) for file in files]}))
        return
    typer.echo(table(compared))
    for item in compared:
        typer.echo(f"{item.name}: run {item.run_id}{', which was there (--again trains anew)' if item.was_there else ''}")
    typer.echo(f"lineage diff {compared[0].run_id[:8]} {compared[1].run_id[:8]} shows what differs; {files[1]} the curves")


@app.command()
def configs(
    name: Annotated[str | None, typer.Argument(help="Print this one in full, with every default filled in.")] = None,
) -> None:
    """List the configurations that come with the package, or print one."""
    with errors_on_stderr():
        if name is None:
            for bundled in bundled_configs():
                first = (CONFIGS / f"{bundled}.yaml").read_text(encoding="utf-8").splitlines()[0]
                typer.echo(f"{bundled:<14} {first.removeprefix('# ')}")
            return
        placeholders = {"train": "URI", "validation": "URI"}
        typer.echo(yaml.safe_dump(load_config(name, placeholders).model_dump(mode="json"), sort_keys=False), nl=False)


def main() -> None:
    """Entry point."""
    app(prog_name="python -m pipelines.detection")


if __name__ == "__main__":
    main()
