"""The classifiers against their papers: parameter counts, torchvision's outputs, formulas of the attention modules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from pipelines.classification.models import ATTENTION, Bottleneck, ResNet, WideResNet, eca_kernel, make_attention, resnet18, resnet50
from pipelines.classification.models.wide_resnet import WideBlock

IMAGENET_18, IMAGENET_50 = 11_689_512, 25_557_032  # torchvision's documentation of its weights, "num_params"


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def shape_only(make: Callable[[], nn.Module]) -> int:
    """Parameters of a network that is too large to fill with numbers for a test."""
    with torch.device("meta"):
        return parameters(make())


def test_residual_networks_have_the_published_number_of_parameters() -> None:
    """For CIFAR those that kuangliu/pytorch-cifar's networks have; for ImageNet torchvision's."""
    assert shape_only(resnet18) == 11_173_962
    assert shape_only(resnet50) == 23_520_842
    assert shape_only(lambda: resnet18(1000, stem="imagenet")) == IMAGENET_18
    assert shape_only(lambda: resnet50(1000, stem="imagenet")) == IMAGENET_50


@pytest.mark.parametrize(
    ("depth", "widen_factor", "millions"),
    # Zagoruyko and Komodakis, Wide Residual Networks: the table of CIFAR results by depth and k.
    [(40, 1, 0.6), (40, 2, 2.2), (40, 4, 8.9), (40, 8, 35.7), (28, 10, 36.5), (28, 12, 52.5), (22, 8, 17.2), (22, 10, 26.8), (16, 8, 11.0)],
)
def test_wide_networks_have_the_published_number_of_parameters(depth: int, widen_factor: int, millions: float) -> None:
    assert round(shape_only(lambda: WideResNet(depth, widen_factor)) / 1e6, 1) == millions


def test_wide_networks_of_the_four_widths_by_formula() -> None:
    """WRN-28-k, counted by hand: each 3x3 convolution, each shortcut, each normalisation, the last layer."""
    for k in (1, 2, 3, 4):
        widths, total, inputs = [16 * k, 32 * k, 64 * k], 3 * 16 * 9, 16
        for width in widths:
            for _ in range(4):
                total += 9 * inputs * width + 9 * width * width + 2 * inputs + 2 * width + (inputs * width if inputs != width else 0)
                inputs = width
        total += 2 * inputs + 10 * inputs + 10
        assert shape_only(lambda k=k: WideResNet(28, k)) == total
    assert [shape_only(lambda k=k: WideResNet(28, k)) for k in (1, 2, 4, 10)] == [369_498, 1_467_610, 5_849_050, 36_479_194]


def test_attention_adds_the_published_number_of_parameters() -> None:
    """ResNet-50 for ImageNet: CBAM's paper has 28.09 M for SE and CBAM, 11.78 M for ResNet-18; Triplet's 4.8 K more."""
    added = {name: shape_only(lambda name=name: resnet50(1000, stem="imagenet", attention=name)) - IMAGENET_50 for name in ATTENTION}
    small = {name: shape_only(lambda name=name: resnet18(1000, stem="imagenet", attention=name)) for name in ATTENTION}

    assert added["none"] == 0
    assert {name: round((IMAGENET_50 + added[name]) / 1e6, 2) for name in ("SE", "CBAM")} == {"SE": 28.09, "CBAM": 28.09}
    assert {name: round(small[name] / 1e6, 2) for name in ("SE", "CBAM")} == {"SE": 11.78, "CBAM": 11.78}
    assert added["Triplet"] == 4_800
    assert added["ECA"] == sum(count * eca_kernel(256 * 2**stage) for stage, count in enumerate((3, 4, 6, 3))) == 86
    assert 3 * 3 + 4 * 5 + 6 * 5 + 3 * 7 == 80, "the paper's own figure: its ImageNet models have 3 in the first stage"


def test_the_kernel_of_eca_follows_the_papers_rule() -> None:
    assert [eca_kernel(channels) for channels in (16, 64, 128, 256, 512, 1024, 2048)] == [3, 3, 5, 5, 5, 5, 7]
    assert all(eca_kernel(channels) % 2 for channels in range(1, 4096))


@pytest.mark.parametrize(("ours", "theirs"), [(resnet18, "resnet18"), (resnet50, "resnet50")])
def test_with_torchvisions_weights_every_stage_gives_torchvisions_output(ours: Any, theirs: str) -> None:
    torch.manual_seed(0)
    reference = getattr(torchvision.models, theirs)(weights=None).eval()
    model = ours(1000, stem="imagenet").eval()
    model.load_state_dict(reference.state_dict())  # names and shapes are the same, or this fails
    seen: dict[str, list[torch.Tensor]] = {}
    for network in (reference, model):
        for name, module in network.named_modules():
            if name.count(".") <= 1 and name.startswith(("conv1", "bn1", "layer", "maxpool", "fc")):
                module.register_forward_hook(lambda _, __, out, name=name: seen.setdefault(name, []).append(out.detach().clone()))
    pictures = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model(pictures), reference(pictures))

    pairs = {name: outputs for name, outputs in seen.items() if len(outputs) == 2 and outputs[0].shape == outputs[1].shape}
    assert {"conv1", "layer1", "layer2", "layer3", "layer4", "layer1.0", "layer4.1", "fc"} <= pairs.keys()
    assert [name for name, (first, second) in pairs.items() if not torch.equal(first, second)] == []


@pytest.mark.parametrize("name", [name for name in ATTENTION if name != "none"])
def test_attention_scales_what_it_is_given(name: str) -> None:
    """The shape stays, every value is multiplied by a number between 0 and 1, and gradients reach every parameter."""
    torch.manual_seed(0)
    module, given = make_attention(name, 32), torch.randn(4, 32, 6, 5)
    out = module(given)
    assert out.shape == given.shape
    ratio = (out / given).detach()
    assert ((ratio > 0) & (ratio < 1)).all()
    out.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in module.parameters())


def test_channel_attention_by_its_formula() -> None:
    """SE and ECA written out with numbers in place of modules."""
    torch.manual_seed(0)
    x = torch.randn(3, 16, 4, 4)
    means = x.mean(dim=(2, 3))

    se = make_attention("SE", 16)
    gate = torch.sigmoid(torch.relu(means @ se.reduce.weight.T + se.reduce.bias) @ se.expand.weight.T + se.expand.bias)
    torch.testing.assert_close(se(x), x * gate[:, :, None, None])

    eca = make_attention("ECA", 16)
    (weights,) = eca.conv.weight[0].tolist()
    padded = nn.functional.pad(means, (1, 1))
    expected = torch.stack([sum(w * padded[:, c + i] for i, w in enumerate(weights)) for c in range(16)], dim=1)
    torch.testing.assert_close(eca(x), x * torch.sigmoid(expected)[:, :, None, None])


def test_spatial_and_triplet_attention_by_their_formula() -> None:
    """The 7x7 gate by hand at one place; Triplet is the mean over three turns of the picture."""
    torch.manual_seed(0)
    x = torch.randn(2, 8, 9, 9)
    triplet = make_attention("Triplet", 8).eval()

    def gated(branch: Any, y: torch.Tensor) -> torch.Tensor:
        pooled = torch.stack([y.max(dim=1).values, y.mean(dim=1)], dim=1)
        window = nn.functional.pad(pooled, (3, 3, 3, 3)).unfold(2, 7, 1).unfold(3, 7, 1)
        sums = torch.einsum("nchwij,cij->nhw", window, branch.conv.weight[0]) / math.sqrt(1 + branch.norm.eps)
        return y * torch.sigmoid(sums)[:, None]

    turned = [
        gated(triplet.height, x.permute(0, 2, 1, 3)).permute(0, 2, 1, 3),
        gated(triplet.width, x.permute(0, 3, 2, 1)).permute(0, 3, 2, 1),
    ]
    torch.testing.assert_close(triplet(x), (turned[0] + turned[1] + gated(triplet.space, x)) / 3)


def test_where_attention_stands() -> None:
    """In every block, before the shortcut is added: with a gate of nothing a block gives its shortcut."""
    model = ResNet(Bottleneck, (1, 1, 1, 1), attention="SE", width=8).eval()
    block = model.layer1[0]
    with torch.no_grad():
        block.attention.expand.bias.fill_(-200)
    x = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(block(x), torch.relu(block.downsample(x)))


@pytest.mark.parametrize(("inputs", "stride"), [(8, 1), (4, 2)])
def test_a_wide_block_by_its_formula(inputs: int, stride: int) -> None:
    """Normalised before each convolution; the shortcut is what came in, or a 1x1 convolution of its normalised form."""
    torch.manual_seed(0)
    block, x = WideBlock(inputs, 8, stride), torch.randn(2, inputs, 6, 6)
    block(x)  # moves the running means away from 0, so that a normalisation left out is seen
    block.eval()

    def normed(values: torch.Tensor, norm: Any) -> torch.Tensor:
        return torch.relu((values - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt())

    first = normed(x, block.bn1)
    inner = nn.functional.conv2d(first, block.conv1.weight, stride=stride, padding=1)
    out = nn.functional.conv2d(normed(inner, block.bn2), block.conv2.weight, padding=1)
    shortcut = x if inputs == 8 else torch.einsum("nchw,oc->nohw", first[:, :, ::stride, ::stride], block.shortcut.weight[:, :, 0, 0])
    torch.testing.assert_close(block(x), out + shortcut)


def test_dropout_drops_inside_the_blocks_while_training_only() -> None:
    torch.manual_seed(0)
    model, x = WideResNet(10, 1, dropout=0.5), torch.randn(2, 3, 32, 32)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    with pytest.raises(ValueError, match=r"6 n \+ 4"):
        WideResNet(27)
