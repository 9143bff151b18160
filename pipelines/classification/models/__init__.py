"""The seeds' classifiers, written out: ResNet-18 and -50, four kinds of attention for them, wide residual networks."""

from __future__ import annotations

from pipelines.classification.models.attention import ATTENTION, eca_kernel, make_attention
from pipelines.classification.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet50
from pipelines.classification.models.wide_resnet import WideResNet

__all__ = [
    "ATTENTION",
    "BasicBlock",
    "Bottleneck",
    "ResNet",
    "WideResNet",
    "eca_kernel",
    "make_attention",
    "resnet18",
    "resnet50",
]
