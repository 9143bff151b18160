"""Rows to tensors, one step, one evaluation: each against numbers worked out by other means."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lineage.errors import InvalidSource
from pipelines.classification.config import Config
from pipelines.classification.evaluate import class_table, evaluate
from pipelines.classification.train import Tally, learning_rate_factor, make_optimizer, make_schedule, train_step
from pipelines.classification.transforms import crop_and_flip, make_transform, normalised, pixels_of
from pipelines.data.cifar10_format import png_of
from pipelines.tracked import NonFiniteLoss

NAMES = ("cat", "dog", "frog")
CPU = torch.device("cpu")


def config(**fields: Any) -> Config:
    return Config(train="x", view="a", validation_view="b", **fields)


def row(picture: Any, labels: Any) -> dict[str, Any]:
    return {"images": png_of(picture), "labels": np.array(labels, np.uint32), "row": 7, "index": 0}


def test_a_row_becomes_a_normalised_picture_with_its_label_and_row() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    tensor, label, source = make_transform(32, NAMES, augment=False)(row(picture, [2]), np.random.default_rng(1))

    assert (tensor.dtype, tuple(tensor.shape), label, source) == (torch.float32, (3, 32, 32), 2, 7)
    torch.testing.assert_close(tensor[0, 5, 9].item(), (picture[5, 9, 0] / 255 - 0.4914) / 0.2470, check_dtype=False, rtol=1e-5, atol=1e-6)
    assert np.array_equal(pixels_of(tensor), picture)
    smaller, _, _ = make_transform(16, NAMES, augment=False)(row(picture, [0]), np.random.default_rng(1))
    assert tuple(smaller.shape) == (3, 16, 16)


@pytest.mark.parametrize(("labels", "found"), [([], "0 labels"), ([0, 1], "2 labels"), ([3], "label 3")])
def test_a_row_without_exactly_one_known_label_is_refused(labels: list[int], found: str) -> None:
    with pytest.raises(InvalidSource, match=f"row 7: expected one label from 0 to 2, found {found}"):
        make_transform(32, NAMES, augment=False)(row(np.zeros((32, 32, 3), np.uint8), labels), np.random.default_rng(0))


def test_an_undecodable_picture_names_its_row() -> None:
    broken = row(np.zeros((32, 32, 3), np.uint8), [0]) | {"images": b"no picture"}
    with pytest.raises(InvalidSource, match=r"row 7: the picture cannot be decoded \(10 bytes\)"):
        make_transform(32, NAMES, augment=False)(broken, np.random.default_rng(0))


def test_the_augmentation_shifts_by_up_to_four_pixels_and_mirrors_half_of_the_pictures() -> None:
    """Of a picture with one white pixel: where it goes says what was done."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[16, 10] = 255
    places = set()
    for seed in range(400):
        made = crop_and_flip(picture, np.random.default_rng(seed))
        (place,) = np.argwhere(made[:, :, 0])
        places.add(tuple(place.tolist()))
        assert np.array_equal(made, crop_and_flip(picture, np.random.default_rng(seed))), "a function of its generator alone"
    assert {top for top, _ in places} == set(range(12, 21))
    assert {left for _, left in places} == set(range(6, 15)) | set(range(17, 26)), "10 ± 4, and 21 ± 4 mirrored"
    torch.testing.assert_close(normalised(picture[:, ::-1]), normalised(picture).flip(2))


def test_an_evaluation_is_that_of_numpy_and_leaves_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(12, 3)).train()
    batches = [(torch.randn(n, 3, 2, 2), torch.randint(0, 3, (n,)), torch.arange(n) + 10 * n) for n in (4, 4, 1)]
    found = evaluate(model, batches, 3, device=CPU)

    assert model.training
    pictures, labels = torch.cat([batch[0] for batch in batches]), torch.cat([batch[1] for batch in batches]).numpy()
    with torch.no_grad():
        logits = model[2](pictures.flatten(1)).double().numpy()  # nothing is dropped
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found.loss == pytest.approx(-np.log(shares[np.arange(9), labels]).mean(), rel=1e-5)
    assert found.accuracy == (logits.argmax(axis=1) == labels).mean()
    assert found.rows.tolist() == [40, 41, 42, 43, 40, 41, 42, 43, 10]
    for true in range(3):
        for predicted in range(3):
            assert found.confusion[true, predicted] == ((labels == true) & (logits.argmax(axis=1) == predicted)).sum()
    assert [line.split(",")[1] for line in class_table(found, NAMES).splitlines()[1:]] == [str((labels == n).sum()) for n in range(3)]
    assert evaluate(model, batches, 3, device=CPU, most_batches=2).pictures == 8
    with pytest.raises(ValueError, match="no picture"):
        evaluate(model, [], 3, device=CPU)


def test_a_step_is_plain_gradient_descent_on_the_cross_entropy() -> None:
    torch.manual_seed(0)
    model, given = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), config(optimizer="sgd", learning_rate=0.5, momentum=0.0)
    before, optimizer = model[1].weight.detach().clone(), make_optimizer(model, given)
    pictures, labels = torch.randn(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
    with torch.no_grad():
        error = model(pictures).softmax(1) - nn.functional.one_hot(labels, 3)
    loss, right = train_step(model, optimizer, make_schedule(optimizer, given, total=2), (pictures, labels, labels), device=CPU)

    torch.testing.assert_close(model[1].weight.detach(), before - 0.5 * error.T @ pictures.flatten(1) / 5)
    assert loss > 0
    assert 0 <= right <= 5


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched() -> None:
    model, given = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), config()
    before, optimizer = model[1].weight.detach().clone(), make_optimizer(model, given)
    batch = (torch.full((1, 3, 2, 2), math.nan), torch.tensor([0]), torch.tensor([52]))
    with pytest.raises(NonFiniteLoss, match="step 0: the loss is not finite in the batch of rows 52: loss nan"):
        train_step(model, optimizer, make_schedule(optimizer, given, total=2), batch, device=CPU)
    assert torch.equal(model[1].weight, before)


def test_learning_rates() -> None:
    def rates(**fields: Any) -> list[float]:
        return [round(learning_rate_factor(step, total=10, config=config(**fields)), 6) for step in (0, 1, 5, 10)]

    assert rates() == [1, 1, 1, 1]
    assert rates(warmup_steps=4) == [0.25, 0.5, 1, 1]
    assert rates(schedule="cosine") == [1, round(0.5 + 0.5 * math.cos(math.pi / 10), 6), 0.5, 0]


def test_means_since_the_last_evaluation_weigh_pictures_not_steps() -> None:
    tally = Tally()
    assert tally.means() == {}
    tally.add(2.0, 1, 3)
    tally.add(1.0, 1, 1)
    assert tally.means() == {"train_loss": 7 / 4, "train_accuracy": 0.5}
