"""The digest over a run's metric points, which its record is ended with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from lineage.model.run import MetricPoint

SYSTEM = "system/"
"""How names of metrics begin that tell of the machine."""
_ALWAYS = frozenset(("system/cpu", "system/memory"))

StoredPoint = tuple[int, float, str]
"""A point as stores keep it: its step, its time, and the text of :func:`values_text`."""


def values_text(point: MetricPoint) -> str:
    """A point's values in the one spelling that is stored and digested."""
    return json.dumps(point.values)


def stored_points(points: Iterable[MetricPoint]) -> Iterable[StoredPoint]:
    """Points as stores keep them."""
    return ((point.step, point.at, values_text(point)) for point in points)


def digest_of_points(points: Iterable[StoredPoint]) -> str | None:
    """Digest over metric points in their order; ``None`` without any."""
    state, is_empty = hashlib.sha256(), True
    for step, at, values in points:
        # repr of a float is its shortest form that reads back to the same bits.
        state.update(f"{step} {at!r} {values}\n".encode())
        is_empty = False
    return None if is_empty else f"sha256:{state.hexdigest()}"


def is_sample(point: MetricPoint) -> bool:
    """Whether a point was sampled by this layer while the run went on (``lineage.record.system``), and not logged by the program."""
    return point.values.keys() >= _ALWAYS


def logged(points: Iterable[MetricPoint]) -> list[MetricPoint]:
    """Points that the program logged, without samples of the machine."""
    return [point for point in points if not is_sample(point)]
