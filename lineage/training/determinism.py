"""Everything that decides the bits of a training run on one machine: set in one call, and recorded."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch

from lineage.record.live import LiveRun

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def make_deterministic(run: LiveRun, *, threads: int | None = None) -> dict[str, Any]:
    """Seed Python, NumPy and PyTorch from the run's seed, choose deterministic algorithms, fix thread counts; record all of it.

    Sums of floats depend on how they are split between threads, so the thread count belongs to the record. In a reproduction the recorded
    settings are taken over, whatever the arguments say.

    Args:
        run: The live run. Without a seed nothing is seeded, and the record says that the result will differ.
        threads: CPU threads for one operation; PyTorch's choice without one.

    Returns:
        The settings, as recorded. ``promise`` says what they allow.
    """
    recorded = {} if run.reproduced is None else run.reproduced.determinism
    wanted = recorded.get("threads", threads)
    if wanted is not None:
        torch.set_num_threads(int(wanted))
    seeded = run.seed is not None
    if run.seed is not None:
        random.seed(run.seed)
        np.random.seed(run.seed % 2**32)
        torch.manual_seed(run.seed % 2**64)
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    settings: dict[str, Any] = {
        "seeded": ["python", "numpy", "torch"] if seeded else [],
        "deterministic_algorithms": True,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "allow_tf32": False,
        "cudnn_benchmark": False,
        "promise": _promise(seeded),
    }
    run.describe(determinism=settings)
    return settings


def _promise(seeded: bool) -> str:
    if not seeded:
        return "none: the seed is not fixed"
    if torch.cuda.is_available():
        return "not measured on this GPU; bitwise where every operation has a deterministic algorithm"
    return f"bitwise on CPUs with {torch.backends.cpu.get_cpu_capability()} and the same thread count"
