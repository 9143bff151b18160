"""What the tutorials on attention, residual and wide networks show: every command line and file of theirs has a working counterpart."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import lineage
from lineage.api import process
from pipelines.data.cifar10_sample import drawn_parts, parts_of_arrays, write_sample
from tests.support.zygote import zygote

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
QUICK = ("--epochs", "1", "--width", "4", "--limit", "40")
STEP = ("train CrossEntropyLoss", "eval CrossEntropyLoss", "eval Accuracy")

pytestmark = pytest.mark.slow


Started = Callable[..., str]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Runs a program to its good end in a folder; gives what it printed."""
    with zygote(tmp_path_factory.mktemp("zygote")) as forked:

        def started(folder: Path, *words: str | Path | int, status: int = 0, **variables: str) -> str:
            named = {"WANDB_SILENT": "true", "CIFAR10": str(folder.parent / "cifar10")} | variables
            ended = forked(*words, folder=folder, **named)
            assert ended.status == status, ended.stdout[-2000:] + ended.stderr[-3000:]
            return ended.stdout if status == 0 else ended.stdout + ended.stderr

        yield started


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, start: Started) -> Path:
    """A folder with the dataset ``cifar10``, made as the README says, and a repository for each example."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("eca-cifar", "resnets", "wide-resnet"):
        shutil.copytree(EXAMPLES / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / name / ".gitignore").write_text("checkpoints/\nwandb/\n.lineage/\n*_model/\n__pycache__/\n*.html\n")
        for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "the example"]):
            subprocess.run(["git", *words], cwd=folder / name, check=True)
    real = ROOT.parent / "shared" / "data" / "cifar10_public.npz"
    parts = parts_of_arrays(real, train=64, test=40, batches=1) if real.is_file() else drawn_parts(train=64, test=40, batches=1, seed=1)
    write_sample(folder / "cifar-10", parts, "binary")
    start(folder, "lineage", "upload", "pipelines.data.cifar10:Cifar10Importer", "cifar-10", "cifar10")
    for part in ("train", "test"):
        start(folder, "lineage", "view", "create", "cifar10", f"select * where part == '{part}'", "--name", part)
    return folder


def records(folder: Path) -> list[Any]:
    """Of the store in a folder, the oldest first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = [lineage.get(run.id) for run in reversed(lineage.runs())]
        process.wired.cache_clear()
    return found


def test_the_reports_sweep_file_is_the_published_one() -> None:
    """Key by key; the report prints it in one line."""
    assert yaml.safe_load((EXAMPLES / "eca-cifar" / "config.yaml").read_text()) == {
        "program": "train_cifar.py",
        "method": "bayes",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {
            "att": {"values": ["ECA", "CBAM", "SE", "Triplet"]},
            "optimizer": {"values": ["adam", "sgd"]},
            "batch_size": {"values": [64, 128, 256]},
        },
    }


def test_runs_in_a_loop_are_groups_with_mean_and_deviation(places: Path, start: Started) -> None:
    """``for i in range(num_runs): wandb.init(project=…, group=…)`` with ``wandb.log({'Val_Acc': …, 'Val_Loss': …})``."""
    place = places / "eca-cifar"
    start(place, "groups.py", "--variants", "ECA", "none", "--num-runs", 2, *QUICK)
    start(place, "train_cifar.py", "--att", "ECA", "--group", "ECCIFAR", "--seed", 2, *QUICK)
    found = [run for run in records(place) if run.group in ("ECCIFAR", "ResCIFAR")]

    assert [(run.group, run.config["seed"]) for run in found] == [
        ("ECCIFAR", 0),
        ("ECCIFAR", 1),
        ("ResCIFAR", 0),
        ("ResCIFAR", 1),
        ("ECCIFAR", 2),
    ]
    assert {run.state for run in found} == {"finished"}
    assert all({"Val_Acc", "Val_Loss"} <= run.summary.keys() for run in found)
    assert [[(item.view_name, item.rows) for item in run.inputs] for run in found] == [[("train", 64), ("test", 40)]] * 5

    values = [run.summary["Val_Loss"] for run in found if run.group == "ECCIFAR"]
    words = ("ECCIFAR", "ResCIFAR", "--metric", "Val_Acc", "--metric", "Val_Loss")
    told = start(place, "pipelines.classification", "report", *words)
    assert f"{sum(values) / 3:.4f} ± " in told
    assert f"({min(values):.4f}, {max(values):.4f})" in told
    assert (place / "report.html").read_text().count("data:image/png;base64,") == 1
    listed = start(place, "lineage", "group", "ECCIFAR", "--metric", "Val_Loss", COLUMNS="200")
    assert f"{sum(values) / 3:.3f}"[:4] in listed
    assert "3 runs" in listed


def test_the_reports_sweep_runs_and_each_trial_is_a_recorded_run(places: Path, start: Started) -> None:
    """``sweep config.yaml`` and ``agent ID``; the program's options are W&B's own: ``--att=… --batch_size=…``."""
    place = places / "eca-cifar"
    sweep = start(place, "lineage", "sweep", "config.yaml", "--seed", 1).strip()
    start(place, "lineage", "agent", sweep, "--count", 1, EPOCHS="1", WIDTH="4", LIMIT="40")
    (trial,) = [run for run in records(place) if run.group == sweep]

    assert (trial.state, trial.job_type, trial.sweep.number) == ("finished", "trial", 0)
    assert trial.sweep.parameters["att"] in ("ECA", "CBAM", "SE", "Triplet")
    assert trial.config | trial.sweep.parameters == trial.config
    assert trial.summary["loss"] == trial.summary["Val_Loss"]


def test_boxes_and_masks_are_logged_for_each_checkpoint(places: Path, start: Started) -> None:
    place = places / "eca-cifar"
    start(place, "media.py", "--epochs", 2, "--pictures", 16)
    (found,) = [run for run in records(place) if run.job_type == "inference"]

    media = [item.name for item in found.outputs if item.kind == "media"]
    assert [name.count("Segmentation and BBox Results") for name in media] == [1, 1]
    assert len(list((place / "checkpoints").glob("*.pth"))) == 2


def test_learning_rates_and_the_sweep_of_the_tutorial(places: Path, start: Started) -> None:
    """``wandb.log``, ``wandb.watch``; a dictionary with ``method: random``, made into a sweep whose trials a function runs."""
    place = places / "resnets"
    start(place, "train.py", "--architecture", "resnet18", "--learning-rate", "0.01", *QUICK)
    sweep = start(place, "sweep.py", "--count", 2, "--sweep-seed", 1, *QUICK).split()[-1]
    first, *trials = records(place)

    assert (first.name, first.group, first.config["learning_rate"]) == ("resnet18-0.01", "resnet18", 0.01)
    assert {"train_loss", "test_accuracy"} <= first.summary.keys()
    assert [(trial.group, trial.sweep.number) for trial in trials] == [(sweep, 0), (sweep, 1)]
    for trial in trials:
        assert trial.config | trial.sweep.parameters == trial.config
        assert (trial.config["architecture"], trial.config["epochs"]) == ("resnet50", 1)


def test_four_widths_are_trained_as_trax_does(places: Path, start: Started) -> None:
    """Train task, eval task, steps per checkpoint; the lines are Trax's."""
    place = places / "wide-resnet"
    quick = ("--steps", 2, "--steps-per-checkpoint", 2, "--depth", 10, "--eval-batches", 1, "--batch-size", 16)
    lines = start(place, "wide_resnet.py", *quick).splitlines()
    found = records(place)

    assert [(run.name, run.config["widen_factor"]) for run in found] == [
        ("thin_model", 1),
        ("wide_model", 2),
        ("wider_model", 3),
        ("widest_model", 4),
    ]
    told = [line.partition(" | ")[0] for line in lines if " | " in line]
    assert told == [f"Step {step}: {name}" for step in (1, 2) for name in STEP] * 4
    assert sum(line.startswith("Step 2: Ran 1 train steps in ") for line in lines) == 4
    for run in found:
        kinds = {item.name: item.kind for item in run.outputs}
        assert (kinds["model.pth"], kinds["checkpoint-00000002"]) == ("model", "checkpoint")
        assert {"eval/CrossEntropyLoss", "eval/Accuracy", "train/CrossEntropyLoss"} <= run.summary.keys()
        assert (place / run.name / "model.pth").is_file()
