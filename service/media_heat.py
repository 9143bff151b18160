"""Histograms of one key over its steps, as a strip of columns: the darker, the more values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 480.0, 120.0
_ROWS = 32


@dataclass(frozen=True, slots=True)
class Heat:
    """Rectangles (x, y, width, height, share of the fullest from 0 to 1) in a frame of 480 by 120, and what its edges mean."""

    cells: tuple[tuple[float, float, float, float, float], ...]
    low: str
    high: str
    first: int
    last: int


def heat_of(sheets: Sequence[tuple[int, Mapping[str, Any]]]) -> Heat | None:
    """The strip; ``None`` when fewer than two histograms can be drawn.

    Args:
        sheets: (step, histogram) in order.
    """
    found = [(step, *_columns(sheet)) for step, sheet in sheets]
    drawable = [(step, counts, edges) for step, counts, edges in found if counts]
    if len(drawable) < 2:
        return None
    low, high = min(edges[0] for _, _, edges in drawable), max(edges[-1] for _, _, edges in drawable)
    if not high > low:
        return None
    cells: list[tuple[float, float, float, float, float]] = []
    wide, tall = WIDTH / len(drawable), HEIGHT / _ROWS
    for place, (_, counts, edges) in enumerate(drawable):
        rows = [0.0] * _ROWS
        for count, left, right in zip(counts, edges, edges[1:], strict=False):
            start, end = (min(float(_ROWS), max(0.0, (edge - low) / (high - low) * _ROWS)) for edge in (left, right))
            for row in range(int(start), min(_ROWS, int(end) + 1)):
                share = (min(row + 1.0, end) - max(float(row), start)) / (end - start) if end > start else 1.0
                rows[row] += count * max(0.0, share)
        most = max(rows)
        cells += [
            (
                round(place * wide, 1),
                round(HEIGHT - (row + 1) * tall, 2),
                round(wide + 0.3, 1),
                round(tall + 0.3, 2),
                round(value / most, 2),
            )
            for row, value in enumerate(rows)
            if value / most >= 0.01
        ]
    return Heat(tuple(cells), f"{low:.3g}", f"{high:.3g}", drawable[0][0], drawable[-1][0])


def _columns(sheet: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    counts, edges = sheet.get("counts"), sheet.get("edges")
    if not isinstance(counts, list) or not isinstance(edges, list) or len(edges) != len(counts) + 1 or len(counts) > 2048:
        return [], []
    if not all(isinstance(value, int | float) and math.isfinite(value) and abs(value) < 1e15 for value in (*counts, *edges)):
        return [], []
    if sum(counts) <= 0 or min(counts) < 0:
        return [], []
    return [float(count) for count in counts], [float(edge) for edge in edges]
