"""Configuration: defaults, YAML, command line, and what is said about a wrong value."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from lineage.errors import UsageError
from pipelines.configuration import parse_assignments
from pipelines.detection.__main__ import app
from pipelines.detection.config import CLASSES_OF_INTEREST, Config, bundled_configs, load_config

URIS = {"train": "file:///t", "validation": "file:///v"}


def test_defaults_are_the_playbook() -> None:
    """Without a file the published values apply, with the labels and the seed set right."""
    config = load_config(None, URIS)
    assert (config.transform.width, config.transform.height, config.transform.min_area) == (160, 128, 32)
    assert (config.epochs, config.batch_size, config.score_threshold) == (8, 16, 0.5)
    assert config.model.architecture == "fasterrcnn_resnet50_fpn"
    assert (config.optimizer.learning_rate, config.optimizer.momentum, config.optimizer.weight_decay) == (0.005, 0.9, 0.0005)
    assert (config.optimizer.step_size_epochs, config.optimizer.gamma) == (4, 0.1)
    assert config.classes == CLASSES_OF_INTEREST
    assert config.seed is not None


def test_smallest_box_follows_the_size_unless_given() -> None:
    """Twice the side means four times the area, the playbook's rule; an explicit value wins."""
    doubled = {"transform.width": 320, "transform.height": 256}
    assert load_config(None, URIS | doubled).transform.min_area == 128
    assert load_config(None, URIS | doubled | {"transform.min_area": 7}).transform.min_area == 7


def test_command_line_wins_over_yaml_and_yaml_over_defaults(tmp_path: Path) -> None:
    """Sections merge field by field: what neither names keeps its default."""
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 3\nbatch_size: 4\noptimizer: {learning_rate: 1e-3, gamma: 0.5}\n")
    config = load_config(path, URIS | {"epochs": 1, "optimizer.gamma": 0.25})
    assert (config.epochs, config.batch_size) == (1, 4)
    assert (config.optimizer.learning_rate, config.optimizer.gamma, config.optimizer.momentum) == (0.001, 0.25, 0.9)


def test_recorded_configuration_reads_back() -> None:
    """What is saved in the record is a full configuration again."""
    config = load_config("playbook-320", URIS | {"seed": None, "output": "somewhere"})
    assert Config.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("name", bundled_configs())
def test_bundled_configurations_are_valid(name: str) -> None:
    """Each configuration that comes with the package loads and says in its first line what it is."""
    load_config(name, URIS)
    listing = CliRunner().invoke(app, ["configs"])
    assert listing.exit_code == 0
    assert any(line.startswith(name + " ") and len(line.split()) > 3 for line in listing.stdout.splitlines())


def test_playbook_configurations_differ_in_size_only() -> None:
    """The comparison of two sizes changes the size and the smallest box, nothing else."""
    small, large = (load_config(name, URIS).model_dump() for name in ("playbook", "playbook-320"))
    assert (small["transform"]["min_area"], large["transform"]["min_area"]) == (32, 128)
    for size in ("width", "height", "min_area"):
        small["transform"].pop(size), large["transform"].pop(size)
    assert small == large


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"optimizer.lr": 0.1}, "no field 'optimizer.lr'"),
        ({"learning_rate": 0.1}, "did you mean 'optimizer.learning_rate'"),
        ({"epochs": -1}, "epochs: .*greater than or equal to 0, found -1"),
        ({"transform.width": "wide"}, "transform.width: .*found 'wide'"),
        ({"optimizer.learning_rate": float("nan")}, "optimizer.learning_rate"),
        ({"model.architecture": "yolo"}, "model.architecture: .*'fasterrcnn_resnet50_fpn'.* found 'yolo'"),
        ({"model.anchor_sizes_px": [8, 16]}, "model: anchor_sizes_px needs 5 sizes for this model, found 2"),
        ({"classes": ["car", "car"]}, "names a class twice"),
        ({"epochs.more": 1}, "'epochs' is a value, not a section"),
        ({"train": ""}, "train: "),
        ({"ignored_regions": "blur"}, "ignored_regions: .*'keep' or 'mask', found 'blur'"),
        ({"on_error": "ignore"}, "on_error: .*'fail' or 'skip', found 'ignore'"),
        ({"precision": "float8"}, "precision: .*found 'float8'"),
        ({"pictures.each_epoch": 65}, "pictures.each_epoch: .*less than or equal to 64, found 65"),
        ({"checkpoints.every_steps": 0}, "checkpoints.every_steps: .*greater than or equal to 1, found 0"),
        ({"optimizer.momentum": 1}, "optimizer.momentum: .*less than 1, found 1"),
        ({"seed": -1}, "seed: .*greater than or equal to 0, found -1"),
        ({"classes": []}, "classes: .*at least 1 item"),
        (
            {"model.architecture": "fasterrcnn_mobilenet_v3_large_320_fpn", "model.fpn_channels": 64},
            "model: backbone_stages and fpn_channels are options of the plain ResNets, not of fasterrcnn_mobilenet_v3_large_320_fpn",
        ),
    ],
)
def test_wrong_values_are_named(overrides: dict[str, Any], message: str) -> None:
    """One sentence names the field, what is expected and what was found."""
    with pytest.raises(UsageError, match=message):
        load_config("playbook", {**URIS, "epochs": 1, **overrides})


def test_missing_uri_says_how_to_give_it() -> None:
    """A training without data names the option."""
    with pytest.raises(UsageError, match=r"'validation' is missing; .*--validation"):
        load_config(None, {"train": "file:///t"})


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n- b\n", "expected fields and values, found list"), ("a: [1\n", "not YAML"), (None, "No such file.*")],
)
def test_unreadable_files_are_named(tmp_path: Path, text: str | None, message: str) -> None:
    """A file that is missing, not YAML, or not a mapping is one clear error."""
    path = tmp_path / "broken.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=f"broken.yaml: {message}"):
        load_config(path, URIS)


def test_assignments_are_written_as_yaml() -> None:
    """``--set`` takes numbers, lists and null; without an equals sign it is refused."""
    assert parse_assignments(["seed=null", "model.anchor_sizes_px=[8, 16]", "name=a=b"]) == {
        "seed": None,
        "model.anchor_sizes_px": [8, 16],
        "name": "a=b",
    }
    with pytest.raises(UsageError, match="expected FIELD=VALUE"):
        parse_assignments(["seed"])


def test_wrong_option_ends_with_one_line_and_exit_code_2() -> None:
    """The command line reports the error on stderr without a traceback."""
    result = CliRunner().invoke(app, ["train", "--train", "a", "--validation", "b", "--epochs", "2", "--set", "optimiser.gamma=1"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: configuration: no field 'optimiser")
    assert "Traceback" not in result.stderr


def test_configuration_can_be_printed_in_full() -> None:
    """``configs NAME`` prints YAML that is itself a configuration."""
    result = CliRunner().invoke(app, ["configs", "playbook"])
    assert result.exit_code == 0
    assert Config.model_validate(yaml.safe_load(result.stdout)).transform.min_area == 32


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "train",
            "config train validation view validation-view output project group name wandb seed epochs batch-size width height min-area",
        ),
        ("train", "learning-rate architecture base-weights score-threshold device threads workers precision resume allow-changed set json"),
        ("compare", "config train validation view output group seed epochs set again json"),
    ],
)
def test_help_lists_every_option(command: str, options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option stands there, and each with a word of explanation."""
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    lines = [line.strip("│ *") for line in result.stdout.splitlines()]
    for option in options.split():
        assert any(line.startswith(f"--{option} ") and len(line.split()) >= 4 for line in lines), option


@pytest.mark.parametrize(
    "architecture",
    ["fasterrcnn_resnet18_fpn", "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"],
)
def test_lighter_and_newer_variants_go_by_torchvisions_names(architecture: str) -> None:
    """Each is chosen by name, from the command line too."""
    assert load_config("playbook", URIS | {"model.architecture": architecture}).model.architecture == architecture


def test_set_wins_over_the_option_of_the_same_field() -> None:
    """Both name the same field; what was refused is the value of --set."""
    result = CliRunner().invoke(app, ["train", "--train", "a", "--validation", "b", "--width", "96", "--set", "transform.width=7"])
    assert result.exit_code == 2
    assert "transform.width: Input should be greater than or equal to 32, found 7" in result.stderr


def test_help_does_not_wait_for_torch() -> None:
    """Importing the command line loads neither torch nor Albumentations."""
    code = "import sys, pipelines.detection.__main__; sys.exit(bool({'torch', 'albumentations', 'deeplake'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2], check=False).returncode == 0
