"""Early termination by W&B's rule for Hyperband.

W&B's own package (``sweeps`` 0.3, ``hyperband_stopping.py``) compares at *bands*, here called rungs:

- with ``max_iter`` and ``s``: ``max_iter / eta``, ``max_iter / eta**2``, … ``s`` times, each rounded down, none below 1;
- with ``min_iter``: ``min_iter``, ``min_iter * eta``, ``min_iter * eta**2``, …, each rounded down.

Values at a rung are sorted, best first, and the one at position ``int(n / eta)`` (counted from 0) is the threshold. A trial goes on when
its own value (``strict``), or its best one so far, is not worse. Two things differ on purpose: a trial is compared with those
that it may depend on and itself, so that the result is the same however quick anybody was; and it is compared once at each rung, when it
gets there. A value that is not a number is worse than any other instead of being overlooked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from lineage.model.sweep import Goal


def badness(value: float, goal: Goal) -> float:
    """A value so that less is better; infinite for what is no number."""
    if math.isnan(value):
        return math.inf
    return value if goal == "minimize" else -value


def falls_short(own: float, at_rung: float, others: Iterable[float], eta: float) -> bool:
    """Whether a trial is to be stopped at a rung.

    Args:
        own: What it is judged by: its value at the rung, or its best one so far. As :func:`badness`.
        at_rung: Its value at the rung; one of those that are sorted. As :func:`badness`.
        others: Values of the other trials at the rung. As :func:`badness`.
        eta: The best ``1 / eta`` of the trials go on.
    """
    ranked = sorted([at_rung, *others])
    return own > ranked[int(1 / eta * len(ranked))]
