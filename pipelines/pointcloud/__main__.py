"""Command line: ``python -m pipelines.pointcloud train --data URI``; options are spelled as the tutorial spells them."""

from __future__ import annotations

import argparse
import json
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.command_line import errors_on_stderr
from pipelines.configuration import given_options
from pipelines.pointcloud.config import CONFIGS, Config, bundled_configs, descriptions, load_config

_TUTORIAL = tuple(Config.model_fields)[:11]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    given = _parser().parse_args(arguments)
    with errors_on_stderr():
        if given.command == "configs":
            _print_configs(given.config_name)
            return
        config = load_config(given.config, given_options({name: getattr(given, name) for name in Config.model_fields}, ()))
        from pipelines.pointcloud import job  # torch takes seconds; --help must not wait for it

        if given.command == "train":
            done = job.train_classifier(config, resume=given.resume, allow_changed=given.allow_changed or [])
        else:
            done = job.evaluate_classifier(config, given.weights)
    result: dict[str, Any] = {"run_id": done.run_id} | done.evaluation.metrics() | {"files": [str(path) for path in done.files]}
    if given.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for name, value in result.items():
        shown = f"{value:.4f}" if isinstance(value, float) else ", ".join(value) if isinstance(value, list) else value
        sys.stdout.write(f"{name}: {shown}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.pointcloud",
        description="Train PointNet on point clouds; data, code, environment, losses, pictures and weights are recorded as one run. A "
        "configuration is built from defaults, then a YAML file, then the options given here. stdout has the result, stderr the talk. Exit "
        "codes: 0 done, 2 usage, 5 and up other errors.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="train|evaluate|configs")
    train = commands.add_parser("train", help="train on a view, evaluate on another after each epoch, save the weights", allow_abbrev=False)
    _add_options(train)
    train.add_argument("--resume", metavar="RUN|last", help="Go on from the last checkpoint of a run that was broken off")
    train.add_argument("--allow_changed", action="append", metavar="OPTION", help="With --resume: this option may differ")
    judge = commands.add_parser("evaluate", help="evaluate weights on the test view", allow_abbrev=False)
    judge.add_argument("--weights", type=Path, required=True, metavar="FILE", help="model.pth of a training")
    _add_options(judge)
    configs = commands.add_parser("configs", help="list the configurations that come with the package, or print one")
    configs.add_argument("config_name", nargs="?", metavar="NAME", help="Print this one in full")
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="NAME|FILE", help="A bundled configuration (see 'configs') or a YAML file")
    parser.add_argument("--json", action="store_true", help="Print the result as JSON")
    tutorial = parser.add_argument_group("as in the tutorial")
    ours = parser.add_argument_group("of our own")
    told = descriptions()
    for name, field in Config.model_fields.items():
        default = "" if field.is_required() or field.default is None else f" (default: {field.default})"
        group = tutorial if name in _TUTORIAL else ours
        group.add_argument(f"--{name}", help=f"{told[name]}{default}", **_kind(field.annotation))


def _kind(annotation: Any) -> dict[str, Any]:
    """How argparse reads a field; what it may be is checked with the rest of the configuration."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        annotation = next(kind for kind in typing.get_args(annotation) if kind is not type(None))
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is typing.Literal:
        return {"choices": typing.get_args(annotation)}
    if annotation is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": annotation, "metavar": {int: "N", float: "X", str: "TEXT"}[annotation]}


def _print_configs(name: str | None) -> None:
    if name is not None:
        text = yaml.safe_dump(load_config(name, {"data": "URI"}).model_dump(mode="json"), sort_keys=False)
        sys.stdout.write(text)
        return
    for bundled in bundled_configs():
        first = (CONFIGS / f"{bundled}.yaml").read_text(encoding="utf-8").splitlines()[0]
        sys.stdout.write(f"{bundled:<10} {first.removeprefix('# ')}\n")


if __name__ == "__main__":
    main()
