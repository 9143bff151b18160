"""The stages of ``pipelines/dvc.yaml``: ``python -m pipelines.stages generate``, ``upload``, ``view``, ``train`` and ``evaluate``.

Each starts commands that anybody can give by hand, from the repository's top folder, and leaves files for DVC in ``.pipeline``. Those hold
digests and no ids that chance made: equal data give equal files, on any machine.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from lineage.errors import ExecutionFailed, UsageError
from pipelines.command_line import errors_on_stderr

PARTS = ("train", "validation")

app = typer.Typer(
    help="The stages of pipelines/dvc.yaml; `dvc repro pipelines/dvc.yaml` starts those that have to run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ParamsOption = Annotated[Path, typer.Option("--params", metavar="FILE", help="Parameters.")]
WorkOption = Annotated[Path, typer.Option("--work", metavar="FOLDER", help="Where everything is made.")]
_PARAMS, _WORK = Path("pipelines/params.yaml"), Path(".pipeline")
_PROJECT = "parking"
_RUN = ("lineage", "run", "--project", _PROJECT, "--job-type")


@app.command()
def generate(params: ParamsOption = _PARAMS, work: WorkOption = _WORK) -> None:
    """Draw scenes into WORK/scenes."""
    with errors_on_stderr():
        wanted = _section(params, "scenes")
        options = [word for name in ("train", "validation", "size", "seed") for word in (f"--{name}", str(wanted[name]))]
        _run(*_RUN, "generate", "--", "python", "-m", "pipelines.data", "scenes", str(work / "scenes"), *options)


@app.command()
def upload(work: WorkOption = _WORK) -> None:
    """Store each part as a dataset of its own under WORK/lake, unless the very same files were stored before."""
    with errors_on_stderr():
        facts = {part: _uploaded(work / "scenes" / part, work / "lake") for part in PARTS}
        _write(work / "uploaded.json", facts)


def _uploaded(source: Path, lake: Path) -> dict[str, Any]:
    target = lake / f"{source.name}-{_key(source)}"
    kept = target.with_name(f"{target.name}.json")  # written last: without it the upload is continued
    if not kept.exists():
        told = json.loads(
            _run("lineage", "upload", "visdrone", str(source), str(target), "--project", _PROJECT, "--wandb", "disabled", "--json")
        )
        _write(kept, {"path": target.as_posix(), "rows": told["rows"], "content_digest": told["content_digest"]})
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def _key(folder: Path) -> str:
    state = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            state.update(f"{file.relative_to(folder).as_posix()}\n{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return state.hexdigest()[:12]


@app.command()
def view(params: ParamsOption = _PARAMS, work: WorkOption = _WORK) -> None:
    """Save the query's rows of each dataset under a name that is the query's own."""
    with errors_on_stderr():
        wanted = _section(params, "view")
        query = str(wanted["query"])
        name = f"{wanted['name']}-{hashlib.sha256(query.encode()).hexdigest()[:6]}"
        facts: dict[str, Any] = {}
        for part, dataset in json.loads((work / "uploaded.json").read_text(encoding="utf-8")).items():
            # By its whole path: repeated elsewhere, the command finds the same dataset, and the view that is there.
            command = ("lineage", "view", "create", str(Path(dataset["path"]).absolute()), query, "--name", name, "--json")
            told = json.loads(_run(*_RUN, "view", "--no-printed", "--", *command))
            facts[part] = {**dataset, "view": name, "query": query, "rows": told["rows"], "rows_total": told["rows_total"]}
        _write(work / "view.json", facts)


@app.command()
def train(params: ParamsOption = _PARAMS, work: WorkOption = _WORK) -> None:
    """Train on the view; the weights go to WORK/model."""
    with errors_on_stderr():
        epochs = str(_section(params, "train")["epochs"])
        _run(*_detection(params, work), "--epochs", epochs, "--output", str(work / "model"))


@app.command()
def evaluate(params: ParamsOption = _PARAMS, work: WorkOption = _WORK) -> None:
    """Evaluate the weights on the validation view; figures go to WORK/metrics.json."""
    with errors_on_stderr():
        told = json.loads(_run(*_detection(params, work), "--epochs", "0", "--base-weights", str(work / "model" / "model.pth")))
        figures = {name: value for name, value in told.items() if name.startswith("validation_") or name == "detections_per_picture"}
        _write(work / "metrics.json", figures)


def _detection(params: Path, work: Path) -> list[str]:
    wanted = _section(params, "train")
    data = json.loads((work / "view.json").read_text(encoding="utf-8"))
    command = ["python", "-m", "pipelines.detection", "train", "--config", str(wanted["config"]), "--seed", str(wanted["seed"])]
    for part in PARTS:
        command += [f"--{part}", data[part]["path"]]
    return [*command, "--view", data["train"]["view"], "--validation-view", data["validation"]["view"], "--wandb", "disabled", "--json"]


def _section(params: Path, name: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(params.read_text(encoding="utf-8"))
        section: dict[str, Any] = dict(found[name])
    except FileNotFoundError:
        raise UsageError(f"there is no {params}", hint="start it from the repository's top folder") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{params}: expected a section '{name}' of names and values ({type(error).__name__})") from error
    return section


def _run(*command: str) -> str:
    """What a command prints on stdout; its messages go through."""
    program = (sys.executable, *command[1:]) if command[0] == "python" else command
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise ExecutionFailed(" ".join(command), done.returncode)
    return done.stdout


def _write(file: Path, facts: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}")
    aside.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    aside.replace(file)


def main() -> None:
    """Entry point."""
    app(prog_name="python -m pipelines.stages")


if __name__ == "__main__":
    main()
