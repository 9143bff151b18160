"""Channel and spatial attention, each a module that keeps the shape of what it is given: float (n, channels, height, width).

In a residual block it stands after the last normalisation, before the shortcut is added, as in all four papers. What each adds to an
ImageNet ResNet-50 (25,557,032 parameters), as published:

======= =============================================================== ======================= ===================================
name    paper                                                           published               here
======= =============================================================== ======================= ===================================
SE      Hu et al., Squeeze-and-Excitation Networks, CVPR 2018           28.09 M in all          2 C²/r + C + C/r for each block
CBAM    Woo et al., CBAM, ECCV 2018                                     28.09 M in all          the same + 98 + 2 for each block
ECA     Wang et al., ECA-Net, CVPR 2020                                 80                      k for each block; see :func:`eca_kernel`
Triplet Misra et al., Rotate to Attend, WACV 2021                       4.8 K                   3 (98 + 2) for each block
======= =============================================================== ======================= ===================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

AttentionName = Literal["none", "ECA", "CBAM", "SE", "Triplet"]

_SPATIAL_KERNEL = 7


class SqueezeExcitation(nn.Module):
    """SE: each channel is scaled by a number that two small layers make of all channels' means.

    Args:
        channels: C.
        reduction: r; the layer between has C/r channels.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        between = max(1, channels // reduction)
        self.reduce, self.expand = nn.Linear(channels, between), nn.Linear(between, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale the channels."""
        gate = self.expand(functional.relu(self.reduce(x.mean(dim=(2, 3)))))
        return x * torch.sigmoid(gate)[:, :, None, None]


def eca_kernel(channels: int, gamma: float = 2, b: float = 1) -> int:
    """The published rule: the odd number nearest to ``log2(C) / gamma + b / gamma``, as the authors' code rounds it.

    3 for 64 channels, 5 for 128 to 1,024, 7 for 2,048. With it a ResNet-50 gets 86 parameters; the paper's 80 are those of its ImageNet
    models, which have a kernel of 3 in the first stage (256 channels).
    """
    whole = int(abs((math.log2(channels) + b) / gamma))
    return whole if whole % 2 else whole + 1


class EfficientChannelAttention(nn.Module):
    """ECA: a channel's scale follows from the means of its neighbours, by one convolution over the channels without a bias."""

    def __init__(self, channels: int, kernel: int | None = None) -> None:
        super().__init__()
        size = eca_kernel(channels) if kernel is None else kernel
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale the channels."""
        gate = self.conv(x.mean(dim=(2, 3))[:, None, :])[:, 0, :]
        return x * torch.sigmoid(gate)[:, :, None, None]


class _SpatialGate(nn.Module):
    # Greatest value and mean over one dimension, a 7x7 convolution over the other two, normalised: CBAM's second half, Triplet's branch.
    def __init__(self, momentum: float = 0.01) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, _SPATIAL_KERNEL, padding=_SPATIAL_KERNEL // 2, bias=False)
        self.norm = nn.BatchNorm2d(1, momentum=momentum)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = torch.cat([x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.norm(self.conv(pooled)))


class Cbam(nn.Module):
    """CBAM: channels are scaled after their means and greatest values, then places after the means and greatest values over channels."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        between = max(1, channels // reduction)
        self.reduce, self.expand = nn.Linear(channels, between), nn.Linear(between, channels)
        self.spatial = _SpatialGate()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale channels, then places."""
        gate = self._gate(x.mean(dim=(2, 3))) + self._gate(x.amax(dim=(2, 3)))
        scaled: torch.Tensor = self.spatial(x * torch.sigmoid(gate)[:, :, None, None])
        return scaled

    def _gate(self, pooled: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.expand(functional.relu(self.reduce(pooled)))
        return made


class TripletAttention(nn.Module):
    """Triplet: the mean of three gates, each over two of channel, height and width, pooled over the third."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        del channels  # its size does not depend on them
        self.height, self.width, self.space = _SpatialGate(), _SpatialGate(), _SpatialGate()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mean of the three."""
        over_height = self.height(x.transpose(1, 2)).transpose(1, 2)
        over_width = self.width(x.transpose(1, 3)).transpose(1, 3)
        gated: torch.Tensor = (over_height + over_width + self.space(x)) / 3
        return gated


ATTENTION: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "ECA": EfficientChannelAttention,
    "CBAM": Cbam,
    "SE": SqueezeExcitation,
    "Triplet": TripletAttention,
}
"""Name, as command lines and sweeps write it, to what makes the module for a number of channels."""


def make_attention(name: str, channels: int) -> Any:
    """The module of a name.

    Raises:
        KeyError: There is none of that name.
    """
    return ATTENTION[name](channels)
