"""A metric of groups as text for a terminal: the mean as a line, the deviation and the extremes as shades around it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lineage.model.group import SpreadOverSteps

_WIDTH, _HEIGHT = 64, 10
_BARS = "▁▂▃▄▅▆▇█"
_EXTREMES, _DEVIATION, _MEAN = "·", "▒", "●"


def sparkline(over: SpreadOverSteps, width: int = 16) -> str:
    """The mean in one line of ``width`` signs; steps between are left out."""
    means = [over.mean[number] for number in _chosen(len(over.x), width)]
    low, high = min(means), max(means)
    extent = high / 2 - low / 2
    return "".join(_BARS[0 if extent <= 0 else min(7, int((value / 2 - low / 2) / extent * 8))] for value in means)


def plot(over: SpreadOverSteps, axis: str) -> list[str]:
    """Lines of a drawing: ``●`` the mean, ``▒`` mean ± deviation, ``·`` least to greatest."""
    low, high = min(over.min), max(over.max)
    if not high > low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    first, last = over.x[0], over.x[-1]
    columns: list[list[int]] = [[] for _ in range(_WIDTH)]
    for number, x in enumerate(over.x):
        share = 0.0 if last == first else (x - first) / (last - first)
        columns[min(_WIDTH - 1, int(share * _WIDTH))].append(number)
    for place in range(1, _WIDTH):  # fewer steps than columns: each stands until the next one
        columns[place] = columns[place] or columns[place - 1][-1:]
    cells = [[" "] * _WIDTH for _ in range(_HEIGHT)]

    def row(value: float) -> int:
        share = (value / 2 - low / 2) / (high / 2 - low / 2)
        return _HEIGHT - 1 - min(_HEIGHT - 1, max(0, int(share * _HEIGHT)))

    for place, numbers in enumerate(columns):
        extremes = min(over.min[i] for i in numbers), max(over.max[i] for i in numbers)
        mean = math.fsum(over.mean[i] / len(numbers) for i in numbers)
        deviations = [found for i in numbers if (found := over.std[i]) is not None]
        deviation = max(deviations, default=0.0)
        for sign, (bottom, top) in ((_EXTREMES, extremes), (_DEVIATION, (mean - deviation, mean + deviation)), (_MEAN, (mean, mean))):
            for line in range(row(top), row(bottom) + 1):
                cells[line][place] = sign
    labels = {0: f"{high:.4g}", _HEIGHT - 1: f"{low:.4g}"}
    width = max(map(len, labels.values()))
    lines = [f"  {labels.get(number, ''):>{width}} ┤{''.join(cell).rstrip()}" for number, cell in enumerate(cells)]
    end = f"{last:g}"
    return [*lines, f"  {'':>{width}} └{'─' * _WIDTH}", f"  {'':>{width}}  {f'{first:g}':<{_WIDTH - len(end)}}{end}  {axis}"]


def _chosen(count: int, width: int) -> Sequence[int]:
    if count <= width:
        return range(count)
    return [round(place * (count - 1) / (width - 1)) for place in range(width)]
