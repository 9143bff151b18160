"""A metric of two runs, one curve over the other, as SVG text. Nothing is loaded from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

_WIDTH, _HEIGHT = 420, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 410, 12, 172
_MOST_POINTS = 500

Series = Sequence[tuple[int, float]]
"""(step, value) in the order of the calls."""


def curves(name: str, a: Series, b: Series, extent: Sequence[int] = ()) -> str | None:
    """Both series over their steps, ``a`` dashed and ``b`` solid; ``None`` when neither has two finite values.

    Values that are not finite part a curve. Long series are drawn by the lowest and highest value of each stretch. Steps of ``extent`` are
    inside the drawing, so that several can be laid below one another.
    """
    finite = [point for point in (*a, *b) if math.isfinite(point[1])]
    if max(sum(math.isfinite(value) for _, value in series) for series in (a, b)) < 2:
        return None
    steps, values = [*(step for step, _ in finite), *extent], [value for _, value in finite]
    x = scale(min(steps), max(steps), _LEFT, _RIGHT)
    y = scale(min(values), max(values), _BOTTOM, _TOP)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(_words(name, a, b))}">']
    for value, at in ((max(values), _TOP), (min(values), _BOTTOM)):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4}" text-anchor="end">{value:.4g}</text>')
    for step, anchor in ((min(steps), "start"), (max(steps), "end")):
        parts.append(f'<text x="{x(step):.1f}" y="{_BOTTOM + 18}" text-anchor="{anchor}">{step}</text>')
    for which, series in (("a", a), ("b", b)):
        for stretch in _stretches(series):
            points = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in _thinned(stretch))
            parts.append(f'<polyline class="{which}" points="{points}"/>')
    return "".join([*parts, "</svg>"])


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Where a value is drawn. Halves: the extent of two huge values of opposite signs is no finite number."""
    extent = high / 2 - low / 2
    per_half = (end - start) / extent if extent > 0 else 0.0
    return lambda value: start + (value / 2 - low / 2) * per_half


def _stretches(series: Series) -> list[list[tuple[int, float]]]:
    stretches: list[list[tuple[int, float]]] = [[]]
    for step, value in series:
        if math.isfinite(value):
            stretches[-1].append((step, value))
        elif stretches[-1]:
            stretches.append([])
    return [stretch for stretch in stretches if stretch]


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(points) == 1:
        return points * 2  # a line of no length, which its round end makes a dot
    if len(points) <= _MOST_POINTS:
        return points
    size = math.ceil(len(points) / (_MOST_POINTS / 2))
    kept: list[tuple[int, float]] = []
    for start in range(0, len(points), size):
        part = range(start, min(start + size, len(points)))
        ends = {min(part, key=lambda i: points[i][1]), max(part, key=lambda i: points[i][1])}
        kept.extend(points[i] for i in sorted(ends))
    return kept


def _words(name: str, a: Series, b: Series) -> str:
    ends = [f"{which} ends at {series[-1][1]:.6g}" for which, series in (("a", a), ("b", b)) if series]
    return f"{name}: {', '.join(ends)}"
