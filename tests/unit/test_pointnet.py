"""PointNet as published: its size, what it must not see, its transform nets, and the pipeline's augmentation, metrics and pictures."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lineage.errors import InvalidSource, UsageError
from lineage.model.sweep_file import parse_definition
from lineage.training import sample_generator
from pipelines.pointcloud.__main__ import _parser
from pipelines.pointcloud.config import CONFIGS, Config, bundled_configs, load_config
from pipelines.pointcloud.evaluate import Evaluation, evaluate
from pipelines.pointcloud.job import _load
from pipelines.pointcloud.model import PointNet, TransformNet, orthogonality, parameter_count
from pipelines.pointcloud.pictures import ShownCloud, chosen_places, clouds_sheet
from pipelines.pointcloud.reports import report
from pipelines.pointcloud.transforms import chosen, evaluation_transform, rotated, training_transform

CONFIG = Config(data="clouds", points=16)
CLOUD = np.random.default_rng(4).normal(size=(40, 3)).astype(np.float32)
ROW = {"points": CLOUD, "labels": np.array([2], np.uint32), "row": 11}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads of small operations wait for one another on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> PointNet:
    """Five classes, trained for a few steps, so that its transform nets say something."""
    torch.manual_seed(0)
    made = PointNet(5)
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-3)
    for _ in range(3):
        scores, matrices = made(torch.randn(4, 24, 3))
        optimizer.zero_grad()
        (scores.square().mean() + orthogonality(matrices)).backward()
        optimizer.step()
    return made.eval()


def layer(inside: int, outside: int) -> int:
    """Weights and biases of a layer, scale and shift of its batch normalisation."""
    return inside * outside + outside + 2 * outside


def test_the_number_of_parameters_is_the_published_one() -> None:
    """3.5 M for 40 classes (table 6 of the paper): 3,480,049 when the layers of figure 2 and appendix C are added up by hand."""
    trunk = layer(64, 128) + layer(128, 1024) + layer(1024, 512) + layer(512, 256)
    input_net = layer(3, 64) + trunk + 256 * 9 + 9
    feature_net = layer(64, 64) + trunk + 256 * 64 * 64 + 64 * 64
    points = layer(3, 64) + layer(64, 64) + layer(64, 64) + layer(64, 128) + layer(128, 1024)
    head = layer(1024, 512) + layer(512, 256) + 256 * 40 + 40
    assert parameter_count(PointNet(40)) == input_net + feature_net + points + head == 3_480_049


def test_the_order_of_the_points_is_not_seen(model: PointNet) -> None:
    """Nor how often a point is there; another point is."""
    points = torch.randn(3, 50, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores, _ = model(points)
        assert torch.allclose(model(points[:, torch.randperm(50)])[0], scores, atol=1e-5)
        assert torch.allclose(model(torch.cat([points, points[:, :7]], dim=1))[0], scores, atol=1e-5)
        assert not torch.allclose(model(points * 1.5)[0], scores, atol=1e-3)


def test_transform_nets_begin_as_the_identity_and_are_used(model: PointNet) -> None:
    """Whatever the points are; after some steps they are another matrix for each cloud, and the scores depend on it."""
    for width in (3, 64):
        matrices = TransformNet(width)(torch.randn(4, width, 10))
        assert torch.equal(matrices, torch.eye(width).expand(4, width, width))
    assert orthogonality(PointNet(2)(torch.randn(4, 10, 3))[1]).item() == 0
    points = torch.randn(2, 20, 3)
    with torch.no_grad():
        before, matrices = model(points)
        assert matrices.shape == (2, 64, 64)
        assert not torch.allclose(matrices[0], matrices[1], atol=1e-4)
        for net in (model.input_transform, model.feature_transform):
            kept = net.matrix.bias.clone()
            net.matrix.bias += 0.5
            assert not torch.allclose(model(points)[0], before, atol=1e-3)
            net.matrix.bias.copy_(kept)


def test_the_regulariser_is_the_squared_distance_from_orthogonal() -> None:
    """0 for rotations; ‖I - 4I‖² = 9 k for twice the identity; the mean over a batch."""
    turn = torch.tensor([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
    assert orthogonality(turn[None]).item() == pytest.approx(0, abs=1e-12)
    assert orthogonality(torch.stack([turn, 2 * torch.eye(3)])).item() == pytest.approx(27 / 2)


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    """Another model, another number of classes, no weights at all, a file that would run code: one sentence each, with the file."""
    paths = [tmp_path / f"{name}.pth" for name in ("other", "classes", "text", "code")]
    torch.save({"other": torch.zeros(2)}, paths[0])
    torch.save(PointNet(2).state_dict(), paths[1])
    paths[2].write_text("no weights")
    torch.save(Fixed(), paths[3])
    for path in paths:
        with pytest.raises(InvalidSource, match="expected weights of a PointNet for these classes, found: ") as raised:
            _load(PointNet(3), path, torch.device("cpu"))
        assert raised.value.message.startswith(str(path))


def test_augmentation_follows_from_seed_epoch_and_sample() -> None:
    """The same generator gives the same bits, in another process too; another seed, epoch or sample gives others."""
    transform = training_transform(CONFIG)
    points, label = transform(ROW, sample_generator(7, 2, 5))
    assert (points.shape, points.dtype, label) == ((16, 3), torch.float32, 2)
    again = pickle.loads(pickle.dumps(transform))(ROW, sample_generator(7, 2, 5))[0]
    assert torch.equal(again, points)
    for other in ((8, 2, 5), (7, 3, 5), (7, 2, 6)):
        assert not torch.equal(transform(ROW, sample_generator(*other))[0], points)
    still = evaluation_transform(CONFIG)
    assert torch.equal(still(ROW, sample_generator(0, 0, 0))[0], still(ROW, sample_generator(1, 1, 1))[0])


@pytest.mark.parametrize(("axis", "up"), [("z", 2), ("y", 1), ("x", 0)])
def test_clouds_are_turned_about_the_up_axis_and_shaken(axis: str, up: int) -> None:
    """Without jitter heights and distances stay; the jitter has its standard deviation and its limit."""
    turned = rotated(CLOUD.astype(np.float64), math.pi / 2, up)
    first, second = (up + 1) % 3, (up + 2) % 3
    assert turned[:, first] == pytest.approx(-CLOUD[:, second])
    assert turned[:, second] == pytest.approx(CLOUD[:, first])
    whole = CONFIG.model_copy(update={"points": len(CLOUD), "up_axis": axis, "jitter_sigma": 0.0})
    found = training_transform(whole)(ROW, sample_generator(1, 0, 0))[0].numpy()
    assert sorted(found[:, up]) == pytest.approx(sorted(CLOUD[:, up]))
    assert sorted(np.linalg.norm(found, axis=1)) == pytest.approx(sorted(np.linalg.norm(CLOUD, axis=1)), abs=1e-5)
    assert not np.allclose(np.sort(found[:, first]), np.sort(CLOUD[:, first]), atol=0.05)


def test_jitter_has_its_size_and_its_limit() -> None:
    """Standard deviation 0.01, cut off at 0.05; wider noise is cut off, too."""
    many = {"points": np.zeros((20_000, 3), np.float32), "labels": np.array([0]), "row": 0}
    for sigma, clip, spread in ((0.01, 0.05, 0.01), (0.05, 0.05, 0.0359)):
        config = Config(data="x", points=20_000, jitter_sigma=sigma, jitter_clip=clip)
        noise = training_transform(config)(many, sample_generator(0, 0, 0))[0].numpy()
        assert noise.std() == pytest.approx(spread, rel=0.02)
        assert np.abs(noise).max() <= clip + 1e-7


def test_fewer_points_are_spread_over_all() -> None:
    """Evenly in evaluation, at random and without repetition in training; more than there are is an error with the row."""
    points = np.arange(30, dtype=np.float32).reshape(10, 3)
    assert chosen(points, 5, None)[:, 0].tolist() == [0, 6, 12, 18, 24]
    assert len(np.unique(chosen(points, 10, np.random.default_rng(0)), axis=0)) == 10
    with pytest.raises(InvalidSource, match=r"row 11: expected 41 points \(n, 3\) or more, found an array of shape \(40, 3\)"):
        training_transform(Config(data="x", points=41))(ROW, sample_generator(0, 0, 0))


class Fixed(torch.nn.Module):
    """Takes every cloud's first point for its scores."""

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, None]:
        return points[:, 0], None


def test_an_evaluation_counts_and_averages() -> None:
    """Loss and accuracies of scores that are known; the last batch is smaller, and one class has no cloud."""
    scores = torch.tensor([[2.0, 0, 0], [0, 1, 0], [3, 1, 0]])
    labels = torch.tensor([0, 1, 1])
    batches = [(scores[:2, None], labels[:2]), (scores[2:, None], labels[2:])]
    model = Fixed().train()
    found = evaluate(model, batches, classes=3, device=torch.device("cpu"))
    assert model.training
    assert found.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(scores, labels).item())
    assert (found.accuracy, found.class_accuracies, found.mean_class_accuracy) == (pytest.approx(2 / 3), [1.0, 0.5, None], 0.75)
    assert found.confidences.tolist() == pytest.approx(scores.softmax(dim=1).max(dim=1).values.tolist())


def test_the_tutorials_options_have_their_names_and_defaults() -> None:
    """All eleven, on the command line, too; ours come behind them."""
    wanted = {
        "beta1": 0.9,
        "beta2": 0.999,
        "lr": 1e-3,
        "step_size": 100,
        "gamma": 0.99,
        "num_epoch": 100,
        "num_iter": 100,
        "batch_size": 64,
        "num_worker": 8,
        "out_dir": "out",
        "save_period": 100,
    }
    given = _parser().parse_args(["train", "--lr=0.1", "--batch_size=32", "--no-rotate", "--threads", "2", "--resume", "last"])
    assert (given.lr, given.batch_size, given.rotate, given.threads, given.seed) == (0.1, 32, False, 2, None)
    config = load_config(None, {"data": "clouds"}).model_dump()
    assert dict(list(config.items())[:11]) == wanted
    assert config["wandb"] == "offline"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "'data' is missing"),
        ({"data": "x", "batch_size": 1}, "batch_size: Input should be greater than or equal to 2"),
        ({"data": "x", "up_axis": "w"}, "up_axis: Input should be 'x', 'y' or 'z'"),
        ({"data": "x", "lr": float("nan")}, "lr: "),
        ({"data": "x", "num_iters": 3}, "no field 'num_iters', did you mean 'num_iter'?"),
    ],
)
def test_an_option_that_cannot_be_is_named(given: dict[str, Any], told: str) -> None:
    """Field, expected and found, before torch is loaded."""
    with pytest.raises(UsageError) as raised:
        load_config(None, given)
    assert told in raised.value.message


def test_bundled_configurations_and_the_sweep_fit(tmp_path: Path) -> None:
    """Each is valid; the sweep's parameters are options, and its grid is the tutorial's."""
    assert bundled_configs() == ("modelnet", "shapes")
    for name in bundled_configs():
        assert load_config(name, {"data": "x"}).data == "x"
    sweep, example = (
        yaml.safe_load(path.read_text())
        for path in (CONFIGS / "sweep-grid.yaml", Path(__file__).resolve().parents[2] / "examples" / "pointnet" / "sweep.yaml")
    )
    assert {name: sweep[name] for name in ("method", "metric", "parameters")} == {
        "method": "grid",
        "metric": {"name": "Test/Loss", "goal": "minimize"},
        "parameters": {"lr": {"values": [0.1, 0.01, 0.001, 0.0001]}, "batch_size": {"values": [32, 64, 128, 256]}},
    }
    assert example == {name: sweep[name] for name in ("method", "metric", "parameters")} | {"program": "train.py"}
    for name, definition in (("sweep-grid.yaml", sweep), ("sweep.yaml", example)):
        assert {parameter for parameter, _ in parse_definition(definition, name).leaves()} == {"batch_size", "lr"}
    assert set(sweep["parameters"]) <= set(Config.model_fields)
    words = [word for word in sweep["command"] if not word.startswith("${")]
    given = _parser().parse_args([*words[words.index("train") :], "--lr=0.1", "--batch_size=32"])
    assert (given.command, given.data, given.lr) == ("train", "shapes", 0.1)


def test_pictures_and_page_have_the_same_bytes_whatever_the_users_style_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reproduction compares them; names are escaped."""
    import matplotlib as mpl

    clouds = [ShownCloud(CLOUD, "chair", name, 0.5, f"row {number}") for number, name in enumerate(("chair", "a<b"))]
    found = Evaluation(np.array([[3, 1], [0, 2]]), *(np.zeros(6) for _ in range(4)))  # type: ignore[arg-type]
    history = [{"epoch": 0, "Train/Loss": 1.0, "Test/Loss": 2.0, "Test/Accuracy": 0.5}]

    def make() -> str:
        sheet = clouds_sheet(clouds, "after epoch 1")
        assert sheet.startswith(b"\x89PNG")
        return report("PointNet", {"lr": 0.1}, found, ("chair", "a<b"), history, {"Clouds": sheet})

    first = make()
    monkeypatch.setitem(mpl.rcParams, "figure.facecolor", "black")
    monkeypatch.setitem(mpl.rcParams, "font.size", 30)
    assert make() == first
    assert "a<b" not in first
    assert "a&lt;b" in first
    assert first.count("data:image/png;base64,") == 3
    assert (chosen_places(3, 9), chosen_places(8, 2), chosen_places(0, 5)) == ([0, 4, 8], [0, 1], [])
