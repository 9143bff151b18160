"""The classification job: what a training records, that it is made again, that one broken off goes on, and how runs are compared."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.main import get_command

import lineage
from lineage.api import process
from lineage.errors import LineageError, NotFound, UsageError
from lineage.model.sweep_file import parse_definition
from lineage.training import Checkpoints
from lineage.wiring import wire
from pipelines.classification import report
from pipelines.classification.__main__ import app, main
from pipelines.classification.compare import Wanted, train_missing
from pipelines.classification.config import CONFIGS, Config, bundled_configs, load_config
from pipelines.classification.job import Trained, evaluate_weights, train_classifier
from pipelines.classification.results import METRICS
from pipelines.data.cifar10_sample import drawn_parts, parts_of_arrays, write_sample

IMPORTER = "pipelines.data.cifar10:Cifar10Importer"
TRAIN, TEST = 64, 24
TINY: dict[str, Any] = {
    "view": "train",
    "validation_view": "test",
    "width": 4,
    "batch_size": 16,
    "learning_rate": 0.005,
    "epochs": 2,
    "seed": 3,
    "threads": 1,
    "device": "cpu",
    "wandb": "disabled",
    "pictures": 4,
}


def run(*words: str | Path, folder: Path, status: int = 0) -> str:
    done = subprocess.run([*map(str, words)], cwd=folder, env=os.environ.copy(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def lineage_command(*words: str | Path, folder: Path, status: int = 0) -> str:
    return run(sys.executable, "-m", "lineage", *words, folder=folder, status=status)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few pictures of CIFAR-10 as a dataset with the views ``train`` and ``test``; drawn ones where the real ones are absent."""
    folder = tmp_path_factory.mktemp("cifar10")
    shared = Path(os.environ.get("LINEAGE_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "cifar10_public.npz"
    parts = (
        parts_of_arrays(shared, train=TRAIN, test=TEST, batches=2)
        if shared.is_file()
        else drawn_parts(train=TRAIN, test=TEST, batches=2, seed=1)
    )
    write_sample(folder / "source", parts, "python")
    told = json.loads(lineage_command("upload", IMPORTER, "source", "cifar10", "--json", folder=folder))
    assert told["rows"] == TRAIN + TEST
    for part in ("train", "test"):
        lineage_command("view", "create", "cifar10", f"select * where part == '{part}'", f"--name={part}", folder=folder)
    return folder / "cifar10"


@pytest.fixture
def place(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: a repository; what a training sets in this process is put back."""
    (repository / ".gitignore").write_text(".lineage/\nout*/\n*.html\n*.md\n*.png\n")
    monkeypatch.chdir(repository)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    threads = torch.get_num_threads()
    yield repository
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    process.wired.cache_clear()


@pytest.fixture
def train(place: Path, data: Path) -> Callable[..., Trained]:
    def job(resume: str | None = None, allow_changed: tuple[str, ...] = (), **fields: Any) -> Trained:
        return train_classifier(Config(**(TINY | {"train": str(data)} | fields)), resume=resume, allow_changed=allow_changed)

    return job


def content(run: Any, name: str) -> bytes:
    (digest,) = (item.digest for item in run.outputs if item.name == name)
    ports = wire()
    found = ports.objects.get_bytes(digest)
    ports.runs.close()
    return found


def logged(run_id: str) -> list[dict[str, float]]:
    values = (point.values for point in lineage.metrics(run_id))
    return [{name: value for name, value in point.items() if not name.startswith(("timing/", "system/"))} for point in values]


def lasting(run: Any) -> dict[str, Any]:
    """What must not depend on whether a training was ever stopped."""
    outputs = {item.name: item.digest for item in run.outputs}
    return {"outputs": outputs, "head": run.step_logs[0].head, "metrics": [point for point in logged(run.id) if point]}


def test_a_training_by_its_command_records_everything_and_is_made_again(place: Path, data: Path) -> None:
    fields = {name: value for name, value in TINY.items() if name in ("view", "batch_size", "learning_rate", "epochs", "seed", "threads")}
    options = [
        word for name, value in (fields | {"validation-view": "test"}).items() for word in (f"--{name}", str(value))
    ]  # --batch_size, too
    command = (sys.executable, "-W", "ignore", "-m", "pipelines.classification", "train", "--config", "attention-ECA", "--train", data)
    told = json.loads(
        run(*command, *options, "--set", "width=4", "--set", "pictures=4", "--wandb", "disabled", "--output", "out", "--json", folder=place)
    )
    found = lineage.get(told["run_id"])

    assert (found.state, found.project, found.job_type, found.seed) == ("finished", "cifar10", "train", 3)
    assert (found.config["attention"], found.config["optimizer"], found.config["batch_size"]) == ("ECA", "sgd", 16)
    assert [(item.role, item.rows, item.view_name) for item in found.inputs] == [("train", TRAIN, "train"), ("validation", TEST, "test")]
    assert [(log.steps, log.torn) for log in found.step_logs] == [(2 * TRAIN // 16, None)]
    points = logged(found.id)
    assert [point["epoch"] for point in points if "epoch" in point] == [1, 2]
    evaluated = [point for point in points if "validation_accuracy" in point]
    assert all({"train_loss", "train_accuracy", "validation_loss"} <= point.keys() for point in evaluated)
    losses = [point["loss"] for point in points if "loss" in point]
    assert np.mean(losses[:4]) == pytest.approx(evaluated[0]["train_loss"]), "all batches have the same number of pictures"

    confusion = list(csv.reader(io.StringIO(content(found, "confusion.csv").decode())))
    counts = np.array([[int(cell) for cell in row[1:]] for row in confusion[1:]])
    assert counts.sum() == TEST
    assert told["validation_accuracy"] == pytest.approx(np.trace(counts) / TEST) == evaluated[-1]["validation_accuracy"]
    per_class = list(csv.DictReader(io.StringIO(content(found, "per-class.csv").decode())))
    assert [int(row["pictures"]) for row in per_class] == counts.sum(axis=1).tolist()
    for name in ("predictions-epoch-01.png", "predictions-epoch-02.png", "confusion.png"):
        with Image.open(io.BytesIO(content(found, name))) as picture:
            assert min(picture.size) > 100
    assert content(found, "model.pth") == (place / "out" / "model.pth").read_bytes()

    verdict = json.loads(lineage_command("reproduce", found.id, "--yes", "--json", folder=place))
    assert verdict["verdict"] == "identical", verdict


def test_steps_evaluate_as_trax_does_and_a_training_broken_off_goes_on_as_if_it_never_was(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_steps = {"architecture": "wrn", "depth": 10, "steps": 7, "checkpoint_every": 3, "n_eval_batches": 1, "augment": "crop-flip"}
    straight = lineage.get(train(**by_steps).run_id)
    points = logged(straight.id)
    assert [point["trained_steps"] for point in points if "trained_steps" in point] == [1, 3, 6, 7]
    assert [item.name for item in straight.outputs if item.kind == "checkpoint"] == ["checkpoint-00000003", "checkpoint-00000006"]

    kept: list[Any] = []

    def broken_off(self: Any, step: Callable[[Any], Any] = Checkpoints.step) -> Any:
        made = step(self)
        kept.extend([made] if made is not None else [])
        if len(kept) == 2:  # within the second epoch: an epoch has four batches
            raise LineageError("the power went off")
        return made

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "step", broken_off)
        with pytest.raises(LineageError, match="the power went off"):
            train(**by_steps)
    resumed = lineage.get(train(resume="last", **by_steps).run_id)

    assert resumed.resumes is not None
    assert lasting(resumed) == lasting(straight)


def test_the_loss_falls(train: Callable[..., Trained]) -> None:
    """Over and over the same pictures: a network that learns at all gets them right."""
    found = train(epochs=8, width=8, augment="none", checkpoint_every=0, pictures=0)
    losses = [point["train_loss"] for point in logged(found.run_id) if "train_loss" in point]
    assert losses[-1] < 0.7 * losses[0]


def test_weights_are_evaluated_by_what_made_them(train: Callable[..., Trained], data: Path, place: Path, capsys: Any) -> None:
    trained = train(output=str(place / "out"), epochs=1)
    sys_argv, sys.argv = sys.argv, ["classification", "evaluate", "out/model.pth", "--json"]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = sys_argv
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    found = lineage.get(told["run_id"])

    assert told["validation_loss"] == trained.evaluation.loss
    assert [item.role for item in found.inputs] == ["validation"]
    assert [use.role for use in found.uses] == ["base"]
    assert found.job_type == "evaluate"
    other = Config(**(TINY | {"train": str(data), "width": 8}))
    with pytest.raises(UsageError, match=r"expected \d+ tensors of this model, found \d+, of which \d+ fit"):
        evaluate_weights(other, place / "out" / "model.pth")
    (place / "notes.pth").write_bytes(b"no weights")
    with pytest.raises(UsageError, match=r"notes\.pth: expected tensors as torch.save writes them"):
        evaluate_weights(other, place / "notes.pth")
    with pytest.raises(NotFound, match="no group or run 'nobody'"):
        report.named_lines(["nobody"])


def test_groups_and_what_is_compared(train: Callable[..., Trained], data: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"epochs": 1, "checkpoint_every": 0, "pictures": 0}
    for attention in ("none", "SE"):
        for seed in (1, 2):
            train(attention=attention, seed=seed, group=attention, name=f"{attention} {seed}", **quick)
    lines = report.named_lines(["none", "SE"])
    values = {line.label: [lineage.get(run_id).summary["validation_loss"] for run_id in line.run_ids] for line in lines}
    for line in lines:
        spread = report.Spread.of(line.last("validation_loss"))
        expected = values[line.label]
        assert (spread.mean, spread.deviation) == pytest.approx((np.mean(expected), np.std(expected, ddof=1)))
        assert (spread.least, spread.most, spread.count) == (min(expected), max(expected), 2)
    assert report.settings_that_differ(lines) == ["attention"]
    assert len({tuple(found) for found in values.values()}) == 2

    rows = report.table(lines)
    assert rows[0][:3] == ["", "attention", "runs"]
    assert [row[:3] for row in rows[1:]] == [["none", "none", "2"], ["SE", "SE", "2"]]
    page, markdown = report.write(lines, place / "report.html", "Attention <5>"), report.write(lines, place / "report.md", "Attention")
    assert [path.name for path in (*page, *markdown)] == ["report.html", "report.md", "report.png"]
    text = (place / "report.html").read_text()
    assert "Attention &lt;5&gt;" in text
    assert f"{np.mean(values['SE']):.4f} ± " in text
    assert 'src="http' not in text

    # What is there is not trained again; a seed that is missing is.
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr("pipelines.classification.compare._train", lambda item: asked.append(item.options) or "new")
    fields = TINY | {"train": str(data), "attention": "SE"} | quick
    found = train_missing([Wanted("SE", Config(**(fields | {"seed": seed})), (str(seed),)) for seed in (1, 2, 9)])
    assert (found["SE"][:2], asked) == (list(lines[1].run_ids), [("9",)])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"attention": "ECCA"}, "attention: Input should be 'none', 'ECA'.*found 'ECCA'"),
        ({"architecture": "wrn", "depth": 27}, r"depth must be 6 n \+ 4"),
        ({"architecture": "wrn", "attention": "SE"}, "attention is an option of the ResNets"),
        ({"validation_view": "train"}, "training and validation are the same rows"),
        ({"batchsize": 3}, "no field 'batchsize', did you mean 'batch_size'?"),
    ],
)
def test_wrong_configurations_are_described(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_config(None, {"train": "x", "view": "train", "validation_view": "test"} | fields)


def test_every_bundled_configuration_can_be_read_and_says_what_it_is() -> None:
    given = {"train": "x", "view": "train", "validation_view": "test"}
    found = {name: load_config(name, given) for name in bundled_configs()}
    assert {config.attention for name, config in found.items() if name.startswith("attention-")} == {"none", "ECA", "CBAM", "SE", "Triplet"}
    assert [found[f"wrn-{k}"].widen_factor for k in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert {(found[f"wrn-{k}"].steps, found[f"wrn-{k}"].kept_every, found[f"wrn-{k}"].n_eval_batches) for k in (1, 2, 3, 4)} == {
        (5000, 1000, 20)
    }
    rates = {(config.architecture, config.learning_rate) for name, config in found.items() if "-lr-" in name}
    assert rates == {(name, rate) for name in ("resnet18", "resnet50") for rate in (0.01, 0.001, 0.0001)}
    assert all(path.read_text().startswith("# ") for path in CONFIGS.glob("*.yaml"))


def test_the_sweeps_parameters_are_fields_and_options() -> None:
    """Every value that a sweep can propose is taken by the command, under the sweep's own name for it."""
    for path in sorted(CONFIGS.glob("sweep-*.yaml")):
        definition = parse_definition(yaml.safe_load(path.read_text()), path.name)
        for name, parameter in definition.leaves():
            for value in parameter.values or (parameter.value,):
                load_config(None, {"train": "x", "view": "train", "validation_view": "test", name: value})
            known = {option for command in get_command(app).commands["train"].params for option in command.opts}
            assert f"--{name}" in known
        assert definition.metric.name in METRICS
