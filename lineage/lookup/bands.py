"""A metric over its steps, for several runs at once: mean, deviation, least and greatest at each step. NumPy comes with it.

Runs are added one after the other, so that no more than one of them is in memory beside the result. Nothing is interpolated: a run that
has no value at a step does not count there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineage.lookup.spread import LARGEST_UNSCALED
from lineage.model.group import SpreadOverSteps

Floats = NDArray[np.float64]

_SMALLER = 2.0**-532  # a power of two: scaling by it is exact


@dataclass(frozen=True, slots=True)
class Series:
    """A metric of one run.

    Attributes:
        x: Where: steps (int64) or values of another metric (float64); shape (n,), in the order of the calls.
        y: Its values there, float64, shape (n,).
    """

    x: NDArray[Any]
    y: Floats


class Bands:
    """The spread of a metric at each step, by Welford's method: each run changes mean and squares of the steps that it has.

    Attributes:
        x: Steps of all runs so far, rising; shape (n,).
        values: Finite values that entered.
        not_finite: Values that are NaN or infinite.
        repeated: Values that a later one of the same run at the same step replaced.
    """

    def __init__(self) -> None:
        self.x: NDArray[Any] = np.empty(0, np.int64)
        self._n: NDArray[np.int64] = np.empty(0, np.int64)
        self._mean, self._squares, self._low, self._high = (np.empty(0) for _ in range(4))
        self._scale = 1.0
        self.values = self.not_finite = self.repeated = 0

    def add(self, series: Series) -> None:
        """Add a run. Of several values at one step the last one counts."""
        x, y = _rising(series)
        self.repeated += len(series.x) - len(x)
        is_finite = np.isfinite(y)
        self.not_finite += int(len(y) - is_finite.sum())
        x, y = (x, y) if is_finite.all() else (x[is_finite], y[is_finite])
        if not len(x):
            return
        self.values += len(x)
        place = self._places(x)
        if self._scale == 1.0 and np.abs(y).max() >= LARGEST_UNSCALED:
            self._mean, self._squares, self._scale = self._mean * _SMALLER, self._squares * _SMALLER**2, _SMALLER
        scaled = y if self._scale == 1.0 else y * self._scale
        self._n[place] += 1
        apart = scaled - self._mean[place]
        self._mean[place] += apart / self._n[place]
        self._squares[place] += apart * (scaled - self._mean[place])
        self._low[place] = np.minimum(self._low[place], y)
        self._high[place] = np.maximum(self._high[place], y)

    def _places(self, x: NDArray[Any]) -> NDArray[np.intp] | slice:
        """Where these steps are; new ones are put among those that are known."""
        if len(x) == len(self.x) and np.array_equal(x, self.x):
            return slice(None)
        if self.x.dtype != x.dtype:  # an axis of floats
            self.x = self.x.astype(np.float64)
        place = np.searchsorted(self.x, x)
        known = np.zeros(len(x), bool)
        inside = place < len(self.x)
        known[inside] = self.x[place[inside]] == x[inside]
        if not known.all():
            new, before = x[~known], place[~known]
            self.x = np.insert(self.x, before, new)
            self._n = np.insert(self._n, before, 0)
            self._mean, self._squares = np.insert(self._mean, before, 0.0), np.insert(self._squares, before, 0.0)
            self._low, self._high = np.insert(self._low, before, np.inf), np.insert(self._high, before, -np.inf)
            place = np.searchsorted(self.x, x)
        return place

    def told(self, points: int | None = None) -> SpreadOverSteps:
        """The spread at each step.

        Args:
            points: At most about so many steps, for drawing: of each stretch the one with the least and the one with the greatest value.
        """
        chosen = np.arange(len(self.x)) if points is None else _thinned(self._low, self._high, points)
        n, low, high = self._n[chosen], self._low[chosen], self._high[chosen]
        with np.errstate(over="ignore"):
            deviation = np.sqrt(self._squares[chosen] / np.maximum(n - 1, 1)) / self._scale
        several = (n > 1) & np.isfinite(deviation)
        # Rounding may put the mean of equal values a last bit beside them.
        mean = np.clip(self._mean[chosen] / self._scale, low, high)
        return SpreadOverSteps.model_construct(  # NumPy made them what they are to be: checking a million again takes a second
            x=tuple(self.x[chosen].tolist()),
            n=tuple(n.tolist()),
            mean=tuple(mean.tolist()),
            std=tuple(value if has else None for value, has in zip(deviation.tolist(), several.tolist(), strict=True)),
            min=tuple(low.tolist()),
            max=tuple(high.tolist()),
            steps=len(self.x),
            values=self.values,
            not_finite=self.not_finite,
            repeated=self.repeated,
            is_thinned=len(chosen) < len(self.x),
        )


def _rising(series: Series) -> tuple[NDArray[Any], Floats]:
    """Steps in order, each once: with the value that was logged last."""
    x, y = series.x, series.y
    if len(x) < 2 or bool((x[1:] > x[:-1]).all()):
        return x, y
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    is_last = np.append(x[1:] != x[:-1], True)
    return x[is_last], y[is_last]


def _thinned(low: Floats, high: Floats, points: int) -> NDArray[np.intp]:
    """Numbers of the steps that stay: first, last, and of each stretch that with the least and that with the greatest value."""
    count = len(low)
    if count <= max(points, 4):
        return np.arange(count)
    size = -(-count // max(1, points // 2))
    stretches = -(-count // size)
    room = stretches * size - count
    lows = np.append(low, np.full(room, np.inf)).reshape(stretches, size).argmin(axis=1)
    highs = np.append(high, np.full(room, -np.inf)).reshape(stretches, size).argmax(axis=1)
    starts = np.arange(stretches) * size
    return np.unique(np.concatenate([starts + lows, starts + highs, [0, count - 1]]))
