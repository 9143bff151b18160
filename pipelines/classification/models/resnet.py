"""Residual networks (He et al., Deep Residual Learning for Image Recognition, CVPR 2016), written out.

With the ``imagenet`` stem it is torchvision's network, name for name, so that weights can be copied; with the ``cifar`` stem the first
convolution is 3x3 without a stride and nothing is pooled, which suits pictures of 32 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from pipelines.classification.models.attention import make_attention

Stem = Literal["cifar", "imagenet"]

_STAGE_WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """The seed's base block: two 3x3 convolutions beside a shortcut.

    Args:
        inputs: Channels that come in.
        width: Channels of the convolutions.
        stride: Of the first one.
        attention: Name of a module before the shortcut is added.
    """

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, attention: str = "none") -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        self.attention = make_attention(attention, outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float (n, inputs, h, w) to (n, width, h / stride, w / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.attention(self.bn2(self.conv2(out)))
        return functional.relu(out + self.downsample(x))


class Bottleneck(nn.Module):
    """The seed's bottleneck block: 1x1 down to ``width`` channels, 3x3, and 1x1 up to four times as many; see :class:`BasicBlock`."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, attention: str = "none") -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.attention = make_attention(attention, outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float (n, inputs, h, w) to (n, 4 width, h / stride, w / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = self.attention(self.bn3(self.conv3(out)))
        return functional.relu(out + self.downsample(x))


class ResNet(nn.Module):
    """A stem, four stages of blocks, the mean over places, one linear layer.

    Args:
        block: Base or bottleneck block.
        depths: Number of blocks of each of the four stages.
        classes: Outputs.
        stem: ``cifar`` or ``imagenet``.
        attention: Name of the attention in every block.
        width: Channels of the first stage, 64 as published; the others have two, four and eight times as many.
        dropout: Share of the features that are dropped before the linear layer.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        classes: int = 10,
        *,
        stem: Stem = "cifar",
        attention: str = "none",
        width: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [width * published // _STAGE_WIDTHS[0] for published in _STAGE_WIDTHS]
        size, stride = (7, 2) if stem == "imagenet" else (3, 1)
        self.conv1, self.bn1 = nn.Conv2d(3, width, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        inputs = width
        stages = []
        for number, (depth, channels) in enumerate(zip(depths, widths, strict=True)):
            blocks = []
            for place in range(depth):
                blocks.append(block(inputs, channels, 2 if place == 0 and number > 0 else 1, attention))
                inputs = channels * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float (n, 3, h, w), normalised, to logits (n, classes)."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: torch.Tensor = self.fc(self.dropout(x.mean(dim=(2, 3))))
        return logits


def resnet18(classes: int = 10, *, stem: Stem = "cifar", attention: str = "none", width: int = 64, dropout: float = 0.0) -> ResNet:
    """Two base blocks in each stage: 18 layers, 11,173,962 parameters for CIFAR-10."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes, stem=stem, attention=attention, width=width, dropout=dropout)


def resnet50(classes: int = 10, *, stem: Stem = "cifar", attention: str = "none", width: int = 64, dropout: float = 0.0) -> ResNet:
    """3, 4, 6 and 3 bottleneck blocks: 50 layers, 23,520,842 parameters for CIFAR-10."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes, stem=stem, attention=attention, width=width, dropout=dropout)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
