"""Geometry of a metric's line chart, as plain values; ``templates/chart.html`` draws it as SVG.

Nothing here makes markup, so the names of metrics are escaped where they are shown, like every other text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lineage.model.group import SpreadOverSteps
from lineage.model.metrics import SYSTEM
from service.schemas import MetricSeries, Number

WIDTH, HEIGHT = 420, 210
LEFT, RIGHT, TOP, BOTTOM = 54, 408, 10, 178
"""Frame of the drawing and of the plot inside it, in the SVG's own units; y grows downwards."""

_MOST_POINTS = 600
_MOST_MARKED = 30  # with more points the marks hide the line


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where, and what is written there."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, ready to be drawn.

    Attributes:
        name: The metric.
        lines: Runs of neighbouring finite values as SVG points (``x,y x,y …``); a value that is not finite parts them.
        marks: Points drawn as dots (x, y): all of a short series, and those without a neighbour.
        x_ticks: Steps.
        y_ticks: Values.
        description: The series in words, for those who do not see the drawing.
        not_finite: Number of values that are no finite number, and so are not drawn.
    """

    name: str
    lines: tuple[str, ...]
    marks: tuple[tuple[float, float], ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    description: str
    not_finite: int


@dataclass(frozen=True, slots=True)
class Overlay:
    """Charts of one metric of several runs, laid over one another.

    Attributes:
        name: The metric.
        lines: (number of the run, SVG points); a run may have several stretches, or none.
        x_ticks: Steps.
        y_ticks: Values.
    """

    name: str
    lines: tuple[tuple[int, str], ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """A metric of a group: SVG points of the mean, and outlines of mean ± deviation and of least to greatest."""

    number: int
    mean: str
    deviation: str
    extremes: str


@dataclass(frozen=True, slots=True)
class Bands:
    """A metric of several groups, laid over one another.

    Attributes:
        bands: Each with the number of its group.
        axis: What lies along x: ``step``, or another metric.
    """

    name: str
    bands: tuple[Band, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    axis: str


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values from ``low`` to ``high``, drawn from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        # Halves: the extent of two huge values of opposite signs is no finite number.
        share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return round(self.start + (self.end - self.start) * min(1.0, max(0.0, share)), 1)


def line_chart(series: MetricSeries) -> Chart | None:
    """The chart of a metric over its steps; ``None`` when it has fewer than two finite values (a number says that better).

    A long series is drawn by the lowest and highest value of each of its stretches, so that no peak is lost.
    """
    finite = _finite(series)
    if len(finite) < 2:
        return None
    x = _axis([step for step, _ in finite], LEFT, RIGHT)
    y = _axis([value for _, value in finite], BOTTOM, TOP)
    lines: list[str] = []
    marks: list[tuple[float, float]] = []
    for stretch in _stretches(series):
        points = [(x.place(step), y.place(value)) for step, value in thinned(stretch)]
        if len(points) > 1:
            lines.append(" ".join(f"{at_x},{at_y}" for at_x, at_y in points))
        if len(points) == 1 or len(finite) <= _MOST_MARKED:
            marks.extend(points)
    return Chart(
        name=series.name,
        lines=tuple(lines),
        marks=tuple(marks),
        x_ticks=tuple(_ticks(x, about=5, least=1.0)),  # there is no half step
        y_ticks=tuple(_ticks(y, about=5)),
        description=_description(series, finite),
        not_finite=len(series.values) - len(finite),
    )


def overlay(name: str, runs: Sequence[MetricSeries | None]) -> Overlay | None:
    """A metric of several runs on common axes; ``None`` when all of them together have fewer than two finite values.

    Args:
        name: The metric.
        runs: Its series in each run; ``None`` where a run has none.
    """
    stretches = [
        (number, stretch) for number, series in enumerate(runs) for stretch in ([] if series is None else _stretches(series)) if stretch
    ]
    points = [point for _, stretch in stretches for point in stretch]
    if len(points) < 2:
        return None
    x = _axis([step for step, _ in points], LEFT, RIGHT)
    y = _axis([value for _, value in points], BOTTOM, TOP)
    return Overlay(
        name,
        tuple(
            # A single point is a line of no length, which its round end makes a dot.
            (number, " ".join(f"{x.place(step)},{y.place(value)}" for step, value in thinned(stretch if len(stretch) > 1 else stretch * 2)))
            for number, stretch in stretches
        ),
        tuple(_ticks(x, about=5, least=1.0)),
        tuple(_ticks(y, about=5)),
    )


def bands(name: str, groups: Sequence[SpreadOverSteps | None], axis: str) -> Bands | None:
    """A metric of several groups on common axes; ``None`` when no group has it at two places.

    Args:
        name: The metric.
        groups: Thinned out; ``None`` where a group has not got it.
        axis: What lies along x.
    """
    there = [(number, found) for number, found in enumerate(groups) if found is not None and found.x]
    if max((len(found.x) for _, found in there), default=0) < 2:
        return None
    x = _axis([place for _, found in there for place in (found.x[0], found.x[-1])], LEFT, RIGHT)
    y = _axis([end for _, found in there for end in (min(found.min), max(found.max))], BOTTOM, TOP)

    def outline(places: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
        above = [f"{at},{y.place(value)}" for at, value in zip(places, high, strict=True)]
        return " ".join([*above, *reversed([f"{at},{y.place(value)}" for at, value in zip(places, low, strict=True)])])

    drawn = []
    for number, found in there:
        places = [x.place(at) for at in found.x]
        apart = [value or 0.0 for value in found.std]
        low = [max(mean - std, y.low) for mean, std in zip(found.mean, apart, strict=True)]
        high = [min(mean + std, y.high) for mean, std in zip(found.mean, apart, strict=True)]
        mean = " ".join(f"{at},{y.place(value)}" for at, value in zip(places, found.mean, strict=True))
        drawn.append(Band(number, mean, outline(places, low, high), outline(places, found.min, found.max)))
    least = 1.0 if axis == "step" else 0.0
    return Bands(name, tuple(drawn), tuple(_ticks(x, about=5, least=least)), tuple(_ticks(y, about=5)), axis)


def number(value: Number) -> str:
    """A value for people: six significant digits."""
    return value if isinstance(value, str) else f"{value:.6g}"


def said(series: MetricSeries) -> str | None:
    """What the chart of a metric says in words; ``None`` where there is none: it has fewer than two finite values."""
    finite = _finite(series)
    if len(finite) < 2:
        return None
    others = len(series.values) - len(finite)
    return _description(series, finite) + (f"; {others} not finite and not drawn" if others else "")


def _finite(series: MetricSeries) -> list[tuple[int, float]]:
    return [(step, value) for step, value in zip(series.steps, series.values, strict=True) if not isinstance(value, str)]


def _description(series: MetricSeries, finite: Sequence[tuple[int, float]]) -> str:
    lowest = min(finite, key=lambda point: point[1])
    highest = max(finite, key=lambda point: point[1])
    at = "second" if series.name.startswith(SYSTEM) else "step"
    return (
        f"{len(series.values)} values, first {number(series.values[0])}, last {number(series.values[-1])}, "
        f"lowest {number(lowest[1])} at {at} {lowest[0]}, highest {number(highest[1])} at {at} {highest[0]}"
    )


def _stretches(series: MetricSeries) -> list[list[tuple[float, float]]]:
    stretches: list[list[tuple[float, float]]] = [[]]
    for step, value in zip(series.steps, series.values, strict=True):
        if not isinstance(value, str):
            stretches[-1].append((step, value))
        elif stretches[-1]:
            stretches.append([])
    return [stretch for stretch in stretches if stretch]


def thinned(points: list[tuple[float, float]], most: int = _MOST_POINTS) -> list[tuple[float, float]]:
    """At most ``most`` points: the lowest and the highest of each stretch of a longer series, so that no peak is lost."""
    if len(points) <= most:
        return points
    size = math.ceil(len(points) / (most / 2))
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), size):
        part = range(start, min(start + size, len(points)))
        ends = {min(part, key=lambda i: points[i][1]), max(part, key=lambda i: points[i][1])}
        kept.extend(points[i] for i in sorted(ends))
    return kept


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    low, high = min(values), max(values)
    # Floats can be divided by an extent, but not by one that is next to nothing; one value alone gets room on both sides.
    if high / 8 - low / 8 > 1e-290 and high - abs(high) * 1e-12 > low:
        return _Axis(low, high, start, end)
    half = max(abs(low) / 10, 1e-6) if low else 1.0
    return _Axis(max(low - half, -1.7e308), min(high + half, 1.7e308), start, end)


def _ticks(axis: _Axis, *, about: int, least: float = 0.0) -> Iterator[Tick]:
    """Round values within an axis, about as many as asked for: 1, 2 or 5 times a power of ten apart, and at least ``least``."""
    raw = axis.high / about - axis.low / about
    power = 10.0 ** math.floor(math.log10(raw))
    apart = max(least, power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999))
    # As many digits as tell neighbours apart.
    digits = max(6, 1 + math.ceil(math.log10(max(abs(axis.low), abs(axis.high)) / apart)))
    first, last = math.ceil(axis.low / apart - 1e-9), math.floor(axis.high / apart + 1e-9)
    for i in range(first, last + 1):
        yield Tick(axis.place(i * apart), f"{i * apart:.{digits}g}")
