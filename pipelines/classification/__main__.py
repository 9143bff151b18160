"""Command line: ``python -m pipelines.classification train --train URI --view train --validation-view test``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from lineage.errors import NotFound, UsageError
from pipelines.classification.config import CONFIGS, bundled_configs, load_config
from pipelines.command_line import errors_on_stderr
from pipelines.configuration import given_options

app = typer.Typer(
    help=(
        "Train classifiers on CIFAR-10; data, code, environment, losses and weights are recorded as one run.\n\n"
        "A configuration is built from defaults, then a YAML file, then the options given here. stdout has the result, "
        "stderr the talk. Exit codes: 0 done, 2 usage, 5 and up other errors."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="NAME|FILE", help="A bundled configuration (see 'configs') or a YAML file.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Any other field, written as in YAML: --set clip_norm=5.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

DATA, RUN, MODEL, MACHINE = "Data", "Run", "Training", "Machine"

TrainOption = Annotated[str | None, typer.Option("--train", metavar="URI", help="Training dataset.", rich_help_panel=DATA)]
ValidationOption = Annotated[str | None, typer.Option(metavar="URI", help="Validation dataset; else the same.", rich_help_panel=DATA)]
ViewOption = Annotated[str | None, typer.Option(metavar="NAME", help="Saved view to train on.", rich_help_panel=DATA)]
ValidationViewOption = Annotated[
    str | None,
    typer.Option("--validation-view", "--validation_view", metavar="NAME", help="Saved view to evaluate on.", rich_help_panel=DATA),
]
ProjectOption = Annotated[str | None, typer.Option(help="Project of the run.", rich_help_panel=RUN)]
DeviceOption = Annotated[str | None, typer.Option(metavar="auto|cpu|cuda", help="Where to compute.", rich_help_panel=MACHINE)]


@app.command()
def train(
    config: ConfigOption = None,
    train: TrainOption = None,
    validation: ValidationOption = None,
    view: ViewOption = None,
    validation_view: ValidationViewOption = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also write model.pth here; the run's record has it anyway.", rich_help_panel=DATA)
    ] = None,
    project: ProjectOption = None,
    group: Annotated[str | None, typer.Option(help="Group of runs that belong together.", rich_help_panel=RUN)] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.", rich_help_panel=RUN)] = None,
    wandb: Annotated[str | None, typer.Option(metavar="offline|online|disabled", help="W&B mode.", rich_help_panel=RUN)] = None,
    seed: Annotated[
        str | None, typer.Option(metavar="INTEGER|none", help="Seed of everything random; 'none' leaves it to chance.", rich_help_panel=RUN)
    ] = None,
    architecture: Annotated[str | None, typer.Option(metavar="resnet18|resnet50|wrn", help="Network.", rich_help_panel=MODEL)] = None,
    attention: Annotated[
        str | None, typer.Option("--attention", "--att", metavar="none|ECA|CBAM|SE|Triplet", help="In every block.", rich_help_panel=MODEL)
    ] = None,
    widen_factor: Annotated[
        int | None, typer.Option("--widen-factor", "--widen_factor", help="Of a wide residual network.", rich_help_panel=MODEL)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training view; 0 only evaluates.", rich_help_panel=MODEL)] = None,
    steps: Annotated[int | None, typer.Option(help="Train so many steps in place of epochs.", rich_help_panel=MODEL)] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "--batch_size", help="Pictures per step.", rich_help_panel=MODEL)
    ] = None,
    optimizer: Annotated[str | None, typer.Option(metavar="adam|sgd", help="Optimizer.", rich_help_panel=MODEL)] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", "--learning_rate", help="Learning rate.", rich_help_panel=MODEL)
    ] = None,
    device: DeviceOption = None,
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
    as_json: JsonOption = False,
) -> None:
    """Train on one view, evaluate on another, save the weights.

    Example: python -m pipelines.classification train --config attention-ECA --train URI --view train --validation-view test --seed 1
    Names with several words may be written as sweeps write them: --batch_size=64.
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
        "architecture": architecture,
        "attention": attention,
        "widen_factor": widen_factor,
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "device": device,
        "threads": threads,
        "workers": workers,
        "precision": precision,
    }
    with errors_on_stderr():
        resolved = load_config(config, given_options(options, set_ or []))
        from pipelines.classification.job import train_classifier  # torch takes seconds; --help must not wait for it

        trained = train_classifier(resolved, resume=resume, allow_changed=allow_changed or [])
    _tell(trained, as_json)


@app.command()
def evaluate(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="A weights file that a recorded training made.")],
    config: ConfigOption = None,
    validation: ValidationOption = None,
    validation_view: ValidationViewOption = None,
    project: ProjectOption = None,
    device: DeviceOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate weights on a view, as a run of its own.

    Without --config the configuration is that of the run that made the file, which is found by the file's digest.
    """
    options = {"validation": validation, "validation_view": validation_view, "project": project, "device": device}
    with errors_on_stderr():
        overrides = given_options(options, set_ or [])
        if config is None:
            overrides = _config_of(weights) | {"output": None} | overrides
        elif validation is not None:
            overrides = {"train": "none"} | overrides
        resolved = load_config(config, overrides)
        from pipelines.classification.job import evaluate_weights

        found = evaluate_weights(resolved, weights)
    _tell(found, as_json)


@app.command("compare")
def compare_command(
    config: Annotated[
        list[str], typer.Option("--config", metavar="NAME|FILE", help="A configuration; give it again for others; * stands for anything.")
    ],
    train: TrainOption = None,
    validation: ValidationOption = None,
    view: ViewOption = None,
    validation_view: ValidationViewOption = None,
    output: Annotated[Path, typer.Option(metavar="FILE", help="Report, .html or .md.", rich_help_panel=DATA)] = Path("comparison.html"),
    seeds: Annotated[str, typer.Option(metavar="1,2,3", help="Seeds of each; several make a group of it.", rich_help_panel=RUN)] = "0",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training view.", rich_help_panel=MODEL)] = None,
    steps: Annotated[int | None, typer.Option(help="Train so many steps in place of epochs.", rich_help_panel=MODEL)] = None,
    set_: SetOption = None,
    again: Annotated[bool, typer.Option("--again", help="Train anew where a finished run is there.", rich_help_panel=RUN)] = False,
    as_json: JsonOption = False,
) -> None:
    """Train several configurations, one after the other, with one seed or more, and report: table, curves, mean ± std (min, max).

    The five-seed groups: compare --config 'attention-*' --seeds 1,2,3,4,5. A finished run with the same configuration is taken in place of
    a new one, so the command goes on where it was stopped.
    """
    fixed = {"train": train, "validation": validation, "view": view, "validation-view": validation_view, "epochs": epochs, "steps": steps}
    with errors_on_stderr():
        from pipelines.classification.compare import Wanted, train_missing

        wanted = []
        for source in _expanded(config):
            label = Path(source).stem
            for seed in _numbers(seeds):
                given = {"config": source, **fixed, "seed": seed, "group": label, "name": f"{label} seed {seed}"}
                words = [word for key, value in given.items() if value is not None for word in (f"--{key}", str(value))]
                words += [word for assignment in set_ or [] for word in ("--set", assignment)]
                fields = {key.replace("-", "_"): value for key, value in given.items() if key != "config"}
                wanted.append(Wanted(label, load_config(source, given_options(fields, set_ or [])), tuple(words)))
        found = train_missing(wanted, again=again)
        from pipelines.classification.report import line_of, markdown, table, write

        lines = [line_of(label, run_ids) for label, run_ids in found.items()]
        files = write(lines, output, "Comparison")
    typer.echo(json.dumps({"runs": found, "files": [str(file) for file in files]}) if as_json else markdown(table(lines)).rstrip())


@app.command("report")
def report_command(
    names: Annotated[list[str], typer.Argument(metavar="GROUP|RUN...", help="Groups, or runs by id.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help="Report, .html or .md.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Its title.")] = "Classifiers",
    project: Annotated[str | None, typer.Option(help="Only groups of this project.")] = None,
    metric: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Which metrics; else loss and accuracy.")] = None,
) -> None:
    """Write a report on runs that are there: what differs in their configurations, results, curves with bands."""
    with errors_on_stderr():
        from pipelines.classification.report import markdown, named_lines, table, write
        from pipelines.classification.results import METRICS

        wanted = tuple(metric or METRICS)
        lines = named_lines(names, project=project, metrics=wanted)
        files = write(lines, output, title, wanted)
    typer.echo(markdown(table(lines, wanted)), nl=False)
    typer.echo(f"written: {', '.join(str(file) for file in files)}", err=True)


@app.command()
def configs(
    name: Annotated[str | None, typer.Argument(help="Print this one in full, with every default filled in.")] = None,
) -> None:
    """List the configurations that come with the package, or print one."""
    with errors_on_stderr():
        if name is None:
            for path in sorted(CONFIGS.glob("*.yaml")):
                typer.echo(f"{path.stem:<20} {path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")
            return
        placeholders = {"train": "URI", "validation": "URI", "validation_view": "test", "view": "train"}
        typer.echo(yaml.safe_dump(load_config(name, placeholders).model_dump(mode="json"), sort_keys=False), nl=False)


def _tell(trained: Any, as_json: bool) -> None:
    result: dict[str, Any] = {
        "run_id": trained.run_id,
        **trained.evaluation.metrics(),
        "pictures": trained.evaluation.pictures,
        "parameters": trained.parameters,
        "weights": None if trained.weights is None else str(trained.weights),
    }
    if as_json:
        typer.echo(json.dumps(result))
        return
    for key, value in result.items():
        if value is not None:
            typer.echo(f"{key}: {value:.4f}" if isinstance(value, float) else f"{key}: {value}")


def _config_of(weights: Path) -> dict[str, Any]:
    import lineage
    from lineage.model.digest import digest_of_bytes

    if not weights.is_file():
        raise NotFound("weights file", str(weights))
    made = lineage.runs(artifact=digest_of_bytes(weights.read_bytes()), job_type="train", limit=1)
    if not made:
        raise NotFound("training", str(weights), detail="no recorded run made this file", hint="give its configuration: --config NAME")
    return dict(made[0].config)


def _expanded(names: list[str]) -> list[str]:
    from fnmatch import fnmatchcase

    found = [known for name in names for known in ([one for one in bundled_configs() if fnmatchcase(one, name)] or [name])]
    return list(dict.fromkeys(found))


def _numbers(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError as error:
        raise UsageError(f"--seeds must be numbers like 1,2,3, found '{text}'") from error


def main() -> None:
    """Entry point."""
    app(prog_name="python -m pipelines.classification")


if __name__ == "__main__":
    main()
