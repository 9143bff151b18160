"""Faster R-CNN: outputs, sizes, base weights, and training that is a function of its seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torchvision.models.detection import FasterRCNN
from torchvision.ops.misc import FrozenBatchNorm2d

from lineage.errors import IntegrityError, NotFound, Unavailable, UsageError
from pipelines.detection.config import ModelConfig, OptimizerConfig
from pipelines.detection.distributed import local_device
from pipelines.detection.evaluate import evaluate
from pipelines.detection.model import TORCHVISION_CACHE, base_weights_file, build_model, file_digest
from pipelines.detection.train import Batch, learning_rate_factor, make_optimizer, make_schedule, train_one_epoch
from pipelines.tracked import NonFiniteLoss, save_weights

CPU = torch.device("cpu")
TINY: dict[str, Any] = {
    "architecture": "fasterrcnn_resnet18_fpn",
    "backbone_stages": 2,
    "fpn_channels": 32,
    "anchor_sizes_px": (8, 16, 32),
    "representation_size": 64,
    "rpn_pre_nms_top_n_train": 100,
    "rpn_post_nms_top_n_train": 50,
    "box_batch_size_per_image": 32,
}
SCHEDULE = OptimizerConfig(learning_rate=0.02, warmup_steps=5, clip_norm=5, step_size_epochs=100)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from a second thread, and on a busy machine waiting for it costs many times the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny_model(seed: int, **options: Any) -> FasterRCNN:
    torch.manual_seed(seed)
    return build_model(ModelConfig(**{**TINY, **options}), width=64, height=64, classes=9)


def two_pictures() -> Batch:
    """A bright square (label 2) and a dark one (label 9), each on its own grey noise."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, 3, 64, 64, generator=generator) * 0.1
    pictures[0, :, 10:30, 20:44] += 2
    pictures[1, :, 30:50, 8:30] -= 2
    boxes = torch.tensor([[20.0, 10, 44, 30], [8, 30, 30, 50]])
    targets = tuple(
        {"boxes": box[None], "labels": torch.tensor([label]), "image_id": torch.tensor(50 + label)}
        for box, label in zip(boxes, (2, 9), strict=True)
    )
    return tuple(pictures), targets


def trained(seed: int, steps: int) -> tuple[FasterRCNN, list[float]]:
    model = tiny_model(seed)
    optimizer = make_optimizer(model, SCHEDULE)
    losses: list[float] = []
    schedule = make_schedule(optimizer, SCHEDULE, steps_per_epoch=steps)
    train_one_epoch(
        model,
        optimizer,
        schedule,
        [two_pictures()] * steps,
        device=CPU,
        clip_norm=5,
        on_step=lambda values, _: losses.append(values["loss"]),
    )
    return model, losses


def test_two_pictures_are_learnt_and_background_is_never_an_answer() -> None:
    """After some steps on two pictures the loss has fallen and both squares are found with their labels, 0 not among them."""
    model, losses = trained(seed=1, steps=100)
    # Bits, and so the outcome, depend on the machine: over eight seeds the loss fell to 0.07 to 0.25, the mean IoU rose to 0.58 to 0.89.
    assert sum(losses[-5:]) < 0.4 * sum(losses[:5])
    assert evaluate(model, [two_pictures()], device=CPU, labels=range(1, 10)).mean_iou > 0.4
    predictions = model([*two_pictures()[0]])
    assert all(0 not in prediction["labels"].tolist() for prediction in predictions)


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """Two trainings with one seed give the same losses and the same weights file wherever it is written; another seed does not."""
    runs = [trained(seed, steps=2) for seed in (3, 3, 4)]
    digests = [file_digest(save_weights(model.state_dict(), tmp_path / name)) for (model, _), name in zip(runs, "abc", strict=True)]
    assert runs[0][1] == runs[1][1]
    assert digests[0] == digests[1] != digests[2]


def test_weights_file_is_replaced_whole(tmp_path: Path) -> None:
    """Saving over an old file leaves exactly the new one, readable by torch."""
    (tmp_path / "model.pth").write_bytes(b"old")
    path = save_weights({"a": torch.ones(2)}, tmp_path)
    assert torch.equal(torch.load(path, weights_only=True)["a"], torch.ones(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pth"]


@pytest.mark.parametrize(
    "architecture",
    [
        "fasterrcnn_resnet18_fpn",
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn",
    ],
)
def test_every_architecture_has_one_output_more_than_classes(architecture: Any) -> None:
    """Nine classes and background make ten outputs, and everything is trained when there are no base weights."""
    with torch.device("meta"):
        model = build_model(ModelConfig(architecture=architecture), width=160, height=128, classes=9)
    assert model.roi_heads.box_predictor.cls_score.out_features == 10
    assert model.roi_heads.box_predictor.bbox_pred.out_features == 40
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in model.modules())


def test_plain_resnet_is_torchvisions_model() -> None:
    """Without options the ResNet-50 has the tensors of torchvision's own builder, so that its published weights fit."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    with torch.device("meta"):
        ours = build_model(ModelConfig(), width=160, height=128, classes=90)
        theirs = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == {
        name: tensor.shape for name, tensor in theirs.state_dict().items()
    }
    assert ours.rpn.anchor_generator.sizes == theirs.rpn.anchor_generator.sizes


def test_model_takes_pictures_as_they_are() -> None:
    """Pictures are neither enlarged to torchvision's 800 pixels nor normalised a second time."""
    with torch.device("meta"):
        model = build_model(ModelConfig(), width=160, height=128, classes=9)
    picture = torch.randn(3, 128, 160)
    prepared, _ = model.transform([picture])
    torch.testing.assert_close(prepared.tensors[0], picture)


def test_options_reach_the_model() -> None:
    """Proposal counts, head width and anchors are those of the configuration."""
    model = tiny_model(0, rpn_post_nms_top_n_test=7, box_detections_per_img=3)
    assert model.rpn._post_nms_top_n == {"training": 50, "testing": 7}
    assert model.roi_heads.detections_per_img == 3
    assert model.roi_heads.box_head.fc7.out_features == 64
    assert model.rpn.anchor_generator.sizes == ((8,), (16,), (32,))


def test_base_weights_of_the_same_classes_are_used_whole(tmp_path: Path) -> None:
    """Training can go on from its own weights, predictor included; batch norm and the first stages are then frozen."""
    weights = save_weights(tiny_model(5).state_dict(), tmp_path)
    model = tiny_model(6, base_weights=str(weights))
    saved = torch.load(weights, weights_only=True)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
    assert any(isinstance(module, FrozenBatchNorm2d) for module in model.modules())
    assert not model.backbone.body.conv1.weight.requires_grad
    assert model.backbone.body.layer2[0].conv1.weight.requires_grad


def test_base_weights_of_other_classes_lose_their_predictor(tmp_path: Path) -> None:
    """Weights for 90 classes give everything but the predictor, which is drawn anew."""
    torch.manual_seed(5)
    weights = save_weights(build_model(ModelConfig(**TINY), width=64, height=64, classes=90).state_dict(), tmp_path)
    model, saved = tiny_model(6, base_weights=str(weights)), torch.load(weights, weights_only=True)
    assert torch.equal(model.roi_heads.box_head.fc6.weight, saved["roi_heads.box_head.fc6.weight"])
    assert model.roi_heads.box_predictor.cls_score.weight.shape[0] == 10


def test_misfitting_base_weights_are_refused(tmp_path: Path) -> None:
    """Weights of another model are one error that names a tensor; nothing is loaded in part."""
    weights = save_weights(tiny_model(5, fpn_channels=16).state_dict(), tmp_path)
    with pytest.raises(UsageError, match=r"tensors do not fit the model, the first is 'backbone\.fpn"):
        tiny_model(6, base_weights=str(weights))


def test_file_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    """Any other file, or a file of something else, is one error."""
    path = tmp_path / "weights.pth"
    path.write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="not a weights file of torch"):
        tiny_model(0, base_weights=str(path))
    torch.save([1, 2], path)
    with pytest.raises(UsageError, match=r"expected a state_dict .* found list"):
        tiny_model(0, base_weights=str(path))
    with pytest.raises(NotFound, match=r"no weights file '.*absent.pth'"):
        tiny_model(0, base_weights=str(tmp_path / "absent.pth"))


def test_cache_is_looked_up_and_never_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are not in torchvision's cache are an error that says what to fetch; a damaged file is found by its name's digest."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = ModelConfig(base_weights=TORCHVISION_CACHE)
    with pytest.raises(NotFound, match="not in torchvision's cache") as raised:
        base_weights_file(config)
    assert raised.value.hint is not None
    assert "fasterrcnn_resnet50_fpn_coco" in raised.value.hint
    cached = tmp_path / "hub/checkpoints/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"damaged")
    with pytest.raises(IntegrityError, match="expected sha256:258fb6c6"):
        base_weights_file(config)
    with pytest.raises(UsageError, match="no weights for fasterrcnn_resnet18_fpn"):
        base_weights_file(ModelConfig(architecture="fasterrcnn_resnet18_fpn", base_weights=TORCHVISION_CACHE))


def test_non_finite_loss_stops_before_the_weights_change() -> None:
    """The error names the step and every part of the loss, and the weights are still those of the step before."""
    model = tiny_model(1)
    optimizer = make_optimizer(model, SCHEDULE)
    pictures, targets = two_pictures()
    spoilt = ((pictures[0] * math.inf, pictures[1]), targets)
    schedule = make_schedule(optimizer, SCHEDULE, steps_per_epoch=2)
    before: list[torch.Tensor] = []

    def remember(_: dict[str, float], __: int) -> None:
        before.extend(parameter.detach().clone() for parameter in model.parameters())

    with pytest.raises(
        NonFiniteLoss, match=r"step 1: the loss is not finite in the batch of rows 52, 59: loss nan.*loss_objectness"
    ) as raised:
        train_one_epoch(model, optimizer, schedule, [(pictures, targets), spoilt], device=CPU, on_step=remember)
    assert raised.value.step == 1
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_learning_rate_warms_up_and_then_follows_steplr() -> None:
    """Hand-computed warm-up, and torch's own StepLR after it."""
    config = OptimizerConfig(warmup_steps=4, step_size_epochs=2, gamma=0.1)
    assert [learning_rate_factor(step, steps_per_epoch=10, config=config) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]

    reference = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    steplr = StepLR(reference, step_size=2, gamma=0.1)
    for epoch in range(6):
        factor = learning_rate_factor(epoch * 10 + 5, steps_per_epoch=10, config=config)
        assert factor == pytest.approx(reference.param_groups[0]["lr"])
        reference.step()
        steplr.step()


def test_each_process_gets_a_gpu_of_its_own_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with two GPUs the third process is refused with what is there; on a CPU every process computes."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_device(torch.device("cuda")) == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert local_device(CPU) == CPU
    with pytest.raises(Unavailable, match="process 2 of this machine has no GPU of its own, torch finds 2"):
        local_device(torch.device("cuda"))


def test_frozen_parameters_are_not_optimized(tmp_path: Path) -> None:
    """With base weights and one trainable stage, a step leaves the earlier stages as they were."""
    weights = save_weights(tiny_model(5).state_dict(), tmp_path)
    model = tiny_model(5, base_weights=str(weights), trainable_layers=0)
    optimizer = make_optimizer(model, SCHEDULE)
    train_one_epoch(model, optimizer, make_schedule(optimizer, SCHEDULE, steps_per_epoch=1), [two_pictures()], device=CPU)
    saved, now = torch.load(weights, weights_only=True), model.state_dict()
    assert all(torch.equal(now[name], saved[name]) for name in now if name.startswith("backbone.body"))
    assert not torch.equal(now["backbone.fpn.inner_blocks.0.0.weight"], saved["backbone.fpn.inner_blocks.0.0.weight"])
