"""An axis of a drawing: where values are, and what is written beside it. Lengths are in the drawing's own units, downwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_ABOUT = 5  # ticks
_MOST_LABELS = 12
_LARGEST = 1.7e308


@dataclass(frozen=True, slots=True)
class Axis:
    """Numbers from ``low`` to ``high``, drawn from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Where a value is; values outside are at an end."""
        if self.is_log:
            share = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low)) if value > 0 else 0.0
        else:  # halves: the extent of two huge values of opposite signs is no finite number
            share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return round(self.start + (self.end - self.start) * min(1.0, max(0.0, share)), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """(where, label) of round values."""
        found = list(self._log_ticks()) if self.is_log else []
        return found if len(found) > 1 else list(self._linear_ticks())  # a short stretch of a logarithmic axis is nearly linear

    def _linear_ticks(self) -> Iterator[tuple[float, str]]:
        raw = self.high / _ABOUT - self.low / _ABOUT
        power = 10.0 ** math.floor(math.log10(raw))
        apart = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
        # As many digits as tell neighbours apart.
        digits = max(4, 1 + math.ceil(math.log10(max(abs(self.low), abs(self.high)) / apart)))
        first, last = math.ceil(self.low / apart - 1e-9), math.floor(self.high / apart + 1e-9)
        for number in range(first, last + 1):
            yield self.place(number * apart), f"{number * apart:.{digits}g}"

    def _log_ticks(self) -> Iterator[tuple[float, str]]:
        low, high = math.log10(self.low), math.log10(self.high)
        if high - low < 3.2:
            tens = range(math.floor(low), math.ceil(high) + 1)
            values = [factor * 10.0**ten for ten in tens for factor in ((1, 2, 5) if high - low < 1.2 else (1, 3))]
        else:
            step = max(1, math.ceil((high - low) / 6))
            values = [10.0**ten for ten in range(math.ceil(low), math.floor(high) + 1, step)]
        for value in values:
            if self.low <= value * (1 + 1e-9) and value * (1 - 1e-9) <= self.high:
                yield self.place(value), f"{value:.4g}"


def axis(values: Sequence[float], start: float, end: float, *, is_log: bool = False) -> Axis:
    """The axis that holds these finite values, one at least; logarithmic only where all are positive."""
    low, high = min(values), max(values)
    if is_log and low > 0 and high / low > 1 + 1e-9:
        return Axis(low, high, start, end, is_log=True)
    # Floats can be divided by an extent, but not by one that is next to nothing; one value alone gets room on both sides.
    if high / 8 - low / 8 > 1e-290 and high - abs(high) * 1e-12 > low:
        return Axis(low, high, start, end)
    half = max(abs(low) / 10, 1e-6) if low else 1.0
    return Axis(max(low - half, -_LARGEST), min(high + half, _LARGEST), start, end)


def named_places(names: Sequence[str], start: float, end: float) -> dict[str, float]:
    """Where names are along an axis, evenly, in their order."""
    apart = (end - start) / len(names)
    return {name: round(start + apart * (number + 0.5), 1) for number, name in enumerate(names)}


def thinned_labels(labels: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """At most as many labels as can be read beside an axis."""
    every = math.ceil(len(labels) / _MOST_LABELS) or 1
    return list(labels[::every])
