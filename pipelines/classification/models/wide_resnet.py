"""Wide residual networks (Zagoruyko and Komodakis, BMVC 2016): shallower, and ``widen_factor`` times as many channels."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

_STAGE_WIDTHS = (16, 32, 64)


class WideBlock(nn.Module):
    """B(3,3) of the paper, normalised before each convolution, with dropout between the two.

    Args:
        inputs: Channels that come in.
        width: Channels that go out.
        stride: Of the first convolution.
        dropout: Share of values dropped between the convolutions.
    """

    def __init__(self, inputs: int, width: int, stride: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, width, 1, stride, bias=False) if inputs != width else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float (n, inputs, h, w) to (n, width, h / stride, w / stride)."""
        normed = functional.relu(self.bn1(x))
        out = self.conv2(functional.relu(self.bn2(self.dropout(self.conv1(normed)))))
        # A shortcut that changes the number of channels begins at what is normalised, as in the authors' code.
        added: torch.Tensor = out + (x if self.shortcut is None else self.shortcut(normed))
        return added


class WideResNet(nn.Module):
    """WRN-``depth``-``widen_factor``: three stages of (depth - 4) / 6 blocks with 16 k, 32 k and 64 k channels.

    Args:
        depth: 6 n + 4; 28 and 40 are the paper's, 22 is what Trax's ``WideResnet`` makes by default (three blocks).
        widen_factor: k.
        classes: Outputs.
        dropout: Share of values dropped inside each block; the paper uses 0.3 where it uses any.

    Raises:
        ValueError: The depth is none.
    """

    def __init__(self, depth: int = 28, widen_factor: int = 1, classes: int = 10, dropout: float = 0.0) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1 or widen_factor < 1:
            raise ValueError(f"depth must be 6 n + 4 and widen_factor at least 1, found {depth} and {widen_factor}")
        inputs = 16
        self.conv1 = nn.Conv2d(3, inputs, 3, padding=1, bias=False)
        stages = []
        for number, published in enumerate(_STAGE_WIDTHS):
            width = published * widen_factor
            stage = []
            for place in range(blocks):
                stage.append(WideBlock(inputs, width, 2 if place == 0 and number > 0 else 1, dropout))
                inputs = width
            stages.append(nn.Sequential(*stage))
        self.stage1, self.stage2, self.stage3 = stages
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float (n, 3, h, w), normalised, to logits (n, classes)."""
        x = self.stage3(self.stage2(self.stage1(self.conv1(x))))
        logits: torch.Tensor = self.fc(functional.relu(self.bn(x)).mean(dim=(2, 3)))
        return logits
