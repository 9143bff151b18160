"""PointNet for classification, with both of its transform nets (Qi et al., CVPR 2017, figure 2 and appendix C)."""

from __future__ import annotations

import torch
from torch import nn

REGULARISER_WEIGHT = 0.001
"""What the regulariser is multiplied by (appendix C)."""
FEATURES = 64
"""Width of the features that the second transform net turns."""
_DROPOUT = 0.3  # 0.7 are kept; behind both layers, as in the authors' program, where the text names the last one only


class PointNet(nn.Module):
    """Class scores of point clouds, the same for any order of the points.

    With 40 classes it has 3,480,049 parameters; the paper says 3.5 M (table 6).

    Args:
        classes: How many.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.input_transform = TransformNet(3)
        self.first = nn.Sequential(*_pointwise(3, FEATURES), *_pointwise(FEATURES, FEATURES))
        self.feature_transform = TransformNet(FEATURES)
        self.second = nn.Sequential(*_pointwise(FEATURES, 64), *_pointwise(64, 128), *_pointwise(128, 1024))
        self.head = nn.Sequential(
            *_connected(1024, 512), nn.Dropout(_DROPOUT), *_connected(512, 256), nn.Dropout(_DROPOUT), nn.Linear(256, classes)
        )

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores and the feature transforms.

        Args:
            points: float32 (b, n, 3).

        Returns:
            Scores before the softmax, float32 (b, classes), and the matrices that :func:`orthogonality` is asked of, float32 (b, 64, 64).
        """
        columns = points.transpose(1, 2)
        features = self.first(turned(columns, self.input_transform(columns)))
        matrices: torch.Tensor = self.feature_transform(features)
        scores: torch.Tensor = self.head(largest(self.second(turned(features, matrices))))
        return scores, matrices


class TransformNet(nn.Module):
    """A small PointNet that says how to turn a cloud: one matrix for each, the identity before any training.

    Args:
        width: Channels of the points; the matrices are width x width.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.points = nn.Sequential(*_pointwise(width, 64), *_pointwise(64, 128), *_pointwise(128, 1024))
        self.head = nn.Sequential(*_connected(1024, 512), *_connected(512, 256))
        self.matrix = nn.Linear(256, width * width)
        nn.init.zeros_(self.matrix.weight)
        with torch.no_grad():
            self.matrix.bias.copy_(torch.eye(width).flatten())

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Matrices, float32 (b, width, width), of points, float32 (b, width, n)."""
        matrices: torch.Tensor = self.matrix(self.head(largest(self.points(points))))
        return matrices.view(-1, self.width, self.width)


def turned(points: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Points, columns p of (b, width, n), each multiplied from the right by its cloud's matrix A, (b, width, width): pᵀ A."""
    return torch.bmm(matrices.transpose(1, 2), points)


def largest(features: torch.Tensor) -> torch.Tensor:
    """The largest value of each feature over all points: (b, c, n) to (b, c). This is what makes the order of the points irrelevant."""
    return features.max(dim=2).values


def orthogonality(matrices: torch.Tensor) -> torch.Tensor:
    """How far matrices, float32 (b, k, k), are from orthogonal ones: the mean over the batch of ‖I - A Aᵀ‖², a scalar."""
    identity = torch.eye(matrices.shape[1], device=matrices.device, dtype=matrices.dtype)
    difference = identity - torch.bmm(matrices, matrices.transpose(1, 2))
    return difference.square().sum(dim=(1, 2)).mean()


def parameter_count(model: nn.Module) -> int:
    """Trained numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _pointwise(inside: int, outside: int) -> tuple[nn.Module, ...]:
    """The same layer for every point: a convolution of width 1."""
    return nn.Conv1d(inside, outside, 1), nn.BatchNorm1d(outside), nn.ReLU()


def _connected(inside: int, outside: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inside, outside), nn.BatchNorm1d(outside), nn.ReLU()
