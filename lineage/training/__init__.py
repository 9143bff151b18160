"""What lives inside a training process: determinism, a pinned loader, checkpoints (PyTorch).

``make_deterministic(run)`` first, then a ``DataLoader`` over a recorded view: order of samples and randomness of augmentation follow from
the run's seed alone, whatever the number of workers or their start method. ``Checkpoints`` let a training that was broken off go on as if
it never had been. The step log is ``run.watch(model, optimizer)``.
"""

from __future__ import annotations

from lineage.training.checkpoints import Checkpoints, Position
from lineage.training.determinism import check_operations, make_deterministic
from lineage.training.loader import DataLoader
from lineage.training.order import EpochSampler, epoch_batches, sample_generator

__all__ = [
    "Checkpoints",
    "DataLoader",
    "EpochSampler",
    "Position",
    "check_operations",
    "epoch_batches",
    "make_deterministic",
    "sample_generator",
]
