"""What lives inside a training process: determinism and a pinned loader (PyTorch).

``make_deterministic(run)`` first, then a ``DataLoader`` over a recorded view: order of samples and randomness of augmentation follow from
the run's seed alone, whatever the number of workers or their start method.
"""

from __future__ import annotations

from lineage.training.determinism import make_deterministic
from lineage.training.loader import DataLoader
from lineage.training.order import EpochSampler, sample_generator

__all__ = ["DataLoader", "EpochSampler", "make_deterministic", "sample_generator"]
